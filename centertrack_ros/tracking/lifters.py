# SPDX-License-Identifier: Apache-2.0
"""The sources of 3D boxes, by name."""

from __future__ import annotations

from collections.abc import Callable

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.detections import LIFT_HEADS
from centertrack_ros.tracking.lifting import lift_heads
from centertrack_ros.types import Detections

Lifter = Callable[[Detections, Camera], Detections]
"""Adds 3D boxes to the detections of an image of this camera."""
LifterFactory = Callable[[ModelProfile, float], Lifter]
"""Makes a lifter for a model. The number is the relative standard deviation of the depth head."""


def auto_lifter(profile: ModelProfile, depth_sigma: float) -> Lifter:
    """Makes a lifter by heads if the model has them, else by size priors."""
    return (heads_lifter if _has_heads(profile) else size_prior_lifter)(profile, depth_sigma)


def heads_lifter(profile: ModelProfile, depth_sigma: float) -> Lifter:
    """Makes a lifter by the depth, dimension and rotation heads.

    Raises:
        ValueError: The model lacks one of the heads.
    """
    if not _has_heads(profile):
        raise ValueError(
            f"lift 'heads' needs a model with heads {', '.join(LIFT_HEADS)}; "
            f"'{profile.name}' has {', '.join(profile.heads)}"
        )
    return lambda detections, camera: lift_heads(detections, camera, depth_sigma)


def size_prior_lifter(profile: ModelProfile, _: float) -> Lifter:
    """Makes a lifter by the usual sizes of the model's classes."""
    return SizePriorLifter(profile.classes).lift


def no_lifter(*_: object) -> Lifter:
    """Makes a lifter that leaves the detections as they are."""
    return lambda detections, _: detections


# Every lifter by the name that `TrackerConfig.lift` takes.
LIFTERS: dict[str, LifterFactory] = {
    "auto": auto_lifter,
    "heads": heads_lifter,
    "size_prior": size_prior_lifter,
    "none": no_lifter,
}


def _has_heads(profile: ModelProfile) -> bool:
    return all(head in profile.heads for head in LIFT_HEADS)
