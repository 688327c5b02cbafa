# SPDX-License-Identifier: Apache-2.0
"""The joints of people that pose models find, in the order of their channels, and which of them a bone connects."""

from __future__ import annotations

COCO_JOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
# Head, trunk, arms and legs, as indices into COCO_JOINTS.
COCO_BONES = (
    *((0, 1), (0, 2), (1, 3), (2, 4)),
    *((5, 6), (5, 11), (6, 12), (11, 12)),
    *((5, 7), (7, 9), (6, 8), (8, 10)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
)


def bones_of(count: int) -> tuple[tuple[int, int], ...]:
    """Pairs of a model's joints that a bone connects; none unless they are COCO's."""
    return COCO_BONES if count == len(COCO_JOINTS) else ()


def joint_names(count: int) -> tuple[str, ...]:
    """Names of a model's joints: those of COCO for its 17, else 'joint_0', 'joint_1' and so on."""
    return COCO_JOINTS if count == len(COCO_JOINTS) else tuple(f"joint_{i}" for i in range(count))
