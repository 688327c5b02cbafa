# SPDX-License-Identifier: Apache-2.0
"""The records of multi-camera fusion: local tracks of the cameras, fused objects, state and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.array_table import ArrayTable, column, nested
from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking import appearance
from centertrack_ros.tracking.class_names import UNKNOWN
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import Tracks

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Names of classes that detectors mistake for each other, and of which two cannot stand in the same place.
CONFUSABLE = (
    ("car", "van", "truck", "bus", "trailer", "construction_vehicle"),
    ("bicycle", "motorcycle", "cyclist"),
    ("person", "pedestrian", "person_sitting"),
)

ANY_KIND = -1  # of a class that no camera can see: what a camera calls the object is another name for it

# Gains that may lie between two cameras, as powers of 2.
GAINS = np.arange(-4, 5) * 0.5


@dataclass(frozen=True)
class MultiCameraConfig:
    """How the tracks of several cameras become one view.

    cross_camera   a track keeps its id from camera to camera; False: ids belong to one camera each
    window_s       s for which an object that no camera sees is waited for in the next one
    hold_s         s for which what a camera saw last is part of the merged view: cameras tick one after the other, and
                   one that stops must not leave its objects behind
    gate_sigma     standard deviations that two sightings of one object may lie distinct
    release_sigma  standard deviations beyond which two cameras no longer mean the same object
    floor_m, floor_of_size  standard deviation of every position that is assumed besides its covariance: m, and a part
                   of the longest side, since an object cut by the image's border is poorly placed
    depth_sigma    relative standard deviation of depths of boxes without a covariance
    max_size_ratio  most that the diagonals of one object may differ by between two cameras, as a factor
    process_noise         m/s that an object's velocity may change within a second
    velocity_sigma  m/s, of the velocity of an object that was seen once
    measured_velocities  begin with the velocity that the network gives; only right in a frame that stands still
    appearance     what objects look like, where the trackers tell it, decides between those that are about equally near
    box_sigma      m, standard deviation of the position of 3D boxes of another detector that does not tell it
    """

    cross_camera: bool = True
    window_s: float = 1.5
    hold_s: float = 0.5
    gate_sigma: float = 3.5
    release_sigma: float = 5.0
    floor_m: float = 0.25
    floor_of_size: float = 0.05
    depth_sigma: float = 0.1
    max_size_ratio: float = 2.0
    process_noise: float = 3.0
    velocity_sigma: float = 5.0
    measured_velocities: bool = True
    appearance: bool = True
    box_sigma: float = 0.3

    def __post_init__(self) -> None:
        for name in ("window_s", "hold_s", "floor_m", "floor_of_size", "depth_sigma", "process_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("gate_sigma", "velocity_sigma", "box_sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not self.floor_m + self.floor_of_size > 0:
            raise ValueError("floor_m and floor_of_size must not both be 0: no position is known exactly")
        if not self.max_size_ratio >= 1:
            raise ValueError(f"max_size_ratio must be at least 1, got {self.max_size_ratio}")
        if not self.release_sigma >= self.gate_sigma:
            raise ValueError(f"release_sigma must be at least gate_sigma ({self.gate_sigma}), got {self.release_sigma}")
        if not self.window_s >= self.hold_s:
            raise ValueError(f"window_s must be at least hold_s ({self.hold_s}), got {self.window_s}")


@dataclass(frozen=True)
class CameraTracks:
    """What one camera's tracker says of one frame.

    camera  its name;  stamp  s, on the clock that all cameras share
    tracks  `FrameResult.tracks`, with 3D boxes in the camera's optical frame where they are known, and lost ones
    to_fixed  optical frame -> common frame at `stamp`; the common frame should stand still while the vehicle moves
    boxes     3D boxes of the tracks in the common frame, as another detector than a camera measures them; None: those
              of the tracks
    """

    camera: str
    stamp: float
    tracks: Tracks
    to_fixed: Transform
    boxes: OrientedBoxes | None = None

    def seen_boxes(self) -> tuple[Integers, OrientedBoxes]:
        """Rows of the tracks that were matched and have a 3D box, and these boxes in the common frame."""
        if self.boxes is not None:
            rows = np.flatnonzero(self.tracks.hits > 0)
            return rows, self.boxes.select(rows)
        index, boxes = boxes3d_of_tracks(self.tracks)
        matched = self.tracks.hits[index] > 0
        return index[matched], self.to_fixed.boxes(boxes.select(matched))


@dataclass(frozen=True)
class LocalTracks(ArrayTable):
    """V tracks of single cameras, each as its camera last saw it, in the common frame.

    cameras    (V,) int64 index of the camera
    local_ids, births  (V,): id that the camera's tracker gave, and stamp at which that track began: together they are
               one track even when a tracker that was reset counts from 1 again
    object_ids     (V,) int64 id of the object
    joined     (V,) s, when the view became one of that object
    stamps     (V,) s, when it was last seen with a 3D box; -inf: never
    seen       (V,) bool: seen in its camera's newest frame, with a 3D box
    class_ids, scores  (V,)
    boxes      V oriented boxes; NaN if never seen
    position_covariances  (V, 3, 3) m²: covariance of the centres as association takes them, never singular
    """

    cameras: Integers = field(metadata=column(dtype=np.int64, blank=-1))
    local_ids: Integers = field(metadata=column(dtype=np.int64))
    births: Floats = field(metadata=column())
    object_ids: Integers = field(metadata=column(dtype=np.int64))
    joined: Floats = field(metadata=column(blank=np.inf))
    stamps: Floats = field(metadata=column(blank=-np.inf))
    seen: NDArray[np.bool_] = field(metadata=column(dtype=bool))
    class_ids: Integers = field(metadata=column(dtype=np.int64))
    scores: Floats = field(metadata=column())
    boxes: OrientedBoxes = field(metadata=nested(OrientedBoxes))
    position_covariances: Floats = field(metadata=column(3, 3, blank=np.nan))


@dataclass(frozen=True)
class Objects(ArrayTable):
    """G objects around the vehicle, in the common frame.

    ids        (G,) int64, never reused
    kinds      (G,) int64: what its class may be mistaken for
    diagonals  (G,) m, of the box
    means, covariances  (G, 6), (G, 6, 6): motion, see `kalman`
    position_covariances  (G, 3, 3) m²: of the newest sighting
    stamps     (G,) s, when it was last seen;  cameras  (G,) int64 by which camera
    shown      (G,) int64: the camera whose box was given out last; -1: none
    """

    ids: Integers = field(metadata=column(dtype=np.int64))
    kinds: Integers = field(metadata=column(dtype=np.int64))
    diagonals: Floats = field(metadata=column())
    means: Floats = field(metadata=column(6))
    covariances: Floats = field(metadata=column(6, 6))
    position_covariances: Floats = field(metadata=column(3, 3))
    stamps: Floats = field(metadata=column())
    cameras: Integers = field(metadata=column(dtype=np.int64))
    shown: Integers = field(metadata=column(dtype=np.int64))


@dataclass(frozen=True)
class ObjectLooks(ArrayTable):
    """L looks of objects.

    ids      (L,) int64 of the object;  cameras  (L,) int64 index of the camera that saw it
    stamps   (L,) s, when it was last seen whole
    looks    (L, appearance.SIZE) float32; zeros: unknown
    """

    ids: Integers = field(metadata=column(dtype=np.int64))
    cameras: Integers = field(metadata=column(dtype=np.int64))
    stamps: Floats = field(metadata=column())
    looks: appearance.Floats = field(metadata=column(appearance.SIZE, dtype=np.float32))


@dataclass(frozen=True)
class LooksMemory:
    """What objects look like, see `looks`.

    objects  the newest known look of each object
    gains    (C, C, K) what objects have told of how much brighter the second camera is than the first: a log likelihood
             for each of `GAINS`
    """

    objects: ObjectLooks
    gains: Floats

    @classmethod
    def empty(cls, cameras: int) -> LooksMemory:
        """The memory of `cameras` cameras before the first frame."""
        return cls(ObjectLooks.empty(), np.zeros((cameras, cameras, len(GAINS))))


@dataclass(frozen=True)
class MultiCameraState:
    """All that is remembered between two steps.

    local_tracks, objects  as above
    distinct    (G, G) bool, symmetric: pairs of objects that one camera saw at once; they are never taken for one
    stamps   (C,) s: newest frame of each camera; -inf: none yet
    next_id  the id of the next object
    looks    what the objects look like
    """

    local_tracks: LocalTracks
    objects: Objects
    distinct: NDArray[np.bool_]
    stamps: Floats
    next_id: int
    looks: LooksMemory

    @classmethod
    def empty(cls, cameras: int, next_id: int = 1) -> MultiCameraState:
        """The state of `cameras` cameras before the first frame."""
        distinct, stamps = np.zeros((0, 0), bool), np.full(cameras, -np.inf)
        return cls(LocalTracks.empty(), Objects.empty(), distinct, stamps, next_id, LooksMemory.empty(cameras))

    @property
    def stamp(self) -> float:
        """s, of the newest frame of any camera; -inf before the first."""
        return float(self.stamps.max(initial=-np.inf))


@dataclass(frozen=True)
class FusedTracks(ArrayTable):
    """N objects around the vehicle at one instant, each once, in one frame.

    stamp      s, of the newest frame of any camera: boxes that were seen earlier have been moved on to it
    ids        (N,) int64, the same in the cameras' own outputs
    class_ids  (N,) int64;  scores  (N,) float64
    cameras    (N,) int64: index of the camera whose track this is;  local_ids  (N,) int64: its id there
    sources, source_ids  (N,) int64: what measured the box, and its id there: the camera, or another detector that
               knows the place better
    stamps     (N,) s, when that was
    boxes      N oriented boxes: `centers` m, `quaternions`, `sizes` l, w, h, `covariances`; `velocities` from the
               network, NaN without
    motions    (N, 3) m/s: velocities as seen from one sighting to the next, in the axes of the frame
    """

    ids: Integers = field(metadata=column(dtype=np.int64))
    class_ids: Integers = field(metadata=column(dtype=np.int64))
    scores: Floats = field(metadata=column())
    cameras: Integers = field(metadata=column(dtype=np.int64))
    local_ids: Integers = field(metadata=column(dtype=np.int64))
    sources: Integers = field(metadata=column(dtype=np.int64))
    source_ids: Integers = field(metadata=column(dtype=np.int64))
    stamps: Floats = field(metadata=column())
    boxes: OrientedBoxes = field(metadata=nested(OrientedBoxes))
    motions: Floats = field(metadata=column(3))
    stamp: float = -np.inf

    def transformed(self, transform: Transform) -> FusedTracks:
        """The same objects in another frame as it lies at `stamp`. Velocities turn, no frame's motion is added."""
        return replace(self, boxes=transform.boxes(self.boxes), motions=transform.vectors(self.motions))


@dataclass(frozen=True)
class MultiCameraResult:
    """What one step gives.

    tracks  the merged view in the common frame
    ids     by name of the camera, for those in this step: (N,) int64, the ids of its tracks in their order
    reset   why everything was forgotten before this step; '' if not
    """

    tracks: FusedTracks
    ids: dict[str, Integers]
    reset: str = ""


def kinds_of(class_names: Sequence[str], of_model: int | None = None) -> Integers:
    """(classes,) int64: the same number for classes that may be mistaken for each other.

    Args:
        class_names: Names of classes.
        of_model: So many of them, the first, are those of a model, and what is behind them may be any of these, as may
            'unknown'; None: all, and 'unknown' is a class of its own.
    """
    kinds = {name: kind for kind, names in enumerate(CONFUSABLE) for name in names}
    found = np.array([kinds.get(name, len(CONFUSABLE) + i) for i, name in enumerate(class_names)], np.int64)
    if of_model is not None:
        found[of_model:] = ANY_KIND
        found[[name == UNKNOWN for name in class_names]] = ANY_KIND
    return found


def same_kind(kinds: Integers, others: Integers) -> NDArray[np.bool_]:
    """Whether classes of these kinds may be one object's, by numpy's rules of shapes."""
    return np.asarray((kinds == others) | (kinds == ANY_KIND) | (others == ANY_KIND))
