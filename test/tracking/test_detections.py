# SPDX-License-Identifier: Apache-2.0
"""Properties of decoding: what was drawn on the output grid comes back in image pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry.affine import place, transform
from centertrack_ros.network.peaks import JointPeaks, Peaks
from centertrack_ros.tracking.detections import decode, keypoints_on_grid, observation_angles

PLACEMENT = place((450, 800), (224, 416), "fixed")
GRID = PLACEMENT.grid_size

boxes_px = st.lists(
    st.tuples(st.floats(50, 700), st.floats(50, 400), st.floats(4, 300), st.floats(4, 300)), min_size=1, max_size=12
).map(lambda rows: np.array([(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in rows]))


def peaks_of(boxes: np.ndarray, scores: np.ndarray | None = None, **values: np.ndarray) -> Peaks:
    """The peaks of a perfect network for boxes in image px."""
    grid = transform(PLACEMENT.to_grid, boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    centers = (grid[:, :2] + grid[:, 2:]) / 2
    cells = np.floor(centers).astype(np.int64)
    heads = {"reg": centers - cells, "wh": grid[:, 2:] - grid[:, :2], **values}
    count = len(boxes)
    return Peaks(
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32) if scores is None else scores,
        class_ids=np.zeros(count, np.int64),
        cells=cells,
        values={name: np.asarray(value, np.float32) for name, value in heads.items()},
        grid=GRID,
    )


@given(boxes_px)
def test_a_box_drawn_and_decoded_is_the_same_box(boxes):
    np.testing.assert_allclose(decode(peaks_of(boxes), PLACEMENT.from_grid).boxes, boxes, atol=2e-3)


@given(boxes_px)
def test_sides_measured_from_the_peak_win_over_width_and_height(boxes):
    grid = transform(PLACEMENT.to_grid, boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    peaks = peaks_of(boxes, wh=np.full((len(boxes), 2), 3.0))
    sides = grid - np.tile(peaks.cells, 2)
    for head, other in (("ltrb_amodal", "ltrb"), ("ltrb", None)):
        values = {**peaks.values, head: sides.astype(np.float32)}
        if other:
            values[other] = np.zeros_like(values[head])
        found = decode(Peaks(peaks.scores, peaks.class_ids, peaks.cells, values, GRID), PLACEMENT.from_grid)
        np.testing.assert_allclose(found.boxes, boxes, atol=2e-3)


def test_a_box_may_leave_the_image_and_a_negative_size_is_none():
    far = np.array([[-300.0, -200, 900, 700]])
    np.testing.assert_allclose(decode(peaks_of(far), PLACEMENT.from_grid).boxes, far, atol=2e-3)
    flat = decode(peaks_of(far, wh=np.array([[-5.0, 8.0]])), PLACEMENT.from_grid).boxes[0]
    assert flat[0] == flat[2] and flat[3] > flat[1]


def test_without_an_offset_head_a_box_sits_in_the_middle_of_its_cell():
    peaks = peaks_of(np.array([[100.0, 100, 140, 160]]))
    values = {"wh": peaks.values["wh"]}
    found = decode(Peaks(peaks.scores, peaks.class_ids, peaks.cells, values, GRID), PLACEMENT.from_grid)
    middle = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
    np.testing.assert_allclose(middle, transform(PLACEMENT.from_grid, peaks.cells[0] + 0.5), atol=1e-3)


@given(boxes_px, st.floats(0, 1))
def test_only_what_scores_above_the_threshold_is_kept_strongest_first(boxes, threshold):
    scores = np.sort(np.random.RandomState(len(boxes)).rand(len(boxes)).astype(np.float32))[::-1]
    found = decode(peaks_of(boxes, scores), PLACEMENT.from_grid, threshold)
    assert found.scores.tolist() == [score for score in scores.tolist() if score > np.float32(threshold)]
    assert len(found.boxes) == len(found.centers) == len(found)


@given(boxes_px, st.floats(-20, 20), st.floats(-20, 20))
def test_a_displacement_is_scaled_to_image_pixels_and_may_be_ignored(boxes, dx, dy):
    moved = peaks_of(boxes, tracking=np.tile([dx, dy], (len(boxes), 1)))
    scale = 1 / PLACEMENT.to_grid[0, 0]
    found = decode(moved, PLACEMENT.from_grid)
    np.testing.assert_allclose(found.displacements, np.tile([dx * scale, dy * scale], (len(boxes), 1)), atol=2e-3)
    assert not decode(moved, PLACEMENT.from_grid, zero_tracking=True).displacements.any()
    assert not decode(peaks_of(boxes), PLACEMENT.from_grid).displacements.any()


@given(st.lists(st.floats(-np.pi, np.pi), min_size=1, max_size=10).map(np.array))
def test_an_angle_coded_in_its_bin_is_read_back(alphas):
    rot = np.zeros((len(alphas), 8), np.float32)
    first = alphas < 0  # bins are centred at -pi/2 and +pi/2
    rot[:, 1], rot[:, 5] = first, ~first
    for offset, center in ((2, -np.pi / 2), (6, np.pi / 2)):
        rot[:, offset], rot[:, offset + 1] = np.sin(alphas - center), np.cos(alphas - center)
    difference = observation_angles(rot) - alphas
    np.testing.assert_allclose((difference + np.pi) % (2 * np.pi) - np.pi, 0, atol=1e-5)


def heads_3d(count: int) -> dict[str, np.ndarray]:
    offset = np.tile([1.5, -0.5], (count, 1))
    return {
        "dep": np.full((count, 1), 20.0),
        "rot": np.ones((count, 8)),
        "dim": np.ones((count, 3)),
        "amodel_offset": offset,
    }


@given(boxes_px)
def test_with_3d_heads_the_amodal_centre_is_the_one_that_is_associated(boxes):
    found = decode(peaks_of(boxes, **heads_3d(len(boxes))), PLACEMENT.from_grid, depth_scale=0.5)
    expected = (boxes[:, :2] + boxes[:, 2:]) / 2 + np.array([1.5, -0.5]) / PLACEMENT.to_grid[0, 0]
    np.testing.assert_allclose(found.centers, expected, atol=2e-3)
    np.testing.assert_array_equal(found.centers, found.amodal_centers)
    np.testing.assert_allclose(found.depths, 10.0)


def test_without_all_3d_heads_the_centre_is_the_peak():
    boxes = np.array([[100.0, 100, 140, 160]])
    values = heads_3d(1)
    del values["rot"]
    peaks = peaks_of(boxes, **values)
    found = decode(peaks, PLACEMENT.from_grid)
    np.testing.assert_allclose(found.centers, transform(PLACEMENT.from_grid, peaks.cells), atol=1e-3)
    assert found.amodal_centers is None and found.alphas is None


def joints(scores: list[float], points: list[list[float]]) -> JointPeaks:
    return JointPeaks(np.array([scores], np.float32), np.array([points], np.float32))


@pytest.mark.parametrize(
    ("peak_scores", "points", "expected", "joint_score"),
    [
        ([0.9, 0.8], [[12.0, 11.0], [15.0, 15.0]], [12, 11], 0.9),  # the nearest sure peak
        ([0.9, 0.1], [[16.0, 16.0], [12.0, 11.0]], [16, 16], 0.9),  # an unsure nearer one does not count
        ([0.9, 0.8], [[40.0, 40.0], [41.0, 40.0]], [11, 10], 0.5),  # outside of the box: the regressed joint stays
        ([0.1, 0.0], [[12.0, 11.0], [11.0, 10.0]], [11, 10], 0.5),  # nothing sure
    ],
)
def test_a_joint_snaps_to_the_nearest_sure_peak_in_the_box(peak_scores, points, expected, joint_score):
    values = {
        "hps": np.array([[1.0, 0.0]], np.float32),
        "reg": np.zeros((1, 2), np.float32),
        "wh": np.full((1, 2), 20, np.float32),
    }
    cells = np.array([[10.0, 10.0]], np.float32)
    found, score, each = keypoints_on_grid(cells, np.array([0.5], np.float32), values, joints(peak_scores, points))
    assert found[0, 0].tolist() == expected
    assert score[0] == pytest.approx(0.5 * joint_score)
    assert each[0, 0] == pytest.approx(0.9 if joint_score == 0.9 else 0.0), "of a peak, not of the body"


def test_decoding_copies_what_it_returns():
    boxes = np.array([[100.0, 100, 140, 160]])
    peaks = peaks_of(boxes, velocity=np.ones((1, 3)), nuscenes_att=np.ones((1, 8)), **heads_3d(1))
    found = decode(peaks, PLACEMENT.from_grid)
    for array in (found.scores, found.class_ids, found.velocities, found.attributes, found.dimensions):
        for source in (peaks.scores, peaks.class_ids, *peaks.values.values()):
            assert not np.shares_memory(array, source)


@given(boxes_px)
def test_a_tracked_middle_is_the_boxes_and_leads_to_the_same_place_as_the_peak(boxes):
    """The displacement starts at the peak, whatever amodal centre the 3D heads predict."""
    count = len(boxes)
    moved = np.tile([3.0, -2.0], (count, 1))
    peaks = peaks_of(boxes, **{**heads_3d(count), "amodel_offset": np.full((count, 2), 9.0)}, tracking=moved)
    found = decode(peaks, PLACEMENT.from_grid, point="box")
    np.testing.assert_allclose(found.centers, (boxes[:, :2] + boxes[:, 2:]) / 2, atol=2e-3)
    before = transform(PLACEMENT.from_grid, peaks.cells + moved)
    np.testing.assert_allclose(found.centers + found.displacements, before, atol=2e-3)
    official = decode(peaks, PLACEMENT.from_grid)
    np.testing.assert_array_equal(found.amodal_centers, official.amodal_centers)
    np.testing.assert_array_equal(official.centers, official.amodal_centers)
    assert not decode(peaks, PLACEMENT.from_grid, point="box", zero_tracking=True).displacements.any()


@pytest.mark.parametrize(("step", "expected"), [(None, 3.0), (0.5, 6.0), (0.0, np.nan)])
def test_velocities_are_metres_per_second_for_every_kind_of_head(step, expected):
    peaks = peaks_of(np.array([[100.0, 100, 140, 160]]), velocity=np.full((1, 3), 3.0))
    found = decode(peaks, PLACEMENT.from_grid, velocity_step=step)
    np.testing.assert_allclose(found.velocities, np.full((1, 3), expected))


def test_no_peaks_decode_to_no_detections():
    assert len(decode(peaks_of(np.zeros((0, 4)), **heads_3d(0)), PLACEMENT.from_grid)) == 0
