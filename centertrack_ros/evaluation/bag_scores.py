# SPDX-License-Identifier: Apache-2.0
"""Results in bags: matched with a bag of ground truth, or evaluated by consistency metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from centertrack_ros.datasets.bag_tracks import aligned, read_tracks
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.consistency import bag_figures, track_figures
from centertrack_ros.evaluation.matching import Matches
from centertrack_ros.evaluation.tables import FORMAT
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, present_classes
from centertrack_ros.io.errors import DataError
from centertrack_ros.network.same_names import spelling


def match_bags(results: Path, truth: Path, results_prefix: str = "", truth_prefix: str = "") -> Matches:
    """Matches the cameras of two bags by name (or as the only ones), and their frames by equal stamps.

    Args:
        results: Bag of the results.
        truth: Bag of the ground truth.
        results_prefix: Only topics of `results` that begin with it.
        truth_prefix: Only topics of `truth` that begin with it.

    Raises:
        DataError: No camera or no frame matches.
    """
    truths, predictions = read_tracks(truth, truth_prefix), read_tracks(results, results_prefix)
    if len(truths) == len(predictions) == 1:
        cameras = [(next(iter(truths.values())), next(iter(predictions.values())))]
    else:
        cameras = [(truths[name], predictions[name]) for name in truths if name in predictions]
    if not cameras:
        raise DataError(results, f"cameras {_listed(predictions)}, but the ground truth has {_listed(truths)}")
    pairs, notes = [], []
    for one, other in cameras:
        matched, unknown = aligned(one, other)
        if unknown:
            notes.append(f"{one.name}: {unknown} frames of the results have no stamp of the ground truth, left out")
        if not matched.frames:
            raise DataError(results, f"{one.name}: no result has the stamp of a frame of the ground truth")
        pair = SequencePair(one, _with_class_names(matched, one.classes))
        if one.classes and (unknown_classes := sorted(present_classes(pair.results) - set(one.classes))):
            have, lack = ", ".join(one.classes), ", ".join(unknown_classes)
            notes.append(f"{one.name}: the ground truth has {have}, not {lack}: these results are left out")
        pairs.append(pair)
    missing = sorted(set(truths) - set(predictions)) if len(cameras) > 1 else []
    notes += [f"{name or 'all'}: no results of this camera, left out" for name in missing]
    return Matches(tuple(pairs), tuple(notes))


def _with_class_names(results: VideoSequence, names: tuple[str, ...]) -> VideoSequence:
    """The results with the ground truth's spelling of their classes: COCO's person is a pedestrian, KITTI writes Car.

    A class that the ground truth does not have keeps its name. If both sides have one class, they are the same.
    """
    if len(names) == len(results.classes) == 1:
        return replace(results, classes=names)
    spellings = {spelling(name): name for name in names}
    return replace(results, classes=tuple(spellings.get(spelling(name), name) for name in results.classes))


def _listed(names: dict[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def consistency_document(results: Path, prefix: str = "") -> dict[str, Any]:
    """The document of a bag without ground truth: tracks per camera, latency and drops per topic."""
    cameras = {recording.name: track_figures(recording) for recording in read_tracks(results, prefix).values()}
    return {"format": FORMAT, "benchmark": "bag without truth", "notes": [], "cameras": cameras, **bag_figures(results)}
