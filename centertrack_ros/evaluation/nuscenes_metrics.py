# SPDX-License-Identifier: Apache-2.0
"""AMOTA, AMOTP and the other figures of the nuScenes tracking benchmark, computed by nuscenes-devkit's own classes.

With a database the devkit does everything. Without one, its algorithm classes get the boxes of a ground-truth file,
after the filters that need only the boxes (range of each class, objects without a LiDAR or radar point). The filter for
bicycle racks needs the database and is not applied.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets import nuscenes as data
from centertrack_ros.datasets.nuscenes_files import read_samples
from centertrack_ros.evaluation.parallel import Executor, run_cached
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json

Boxes = Mapping[str, list[dict[str, Any]]]


def score_database(
    results: Path, dataroot: Path, version: str, split: str, executor: Executor | None = None
) -> dict[str, Any]:
    """The benchmark's figures for a submission against the database.

    Args:
        results: The submission, JSON.
        dataroot: Folder of the database.
        version: Of the database, for instance 'v1.0-mini'.
        split: 'mini_val', 'val', ...
        executor: Evaluates each scene by itself, too; None: all scenes together alone.

    Returns:
        'combined', 'classes', 'curves', and with an executor 'scenes': name -> the same figures.

    Raises:
        DataError: The submission or the database is not usable.
        ImportError: The devkit is not installed.
    """
    data.devkit()
    submitted = data.read_results(results, scored=True)
    if not (dataroot / version).is_dir():
        raise DataError(dataroot, f"no nuScenes database {version}: expected the folder {version} with its tables")
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.tracking.evaluate import TrackingEval

    output = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(output):
        submission = Path(folder, "submission.json")  # as it was understood: without a byte-order mark, ids as text
        submission.write_text(json.dumps({**load_json(results), "results": submitted}), encoding="utf-8")
        try:
            evaluation = TrackingEval(
                config=config_factory("tracking_nips_2019"),
                result_path=str(submission),
                eval_set=split,
                output_dir=folder,
                nusc_version=version,
                nusc_dataroot=str(dataroot),
                verbose=False,
            )
        except (AssertionError, KeyError) as error:
            raise DataError(results, f"the devkit rejects {len(submitted)} samples for {split}: {error}") from None
    return _evaluate_scenes(evaluation.tracks_gt, evaluation.tracks_pred, executor)


def score_files(results: Path, truth: Path, executor: Executor | None = None) -> dict[str, Any]:
    """The benchmark's figures for a result file against a ground-truth file.

    Args:
        results: The submission, JSON.
        truth: A file of the same form, or a `sample_info.json`. It may have `samples`: token -> {scene, timestamp};
            without it, its samples are one scene in the order of the file.
        executor: As for `score_database`.

    Raises:
        DataError: The samples of the two files differ, or a file is malformed.
        ImportError: The devkit is not installed.
    """
    document = load_json(truth)
    is_info = isinstance(document, dict) and "data_list" in document
    content = data.sample_info_truth(truth) if is_info else {}
    true_boxes = content["results"] if is_info else data.read_results(truth)
    predictions = data.read_results(results, scored=True)
    if missing := sorted(set(true_boxes) - set(predictions)):
        raise DataError(
            results, f"no entry for sample {missing[0]} of the ground truth (an empty list means: no objects)"
        )
    if unknown := sorted(set(predictions) - set(true_boxes)):
        raise DataError(results, f"sample {unknown[0]} is not in the ground truth")
    if not any(true_boxes.values()):
        raise DataError(truth, "no object in any sample: there is nothing to evaluate")
    samples = content["samples"] if is_info else read_samples(truth, true_boxes)
    return score_boxes(predictions, true_boxes, samples, executor)


def score_boxes(
    results: Boxes, truth: Boxes, samples: Mapping[str, Mapping[str, Any]], executor: Executor | None = None
) -> dict[str, Any]:
    """The benchmark's figures for boxes in the form of a submission.

    Args:
        results: Sample token -> predicted boxes.
        truth: Sample token -> ground-truth boxes.
        samples: Sample token -> {scene, timestamp}.
        executor: As for `score_database`.

    Raises:
        ImportError: The devkit is not installed.
    """
    data.devkit()
    from nuscenes.eval.common.config import config_factory

    ranges = config_factory("tracking_nips_2019").class_range
    origins = _origins(truth)
    true_tracks = _tracks(truth, samples, origins, ranges, is_truth=True)
    return _evaluate_scenes(true_tracks, _tracks(results, samples, origins, ranges, is_truth=False), executor)


def _evaluate_scenes(truth: Mapping[str, Any], results: Mapping[str, Any], executor: Executor | None) -> dict[str, Any]:
    """Evaluates all scenes together, and with an executor each of them alone."""
    tasks = {"all scenes": (dict(truth), dict(results))}
    if executor is not None:
        tasks |= {f"scene {name}": ({name: truth[name]}, {name: results[name]}) for name in sorted(truth)}
    figures_of = dict(run_cached(executor or Executor(), tasks, _evaluate, _digest))
    scenes = {name.removeprefix("scene "): figures for name, figures in figures_of.items() if name != "all scenes"}
    for figures in scenes.values():
        del figures["curves"]
    return figures_of["all scenes"] | ({"scenes": scenes} if executor is not None else {})


def _digest(task: tuple[Any, Any]) -> str:
    return hashlib.sha256(json.dumps([_plain(side) for side in task]).encode()).hexdigest()


def _plain(side: Mapping[str, Any]) -> Any:
    serialised = {
        scene: {time: [box.serialize() for box in boxes] for time, boxes in times.items()}
        for scene, times in side.items()
    }
    return json.loads(json.dumps(serialised, default=str))


def _evaluate(task: tuple[Any, Any]) -> dict[str, Any]:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.tracking.evaluate import TrackingEval

    evaluation = TrackingEval.__new__(TrackingEval)  # its constructor would read the database
    evaluation.cfg, evaluation.verbose = config_factory("tracking_nips_2019"), False
    evaluation.output_dir, evaluation.render_classes = "", []
    evaluation.tracks_gt, evaluation.tracks_pred = task
    with contextlib.redirect_stdout(io.StringIO()):
        metrics, curves = evaluation.evaluate()
    return {**_figures(metrics), "curves": _curves(curves)}


def _curves(metrics: Any) -> dict[str, dict[str, list[float | None]]]:
    """Class -> the devkit's figures at each threshold of the score that was reached, the lowest first."""
    curves = {}
    for name, curve in metrics.md.items():
        rows = np.flatnonzero(np.nan_to_num(curve.confidence) > 0)
        columns = {"score": curve.confidence, "recall": curve.recall, "mota": curve.mota, "motp": curve.motp}
        if len(rows):
            curves[name] = {key: [_number(float(values[row])) for row in rows] for key, values in columns.items()}
    return curves


def _origins(truth: Boxes) -> dict[str, np.ndarray]:
    """The position of the ego vehicle, m in the world, at each sample whose ground truth has `ego_translation`."""
    origins = {}
    for token, boxes in truth.items():
        for box in boxes[:1]:
            if "ego_translation" in box:
                origins[token] = np.asarray(box["translation"]) - np.asarray(box["ego_translation"])
    return origins


def _tracks(
    boxes: Boxes,
    samples: Mapping[str, Mapping[str, Any]],
    origins: Mapping[str, np.ndarray],
    ranges: Mapping[str, float],
    is_truth: bool,
) -> dict[str, Any]:
    """Scene -> timestamp -> the devkit's boxes; its interpolation fills gaps, scores are averaged per track."""
    from nuscenes.eval.tracking.loaders import interpolate_tracks

    tracks: dict[str, Any] = {}
    for token in sorted(samples, key=lambda name: samples[name]["timestamp"]):
        sample = samples[token]
        scene = tracks.setdefault(sample["scene"], defaultdict(list))
        scene[sample["timestamp"]] = [
            box
            for entry in boxes[token]
            if (box := _box(entry, origins.get(token))).ego_dist < ranges[box.tracking_name] and box.num_pts != 0
        ]
    for name, scene in tracks.items():
        if not is_truth:
            _average_scores(scene)
        filled = interpolate_tracks(scene)
        tracks[name] = defaultdict(list, sorted(filled.items()))
    return tracks


def _box(entry: Mapping[str, Any], origin: np.ndarray | None) -> Any:
    from nuscenes.eval.tracking.data_classes import TrackingBox

    score = entry.get("tracking_score")
    box = TrackingBox.deserialize({**entry, "tracking_score": -1.0 if score is None else float(score)})
    if origin is not None:
        box.ego_translation = tuple(np.asarray(box.translation) - origin)
    return box


def _average_scores(scene: Mapping[int, list[Any]]) -> None:
    scores = defaultdict(list)
    for boxes in scene.values():
        for box in boxes:
            scores[box.tracking_id].append(box.tracking_score)
    for boxes in scene.values():
        for box in boxes:
            box.tracking_score = float(np.mean(scores[box.tracking_id]))


def _figures(metrics: Any) -> dict[str, Any]:
    """All classes together and each by itself; NaN (a class without objects) becomes None."""
    content = metrics.serialize()
    per_class: dict[str, dict[str, float | None]] = defaultdict(dict)
    for figure, values in content["label_metrics"].items():
        for name, value in values.items():
            per_class[name][figure] = _number(value)
    combined = {figure: _number(metrics.compute_metric(figure, "all")) for figure in content["label_metrics"]}
    return {"combined": combined, "classes": dict(sorted(per_class.items()))}


def _number(value: float) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
