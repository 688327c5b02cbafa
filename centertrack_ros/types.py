# SPDX-License-Identifier: Apache-2.0
"""The records that travel between the stages of tracking: arrays first, N objects in arrays of length N."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.array_table import ArrayTable, column, nested
from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.regions import Region

Array = NDArray[Any]

# State of a track, as in msg/Track.msg.
STATE_NEW, STATE_TRACKED, STATE_LOST = 0, 1, 2
# What told the distance of a 3D box, as in msg/Track.msg.
LIFT_NONE, LIFT_HEADS, LIFT_SIZE_PRIOR, LIFT_GROUND, LIFT_DEPTH, LIFT_POINTS = range(6)
# Whether a track moves over ground, as in msg/Track.msg; see `tracking/motion_state.py`.
MOTION_UNKNOWN, MOTION_STANDING, MOTION_MOVING = 0, 1, 2


@dataclass(frozen=True)
class Detections(ArrayTable):
    """N objects of one image. 2D values in px of the original image, 3D in metres in the camera's optical frame.

    scores        (N,) float32
    class_ids     (N,) int64, 0-based
    boxes         (N, 4) float32: x1, y1, x2, y2, not clipped to the image
    centers       (N, 2) float32: the point that is associated (see `TrackerConfig.association_point`)
    displacements (N, 2) float32: from this frame's centre to the previous frame's
    The others are None when the model (or the lifting) does not give them:
    depths        (N,) float32 along the optical axis
    dimensions    (N, 3) float32: height, width, length
    locations     (N, 3) float32: BOTTOM centre of the 3D box
    alphas, rotations_y  (N,) float32 rad; the latter about the vertical axis, see `ups`
    heading_variances  (N,) float64 rad²: mean square error of rotations_y, up to that of any angle; None: unknown
    velocities    (N, 3) float32 m/s, camera axes
    attributes    (N, 8) float32 raw logits of nuscenes_att
    amodal_centers (N, 2) float32 px: projected centre of the 3D box
    keypoints     (N, J, 2) float32 px; keypoint_scores (N,)
    joint_scores  (N, J) float32: of the peak that a keypoint snapped to; 0: it is where it was regressed
    location_covariances (N, 3, 3) float64 m²; None: unknown
    velocity_covariances (N, 3, 3) float64 (m/s)², camera axes; None: unknown
    appearances (N, D) float32 of `tracking/appearance.py`; zeros: nothing to be seen
    visible_parts (N,) float64 in 0..1: how much of the box no other one in front of it hides; with `appearances`
    ups  (N, 3) float64: upwards in the optical frame, against which 3D boxes stand upright; None or NaN: along -y
    class_scores  (N, C) float32: of each class that the object may be, with those of suppressed duplicates; 0: not seen
    lifts  (N,) float32 of LIFT_*: what told the distance; NaN, None: the heads if there are alphas, else the size prior
    """

    scores: Array = field(metadata=column(dtype=np.float32))
    class_ids: Array = field(metadata=column(dtype=np.int64))
    boxes: Array = field(metadata=column(4, dtype=np.float32))
    centers: Array = field(metadata=column(2, dtype=np.float32))
    displacements: Array = field(metadata=column(2, dtype=np.float32))
    depths: Array | None = None
    dimensions: Array | None = None
    locations: Array | None = None
    alphas: Array | None = None
    rotations_y: Array | None = None
    velocities: Array | None = None
    attributes: Array | None = None
    amodal_centers: Array | None = None
    keypoints: Array | None = None
    keypoint_scores: Array | None = None
    location_covariances: Array | None = None
    appearances: Array | None = None
    visible_parts: Array | None = None
    class_scores: Array | None = None
    heading_variances: Array | None = None
    ups: Array | None = None
    lifts: Array | None = None
    velocity_covariances: Array | None = None
    joint_scores: Array | None = None

    @classmethod
    def from_boxes(cls, boxes: Array, scores: Array | None = None, class_ids: Array | None = None) -> Detections:
        """Nothing but boxes (N, 4) px: centred in them, not displaced; score 1 and class 0 if not given."""
        values = np.array(boxes, np.float32).reshape(-1, 4)
        count = len(values)
        return cls(
            scores=np.ones(count, np.float32) if scores is None else np.array(scores, np.float32),
            class_ids=np.zeros(count, np.int64) if class_ids is None else np.array(class_ids, np.int64),
            boxes=values,
            centers=(values[:, :2] + values[:, 2:]) / 2,
            displacements=np.zeros((count, 2), np.float32),
        )


@dataclass(frozen=True)
class Tracks(ArrayTable):
    """N tracked objects: a detection each, with its identity.

    ids    (N,) int64, from 1, never reused before a reset; below 0: tentative, not reported
    ages   (N,) int64: frames since the track was last matched, plus 1 (1 = matched in this frame), as officially
    hits   (N,) int64: consecutive frames matched up to now (official `active`); 0 = lost
    births (N,) float64: stamp in s at which the track began
    lengths  (N,) int64: frames in which the track was matched, in all
    last_stamps  (N,) float64: stamp in s of the last match
    image_velocities  (N, 2) float32 px/s: measured motion of the centre, smoothed
    kalman_means, kalman_covariances  (N, 4), (N, 4, 4) float64, px and px/s: filters of `motion.py` or
            `fused_motion.py`; None: not used
    appearances  (N, D) float32: what the object looked like when it was seen whole; zeros: it never was
    appearance_stamps  (N,) float64: stamp in s when it last was
    evidence  (N,) float64: log-odds that the track is an object, see `existence.py`; None: not used
    class_votes  (N, C) float32: evidence for each class, see `class_votes.py`; None: not used
    motion_states  (N,) uint8 of MOTION_UNKNOWN, MOTION_STANDING, MOTION_MOVING; None: unknown
    occupant_votes  (N,) float32: more than 0 for people who sit in a vehicle, see `occupants.py`; None: not used
    """

    detections: Detections = field(metadata=nested(Detections))
    ids: Array = field(metadata=column(dtype=np.int64))
    ages: Array = field(metadata=column(dtype=np.int64))
    hits: Array = field(metadata=column(dtype=np.int64))
    births: Array = field(metadata=column())
    lengths: Array | None = None
    last_stamps: Array | None = None
    image_velocities: Array | None = None
    class_votes: Array | None = None
    occupant_votes: Array | None = None
    kalman_means: Array | None = None
    kalman_covariances: Array | None = None
    appearances: Array | None = None
    appearance_stamps: Array | None = None
    evidence: Array | None = None
    motion_states: Array | None = None

    @property
    def states(self) -> Array:
        """(N,) uint8 of STATE_NEW, STATE_TRACKED, STATE_LOST."""
        return np.where(self.hits == 0, STATE_LOST, np.where(self.hits == 1, STATE_NEW, STATE_TRACKED)).astype(np.uint8)


@dataclass(frozen=True)
class VelocityFilters(ArrayTable):
    """Filters of N tracks of one camera in a frame that stands still; see `velocity_filter.py`.

    ids (N,) int64;  stamps (N,) s of the last match;  means (N, 6) m, m/s;  covariances (N, 6, 6)
    motion_states (N,) uint8, see `motion_state.py`;  drifts (N, 9, 9), see `depth_drift.py`
    """

    ids: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    stamps: Array = field(default_factory=lambda: np.zeros(0))
    means: Array = field(default_factory=lambda: np.zeros((0, 6)))
    covariances: Array = field(default_factory=lambda: np.zeros((0, 6, 6)))
    motion_states: Array = field(default_factory=lambda: np.zeros(0, np.uint8))
    drifts: Array = field(default_factory=lambda: np.zeros((0, 9, 9)))


@dataclass(frozen=True)
class BoxFilters(ArrayTable):
    """What is remembered of the 3D boxes of N tracks that are fitted to their 2D boxes; see `box_filter.py`.

    ids, class_ids  (N,) int64;  stamps (N,) s of the last match
    views         (N,) frames in which the object was seen whole
    sizes         (N, 3) m: height, width, length as seen whole;  size_covariances (N, 3, 3) m²
    headings      (N, H) log likelihoods of headings, averaged over time
    depths        (N, 2) depth, m, and its change, m/s;  depth_covariances (N, 2, 2)
    common_variances  (N,) variance of the depth, relative, that more frames do not reduce
    sensed        (N,) 1: a sensor has told the depth, so that the sizes are the object's own; 0: never
    """

    ids: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    class_ids: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    stamps: Array = field(default_factory=lambda: np.zeros(0))
    views: Array = field(default_factory=lambda: np.zeros(0))
    sizes: Array = field(default_factory=lambda: np.zeros((0, 3)))
    size_covariances: Array = field(default_factory=lambda: np.zeros((0, 3, 3)))
    headings: Array = field(default_factory=lambda: np.zeros((0, 0)))
    depths: Array = field(default_factory=lambda: np.zeros((0, 2)))
    depth_covariances: Array = field(default_factory=lambda: np.zeros((0, 2, 2)))
    common_variances: Array = field(default_factory=lambda: np.zeros(0))
    sensed: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Horizon:
    """Where the horizon lies for one camera.

    slope     of the ray to it, positive below the optical axis;  variance  of that
    stamp     s, of the last frame; None: it was never seen
    """

    slope: float = 0.0
    variance: float = 0.0
    stamp: float | None = None


@dataclass(frozen=True)
class BoxMemory:
    """What is remembered of the 3D boxes of one camera's tracks where they are fitted to 2D boxes.

    filters   of the tracks;  horizon  where it was in the last frame
    road      (H,) how many vehicles have stood in each heading, fading; empty: none was seen
    is_level  whether all of this belongs to axes that were levelled by a known direction upwards
    """

    filters: BoxFilters = field(default_factory=BoxFilters)
    horizon: Horizon = field(default_factory=Horizon)
    road: Array = field(default_factory=lambda: np.zeros(0))
    is_level: bool = False


@dataclass(frozen=True)
class TrackState:
    """All that is remembered from one frame to the next for one camera.

    previous_input  opaque, from `Engine.prepare`; None before the first frame
    image_size      (height, width) px of the previous image
    tracks          live and lost tracklets, None before the first frame
    next_id         the id that the next birth gets
    stamp           s, of the previous frame
    flow_image      reduced grey copy of the previous image, for motion 'flow' only
    velocity_filters  kept by `filter_velocities`, where it is known how the camera moves; a step takes them along
    box_memory      sizes, headings and distances of tracks whose 3D boxes are fitted to 2D boxes
    """

    previous_input: Any = None
    image_size: tuple[int, int] | None = None
    tracks: Tracks | None = None
    next_id: int = 1
    stamp: float | None = None
    flow_image: Array | None = None
    velocity_filters: VelocityFilters = field(default_factory=VelocityFilters)
    box_memory: BoxMemory = field(default_factory=BoxMemory)

    def without_tracks(self) -> TrackState:
        """The state after a reset: nothing is remembered but the next id, so that no id stands for two objects."""
        return TrackState(next_id=self.next_id)


@dataclass(frozen=True)
class FrameHeader:
    """What an image says of itself: results repeat it exactly.

    stamp_ns  the stamp in ns, as it came, or the time of arrival for a stamp of 0
    frame_id  the TF frame of the camera's optical axes, or of the results
    """

    stamp_ns: int
    frame_id: str = ""


@dataclass(frozen=True)
class DepthImage:
    """Depths of the pixels of a camera's image, of the same view in any resolution.

    depths  (h, w) float32 m along the optical axis; what is not finite, or not above 0, was not measured
    """

    depths: NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """Points on surfaces, as of a LiDAR.

    points  (P, 3) float32 m in the camera's optical frame; not finite: nothing
    """

    points: NDArray[np.float32]


@dataclass(frozen=True)
class CameraMount:
    """How a camera stands over the ground, as far as it is known.

    height  m over the ground that objects stand on; 0: unknown
    up      (3,) upwards in the optical frame; None: unknown, taken for -y
    """

    height: float = 0.0
    up: Array | None = None

    @classmethod
    def of_pitch(cls, height: float, pitch: float) -> CameraMount:
        """A camera that looks down by `pitch` deg; 0: unknown."""
        angle = np.radians(pitch)
        return cls(height, np.array([0.0, -np.cos(angle), -np.sin(angle)]) if pitch else None)


@dataclass(frozen=True)
class ForeignDetections(ArrayTable):
    """N objects that another detector than the network has found in one image.

    boxes        (N, 4) float32 px of the image: x1, y1, x2, y2
    scores       (N,) float32 in 0..1
    class_names  (N,) str: as that detector calls them
    """

    boxes: Array = field(metadata=column(4, dtype=np.float32))
    scores: Array = field(metadata=column(dtype=np.float32))
    class_names: Array = field(metadata=column(dtype=np.str_, blank=""))


@dataclass(frozen=True)
class ForeignBoxes(ArrayTable):
    """N objects that another detector has found in 3D, in one frame of TF.

    boxes        N oriented boxes; covariances of all 0, or not finite: unknown
    scores       (N,) float64 in 0..1
    class_names  (N,) str: as that detector calls them
    """

    boxes: OrientedBoxes = field(metadata=nested(OrientedBoxes))
    scores: NDArray[np.float64] = field(metadata=column())
    class_names: Array = field(metadata=column(dtype=np.str_, blank=""))


@dataclass(frozen=True)
class Frame:
    """One camera image to track in.

    image   BGR uint8 (H, W, 3);  stamp  s;  camera  if it is calibrated
    public_centers  (P, 2) px of given detections: only what one of them vouches for may begin a track (MOT's public
            mode)
    initial  objects that are known at the first frame: they begin the tracks before it is looked at
    mount    how the camera stands over the ground, or a function that knows it after the network; None: as the
             tracker's configuration says
    region   the part of the image in which tracks may start, by the middle of a box's lower side; None: everywhere
    header   as the image's source gives it; None: made from `stamp`
    index    the source's own number of the frame, from 1: the number in an image's file name, of a video's frame, of a
            message on its topic; 0: not told. Results are numbered by it: frames that are left out shift no other
    foreign  what another detector has found in the image; None: nobody told, empty: it found nothing
    depth, points  what sensors measured of the view at that time; None: nothing
    """

    image: NDArray[np.uint8]
    stamp: float
    camera: Camera | None = None
    public_centers: NDArray[np.floating] | None = None
    initial: Detections | None = None
    header: FrameHeader | None = None
    index: int = 0
    region: Region | None = None
    mount: CameraMount | Callable[[], CameraMount | None] | None = None
    foreign: ForeignDetections | None = None
    depth: DepthImage | None = None
    points: Points | None = None


@dataclass(frozen=True)
class FrameResult:
    """What one step gives.

    tracks      the matched and new tracks of this frame, then (hits == 0) lost ones that are still remembered
    prior       (M, 3) int: x, y, radius in input px: the prior heatmap that the network saw
    input_size  (height, width) of the network input
    affine      (2, 3) image px -> input px
    timing_ms   stage name -> ms: 'preprocess', 'network', 'postprocess', 'association'
    reset       why the tracks were reset before this frame ('', 'stamp went back by 3.2 s', …)
    detections  what the network (or the other detector) saw in this frame, before association; strongest first
    notes       sentences on what of the frame could not be used
    """

    tracks: Tracks
    prior: Array
    input_size: tuple[int, int]
    affine: Array
    timing_ms: dict[str, float] = field(default_factory=dict)
    reset: str = ""
    detections: Detections | None = None
    notes: tuple[str, ...] = ()
