"""The rows of the paper's tables: ways of tracking with one network, or with networks that were trained in other ways.

What a row says of the network's inputs and of association is all that differs between rows; `RememberingEngine` runs
the network once for all rows that ask it the same. Detection only, as in the paper's table 4: no previous image, no
prior heatmap, no displacement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.evaluation.ablation import borrowed_displacements, true_displacements
from centertrack_ros.evaluation.trackeval_metrics import Pair, present_classes, score_boxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Pipeline, Tracker
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import Detections, VelocityFilters
from experiments.amota import Paths, boxes_of, paths_of
from experiments.caching_engine import RememberingEngine
from experiments.intervals import counts_of
from experiments.overlap_errors import box_errors, without_ignored
from experiments.street_clips import Clip, poses_of, read_clip

MAIN = "main"  # the model that is shipped
FILTERED = "filtered_velocity"  # an error beside those of `box_errors`
# Names of other data sets for the street's classes.
ALIASES = {"person": "pedestrian", "bicycle": "cyclist"}


@dataclass(frozen=True)
class Row:
    """One row: which model, what the tracker is told beside the official defaults, whether it sees single images,
    whether it is told how the objects that it found have moved.
    """

    key: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    detection_only: bool = False
    informed: bool = False
    model: str = MAIN


ROWS = (
    Row("detection", "detection only", {"motion": "none", "zero_prior_heatmap": True}, detection_only=True),
    Row("no_offset", "without displacement (no motion)", {"motion": "none"}),
    Row("no_heatmap", "without prior heatmap", {"zero_prior_heatmap": True}),
    Row("full", "full: heatmap and displacement"),
    Row("kalman", "Kalman filter", {"motion": "kalman"}),
    Row("flow", "optical flow (DIS)", {"motion": "flow"}),
    Row("oracle", "full, true displacements", informed=True),
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
    """What one row gave on one clip: counts to add up, paths on the ground and boxes in the image by class, errors of
    the full row's 3D boxes.
    """

    counts: Mapping[str, NDArray[np.float64]]
    paths: Mapping[str, Paths]
    boxes: Mapping[str, Paths]
    errors: Mapping[str, Mapping[str, NDArray[np.float64]]] | None = None


@dataclass(frozen=True)
class ClipOutcome:
    """All rows on one clip; true paths and boxes by class; how often the network was asked and how often it was run."""

    clip: Clip
    truth: Mapping[str, Paths]
    true_boxes: Mapping[str, Paths]
    rows: Mapping[str, Outcome]
    asked: int
    run: int


class _Informed(Pipeline):
    """Tracking with displacements from the truth where the network found a true object, its own elsewhere."""

    _frame: AnnotatedFrame | None = None

    def expect(self, frame: AnnotatedFrame) -> None:
        """What is true in the next image."""
        self._displacements, self._frame = true_displacements(frame, self._frame), frame

    def detect(self, *args: Any, **kwargs: Any) -> Detections:
        found = super().detect(*args, **kwargs)
        assert self._frame is not None
        return replace(found, displacements=borrowed_displacements(found, self._frame, self._displacements))


def track(sequence: VideoSequence, engine: Any, settings: Mapping[str, Any], informed: bool = False) -> VideoSequence:
    """A tracker's answer to the pictures of a sequence, in the sequence's classes.

    informed  displacements are the truth's wherever the network found a true object
    Raises ValueError when a picture cannot be read or the model knows none of the classes.
    """
    import cv2

    known = engine.profile.classes
    wanted = {name: ALIASES.get(name, name) for name in known if ALIASES.get(name, name) in sequence.classes}
    if not wanted:
        raise ValueError(f"'{engine.profile.name}' knows none of {', '.join(sequence.classes)}")
    numbers = np.array([sequence.classes.index(wanted[n]) if n in wanted else -1 for n in known], np.int64)
    tracker = Tracker(engine, TrackerConfig.official(**{"classes": tuple(wanted), **settings}))
    pipeline = _Informed(engine, tracker.pipeline.config) if informed else None
    tracker.pipeline = pipeline or tracker.pipeline
    frames = []
    for frame in sequence:
        if pipeline is not None:
            pipeline.expect(frame)
        image = cv2.imread(str(frame.image))
        if image is None:
            raise ValueError(f"{sequence.name}: the picture of frame {frame.index} cannot be read: {frame.image}")
        tracks = tracker.step(np.asarray(image, np.uint8), frame.camera, frame.stamp).tracks
        tracks = tracks.select(np.flatnonzero(tracks.hits > 0))
        found = replace(tracks.detections, class_ids=numbers[tracks.detections.class_ids])
        frames.append(AnnotatedFrame(frame.index, frame.stamp, replace(tracks, detections=found), pose=frame.pose))
    return replace(sequence, frames=tuple(frames))


def judge(truth: VideoSequence, results: VideoSequence, with_errors: bool) -> Outcome:
    """The counts of one row on one clip. Results in regions that are not judged are left out of the 2D figures."""
    pair = without_ignored(Pair(truth, results))
    names = tuple(sorted(present_classes(pair.truth) | present_classes(pair.results))) or truth.classes[:1]
    scores = score_boxes([pair], names).sequences[truth.name]
    poses = poses_of(truth)
    return Outcome(
        counts_of(scores),
        {name: paths_of(results, name, poses) for name in truth.classes},
        {name: boxes_of(pair.results, name) for name in truth.classes},
        _errors(truth, results, poses) if with_errors else None,
    )


def _errors(
    truth: VideoSequence, results: VideoSequence, poses: Mapping[int, NDArray[np.float64]]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """`box_errors`, and FILTERED: those of velocities that the camera's poses have helped, as in the node."""
    frames, filters = [], VelocityFilters()
    for frame in results:
        camera = Transform.from_matrix(poses[frame.index])
        tracks, filters = filter_velocities(filters, frame.tracks, camera, frame.stamp)
        frames.append(replace(frame, tracks=tracks))
    filtered = box_errors(truth, replace(results, frames=tuple(frames)))
    return {
        name: {**errors, FILTERED: filtered[name]["velocity"]} for name, errors in box_errors(truth, results).items()
    }


def run_clip(clip: Clip, folder: Path, rows: Sequence[Row], engines: Mapping[str, RememberingEngine]) -> ClipOutcome:
    """Every row on one clip; `engines` by the models' names. What the engines remember is dropped afterwards.

    All rows associate by the same point, that of the main model.
    """
    truth = read_clip(clip, folder)
    before = [(engine.asked, engine.run) for engine in engines.values()]
    outcomes, twins = {}, []
    common = {"association_point": engines[MAIN].profile.association_point}
    for row in rows:
        engine = engines[row.model]
        if row.detection_only:
            engine = engine.of_single_images()
            twins.append(engine)
        results = track(truth, engine, {**common, **row.settings}, row.informed)
        outcomes[row.key] = judge(truth, results, row.key == FULL)
    asked = sum(e.asked - b[0] for e, b in zip(engines.values(), before, strict=True)) + sum(t.asked for t in twins)
    run = sum(e.run - b[1] for e, b in zip(engines.values(), before, strict=True)) + sum(t.run for t in twins)
    for engine in engines.values():
        engine.forget()
    poses = poses_of(truth)
    paths = {name: paths_of(truth, name, poses) for name in truth.classes}
    boxes = {name: boxes_of(truth, name) for name in truth.classes}
    return ClipOutcome(clip, paths, boxes, outcomes, asked, run)


# Of a worker process: what it has loaded. A module's variable, since an engine cannot travel between processes.
_loaded: dict[str, RememberingEngine] = {}


def _prepare(models: Mapping[str, Path], engine: str) -> None:
    import cv2

    from centertrack_ros.engine.loading import load_engine

    cv2.setNumThreads(1)
    for name, path in models.items():
        _loaded[name] = RememberingEngine(load_engine(path, engine=engine, threads=1))


def _in_worker(clip: Clip, folder: Path, rows: Sequence[Row]) -> ClipOutcome:
    return run_clip(clip, folder, rows, _loaded)


def run_clips(
    clips: Iterable[Clip],
    folder: Path,
    rows: Sequence[Row],
    models: Mapping[str, Path],
    processes: int,
    engine: str = "auto",
) -> Iterable[ClipOutcome]:
    """Every clip's outcome, in the order of the clips, from so many processes of one thread each.

    engine  what runs the networks, as in `load_engine`
    """
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor

    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes to come
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _prepare, (dict(models), engine)) as pool:
        waiting = [pool.submit(_in_worker, clip, folder, list(rows)) for clip in clips]
        try:
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
