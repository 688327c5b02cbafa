# SPDX-License-Identifier: Apache-2.0
"""Properties of the maps between image, network input and output grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry.affine import (
    LARGEST_INPUT,
    MOST_ENLARGED,
    budget_size,
    centered_affine,
    invert,
    place,
    transform,
)

sizes = st.tuples(st.integers(16, 2200), st.integers(16, 2200))
inputs = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda size: (size[0] * 32, size[1] * 32))
modes = st.sampled_from(["fixed", "keep_aspect", "budget", "keep_resolution", "fix_short"])
points = st.lists(st.tuples(st.floats(-500, 2500), st.floats(-500, 2500)), min_size=1, max_size=8).map(np.array)


@given(sizes, inputs, modes, points)
def test_to_the_grid_and_back_is_where_one_was(image_size, nominal, mode, pixels):
    placement = place(image_size, nominal, mode)
    back = transform(placement.from_grid.astype(np.float64), transform(placement.to_grid, pixels))
    np.testing.assert_allclose(back, pixels, atol=0.05)
    np.testing.assert_allclose(
        transform(invert(placement.to_input), transform(placement.to_input, pixels)), pixels, atol=1e-6
    )


@given(sizes, inputs, modes)
def test_the_map_has_one_scale_and_no_rotation(image_size, nominal, mode):
    matrix = place(image_size, nominal, mode).to_input
    assert matrix[0, 0] == pytest.approx(matrix[1, 1], rel=1e-6)
    assert abs(matrix[0, 1]) < 1e-9 and abs(matrix[1, 0]) < 1e-9


@given(sizes, inputs, modes)
def test_the_input_fits_the_network(image_size, nominal, mode):
    placement = place(image_size, nominal, mode)
    assert placement.input_size[0] % 32 == 0 and placement.input_size[1] % 32 == 0
    assert placement.grid_size == (placement.input_size[0] // 4, placement.input_size[1] // 4)
    np.testing.assert_allclose(placement.to_grid, placement.to_input / 4, atol=1e-4)


@given(sizes, inputs, st.sampled_from(["keep_aspect", "budget", "keep_resolution"]))
def test_no_part_of_the_image_is_lost(image_size, nominal, mode):
    placement = place(image_size, nominal, mode)
    corners = transform(placement.to_input, np.array([[0.0, 0.0], [image_size[1], image_size[0]]]))
    assert (corners[0] >= -1e-3).all()
    assert (corners[1] <= np.array(placement.input_size[::-1]) + 1e-3).all()


@given(sizes)
def test_kept_resolution_is_one_to_one_and_strictly_larger(image_size):
    placement = place(image_size, (64, 64), "keep_resolution")
    assert placement.scale == pytest.approx(1, abs=1e-9)
    assert placement.input_size[0] > image_size[0] and placement.input_size[1] > image_size[1]


@given(sizes, inputs)
def test_the_fixed_mode_spans_the_longer_side_over_the_width(image_size, nominal):
    placement = place(image_size, nominal, "fixed")
    assert placement.input_size == nominal
    assert placement.scale == pytest.approx(nominal[1] / max(image_size), rel=1e-5)


def test_a_portrait_image_is_cropped_at_top_and_bottom():
    placement = place((300, 180), (128, 256), "fixed")
    top, bottom = transform(placement.to_input, np.array([[90.0, 0.0], [90.0, 300.0]]))[:, 1]
    assert top < 0 and bottom > 128


@pytest.mark.parametrize(("size", "mode", "said"), [((0, 5), "fixed", "positive"), ((5, 5), "stretch", "keep_aspect")])
def test_what_cannot_be_placed_is_an_error(size, mode, said):
    with pytest.raises(ValueError, match=said):
        place(size, (64, 64), mode)


def test_placements_are_shared_and_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        place((90, 160), (64, 64)).to_input[0, 0] = 3


@given(st.floats(-180, 180), st.floats(20, 900))
def test_a_rotation_turns_about_the_centre(angle, span):
    center = np.array([100.0, 60.0])
    matrix = centered_affine(center, span, (64, 96), rotation=angle)
    np.testing.assert_allclose(transform(matrix, center[None])[0], [48, 32], atol=1e-3)
    assert np.linalg.det(matrix[:, :2]) == pytest.approx((96 / span) ** 2, rel=1e-3)


aspects = st.tuples(st.integers(200, 4000), st.integers(200, 4000)).filter(lambda s: 0.2 <= s[0] / s[1] <= 5)


@given(aspects, st.integers(120_000, 1_500_000))
def test_a_budget_is_spent_on_the_image_whatever_its_aspect(image_size, pixels):
    placement = place(image_size, (512, 512), "budget", pixels=pixels)
    height, width = placement.input_size
    spent = min(pixels, image_size[0] * image_size[1] * MOST_ENLARGED**2)
    assert abs(height * width / spent - 1) < 0.1
    covered = image_size[0] * image_size[1] * placement.scale**2
    assert covered > 0.8 * spent
    assert placement.scale < MOST_ENLARGED * 1.1
    assert budget_size(image_size[::-1], pixels) == (width, height)  # a portrait image is as well off as a landscape


@pytest.mark.parametrize(
    ("image", "size"),
    [
        ((720, 1280), (384, 672)), ((1080, 1920), (384, 672)), ((375, 1242), (288, 928)), ((480, 640), (448, 576)),
        ((1920, 1080), (672, 384)), ((900, 900), (512, 512)), ((1440, 5120), (256, 1024)), ((20, 8000), (64, 4096)),
    ],
)  # fmt: skip
def test_sides_of_a_budget_for_common_images(image, size):
    assert place(image, (512, 512), "budget").input_size == size


@given(st.tuples(st.integers(1, 20000), st.integers(1, 20000)), st.integers(4096, 4096**2))
def test_a_budget_gives_a_valid_input_for_any_image(image_size, pixels):
    size = budget_size(image_size, pixels)
    assert all(side % 32 == 0 and 64 <= side <= LARGEST_INPUT for side in size)
