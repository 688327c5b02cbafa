# SPDX-License-Identifier: Apache-2.0
"""The rows of the paper's tables: variants of tracking with one network, or with networks of different training.

Rows differ only in the network's inputs and in association; `CachingEngine` runs the network once for all rows with the
same inputs. Detection only, as in the paper's table 4: no previous image, no prior heatmap, no displacement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.evaluation.ablation import matched_displacements, true_displacements
from centertrack_ros.evaluation.recordings import shared_classes, track_recording
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, present_classes, score_boxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Pipeline, Tracker
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import Detections, VelocityFilters
from experiments.amota import Paths, ground_paths, image_paths
from experiments.overlap_errors import box_errors, without_ignored
from experiments.street_clips import Clip, poses_of, read_clip
from experiments.track_counts import sum_counts

MAIN = "main"  # the released model
FILTERED = "filtered_velocity"  # an error beside those of `box_errors`


@dataclass(frozen=True)
class Row:
    """One row of the tables.

    Attributes:
        key: Its name in the document.
        title: Its name on the page.
        settings: Of the tracker, beside the official defaults.
        detection_only: The network sees single images.
        true_motion: Detected objects get the ground truth's displacements.
        model: Name of the model.
    """

    key: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    detection_only: bool = False
    true_motion: bool = False
    model: str = MAIN


ROWS = (
    Row("detection", "detection only", {"motion": "none", "zero_prior_heatmap": True}, detection_only=True),
    Row("no_offset", "without displacement (no motion)", {"motion": "none"}),
    Row("no_heatmap", "without prior heatmap", {"zero_prior_heatmap": True}),
    Row("full", "full: heatmap and displacement"),
    Row("kalman", "Kalman filter", {"motion": "kalman"}),
    Row("flow", "optical flow (DIS)", {"motion": "flow"}),
    Row("oracle", "full, true displacements", true_motion=True),
    Row("hungarian", "full, Hungarian", {"association": "hungarian"}),
    Row("rebirth", "full, rebirth within 1.07 s", {"rebirth": 32 / 30}),
    Row("kalman_rebirth", "Kalman filter, rebirth within 1.07 s", {"motion": "kalman", "rebirth": 32 / 30}),
    Row("noiseless", "trained without heatmap noise", model="branch_noiseless"),
    Row("static", "trained on single images", model="branch_static"),
    Row("control", "trained on videos with heatmap noise", model="branch"),
)
FULL = "full"


@dataclass(frozen=True)
class Outcome:
    """The results of one row on one clip.

    Attributes:
        counts: Of `track_counts.sum_counts`.
        paths: Class -> positions on the ground.
        boxes: Class -> boxes in the image.
        errors: Class -> error -> (N,) of the 3D boxes; of the full row alone.
    """

    counts: Mapping[str, NDArray[np.float64]]
    paths: Mapping[str, Paths]
    boxes: Mapping[str, Paths]
    errors: Mapping[str, Mapping[str, NDArray[np.float64]]] | None = None


@dataclass(frozen=True)
class ClipOutcome:
    """The results of all rows on one clip.

    Attributes:
        clip: The clip.
        truth: Class -> ground-truth positions on the ground.
        true_boxes: Class -> ground-truth boxes in the image.
        rows: Key of the row -> its outcome.
        requests: Number of images that peaks were requested for.
        runs: Number of images that the network ran for.
    """

    clip: Clip
    truth: Mapping[str, Paths]
    true_boxes: Mapping[str, Paths]
    rows: Mapping[str, Outcome]
    requests: int
    runs: int


class _TrueMotionPipeline(Pipeline):
    """Tracking with the ground truth's displacements where a detection matches an object, its own elsewhere."""

    _frame: AnnotatedFrame | None = None

    def expect(self, frame: AnnotatedFrame) -> None:
        """Sets the ground truth of the next image."""
        self._displacements, self._frame = true_displacements(frame, self._frame), frame

    def _decode(self, *args: Any, **kwargs: Any) -> tuple[Detections, NDArray[np.bool_] | None]:
        detections, bridging = super()._decode(*args, **kwargs)
        assert self._frame is not None
        displacements = matched_displacements(detections, self._frame, self._displacements)
        return replace(detections, displacements=displacements), bridging


def track(
    sequence: VideoSequence, engine: Any, settings: Mapping[str, Any], true_motion: bool = False
) -> VideoSequence:
    """Runs a tracker on the images of a sequence.

    Args:
        sequence: The ground truth, with images.
        engine: The model.
        settings: Of the tracker, beside the official defaults.
        true_motion: Detections that match an object get the ground truth's displacements.

    Returns:
        The tracks, in the sequence's classes.

    Raises:
        ValueError: An image cannot be read, or the model has none of the classes.
    """
    numbers, names = shared_classes(sequence, engine.profile.classes)
    tracker = Tracker(engine, TrackerConfig.official(**{"classes": names, **settings}))
    if not true_motion:
        return track_recording(sequence, tracker, numbers)
    tracker.pipeline = pipeline = _TrueMotionPipeline(engine, tracker.pipeline.config)
    return track_recording(sequence, tracker, numbers, pipeline.expect)


def evaluate(truth: VideoSequence, results: VideoSequence, with_errors: bool) -> Outcome:
    """The outcome of one row on one clip; 2D figures are without results in ignored regions."""
    pair = without_ignored(SequencePair(truth, results))
    names = tuple(sorted(present_classes(pair.truth) | present_classes(pair.results))) or truth.classes[:1]
    scores = score_boxes([pair], names).sequences[truth.name]
    poses = poses_of(truth)
    return Outcome(
        sum_counts(scores),
        {name: ground_paths(results, name, poses) for name in truth.classes},
        {name: image_paths(pair.results, name) for name in truth.classes},
        _errors(truth, results, poses) if with_errors else None,
    )


def _errors(
    truth: VideoSequence, results: VideoSequence, poses: Mapping[int, NDArray[np.float64]]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """`box_errors`, and FILTERED: the errors of velocities by the velocity filter with the camera's poses."""
    frames, filters = [], VelocityFilters()
    for frame in results:
        camera = Transform.from_matrix(poses[frame.index])
        tracks, filters = filter_velocities(filters, frame.tracks, camera, frame.stamp)
        frames.append(replace(frame, tracks=tracks))
    filtered = box_errors(truth, replace(results, frames=tuple(frames)))
    return {
        name: {**errors, FILTERED: filtered[name]["velocity"]} for name, errors in box_errors(truth, results).items()
    }


def run_clip(clip: Clip, folder: Path, rows: Sequence[Row], engines: Mapping[str, CachingEngine]) -> ClipOutcome:
    """Runs every row on one clip.

    All rows associate by the same point, that of the main model.

    Args:
        clip: The clip.
        folder: Where clips are rendered.
        rows: The rows.
        engines: Name of the model -> its engine; the caches are empty afterwards.
    """
    truth = read_clip(clip, folder)
    before = [(engine.requests, engine.runs) for engine in engines.values()]
    outcomes: dict[str, Outcome] = {}
    detectors: list[CachingEngine] = []
    common = {"association_point": engines[MAIN].profile.association_point}
    for row in rows:
        engine = engines[row.model]
        if row.detection_only:
            engine = engine.for_single_images()
            detectors.append(engine)
        results = track(truth, engine, {**common, **row.settings}, row.true_motion)
        outcomes[row.key] = evaluate(truth, results, row.key == FULL)
    used = [*engines.values(), *detectors]
    requests = sum(e.requests for e in used) - sum(b[0] for b in before)
    runs = sum(e.runs for e in used) - sum(b[1] for b in before)
    for engine in engines.values():
        engine.clear()
    poses = poses_of(truth)
    paths = {name: ground_paths(truth, name, poses) for name in truth.classes}
    boxes = {name: image_paths(truth, name) for name in truth.classes}
    return ClipOutcome(clip, paths, boxes, outcomes, requests, runs)


# The engines of a worker process. A module variable, since an engine cannot be pickled.
_loaded: dict[str, CachingEngine] = {}


def _prepare(models: Mapping[str, Path], engine: str) -> None:
    import cv2

    from centertrack_ros.engine.loading import load_engine

    cv2.setNumThreads(1)
    for name, path in models.items():
        _loaded[name] = CachingEngine(load_engine(path, engine=engine, threads=1))


def _in_worker(clip: Clip, folder: Path, rows: Sequence[Row]) -> ClipOutcome:
    return run_clip(clip, folder, rows, _loaded)


def run_clips(
    clips: Iterable[Clip],
    folder: Path,
    rows: Sequence[Row],
    models: Mapping[str, Path],
    processes: int,
    engine: str = "auto",
) -> Iterator[ClipOutcome]:
    """Runs every row on every clip, in so many processes of one thread each.

    Args:
        clips: The clips.
        folder: Where clips are rendered.
        rows: The rows.
        models: Name -> weights file.
        processes: Number of processes.
        engine: What runs the networks, as in `load_engine`.

    Yields:
        The outcome of each clip, in the order of the clips.
    """
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor

    os.environ["OMP_NUM_THREADS"] = "1"  # of the worker processes
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _prepare, (dict(models), engine)) as pool:
        waiting = [pool.submit(_in_worker, clip, folder, list(rows)) for clip in clips]
        try:
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
