"""Targets of the joints of people: where each is from its person's cell, and as peaks of their own."""

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
    """(N, 17, 3) with left and right exchanged; the places stay."""
    return joints[:, list(MIRRORED)]


def joint_targets(
    joints: Array, cells: NDArray[np.integer], boxes: Array, grid: tuple[int, int], slots: int
) -> dict[str, NDArray]:
    """Arrays for `losses.head_losses`, without the batch axis.

    joints (N, J, 3)  x, y in output-grid px, and ABSENT, HIDDEN or VISIBLE;  cells (N, 2) of the people
    boxes (N, 4)      of them, inside the grid;  slots K >= N

    hps (K, 2 J) and its mask: from the person's cell to each joint that is annotated and inside the grid;
    hm_hp (J, h, w): a Gaussian at each of these, of the radius that the person's box has; joint_index, joint_channels,
    joint_mask (K J,): the peaks among them, which are the visible joints; hp_offset (K J, 2) and its mask: from the
    joint's cell to the joint. Nothing is asked of the heatmap where a hidden joint is, nor, of a joint that is not
    annotated, within the person's box.
    """
    (height, width), (count, kinds) = grid, joints.shape[:2]
    places = np.nan_to_num(joints[..., :2], nan=-1.0)
    inside = (places >= 0).all(axis=2) & (places[..., 0] < width) & (places[..., 1] < height)
    known = (joints[..., 2] > ABSENT) & inside
    visible = known & (joints[..., 2] >= VISIBLE)
    at = np.where(known[..., None], places, 0.0).astype(np.int64)
    targets = {
        "hps": _padded(np.where(known[..., None], places - cells[:, None], 0.0).reshape(count, -1), slots),
        "hps_mask": _padded(np.repeat(known, 2, axis=1), slots),
        "hm_hp": np.zeros((kinds, height, width), np.float32),
        "joint_index": _padded(at[..., 1] * width + at[..., 0], slots, np.int64).reshape(-1),
        "joint_channels": np.tile(np.arange(kinds), slots),
        "joint_mask": _padded(visible, slots).reshape(-1),
        "hp_offset": _padded(np.where(visible[..., None], places - at, 0.0), slots).reshape(-1, 2),
        "hp_offset_mask": _padded(np.repeat(visible[..., None], 2, axis=2), slots).reshape(-1, 2),
    }
    heat = targets["hm_hp"]
    sizes = boxes[:, 2:] - boxes[:, :2]
    radii = np.maximum(0, gaussian_radius(np.ceil(sizes[:, 1]), np.ceil(sizes[:, 0])).astype(int)) if count else []
    for person, joint in zip(*np.nonzero(known), strict=True):
        draw(heat[joint], int(at[person, joint, 0]), int(at[person, joint, 1]), int(radii[person]))
    for person, joint in zip(*np.nonzero(joints[..., 2] <= ABSENT), strict=True):
        x1, y1, x2, y2 = boxes[person].astype(int).tolist()
        heat[joint, y1 : y2 + 1, x1 : x2 + 1] = 1.0
    return targets


def _padded(values: NDArray, slots: int, dtype: type = np.float32) -> NDArray:
    out = np.zeros((slots, *values.shape[1:]), dtype)
    out[: len(values)] = values
    return out
