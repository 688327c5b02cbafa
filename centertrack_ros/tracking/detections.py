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
# Parts of the skeleton's extent by which it is widened where there is no box to bound its joints.
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
    """Detections, image px, of the peaks that score above `threshold`, strongest first.

    from_grid  (2, 3) float32 map output-grid px -> image px
    velocity_step  s since the previous image, for a velocity head that tells metres moved since then; 0: there was no
                   such image, no velocity is known. None: the head tells m/s
    point      what `centers` are and displacements begin at, one of ASSOCIATION_POINTS
    Depth, dimensions, alpha and the amodal centre are filled in where the heads give them; what needs a camera is not.
    With dep, rot and dim heads, the official `centers` are the amodal centres, but displacements begin at the peaks.
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
        keypoints, extra["keypoint_scores"] = keypoints_on_grid(cells, scores, values, peaks.joints)
        extra["keypoints"] = transform(from_grid, keypoints)
    copied = {name: np.array(value, np.float32) for name, value in extra.items() if value is not None}
    return Detections(scores, peaks.class_ids[:count].astype(np.int64), boxes, centers.astype(np.float32), **copied)


def _count_above(scores: Array, threshold: float) -> int:
    """How many of the scores, sorted from the highest, are above the threshold."""
    return int(np.count_nonzero(scores > np.float32(threshold)))


def boxes_on_grid(cells: Array, values: Mapping[str, Array]) -> Array:
    """(N, 4) float32 boxes, output-grid px: from ltrb_amodal, else ltrb (both from the peak), else wh."""
    for head in ("ltrb_amodal", "ltrb"):
        if head in values:
            return np.tile(cells, 2) + values[head]
    return _boxes_from_size(cells, values)


def _boxes_from_size(cells: Array, values: Mapping[str, Array]) -> Array:
    """(N, 4): the wh head around peak + reg (half a cell where there is no reg head); of no size without a wh head."""
    centers = cells + (values["reg"] if "reg" in values else np.float32(0.5))
    half = np.maximum(values["wh"], 0) / 2 if "wh" in values else np.zeros_like(centers)
    return np.concatenate([centers - half, centers + half], axis=1)


def _displacements(
    cells: Array, centers: Array, values: Mapping[str, Array], from_grid: Array, zero_tracking: bool
) -> Array:
    if zero_tracking or "tracking" not in values:
        return np.zeros_like(centers)
    return transform(from_grid, cells + values["tracking"]) - centers


def _velocities(values: Mapping[str, Array], step: float | None) -> Array | None:
    """(N, 3) m/s of the velocity head; see `decode`."""
    found = values.get("velocity")
    if found is None or step is None:
        return found
    if step <= 0:
        return np.full_like(found[:, :3], np.nan)
    moved, speeds = found[:, :3], found[:, 3:]  # the second part is there or not, see `ModelProfile`
    return moved / np.float32(step) + (speeds if speeds.shape[1] else 0)


def observation_angles(rotations: Array) -> Array:
    """(N,) alpha, rad, from the rot head (N, 8): two bins of [no, yes, sin, cos]; the surer bin counts. Not wrapped."""
    first = np.arctan2(rotations[:, 2], rotations[:, 3]) - 0.5 * np.pi
    second = np.arctan2(rotations[:, 6], rotations[:, 7]) + 0.5 * np.pi
    return np.where(rotations[:, 1] > rotations[:, 5], first, second)


def _amodal_centers(grid_boxes: Array, values: Mapping[str, Array]) -> Array:
    """(N, 2) projected centre of the 3D box on the grid: the 2D box's centre, corrected where a head says how."""
    middle = (grid_boxes[:, :2] + grid_boxes[:, 2:]) / 2
    return middle + values["amodel_offset"] if "amodel_offset" in values else middle


def keypoints_on_grid(
    cells: Array, scores: Array, values: Mapping[str, Array], joints: JointPeaks | None
) -> tuple[Array, Array]:
    """Joints (N, J, 2), output-grid px, and a score per object (N,).

    Each regressed joint moves to the nearest peak of its own heatmap if that is sure enough and in the object's box.
    """
    regressed = cells[:, None, :] + values["hps"].reshape(len(cells), -1, 2)
    if joints is None:
        return regressed, scores
    low, high = _joint_bounds(cells, values, regressed)
    sure = joints.scores > JOINT_THRESHOLD
    points = np.where(sure[..., None], joints.points, np.float32(-10000))  # far away: never the nearest of a sure one
    offsets = regressed[:, :, None, :] - points[None]
    nearest = (offsets * offsets).sum(axis=3).argmin(axis=2)  # (N, J)
    joint = np.arange(points.shape[0])[None, :]
    snapped, snapped_scores = points[joint, nearest], joints.scores[joint, nearest]
    accepted = sure[joint, nearest] & (snapped >= low).all(axis=2) & (snapped <= high).all(axis=2)
    joint_scores = np.where(accepted, snapped_scores, scores[:, None])
    return np.where(accepted[..., None], snapped, regressed), scores * joint_scores.mean(axis=1, dtype=np.float32)


def _joint_bounds(cells: Array, values: Mapping[str, Array], regressed: Array) -> tuple[Array, Array]:
    """Corners (N, 1, 2) between which a snapped joint must lie: of the ltrb or wh box, else of the widened skeleton."""
    if "ltrb" in values or "wh" in values:
        visible = {head: value for head, value in values.items() if head != "ltrb_amodal"}
        boxes = boxes_on_grid(cells, visible)
        return boxes[:, None, :2], boxes[:, None, 2:]
    low, high = (regressed.min(axis=1, keepdims=True), regressed.max(axis=1, keepdims=True))
    low = low - (high - low) * SKELETON_MARGIN
    return low, high + (high - low) * SKELETON_MARGIN
