# SPDX-License-Identifier: Apache-2.0
"""The sources of 3D boxes, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.detections import LIFT_HEADS
from centertrack_ros.tracking.heads_lifter import HeadsLifter
from centertrack_ros.tracking.sensor_depth import SensorView
from centertrack_ros.types import BoxMemory, CameraMount, Detections, Tracks

Lifter = Callable[[Detections, Camera], Detections]
"""Adds 3D boxes to the detections of an image of this camera."""


@dataclass(frozen=True)
class LiftOptions:
    """What a user may choose about 3D boxes.

    Attributes:
        depth_sigma: Relative standard deviation of the depth head.
        camera_height: m, of the camera over the ground that objects stand on; 0: unknown.
        camera_pitch: deg by which the camera looks down; 0: unknown.
    """

    depth_sigma: float = 0.1
    camera_height: float = 0.0
    camera_pitch: float = 0.0


@runtime_checkable
class TrackLifter(Protocol):
    """A lifter that remembers what it saw of each track."""

    def lift(
        self,
        detections: Detections,
        camera: Camera,
        mount: CameraMount | None = None,
        view: SensorView | None = None,
    ) -> Detections:
        """Adds 3D boxes to the detections of an image of a camera that stands so, by what sensors measured as well."""

    def lift_tracks(
        self,
        tracks: Tracks,
        camera: Camera,
        stamp: float,
        memory: BoxMemory,
        mount: CameraMount | None = None,
        view: SensorView | None = None,
    ) -> tuple[Tracks, BoxMemory]:
        """Adds 3D boxes to the tracks of a frame at `stamp`, s; gives the memory for the next one too."""

    def turn_by_motion(self, tracks: Tracks) -> Tracks:
        """Turns the boxes of tracks by their velocities over ground."""


@runtime_checkable
class SensorLifter(Protocol):
    """A lifter that takes what sensors measured, too."""

    def lift_sensed(self, detections: Detections, camera: Camera, view: SensorView) -> Detections:
        """Adds 3D boxes to the detections of an image of this camera, by all sources together."""


LifterFactory = Callable[[ModelProfile, LiftOptions], Lifter]
"""Makes a lifter for a model."""


def auto_lifter(profile: ModelProfile, options: LiftOptions) -> Lifter:
    """Makes a lifter by heads if the model has them, else by size priors."""
    return (heads_lifter if _has_heads(profile) else size_prior_lifter)(profile, options)


def heads_lifter(profile: ModelProfile, options: LiftOptions) -> Lifter:
    """Makes a lifter by the depth, dimension and rotation heads.

    Raises:
        ValueError: The model lacks one of the heads.
    """
    if not _has_heads(profile):
        raise ValueError(
            f"lift 'heads' needs a model with heads {', '.join(LIFT_HEADS)}; "
            f"'{profile.name}' has {', '.join(profile.heads)}"
        )
    return HeadsLifter(profile.classes, options.depth_sigma)


def size_prior_lifter(profile: ModelProfile, options: LiftOptions) -> Lifter:
    """Makes a lifter by the usual sizes of the model's classes, of single images and of tracks."""
    return SizePriorLifter(profile.classes, options.camera_height, detector_boxes(profile), options.camera_pitch)


# Relative standard deviation of widths and heights of a detector's boxes where the model's profile states none: that of
# the embedded model on images that it was not trained on (`experiments.box_noise`; heights of people).
BOX_NOISE = {"car": 0.07, "person": 0.05, "pedestrian": 0.05}
_USUAL_BOX_NOISE = 0.06


def detector_boxes(profile: ModelProfile) -> dict[str, tuple[float, float, float]]:
    """Class -> bias and noise of the model's boxes, see `ModelProfile.box_bias`: as stated, else as usual."""
    usual = {name: (1.0, 1.0, BOX_NOISE.get(name.strip().lower(), _USUAL_BOX_NOISE)) for name in profile.classes}
    return {**usual, **profile.box_bias}


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
