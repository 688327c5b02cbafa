# SPDX-License-Identifier: Apache-2.0
"""Training targets decode to the objects that they were made from."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.geometry.gaussian import gaussian_radius
from centertrack_ros.training.targets import GridObjects, make_targets, rotation_bins, static_targets

GRID = (40, 64)
HEADS = {
    "hm": 3,
    "reg": 2,
    "wh": 2,
    "tracking": 2,
    "ltrb": 4,
    "ltrb_amodal": 4,
    "dep": 1,
    "dim": 3,
    "rot": 8,
    "amodel_offset": 2,
    "velocity": 3,
}


def objects(boxes, classes=None, previous=None, **others):
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    classes = np.zeros(len(boxes), int) if classes is None else np.asarray(classes)
    previous = np.full((len(boxes), 2), np.nan) if previous is None else np.asarray(previous, float)
    return GridObjects(boxes, classes, previous, **{k: np.asarray(v, float) for k, v in others.items()})


boxes_inside = st.tuples(st.floats(0, 50), st.floats(0, 30), st.floats(1, 13), st.floats(1, 9)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@settings(deadline=None, max_examples=50)
@given(boxes_inside)
def test_box_comes_back_from_each_way_of_writing_it(box):
    targets = make_targets(objects([box]), HEADS, GRID, 8)
    y, x = divmod(int(targets["index"][0]), GRID[1])
    assert targets["hm"][0, y, x] == 1.0 and targets["hm"][1:].max() == 0
    center = (x, y) + targets["reg"][0]
    half = targets["wh"][0] / 2
    np.testing.assert_allclose([*(center - half), *(center + half)], box, atol=1e-3)
    np.testing.assert_allclose(np.tile((x, y), 2) + targets["ltrb"][0], box, atol=1e-3)
    np.testing.assert_allclose(np.tile((x, y), 2) + targets["ltrb_amodal"][0], box, atol=1e-3)


def test_boxes_are_cut_at_the_border_except_the_amodal_ones():
    targets = make_targets(objects([(-10, 5, 9, 15)]), HEADS, GRID, 4)
    np.testing.assert_allclose(targets["wh"][0], (9, 10))
    assert targets["index"][0] == 10 * GRID[1] + 4
    np.testing.assert_allclose(targets["ltrb_amodal"][0], (-14, -5, 5, 5))


def test_what_lies_outside_or_has_no_area_is_left_out():
    targets = make_targets(objects([(-20, 5, -3, 15), (5, 5, 5, 9), (10, 10, 20, 20), (70, 1, 90, 9)]), HEADS, GRID, 4)
    assert targets["mask"].sum() == 1 and targets["hm"].max() == 1.0
    nothing = make_targets(objects([]), HEADS, GRID, 4)
    assert nothing["mask"].sum() == 0 and nothing["hm"].max() == 0 and nothing["rot_bins"].shape == (4, 2)


def test_displacement_leads_from_the_cell_to_the_previous_centre_and_only_where_there_was_one():
    targets = make_targets(
        objects([(10, 10, 21, 17), (30, 10, 40, 20)], previous=[(12.5, 9.25), (np.nan, np.nan)]), HEADS, GRID, 4
    )
    np.testing.assert_allclose(targets["tracking"][0], (12.5 - 15, 9.25 - 13))
    assert targets["tracking_mask"][:2].tolist() == [[1, 1], [0, 0]] and targets["tracking"][1].tolist() == [0, 0]


def test_unknown_3d_masks_only_the_3d_heads():
    targets = make_targets(objects([(10, 10, 20, 20)]), HEADS, GRID, 4)
    for head in ("dep", "dim", "amodel_offset", "velocity"):
        assert targets[f"{head}_mask"].sum() == 0
    assert targets["rot_mask"].sum() == 0 and targets["wh_mask"].sum() == 2
    two = objects(
        [(1, 1, 9, 9), (20, 20, 30, 30)], depths=[np.nan, 12.0], dimensions=np.ones((2, 3)), alphas=[0.1, np.nan]
    )
    targets = make_targets(two, HEADS, GRID, 4)
    assert targets["dep_mask"][:2, 0].tolist() == [0, 1] and targets["rot_mask"][:2].tolist() == [1, 0]
    assert all(np.isfinite(array).all() for array in targets.values())


@given(st.floats(-math.pi, math.pi))
def test_angle_comes_back_from_every_bin_that_holds_it(alpha):
    bins, residuals = rotation_bins(np.array([alpha]))
    assert bins.sum() >= 1
    for k, middle in enumerate((-np.pi / 2, np.pi / 2)):
        if bins[0, k]:
            assert math.isclose(math.cos(residuals[0, k] + middle), math.cos(alpha), abs_tol=1e-9)
            assert math.cos(residuals[0, k]) >= math.cos(2 * np.pi / 3) - 1e-9


def test_ignored_regions_and_unlabelled_classes_are_saturated():
    made = objects([(10, 10, 20, 20)])
    made = GridObjects(
        made.boxes,
        made.class_ids,
        made.previous_centers,
        ignored=np.array([[40, 5, 50, 12], [1, 30, 5, 35]]),
        ignored_classes=np.array([-1, 2]),
        unlabelled=np.array([1]),
    )
    heat = make_targets(made, HEADS, GRID, 4)["hm"]
    assert np.all(heat[:, 5:13, 40:51] == 1) and np.all(heat[2, 30:36, 1:6] == 1) and heat[0, 30:36, 1:6].max() == 0
    assert np.all(heat[1] == 1)


def test_gaussian_has_the_official_radius():
    heat = make_targets(objects([(10.2, 10.1, 30.9, 22.4)]), HEADS, GRID, 4)["hm"][0]
    row = heat[16]
    radius = int(gaussian_radius(13, 21))
    assert np.count_nonzero(row) == 2 * radius + 1


def test_more_objects_than_slots_and_unknown_heads():
    many = objects([(i, 1, i + 3, 6) for i in range(9)])
    assert make_targets(many, {"hm": 1}, GRID, 5)["mask"].tolist() == [1] * 5
    with pytest.raises(ValueError, match="keypoints"):
        make_targets(many, {"hm": 1, "keypoints": 34}, GRID, 5)


def test_cells_of_a_static_image_lead_to_where_the_same_pixel_was():
    now, before = np.array([[0.5, 0, 3], [0, 0.5, -2]]), np.array([[0.45, 0, 6], [0, 0.45, 1]])
    found = static_targets(np.random.default_rng(0), now, before, (24, 32), (40, 50))
    known = found["static_mask"][:, 0] > 0
    assert 0.2 < known.mean() < 1 and (found["static_mask"][:, 0] == found["static_mask"][:, 1]).all()
    cells = np.column_stack([found["static_index"] % 32, found["static_index"] // 32])
    pixels = (cells - now[:, 2]) / 0.5
    was = pixels * 0.45 + before[:, 2]
    np.testing.assert_allclose((cells + found["static"])[known], was[known], atol=1e-4)
    shown = (
        (pixels >= 0).all(axis=1)
        & (pixels <= [49, 39]).all(axis=1)
        & (was >= 0).all(axis=1)
        & (was <= [31, 23]).all(axis=1)
    )
    np.testing.assert_array_equal(known, shown)


def test_two_different_images_give_no_targets_for_cells():
    affine = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    found = static_targets(np.random.default_rng(0), affine, affine, (24, 32), (0, 0))
    assert not found["static_mask"].any() and not found["static"].any()
