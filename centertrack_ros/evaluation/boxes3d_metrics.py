# SPDX-License-Identifier: Apache-2.0
"""HOTA, CLEAR and Identity of 3D boxes by their rotated IoU, and the averages over recall of AB3DMOT.

TrackEval's metric classes score the similarities that are computed here. Objects are left out as KITTI's rules say:
results on vans count neither for nor against cars, and so on. sAMOTA, AMOTA and AMOTP are those of Weng et al., "3D
Multi-Object Tracking: A Baseline and New Evaluation Metrics" (arXiv 1907.03961), at 40 values of recall.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from centertrack_ros.datasets.records import AnnotatedFrame
from centertrack_ros.evaluation.box3d_errors import has_box
from centertrack_ros.evaluation.trackeval_metrics import Raw, SequencePair, check_pairs, trackeval_module
from centertrack_ros.geometry.boxes2d import areas, intersections
from centertrack_ros.geometry.overlap3d import intersections_over_union
from centertrack_ros.types import Detections

RECALLS = 40
# KITTI's rules: objects that are hidden or cut by more are not evaluated, nor are results in regions to ignore.
NEIGHBOURS = {"car": ("van",), "pedestrian": ("person_sitting", "person")}
_MAX_OCCLUSION, _MAX_TRUNCATION, _IGNORED_PART = 2, 0, 0.5


@dataclass(frozen=True)
class _Frame:
    """What is compared in one frame: (N,) ids of the truth, (M,) ids and scores of the results, (N, M) IoU."""

    truth_ids: NDArray[np.int64]
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    similarity: NDArray[np.float64]

    def above(self, threshold: float) -> _Frame:
        """The frame without the results that score less."""
        keep = self.scores >= threshold
        return _Frame(self.truth_ids, self.ids[keep], self.scores[keep], self.similarity[:, keep])


def score_boxes3d(
    pairs: Iterable[SequencePair], classes: Sequence[str], min_iou: float = 0.25
) -> dict[str, dict[str, float | int]]:
    """Scores the 3D boxes of all recordings together.

    A track scores the mean of its boxes' scores when thresholds are swept, as in AB3DMOT.

    Args:
        pairs: The recordings.
        classes: The classes to score, without regard to case.
        min_iou: Rotated 3D IoU from which a box of the results is the object; AB3DMOT reports 0.25, 0.5 and 0.7.

    Returns:
        Class -> figure -> value: sAMOTA, AMOTA, AMOTP, HOTA, DetA, AssA, MOTA, MOTP, IDF1 in percent; FP, FN, IDSW, GT.

    Raises:
        ValueError: The IoU is not in (0, 1], or there is nothing to evaluate.
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f"the least IoU must be above 0 and at most 1, got {min_iou:g}")
    pairs = check_pairs(pairs)
    return {name: _class_figures([_frames(pair, name.lower(), min_iou) for pair in pairs], min_iou) for name in classes}


def _class_figures(recordings: list[list[_Frame]], min_iou: float) -> dict[str, float | int]:
    recordings = [_with_track_scores(frames) for frames in recordings]
    raw = _combined(recordings, min_iou)
    figures: dict[str, float | int] = {**_averages(recordings, min_iou)}
    figures |= {name: 100.0 * float(np.mean(raw["HOTA"][name])) for name in ("HOTA", "DetA", "AssA")}
    figures |= {name: 100.0 * float(raw["CLEAR"][name]) for name in ("MOTA", "MOTP")}
    figures["IDF1"] = 100.0 * float(raw["Identity"]["IDF1"])
    figures |= {"FP": int(raw["CLEAR"]["CLR_FP"]), "FN": int(raw["CLEAR"]["CLR_FN"])}
    return {**figures, "IDSW": int(raw["CLEAR"]["IDSW"]), "GT": _objects(recordings)}


def _objects(recordings: list[list[_Frame]]) -> int:
    return sum(len(frame.truth_ids) for frames in recordings for frame in frames)


def _averages(recordings: list[list[_Frame]], min_iou: float) -> dict[str, float]:
    """The means over recall; a recall that is not reached counts 0, as in AB3DMOT."""
    total = _objects(recordings)
    found = np.sort(np.concatenate([np.zeros(0), *(_found_scores(f, min_iou) for fs in recordings for f in fs)]))[::-1]
    scaled, plain, precision = [], [], []
    known: dict[float, Raw] = {}
    for step in range(1, RECALLS + 1):
        recall = step / RECALLS
        needed = math.ceil(recall * total - 1e-9)
        if not total or needed > len(found):
            continue
        threshold = float(found[needed - 1])
        if threshold not in known:
            chosen = [[frame.above(threshold) for frame in frames] for frames in recordings]
            known[threshold] = _combined(chosen, min_iou, ("CLEAR",))["CLEAR"]
        clear = known[threshold]
        errors = clear["CLR_FP"] + clear["CLR_FN"] + clear["IDSW"]
        plain.append(1.0 - errors / total)
        # Tracks come and go as a whole, so that the true recall may be higher than the one that is asked for.
        scaled.append(float(np.clip(1.0 - (errors - (1.0 - recall) * total) / (recall * total), 0.0, 1.0)))
        precision.append(float(clear["MOTP"]))
    sums = {"sAMOTA": scaled, "AMOTA": plain, "AMOTP": precision}
    return {name: 100.0 * float(np.sum(values)) / RECALLS for name, values in sums.items()}


def _found_scores(frame: _Frame, min_iou: float) -> NDArray[np.float64]:
    """Scores of the results that are objects of the truth."""
    return frame.scores[_assignment(frame.similarity, min_iou)[1]]


def _assignment(similarity: NDArray[np.float64], least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = linear_sum_assignment(-np.where(similarity >= least, similarity, 0.0))
    good = similarity[rows, columns] >= least
    return rows[good], columns[good]


def _combined(
    recordings: list[list[_Frame]], min_iou: float, wanted: Sequence[str] = ("HOTA", "CLEAR", "Identity")
) -> dict[str, Raw]:
    """Metric -> field -> value over all recordings."""
    metrics = trackeval_module().metrics
    known = {
        "HOTA": metrics.HOTA(),
        "CLEAR": metrics.CLEAR({"THRESHOLD": min_iou, "PRINT_CONFIG": False}),
        "Identity": metrics.Identity({"THRESHOLD": min_iou, "PRINT_CONFIG": False}),
    }
    chosen = {name: known[name] for name in wanted}
    data = [_trackeval_data(frames) for frames in recordings]
    return {
        name: metric.combine_sequences({str(n): metric.eval_sequence(one) for n, one in enumerate(data)})
        for name, metric in chosen.items()
    }


def _trackeval_data(frames: list[_Frame]) -> dict[str, Any]:
    """A recording as TrackEval's metrics read it: ids count from 0."""
    truth_ids, truth_count = _dense([frame.truth_ids for frame in frames])
    ids, count = _dense([frame.ids for frame in frames])
    return {
        "num_timesteps": len(frames),
        "gt_ids": truth_ids,
        "tracker_ids": ids,
        "similarity_scores": [frame.similarity for frame in frames],
        "num_gt_ids": truth_count,
        "num_tracker_ids": count,
        "num_gt_dets": sum(map(len, truth_ids)),
        "num_tracker_dets": sum(map(len, ids)),
    }


def _dense(ids: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *ids]))
    return [np.searchsorted(known, one) for one in ids], len(known)


def _with_track_scores(frames: list[_Frame]) -> list[_Frame]:
    """The frames with the mean score of its track for each box."""
    ids = np.concatenate([np.zeros(0, np.int64), *(frame.ids for frame in frames)])
    scores = np.concatenate([np.zeros(0), *(frame.scores for frame in frames)])
    known, rows = np.unique(ids, return_inverse=True)
    means = np.bincount(rows, scores, len(known)) / np.maximum(np.bincount(rows, minlength=len(known)), 1)
    return [_Frame(f.truth_ids, f.ids, means[np.searchsorted(known, f.ids)], f.similarity) for f in frames]


def _frames(pair: SequencePair, name: str, min_iou: float) -> list[_Frame]:
    """The frames of the truth with what counts of one class."""
    results = {frame.index: frame for frame in pair.results}
    return [_frame(pair, frame, results.get(frame.index), name, min_iou) for frame in pair.truth]


def _frame(
    pair: SequencePair, frame: AnnotatedFrame, result: AnnotatedFrame | None, name: str, min_iou: float
) -> _Frame:
    truth = _of_classes(frame, pair.truth.classes, (name, *NEIGHBOURS.get(name, ())))
    is_ignored = _is_ignored(truth, pair.truth.classes, name)
    if result is None:
        ids = truth.tracks.ids[~is_ignored]
        return _Frame(ids, np.zeros(0, np.int64), np.zeros(0), np.zeros((len(ids), 0)))
    found = _of_classes(result, pair.results.classes, (name,))
    one, other = truth.tracks.detections, found.tracks.detections
    similarity = _similarity(one, other)
    rows, columns = _assignment(similarity, min_iou)
    counts = ~_in_ignored_regions(other, frame.ignore)
    counts[columns] = ~is_ignored[rows]
    return _Frame(
        truth.tracks.ids[~is_ignored],
        found.tracks.ids[counts],
        np.asarray(other.scores[counts], np.float64),
        similarity[~is_ignored][:, counts],
    )


def _of_classes(frame: AnnotatedFrame, classes: tuple[str, ...], names: Sequence[str]) -> AnnotatedFrame:
    """The objects of some classes that have a 3D box."""
    wanted = [index for index, one in enumerate(classes) if one.lower() in names]
    detections = frame.tracks.detections
    return frame.select(np.isin(detections.class_ids, wanted) & has_box(detections))


def _is_ignored(frame: AnnotatedFrame, classes: tuple[str, ...], name: str) -> NDArray[np.bool_]:
    """(N,) objects that are neither to be found nor wrong to find."""
    kinds = np.array([one.lower() == name for one in classes], bool)
    ignored = ~kinds[frame.tracks.detections.class_ids]
    for flag, limit in (("occlusion", _MAX_OCCLUSION), ("truncation", _MAX_TRUNCATION)):
        if flag in frame.flags:
            ignored |= frame.flags[flag] > limit
    if "considered" in frame.flags:
        ignored |= ~frame.flags["considered"].astype(bool)
    return np.asarray(ignored, bool)


def _similarity(one: Detections, other: Detections) -> NDArray[np.float64]:
    """(N, M) rotated 3D IoU; a box of unknown heading faces along the optical axis."""
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    sides = []
    for side in (one, other):
        assert side.dimensions is not None and side.locations is not None
        angles = np.full(len(side), np.nan) if side.rotations_y is None else side.rotations_y
        sides.append((side.dimensions, side.locations, np.nan_to_num(angles, nan=-np.pi / 2)))
    dimensions, locations, rotations = zip(*sides, strict=True)
    return intersections_over_union(dimensions, locations, rotations)


def _in_ignored_regions(found: Detections, regions: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(M,) results of which more than half, in the image, lies in one of the regions."""
    if not len(regions) or not len(found):
        return np.zeros(len(found), bool)
    parts = intersections(found.boxes.astype(np.float64), regions) / np.maximum(areas(found.boxes), 1e-9)[:, None]
    return np.asarray((parts > _IGNORED_PART).any(axis=1))
