# SPDX-License-Identifier: Apache-2.0
"""Everything that a user may choose about tracking, apart from the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from centertrack_ros.network.profile import ASSOCIATION_POINTS, ModelProfile, Thresholds
from centertrack_ros.tracking.appearance import METHODS as APPEARANCES
from centertrack_ros.tracking.association import COSTS, METHODS
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.tracking.existence import BIRTHS
from centertrack_ros.tracking.lifters import LIFTERS

# Where detections come from.
NETWORK, EXTERNAL, BOTH, PUBLIC = DETECTOR_SOURCES = ("network", "external", "both", "public")
MOTIONS = ("auto", "network", "displacement", "none", "constant_velocity", "kalman", "flow", "fused")
MOST_PITCH = 75.0  # deg; of a camera that looks straight down, boxes of images tell no distances
# The settings of the official code where they differ from the defaults, which suit a small detector.
OFFICIAL: dict[str, Any] = {
    "association": "greedy",
    "rebirth": 0.0,
    "correct_focal_length": False,
    "motion": "network",
    "appearance": "none",
    "birth": "threshold",
    "propagate_lost": False,
    "max_size_ratio": 0.0,
    "duplicate_iou": 1.0,
    "filter_boxes3d": False,
    "depth_sensors": False,
    "classes": (),
    "class_groups": False,
    "report_occupants": True,
    "bridge_misses": False,
}


@dataclass(frozen=True)
class TrackerConfig:
    """How detections become tracks. Scores in 0..1; None takes the value from the model profile's `thresholds`.

    These are the only defaults: the node, the command line, the replay and the library take them from here.
    `TrackerConfig.official()` behaves as the official code does (parity is tested with it).

    association   'greedy' (the paper) or 'hungarian'
    max_age       frames a track lives without a detection, plus 1; -1 drops it at once (official default)
    rebirth       seconds within which a lost track may be found again (the paper's rebirth, in time instead of frames);
                  0: off. The longer of `max_age` and `rebirth` counts
    max_gap_s     a longer pause between two frames resets the tracks; 0: never
    detector_source  'network', 'external' (`Frame.foreign`: detections of another detector, with what the network's
                  heads tell at their middles), 'both' (where both see one object, the other detector's box counts) or
                  'public' (the network's, of which only those that another detector confirms start tracks: MOT's
                  public-detection protocol, official `--public_det`)
    bridge_misses  where the other detector misses an object that it found before, the network's own detection of it
                  continues the track, as long as that detector's misses have not ended it. With detector_source
                  'external', a network, and birth 'evidence'
    classes       names of classes and of sets of classes that are reported: 'road', 'people', 'animals', 'signs',
                  'indoor', 'all', 'auto' ('road' and larger animals for a model with COCO's classes, all for others and
                  for detector_source 'external'); empty: all
    lift          'auto' (heads if the model has them, else size priors when the camera is known), 'heads',
                  'size_prior', 'none'; all but 'none' together with what sensors measure
    zero_tracking  ignore the network's displacement
    depth_scale, correct_focal_length   factor on depths; correction of depth by the focal length (design page 3.4)

    Where a track is expected
    motion        'auto' ('fused'), 'fused' (the network's displacement, if it is trained, and the track's constant
                  velocity, combined by their covariances; the gate follows the uncertainty and the time step, within
                  the official one), 'network' or 'displacement' (the displacement head, official), 'none' (where it
                  was),
                  'constant_velocity' (the track's measured image velocity; for models whose tracking head is not
                  trained), 'kalman' (a Kalman filter on each track's centre) or 'flow' (optical flow between the two
                  images)
    association_point  what moves by the displacement: 'official' (the peak's cell, with 3D heads the amodal centre),
                  'box' (the box's middle) or 'auto' (as the model's profile says)
    velocity_smoothing  weight in 0..1 of the newest measurement in a track's image velocity
    propagate_lost  lost tracks coast with their last image velocity instead of staying where they were lost
    frame_period_s  time step that the displacement was learnt for: it is scaled by the real step over this; 0: it
                  stays as it is

    What may be matched
    cost          'distance' (official: squared px, allowed up to the area of both boxes), 'iou' (1 - overlap) or
                  the name of a cost that the user registered, see `association.register_cost`
    gate_scale    factor on the area that a squared distance may reach (official 1)
    min_iou       least overlap of a detection with the track's expected box; 0: none needed
    max_size_ratio  most that the areas of the two boxes may differ by, as a factor; 0: any
    appearance    'color' (colour histograms tell objects apart: in matching, when tracks cross, and the more the longer
                  a track was lost), 'none' or 'auto' ('color'). With motion 'fused'
    live_first    lost tracks get only the detections that no live track has taken
    duplicate_iou  of two detections that overlap more than this and can be the same object, the weaker is dropped;
                  1: both stay
    class_groups  classes of one group (car, truck, bus, …; see `network.class_groups`) can be the same object: of two
                  detections at one place one stays, tracks continue across the classes, and all detections of a track
                  vote on its class. False (official): an object is of one class, and what its detection says

    Which objects exist
    birth         'evidence' (the scores of a track's detections add up: a strong detection is reported at once, weak
                  ones when they stay, and detections above `low_threshold` continue a track) or 'threshold'
                  (official: a detection above `new_threshold` starts a track). With motion 'fused'
    low_threshold  score above which a detection may continue a track with birth 'evidence', if `track_threshold` is
                  not lower

    What is shown to the network and to the user
    min_hits      a track is reported from its n-th match on; until then one miss ends it
    class_limits  name of a class -> `ClassLimits`: its own thresholds, sizes, range and time to be found again
    max_range     m on the ground: a track that is known to be farther away is not reported; 0: any distance
    report_occupants  people who are seen in the windows of a vehicle are reported, too
    zero_prior_heatmap  give the network an empty prior heatmap (official `--zero_pre_hm`)
    default_focal_length  px, of the camera to assume when none is known (official: 1200); 0: then no 3D boxes
    camera_height  m, of the camera over the ground that objects stand on, at most 100: distances without a depth head
                  are then measured by where objects touch the ground, too; 0: unknown
    camera_pitch  deg by which the camera looks down: 3D boxes without a depth head then stand upright over the ground;
                  0: unknown, the boxes stand along the image's columns
    filter_boxes3d  3D boxes without a depth head are filtered over time: a track remembers its size, heading and speed
    depth_sigma   relative standard deviation of the depth head, for the covariances of 3D boxes
    depth_sensors  depth images and points that come with a frame tell the distances of objects, too
    """

    track_threshold: float | None = None
    out_threshold: float | None = None
    pre_threshold: float | None = None
    new_threshold: float | None = None
    association: str = "hungarian"
    max_age: int = -1
    rebirth: float = 4.0
    max_gap_s: float = 1.0
    detector_source: str = NETWORK
    bridge_misses: bool = True
    classes: tuple[str, ...] = ("auto",)
    lift: str = "auto"
    zero_tracking: bool = False
    depth_scale: float = 1.0
    correct_focal_length: bool = True
    motion: str = "auto"
    association_point: str = "auto"
    velocity_smoothing: float = 0.5
    propagate_lost: bool = True
    frame_period_s: float = 0.0
    cost: str = "distance"
    gate_scale: float = 1.0
    min_iou: float = 0.0
    max_size_ratio: float = 2.0
    appearance: str = "auto"
    live_first: bool = False
    duplicate_iou: float = 0.7
    class_groups: bool = True
    birth: str = "evidence"
    low_threshold: float = 0.25
    min_hits: int = 1
    class_limits: Mapping[str, ClassLimits] = field(default_factory=dict)
    max_range: float = 0.0
    report_occupants: bool = False
    zero_prior_heatmap: bool = False
    default_focal_length: float = 0.0
    depth_sigma: float = 0.1
    camera_height: float = 0.0
    camera_pitch: float = 0.0
    filter_boxes3d: bool = True
    depth_sensors: bool = True

    @classmethod
    def official(cls, **changes: Any) -> TrackerConfig:
        """The settings of the official code (xingyizhou/CenterTrack), with `changes` to single fields.

        Raises:
            ValueError: A value is out of range.
            TypeError: A field does not exist.
        """
        return cls(**{**OFFICIAL, **changes})

    def resolved(self, profile: ModelProfile) -> TrackerConfig:
        """The configuration with 'auto' replaced by what fits the model, and without what its motion does not have."""
        motion = "fused" if self.motion == "auto" else self.motion
        appearance = "color" if self.appearance == "auto" else self.appearance
        if self.detector_source == EXTERNAL and self.classes == ("auto",):  # that detector says what is looked for
            return replace(self, classes=()).resolved(profile)
        if motion == "fused":
            return replace(self, motion=motion, appearance=appearance)
        return replace(self, motion=motion, appearance="none", birth="threshold")

    def __post_init__(self) -> None:
        self._check_choice("detector_source", DETECTOR_SOURCES)
        self._check_choice("association", METHODS)
        self._check_choice("cost", COSTS)
        self._check_choice("lift", LIFTERS)
        self._check_choice("motion", MOTIONS)
        self._check_choice("appearance", APPEARANCES)
        self._check_choice("birth", BIRTHS)
        self._check_choice("association_point", ("auto", *ASSOCIATION_POINTS))
        for name in ("track_threshold", "out_threshold", "pre_threshold", "new_threshold"):
            self._check_range(name, -1.0, 1.0)
        for name in ("velocity_smoothing", "min_iou", "duplicate_iou", "low_threshold"):
            self._check_range(name, 0.0, 1.0)
        for name in (
            "rebirth",
            "max_gap_s",
            "frame_period_s",
            "max_size_ratio",
            "default_focal_length",
            "depth_sigma",
            "max_range",
        ):
            self._check_range(name, 0.0, math.inf)
        self._check_range("camera_height", 0.0, 100.0)
        self._check_range("camera_pitch", -MOST_PITCH, MOST_PITCH)
        for name in ("gate_scale", "depth_scale"):
            self._check_range(name, 1e-9, math.inf)
        if self.min_hits < 1:
            raise ValueError(f"min_hits must be at least 1, got {self.min_hits}")
        if isinstance(self.classes, str):
            raise TypeError(f"classes must be a sequence of names, got the text '{self.classes}'")

    def _check_choice(self, name: str, choices: Iterable[str]) -> None:
        names = tuple(choices)
        if getattr(self, name) not in names:
            raise ValueError(f"{name} must be one of {names}, got '{getattr(self, name)}'")

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value}")

    def thresholds(self, profile: Thresholds) -> Thresholds:
        """The scores in force: these where given, else the profile's; `track` is a floor under the others."""
        return Thresholds(
            track=profile.track if self.track_threshold is None else self.track_threshold,
            out=profile.out if self.out_threshold is None else self.out_threshold,
            pre=profile.pre if self.pre_threshold is None else self.pre_threshold,
            new=profile.new if self.new_threshold is None else self.new_threshold,
        ).resolved()
