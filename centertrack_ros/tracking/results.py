# SPDX-License-Identifier: Apache-2.0
"""What a step of the session takes and gives besides frames: poses in, results of cameras and of all together out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.config import MOST_PITCH
from centertrack_ros.types import CameraMount, ForeignBoxes, Frame, FrameHeader, FrameResult, Tracks

# Why a frame has no result.
STAMP, POSE, ERROR = "stamp", "pose", "error"


@dataclass(frozen=True)
class OutputFrames:
    """The frames of the 3D outputs.

    Attributes:
        target: Frame of 3D boxes and tracks; '': each camera's own.
        fixed: A fixed (world) frame as in REP 105, in which cameras are compared and velocities filtered; '': none.
    """

    target: str = ""
    fixed: str = ""

    @property
    def common(self) -> str:
        """The frame in which cameras are compared."""
        return self.fixed or self.target


@dataclass(frozen=True)
class CameraPoses:
    """Where a camera was at its image's stamp.

    Attributes:
        to_target: Optical frame -> target frame.
        to_common: Optical frame -> common frame of the cameras (the fixed frame, or else the target frame).
    """

    to_target: Transform
    to_common: Transform

    @property
    def mount(self) -> CameraMount | None:
        """How the camera stands if the target frame lies on the ground with its z axis up (REP 103, REP 105).

        None where it looks up or down too steeply or lies on its side, as it does in a frame whose z axis is not up.
        """
        up = self.to_target.rotation[2]
        usable = abs(up[2]) <= np.sin(np.radians(MOST_PITCH)) and -up[1] >= abs(up[0])
        return CameraMount(max(float(self.to_target.translation[2]), 0.0), up) if usable else None


@dataclass(frozen=True)
class BoxFrame:
    """What another detector has found in 3D at one time.

    Attributes:
        header: Its stamp, and the frame of the boxes.
        found: The boxes.
        poses: Where that frame was at the stamp, as of a camera, or a function that knows it after the network; it
            raises any exception with a reason when it does not.
    """

    header: FrameHeader
    found: ForeignBoxes
    poses: CameraPoses | Callable[[], CameraPoses]

    @property
    def stamp(self) -> float:
        """In s."""
        return self.header.stamp_ns * 1e-9


# Camera name, frame -> its poses. Raises any exception with a reason when they are not known.
PoseLookup = Callable[[str, Frame], CameraPoses]


@dataclass(frozen=True)
class CameraResult:
    """The result of one camera's frame.

    Attributes:
        camera: Name of the camera; '' for an only one.
        frame: What was tracked in.
        header: Of the 3D outputs: the image's stamp, the target frame or else the image's own.
        result: The tracks. Their 3D values are in the camera's optical frame.
        poses: Where the camera was; None without a target frame.
    """

    camera: str
    frame: Frame
    header: FrameHeader
    result: FrameResult
    poses: CameraPoses | None = None

    @property
    def image_header(self) -> FrameHeader:
        """Of the 2D outputs: as the image has it."""
        return self.frame.header or self.header


@dataclass(frozen=True)
class Rejection:
    """A frame without a result.

    Attributes:
        camera: Name of the camera.
        frame: The frame.
        kind: STAMP (it is not the next frame), POSE (no transform) or ERROR (it cannot be used).
        reason: In words.
        error: What was raised, for POSE and ERROR.
    """

    camera: str
    frame: Frame
    kind: str
    reason: str
    error: Exception | None = None


@dataclass(frozen=True)
class MergedResult:
    """What all cameras see together, each object once.

    Attributes:
        header: The newest frame's stamp, and the target frame.
        tracks: N tracks with the ids of the merged view; each is the one whose box is shown.
        boxes: N boxes in the target frame.
        stamp: s, of the newest frame.
        reset: Why everything was forgotten before this step; '' if it was not.
    """

    header: FrameHeader
    tracks: Tracks
    boxes: OrientedBoxes
    stamp: float
    reset: str = ""


@dataclass(frozen=True)
class SessionResult:
    """What one step of the session gives.

    Attributes:
        cameras: The results, in the order of the frames; frames without one are in `rejected`.
        rejected: The frames without a result.
        merged: The merged view; None with one camera or without a target frame.
        box_notes: Sentences on boxes of another detector that could not be used.
    """

    cameras: tuple[CameraResult, ...]
    rejected: tuple[Rejection, ...] = ()
    merged: MergedResult | None = None
    box_notes: tuple[str, ...] = ()
