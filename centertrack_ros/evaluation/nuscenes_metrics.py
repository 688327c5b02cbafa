"""AMOTA, AMOTP and the other figures of the nuScenes tracking benchmark, computed by nuscenes-devkit's own classes.

With a database the devkit does everything. Without one, its algorithm classes are fed with the boxes of a truth file;
the filters that need only the boxes (range of each class, objects without a LiDAR or radar point) are applied, the one
for bicycle racks, which needs the database, is not.
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
from centertrack_ros.evaluation.parallel import Place, run_all
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json

Boxes = Mapping[str, list[dict[str, Any]]]
SPLITS = ("mini_val", "mini_train", "val", "train", "test")


def score_database(
    results: Path, dataroot: Path, version: str, split: str, place: Place | None = None
) -> dict[str, Any]:
    """The benchmark's figures for a submission against the database. Raises DataError, ImportError.

    With a `place`, each scene is judged by itself as well, there (`scenes`: name -> the same figures).
    """
    data.devkit()
    submitted = data.read_results(results)
    if not (dataroot / version).is_dir():
        raise DataError(dataroot, f"no nuScenes database {version}: expected the folder {version} with its tables")
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.tracking.evaluate import TrackingEval

    chatter = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(chatter):
        try:
            judge = TrackingEval(
                config=config_factory("tracking_nips_2019"),
                result_path=str(results),
                eval_set=split,
                output_dir=folder,
                nusc_version=version,
                nusc_dataroot=str(dataroot),
                verbose=False,
            )
        except AssertionError as error:
            raise DataError(results, f"the devkit refuses {len(submitted)} samples for {split}: {error}") from None
    return _judge_scenes(judge.tracks_gt, judge.tracks_pred, place)


def score_files(results: Path, truth: Path, place: Place | None = None) -> dict[str, Any]:
    """The benchmark's figures for a result file against a truth file of the same form, or a `sample_info.json`.

    A truth file may have `samples`: token -> {scene, timestamp}; without it, its samples are one scene in the order of
    the file. `place` as in `score_database`.
    Raises DataError when the samples of the two files differ, ImportError without the devkit.
    """
    document = load_json(truth)
    is_info = isinstance(document, dict) and "data_list" in document
    said = data.sample_info_truth(truth) if is_info else document
    true_boxes = said["results"] if is_info else data.read_results(truth)
    found = data.read_results(results)
    if missing := sorted(set(true_boxes) - set(found)):
        raise DataError(results, f"no entry for sample {missing[0]} of the truth (an empty list says: nothing found)")
    if unknown := sorted(set(found) - set(true_boxes)):
        raise DataError(results, f"sample {unknown[0]} is not in the truth")
    samples = said.get("samples") or {token: {"scene": "scene", "timestamp": i} for i, token in enumerate(true_boxes)}
    return score_boxes(found, true_boxes, samples, place)


def score_boxes(
    results: Boxes, truth: Boxes, samples: Mapping[str, Mapping[str, Any]], place: Place | None = None
) -> dict[str, Any]:
    """The benchmark's figures for boxes by sample; `samples` gives each sample's scene and timestamp."""
    data.devkit()
    from nuscenes.eval.common.config import config_factory

    ranges = config_factory("tracking_nips_2019").class_range
    origins = _origins(truth)
    true_tracks = _tracks(truth, samples, origins, ranges, is_truth=True)
    return _judge_scenes(true_tracks, _tracks(results, samples, origins, ranges, is_truth=False), place)


def _judge_scenes(truth: Mapping[str, Any], results: Mapping[str, Any], place: Place | None) -> dict[str, Any]:
    """All scenes together, and each alone when there is a place for that. Ray and `finished` take part in both."""
    jobs = {"all scenes": (dict(truth), dict(results))}
    if place is not None:
        jobs |= {f"scene {name}": ({name: truth[name]}, {name: results[name]}) for name in sorted(truth)}
    judged = dict(run_all(place or Place(), jobs, _judge, _digest))
    scenes = {name.removeprefix("scene "): figures for name, figures in judged.items() if name != "all scenes"}
    for figures in scenes.values():
        del figures["curves"]
    return judged["all scenes"] | ({"scenes": scenes} if place is not None else {})


def _digest(job: tuple[Any, Any]) -> str:
    return hashlib.sha256(json.dumps([_plain(side) for side in job]).encode()).hexdigest()


def _plain(side: Mapping[str, Any]) -> Any:
    boxes = {
        scene: {time: [box.serialize() for box in found] for time, found in times.items()}
        for scene, times in side.items()
    }
    return json.loads(json.dumps(boxes, default=str))


def _judge(job: tuple[Any, Any]) -> dict[str, Any]:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.tracking.evaluate import TrackingEval

    judge = TrackingEval.__new__(TrackingEval)  # its constructor would read the database
    judge.cfg, judge.verbose = config_factory("tracking_nips_2019"), False
    judge.output_dir, judge.render_classes = "", []
    judge.tracks_gt, judge.tracks_pred = job
    with contextlib.redirect_stdout(io.StringIO()):
        metrics, curves = judge.evaluate()
    return {**_figures(metrics), "curves": _curves(curves)}


def _curves(metrics: Any) -> dict[str, dict[str, list[float | None]]]:
    """Class -> what the devkit found at each of its thresholds of the score that were reached, the lowest first."""
    found = {}
    for name, curve in metrics.md.items():
        rows = np.flatnonzero(np.nan_to_num(curve.confidence) > 0)
        columns = {"score": curve.confidence, "recall": curve.recall, "mota": curve.mota, "motp": curve.motp}
        if len(rows):
            found[name] = {key: [_number(float(values[row])) for row in rows] for key, values in columns.items()}
    return found


def _origins(truth: Boxes) -> dict[str, np.ndarray]:
    """Where the ego vehicle is at each sample whose truth says how far its objects are from it."""
    found = {}
    for token, boxes in truth.items():
        for box in boxes[:1]:
            if "ego_translation" in box:
                found[token] = np.asarray(box["translation"]) - np.asarray(box["ego_translation"])
    return found


def _tracks(
    boxes: Boxes,
    samples: Mapping[str, Mapping[str, Any]],
    origins: Mapping[str, np.ndarray],
    ranges: Mapping[str, float],
    is_truth: bool,
) -> dict[str, Any]:
    """The devkit's tracks: scene -> timestamp -> boxes; its interpolation fills gaps, scores are averaged per track."""
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

    box = TrackingBox.deserialize({**entry, "tracking_score": float(entry.get("tracking_score", -1.0))})
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
