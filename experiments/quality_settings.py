# SPDX-License-Identifier: Apache-2.0
"""The settings that `experiments.quality` compares: the defaults, those before them, and the official code's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from centertrack_ros.engine.base import Engine, EngineAround
from centertrack_ros.network.profile import ModelProfile, Thresholds
from centertrack_ros.tracking.config import TrackerConfig

# The defaults before they were chosen by this comparison, each one stated, so that it stays what it is when a default
# changes. What came later is as in `TrackerConfig.official()`, which switches it off.
BEFORE: dict[str, Any] = {
    "track_threshold": 0.3,
    "out_threshold": 0.3,
    "pre_threshold": 0.3,
    "new_threshold": 0.45,
    "association": "hungarian",
    "max_age": -1,
    "rebirth": 2.0,
    "max_gap_s": 1.0,
    "classes": (),
    "lift": "auto",
    "zero_tracking": False,
    "depth_scale": 1.0,
    "correct_focal_length": True,
    "motion": "network",
    "association_point": "auto",
    "velocity_smoothing": 0.5,
    "propagate_lost": True,
    "frame_period_s": 0.0,
    "cost": "distance",
    "gate_scale": 1.0,
    "min_iou": 0.0,
    "max_size_ratio": 2.0,
    "live_first": False,
    "duplicate_iou": 0.7,
    "min_hits": 1,
    "zero_prior_heatmap": False,
    "default_focal_length": 0.0,
    "depth_sigma": 0.1,
}
# What a profile said until then; fields that came later have their value for 'unknown'.
_OLD_FIELDS = (
    "name", "architecture", "classes", "heads", "previous_image", "prior_heatmap", "mean", "std", "color_order",
    "pixel_scale", "trained_focal_length", "association_point", "velocity_per_frame", "trained_tracking",
    "max_detections", "head_options", "licence", "source",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A way to track.

    Attributes:
        name: Its name in the table.
        config: Of the tracker.
        engine: Makes the engine that it runs on from one that is loaded with the model's own profile.
    """

    name: str
    config: TrackerConfig
    engine: Callable[[Engine], Engine]

    def of_classes(self, classes: Sequence[str]) -> TrackerConfig:
        """The configuration for a recording; no classes: those of the setting."""
        return replace(self.config, classes=tuple(classes)) if classes else self.config


def settings() -> dict[str, Setting]:
    """Name -> setting: 'before', 'after' (today's defaults) and 'official'."""
    every = (
        Setting("before", TrackerConfig.official(**BEFORE), with_old_profile),
        Setting("after", TrackerConfig(), lambda engine: engine),
        Setting("official", TrackerConfig.official(), with_old_profile),
    )
    return {one.name: one for one in every}


def with_old_profile(engine: Engine) -> Engine:
    """The engine with the profile of before: the image fits into 512x512, and nothing is known that came later."""
    known: dict[str, Any] = {name: getattr(engine.profile, name) for name in _OLD_FIELDS}
    thresholds = Thresholds(track=BEFORE["track_threshold"], new=BEFORE["new_threshold"])
    size: dict[str, Any] = {"input_height": 512, "input_width": 512, "resize": "keep_aspect"}
    return EngineAround(engine, ModelProfile(**known, **size, thresholds=thresholds))
