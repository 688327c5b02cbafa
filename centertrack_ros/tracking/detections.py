# SPDX-License-Identifier: Apache-2.0
"""From the network's peaks on the output grid to detections in image pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.affine import transform
from centertrack_ros.network.peaks import JointPeaks, Peaks
from centertrack_ros.types import Array, Detections

# A joint's heatmap peak below this score does not correct the regressed joint (official code).
JOINT_THRESHOLD = 0.2
# Without a box, joints are bounded by the skeleton, widened by this part of its extent on each side.
SKELETON_MARGIN = 0.25

LIFT_HEADS = ("dep", "rot", "dim")


def decode(
    peaks: Peaks,
    from_grid: NDArray[np.float32],
    threshold: float = -1.0,
    zero_tracking: bool = False,
    depth_scale: float = 1.0,
    velocity_step: float | None = None,
    point: str = "official",
) -> Detections:
    """Decodes the peaks that score above a threshold.

    Depth, dimensions, alpha and the amodal centre are filled in where the heads give them; what needs a camera is not.
    With dep, rot and dim heads, the official `centers` are the amodal centres, but displacements start at the peaks.

    Args:
        peaks: The network's peaks on the output grid, strongest first.
        from_grid: (2, 3) float32 map, output-grid px -> image px.
        threshold: Score that a detection must exceed.
        zero_tracking: Ignore the tracking head: displacements are 0.
        depth_scale: Factor on the depth head.
        velocity_step: s since the previous image, for a velocity head that gives metres moved since then; 0: there was
            no previous image, velocities are NaN. None: the head gives m/s.
        point: What `centers` are and where displacements start, one of ASSOCIATION_POINTS.

    Returns:
        The detections, image px, strongest first.
    """
    count = _count_above(peaks.scores, threshold)
    values = {head: value[:count] for head, value in peaks.values.items()}
    cells = peaks.cells[:count].astype(np.float32)
    scores = peaks.scores[:count].astype(np.float32)
    grid_boxes = boxes_on_grid(cells, values)
    boxes = transform(from_grid, grid_boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 if point == "box" else transform(from_grid, cells)
    extra: dict[str, Array | None] = {
        "displacements": _displacements(cells, centers, values, from_grid, zero_tracking),
        "velocities": _velocities(values, velocity_step),
        "attributes": values.get("nuscenes_att"),
        "dimensions": values.get("dim"),
    }
    if "dep" in values:
        extra["depths"] = values["dep"][:, 0] * np.float32(depth_scale)
    if "rot" in values:
        extra["alphas"] = observation_angles(values["rot"])
    if all(head in values for head in LIFT_HEADS):
        amodal = extra["amodal_centers"] = transform(from_grid, _amodal_centers(grid_boxes, values))
        if point == "official":
            centers = amodal
    if "hps" in values:
        keypoints, extra["keypoint_scores"], extra["joint_scores"] = keypoints_on_grid(
            cells, scores, values, peaks.joints
        )
        extra["keypoints"] = transform(from_grid, keypoints)
    copied = {name: np.array(value, np.float32) for name, value in extra.items() if value is not None}
    return Detections(scores, peaks.class_ids[:count].astype(np.int64), boxes, centers.astype(np.float32), **copied)


def _count_above(scores: Array, threshold: float) -> int:
    """The number of scores above the threshold; they are sorted from the highest."""
    return int(np.count_nonzero(scores > np.float32(threshold)))


def boxes_on_grid(cells: Array, values: Mapping[str, Array]) -> Array:
    """Decodes boxes from the first of the heads ltrb_amodal, ltrb and wh that the model has.

    Args:
        cells: (N, 2) peaks, output-grid px.
        values: Head -> (N, C) values at the peaks.

    Returns:
        (N, 4) float32 x1, y1, x2, y2, output-grid px; the boxes are not clipped.
    """
    for head in ("ltrb_amodal", "ltrb"):
        if head in values:
            return np.tile(cells, 2) + values[head]
    return _boxes_from_size(cells, values)


def _boxes_from_size(cells: Array, values: Mapping[str, Array]) -> Array:
    """(N, 4): the wh head around peak + reg (half a cell if there is no reg head); empty boxes without a wh head."""
    centers = cells + (values["reg"] if "reg" in values else np.float32(0.5))
    half = np.maximum(values["wh"], 0) / 2 if "wh" in values else np.zeros_like(centers)
    return np.concatenate([centers - half, centers + half], axis=1)


def _displacements(
    cells: Array, centers: Array, values: Mapping[str, Array], from_grid: Array, zero_tracking: bool
) -> Array:
    """(N, 2) image px: where each object was in the previous image, minus `centers`; 0 without a tracking head."""
    if zero_tracking or "tracking" not in values:
        return np.zeros_like(centers)
    return transform(from_grid, cells + values["tracking"]) - centers


def _velocities(values: Mapping[str, Array], step: float | None) -> Array | None:
    """(N, 3) m/s of the velocity head; see `decode`."""
    predicted = values.get("velocity")
    if predicted is None or step is None:
        return predicted
    if step <= 0:
        return np.full_like(predicted[:, :3], np.nan)
    moved, velocities = predicted[:, :3], predicted[:, 3:]  # the second part is optional, see `ModelProfile`
    return moved / np.float32(step) + (velocities if velocities.shape[1] else 0)


def observation_angles(rotations: Array) -> Array:
    """Decodes observation angles (official code, `get_alpha`).

    Args:
        rotations: (N, 8) of the rot head: two bins of [no, yes, sin, cos]. The bin of the larger "yes" counts.

    Returns:
        (N,) alpha, rad, not wrapped to ±pi.
    """
    first = np.arctan2(rotations[:, 2], rotations[:, 3]) - 0.5 * np.pi
    second = np.arctan2(rotations[:, 6], rotations[:, 7]) + 0.5 * np.pi
    return np.where(rotations[:, 1] > rotations[:, 5], first, second)


def _amodal_centers(grid_boxes: Array, values: Mapping[str, Array]) -> Array:
    """(N, 2) projected centre of the 3D box on the grid: the 2D box's centre plus the amodel_offset head, if any."""
    middle = (grid_boxes[:, :2] + grid_boxes[:, 2:]) / 2
    return middle + values["amodel_offset"] if "amodel_offset" in values else middle


def keypoints_on_grid(
    cells: Array, scores: Array, values: Mapping[str, Array], joints: JointPeaks | None
) -> tuple[Array, Array, Array]:
    """Decodes keypoints: a regressed joint snaps to the nearest peak of its own heatmap.

    It snaps only to a peak above `JOINT_THRESHOLD` that lies in the object's box (official code).

    Args:
        cells: (N, 2) peaks, output-grid px.
        scores: (N,) of the objects.
        values: Head -> (N, C) values at the peaks; needs hps.
        joints: Peaks of the joints' heatmaps; None: the joints stay as regressed.

    Returns:
        Joints (N, J, 2), output-grid px; one score per object (N,); one per joint (N, J), 0 where it did not snap.
    """
    regressed = cells[:, None, :] + values["hps"].reshape(len(cells), -1, 2)
    if joints is None:
        return regressed, scores, np.zeros(regressed.shape[:2], np.float32)
    low, high = _joint_bounds(cells, values, regressed)
    usable = joints.scores > JOINT_THRESHOLD
    points = np.where(usable[..., None], joints.points, np.float32(-10000))  # far away: never the nearest
    offsets = regressed[:, :, None, :] - points[None]
    nearest = (offsets * offsets).sum(axis=3).argmin(axis=2)  # (N, J)
    joint = np.arange(points.shape[0])[None, :]
    snapped, snapped_scores = points[joint, nearest], joints.scores[joint, nearest]
    accepted = usable[joint, nearest] & (snapped >= low).all(axis=2) & (snapped <= high).all(axis=2)
    joint_scores = np.where(accepted, snapped_scores, scores[:, None])
    return (
        np.where(accepted[..., None], snapped, regressed),
        scores * joint_scores.mean(axis=1, dtype=np.float32),
        np.where(accepted, snapped_scores, np.float32(0)),
    )


def _joint_bounds(cells: Array, values: Mapping[str, Array], regressed: Array) -> tuple[Array, Array]:
    """Corners (N, 1, 2) of what a snapped joint must lie in: the ltrb or wh box, else the widened skeleton."""
    if "ltrb" in values or "wh" in values:
        visible = {head: value for head, value in values.items() if head != "ltrb_amodal"}
        boxes = boxes_on_grid(cells, visible)
        return boxes[:, None, :2], boxes[:, None, 2:]
    low, high = (regressed.min(axis=1, keepdims=True), regressed.max(axis=1, keepdims=True))
    low = low - (high - low) * SKELETON_MARGIN
    return low, high + (high - low) * SKELETON_MARGIN
