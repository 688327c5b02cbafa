# SPDX-License-Identifier: Apache-2.0
"""Properties of the Gaussians in heatmaps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry import gaussian

HEIGHT, WIDTH = 40, 56
priors = st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 30)), max_size=6).map(
    lambda rows: np.array(rows, np.int64).reshape(-1, 3)
)


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_the_radius_does_not_depend_on_which_side_is_which(height, width):
    assert gaussian.gaussian_radius(height, width) == gaussian.gaussian_radius(width, height)


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=20))
def test_the_radius_of_many_is_that_of_each_and_grows_with_size(sizes):
    height, width = np.array(sizes).T
    radii = gaussian.gaussian_radius(height, width)
    assert radii.tolist() == [float(gaussian.gaussian_radius(h, w)) for h, w in sizes]
    assert (gaussian.gaussian_radius(height + 1, width + 1) > radii).all()
    assert (radii >= 0).all()


@given(st.integers(0, 60))
def test_a_kernel_peaks_in_its_middle_and_is_symmetric(radius):
    kernel = gaussian.kernel(radius)
    assert kernel.shape == (2 * radius + 1,) * 2 and kernel.dtype == np.float32
    assert kernel[radius, radius] == 1 and kernel.max() == 1 and kernel.min() >= 0
    np.testing.assert_array_equal(kernel, kernel.T)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])


@given(priors)
def test_every_drawn_object_is_a_peak_of_height_one(rows):
    heatmap = gaussian.render(rows, (HEIGHT, WIDTH))
    assert heatmap.dtype == np.float32 and heatmap.shape == (HEIGHT, WIDTH)
    assert (heatmap[rows[:, 1], rows[:, 0]] == 1).all()
    assert heatmap.max(initial=0) == (1 if len(rows) else 0)


@given(priors)
def test_the_order_of_drawing_does_not_matter_and_the_higher_value_wins(rows):
    whole = gaussian.render(rows, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(whole, gaussian.render(rows[::-1], (HEIGHT, WIDTH)))
    single = [gaussian.render(rows[i : i + 1], (HEIGHT, WIDTH)) for i in range(len(rows))]
    np.testing.assert_array_equal(whole, np.max(single, axis=0) if single else np.zeros_like(whole))


@given(st.integers(-80, 140), st.integers(-80, 140), st.integers(0, 20))
def test_a_gaussian_is_cut_at_the_border_as_if_the_map_were_larger(x, y, radius):
    margin = 100
    large = np.zeros((HEIGHT + 2 * margin, WIDTH + 2 * margin), np.float32)
    gaussian.draw(large, x + margin, y + margin, radius)
    small = np.zeros((HEIGHT, WIDTH), np.float32)
    gaussian.draw(small, x, y, radius)
    if 0 <= x < WIDTH and 0 <= y < HEIGHT:  # a centre outside of the map is not an object of this image
        np.testing.assert_array_equal(small, large[margin:-margin, margin:-margin])
