# SPDX-License-Identifier: Apache-2.0
"""Searches parameters of the tracker on labelled recordings, and judges them on others.

Optuna searches. Each trial gets the same detections (the network ran once for each image), so that it takes a moment;
the judgement on a recording left out lets the network see the heatmap of the chosen tracker's own tracks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.evaluation.ablation import considered_objects
from centertrack_ros.evaluation.recordings import shared_classes, track_recording
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_boxes, summary
from centertrack_ros.io.errors import DataError
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Pipeline, Tracker

METRICS = ("HOTA", "MOTA", "IDF1", "AssA")


@dataclass(frozen=True)
class Dimension:
    """One parameter that is searched.

    Attributes:
        parameter: Its name as the node has it.
        low: The least value.
        high: The largest value.
        steps: 'linear', 'log' or 'whole' (numbers).
    """

    parameter: str
    low: float
    high: float
    steps: str = "linear"

    @property
    def field(self) -> str:
        """Its name in `TrackerConfig`."""
        return self.parameter.partition(".")[2]

    def suggest(self, trial: Any) -> float | int:
        """The value that Optuna's trial shall try."""
        if self.steps == "whole":
            return int(trial.suggest_int(self.field, int(self.low), int(self.high)))
        return float(trial.suggest_float(self.field, self.low, self.high, log=self.steps == "log"))

    def within(self, value: float) -> float | int:
        """The value, moved into the range."""
        value = min(max(value, self.low), self.high)
        return int(value) if self.steps == "whole" else float(value)


SPACE = (
    Dimension("tracker.new_threshold", 0.1, 0.8),
    Dimension("tracker.low_threshold", 0.05, 0.6),
    Dimension("tracker.track_threshold", 0.05, 0.6),
    Dimension("tracker.rebirth", 0.0, 10.0),
    Dimension("tracker.gate_scale", 0.1, 4.0, "log"),
    Dimension("tracker.max_size_ratio", 1.2, 5.0, "log"),
    Dimension("tracker.min_hits", 1, 5, "whole"),
    Dimension("tracker.velocity_smoothing", 0.1, 1.0),
    Dimension("detector.duplicate_iou", 0.4, 1.0),
)


@dataclass(frozen=True)
class Fold:
    """What was found without some recordings, and how good it is on them.

    Attributes:
        left_out: Names of the recordings.
        values: Field of `TrackerConfig` -> value.
        before: The figure of the base configuration on the recordings left out, percent.
        after: The figure of the values found.
    """

    left_out: tuple[str, ...]
    values: Mapping[str, float | int]
    before: float
    after: float


@dataclass(frozen=True)
class Tuning:
    """The outcome of a search.

    Attributes:
        folds: The cross-validation.
        values: What was found on all recordings: field of `TrackerConfig` -> value.
        before: The figure of the base configuration on all recordings, percent.
        after: The figure of the values on all recordings, on which they were chosen.
    """

    folds: tuple[Fold, ...]
    values: Mapping[str, float | int]
    before: float
    after: float

    @property
    def gain(self) -> float:
        """The mean gain on recordings that the values were not chosen on, percentage points."""
        return float(np.mean([fold.after - fold.before for fold in self.folds]))


def tune(
    recordings: Sequence[VideoSequence],
    engine: Engine,
    base: TrackerConfig | None = None,
    space: Sequence[Dimension] = SPACE,
    metric: str = "HOTA",
    trials: int = 50,
    folds: int = 3,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Searches with and without each part of the recordings.

    Args:
        recordings: Ground truth, with images.
        engine: The model.
        base: The configuration to start from; None: the defaults.
        space: What to search.
        metric: What shall be large, one of METRICS, the mean of the classes.
        trials: Configurations to try in each search; the first is the base.
        folds: Parts that are left out in turn; at most one for each recording.
        seed: Of the search.
        progress: Gets a line now and then.

    Raises:
        ImportError: Optuna is not installed.
        DataError: A recording has no images or no objects, or one cannot be read.
        ValueError: There are too few recordings, or none of their classes is the model's.
    """
    if len(recordings) < 2:
        raise ValueError(
            f"cross-validation needs at least 2 recordings, got {len(recordings)}: values that are judged on what they "
            "were chosen on look better than they are"
        )
    for one in recordings:
        if not any(frame.image is not None for frame in one):
            raise DataError(one.name, "none of its frames has an image; expected the images beside the labels")
        if not _evaluated(one):
            raise DataError(one.name, "it has no object that counts; expected labels of objects that are to be found")
    if metric not in METRICS:
        raise ValueError(f"the figure must be one of {', '.join(METRICS)}, got '{metric}'")
    if not folds >= 2 or trials < 1:
        raise ValueError(f"at least 2 folds and 1 trial are needed, got {folds} and {trials}")
    search = _Search(CachingEngine(engine), base or TrackerConfig(), tuple(space), metric, trials, seed, progress)
    parts = [tuple(recordings[start::folds]) for start in range(min(folds, len(recordings)))]
    found = []
    for number, part in enumerate(parts, start=1):
        names = tuple(one.name for one in part)
        others = [one for one in recordings if one.name not in names]
        values = search.best(others, f"part {number} of {len(parts)}")
        found.append(Fold(names, values, search.score(part, {}), search.score(part, values)))
    values = search.best(recordings, "all recordings")
    return Tuning(tuple(found), values, search.score(recordings, {}), search.score(recordings, values))


@dataclass(frozen=True)
class _Search:
    engine: CachingEngine
    base: TrackerConfig
    space: tuple[Dimension, ...]
    metric: str
    trials: int
    seed: int
    progress: Callable[[str], None]

    def best(self, recordings: Sequence[VideoSequence], title: str) -> dict[str, float | int]:
        """The best values of a search on the recordings."""
        optuna = optuna_module()
        as_it_is = self.score(recordings, {})  # the network runs here: all trials get these detections
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed))
        study.enqueue_trial(self._start())
        for number in range(1, self.trials + 1):
            trial = study.ask()
            values = {one.field: one.suggest(trial) for one in self.space}
            study.tell(trial, as_it_is if number == 1 else self.score(recordings, values, self.engine.repeater()))
            self.progress(f"{title}: trial {number} of {self.trials}, best {self.metric} {study.best_value:.1f}")
        return {} if study.best_trial.number == 0 else dict(study.best_params)

    def _start(self) -> dict[str, float | int]:
        """The base configuration as a point of the space."""
        thresholds = Pipeline(self.engine, self.base).thresholds
        known = {"new_threshold": thresholds.new, "track_threshold": thresholds.track}
        values = ((one, getattr(self.base, one.field)) for one in self.space)
        return {one.field: one.within(known[one.field] if value is None else value) for one, value in values}

    def score(
        self, recordings: Sequence[VideoSequence], values: Mapping[str, float | int], engine: Engine | None = None
    ) -> float:
        """The figure of a configuration over the recordings, percent."""
        config = replace(self.base, **dict[str, Any](values))
        pairs = [_pair(truth, engine or self.engine, config) for truth in recordings]
        names = tuple(sorted({name for pair in pairs for name in _evaluated(pair.truth)}))
        combined = score_boxes(pairs, names).combined
        return float(np.mean([summary(combined[name])[self.metric] for name in names]))


def _pair(truth: VideoSequence, engine: Engine, config: TrackerConfig) -> SequencePair:
    """Tracks a recording; objects of classes that the model has not are left out of its truth."""
    numbers, wanted = shared_classes(truth, engine.profile.classes)
    results = track_recording(truth, Tracker(engine, replace(config, classes=wanted)), numbers)
    known = tuple(frame.select(np.isin(frame.tracks.detections.class_ids, numbers)) for frame in truth)
    return SequencePair(replace(truth, frames=known), results)


def _evaluated(truth: VideoSequence) -> set[str]:
    """The classes of which there is something to find."""
    kinds = [considered_objects(frame).tracks.detections.class_ids for frame in truth]
    return {truth.classes[kind] for kind in np.unique(np.concatenate(kinds)).tolist()}


def optuna_module() -> Any:
    """The library, silent.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(f"tuning needs Optuna: pip install 'centertrack_ros[tune]' ({error})") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
