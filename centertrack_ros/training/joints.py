# SPDX-License-Identifier: Apache-2.0
"""Targets of people's joints: the way from the person's cell to each joint, and the joints' own heatmaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.gaussian import draw, gaussian_radius

Array = NDArray[np.floating]
# How a joint is annotated, as in COCO.
ABSENT, HIDDEN, VISIBLE = 0, 1, 2
# The joint that each of COCO's 17 is in the mirror.
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)


def mirrored_joints(joints: Array) -> Array:
    """Joints (N, 17, 3) with the names of left and right exchanged; the places stay."""
    return joints[:, list(MIRRORED)]


def joint_targets(
    joints: Array, cells: NDArray[np.integer], boxes: Array, grid: tuple[int, int], slots: int
) -> dict[str, NDArray]:
    """Arrays for `losses.head_losses`, without the batch axis.

    The heatmap is not trained where a hidden joint is, nor, for a joint that is not annotated, within the person's box.

    Args:
        joints: (N, J, 3) x, y in px of the output grid, and ABSENT, HIDDEN or VISIBLE.
        cells: (N, 2) of the people.
        boxes: (N, 4) of the people, inside the grid.
        grid: (height, width) of the output grid.
        slots: K >= N.

    Returns:
        hps (K, 2 J) and its mask: from the person's cell to each annotated joint inside the grid.
        hm_hp (J, h, w): a Gaussian at each of these joints, with the radius of the person's box.
        joint_index, joint_channels, joint_mask (K J,): the peaks, which are the visible joints.
        hp_offset (K J, 2) and its mask: from the joint's cell to the joint.
    """
    (height, width), (count, joint_count) = grid, joints.shape[:2]
    places = np.nan_to_num(joints[..., :2], nan=-1.0)
    inside = (places >= 0).all(axis=2) & (places[..., 0] < width) & (places[..., 1] < height)
    known = (joints[..., 2] > ABSENT) & inside
    visible = known & (joints[..., 2] >= VISIBLE)
    joint_cells = np.where(known[..., None], places, 0.0).astype(np.int64)
    targets = {
        "hps": pad_slots(np.where(known[..., None], places - cells[:, None], 0.0).reshape(count, -1), slots),
        "hps_mask": pad_slots(np.repeat(known, 2, axis=1), slots),
        "hm_hp": np.zeros((joint_count, height, width), np.float32),
        "joint_index": pad_slots(joint_cells[..., 1] * width + joint_cells[..., 0], slots, np.int64).reshape(-1),
        "joint_channels": np.tile(np.arange(joint_count), slots),
        "joint_mask": pad_slots(visible, slots).reshape(-1),
        "hp_offset": pad_slots(np.where(visible[..., None], places - joint_cells, 0.0), slots).reshape(-1, 2),
        "hp_offset_mask": pad_slots(np.repeat(visible[..., None], 2, axis=2), slots).reshape(-1, 2),
    }
    heat = targets["hm_hp"]
    sizes = boxes[:, 2:] - boxes[:, :2]
    radii = np.maximum(0, gaussian_radius(np.ceil(sizes[:, 1]), np.ceil(sizes[:, 0])).astype(int)) if count else []
    for person, joint in zip(*np.nonzero(known), strict=True):
        x, y = joint_cells[person, joint].tolist()
        draw(heat[joint], x, y, int(radii[person]))
    for person, joint in zip(*np.nonzero(joints[..., 2] <= ABSENT), strict=True):
        x1, y1, x2, y2 = boxes[person].astype(int).tolist()
        heat[joint, y1 : y2 + 1, x1 : x2 + 1] = 1.0
    return targets


def pad_slots(values: NDArray, slots: int, dtype: type = np.float32) -> NDArray:
    """Values (N, ...) with zeros added up to `slots` rows."""
    out = np.zeros((slots, *values.shape[1:]), dtype)
    out[: len(values)] = values
    return out
