# SPDX-License-Identifier: Apache-2.0
"""HOTA, CLEAR and Identity scores, computed by TrackEval's own dataset and metric classes.

Nothing is computed here: the sequences are written as TrackEval expects them into a temporary folder, its dataset class
of the benchmark reads and filters them (distractors, truncated and occluded objects, ignore regions), and its metric
classes score them and add them up.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets import kitti, mot
from centertrack_ros.datasets.records import NO_IDENTITY, AnnotatedFrame, VideoSequence
from centertrack_ros.io.json_files import JsonValue

MAX_FRAMES = 1_000_000  # TrackEval needs some kB for each
BENCHMARKS = ("MOT15", "MOT16", "MOT17", "MOT20")

# TrackEval's fields of one metric of one sequence: fractions, counts, lists of either over thresholds.
Raw = dict[str, Any]


@dataclass(frozen=True)
class TrackScores:
    """TrackEval's scores.

    Attributes:
        sequences: Sequence -> class -> metric -> field -> value.
        combined: Class -> metric -> field -> value over all sequences.
    """

    sequences: Mapping[str, Mapping[str, Mapping[str, Raw]]]
    combined: Mapping[str, Mapping[str, Raw]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the evaluated classes."""
        return tuple(self.combined)


@dataclass(frozen=True)
class SequencePair:
    """The ground truth of a recording and a tracker's results; frames are matched by index."""

    truth: VideoSequence
    results: VideoSequence


def trackeval_module() -> Any:
    """The library.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import trackeval
        import trackeval.eval
    except ImportError as error:
        raise ImportError(
            "scores need TrackEval, installed without the OpenCV that it would put in the place of the headless one: "
            f"pip install --no-deps trackeval==1.3.0, and pip install pycocotools tabulate ({error})"
        ) from None
    return trackeval


_LARGEST = 2.0**53  # whole numbers beyond it are no counts


@lru_cache(maxsize=1)
def metric_classes() -> dict[str, Any]:
    """Name -> instance of each TrackEval metric that is reported."""
    metrics = trackeval_module().metrics
    quiet = {"PRINT_CONFIG": False}
    return {
        "HOTA": metrics.HOTA(),
        "CLEAR": metrics.CLEAR(dict(quiet)),
        "Identity": metrics.Identity(dict(quiet)),
        "Count": metrics.Count(),
    }


def score_mot(pairs: Iterable[SequencePair], benchmark: str | None = None) -> TrackScores:
    """Scores by MOTChallenge's rules.

    Every object of the results counts as a pedestrian, as in the benchmark.

    Args:
        pairs: The recordings.
        benchmark: One of `BENCHMARKS`; None: by `mot_benchmark`.

    Raises:
        ValueError: The benchmark is unknown, or there is nothing to evaluate.
    """
    pairs = check_pairs(pairs)
    if benchmark is None:
        benchmark = mot_benchmark([pair.truth for pair in pairs])
    if benchmark not in BENCHMARKS:
        raise ValueError(f"benchmark must be one of {', '.join(BENCHMARKS)}, got '{benchmark}'")
    trackeval = trackeval_module()
    with tempfile.TemporaryDirectory() as folder:
        lengths = {}
        for pair in map(_with_dense_ids, map(_renumbered, pairs)):
            name = pair.truth.name
            lengths[name] = pair.truth.length
            _write(Path(folder, "truth", name, "gt", "gt.txt"), mot.truth_text(pair.truth))
            results = tuple(_as_pedestrians(frame) for frame in pair.results)
            _write(
                Path(folder, "trackers", "it", "data", f"{name}.txt"),
                mot.results_text(replace(pair.results, frames=results), with_classes=False),
            )
        config = {
            "GT_FOLDER": f"{folder}/truth",
            "TRACKERS_FOLDER": f"{folder}/trackers",
            "TRACKERS_TO_EVAL": ["it"],
            "BENCHMARK": benchmark,
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": lengths,
            "PRINT_CONFIG": False,
        }
        return _run(trackeval, trackeval.datasets.MotChallenge2DBox, config)


def mot_benchmark(truths: Iterable[VideoSequence]) -> str:
    """The rules that fit: by name (MOT16-..., MOT20-...), else MOT17's if the ground truth has classes, else MOT15's.

    MOT15's rules filter nothing.
    """
    truths = list(truths)
    if all(truth.classes != mot.CLASSES for truth in truths):
        return "MOT15"
    prefixes = {truth.name[:5] for truth in truths} & {"MOT16", "MOT20"}
    return prefixes.pop() if len(prefixes) == 1 else "MOT17"


def score_kitti(pairs: Iterable[SequencePair], classes: tuple[str, ...] = ("car", "pedestrian")) -> TrackScores:
    """Scores by KITTI tracking's rules.

    Raises:
        ValueError: KITTI does not evaluate a class, or there is nothing to evaluate.
    """
    pairs = check_pairs(pairs)
    if unknown := sorted(set(classes) - {"car", "pedestrian"}):
        raise ValueError(f"KITTI evaluates 'car' and 'pedestrian', got '{unknown[0]}'")
    trackeval = trackeval_module()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for pair in map(_with_dense_ids, pairs):
            name = pair.truth.name
            rows.append(f"{name} empty 000000 {pair.truth.length:06d}\n")
            _write(Path(folder, "truth", "label_02", f"{name}.txt"), kitti.labels_text(pair.truth))
            _write(Path(folder, "trackers", "it", "data", f"{name}.txt"), kitti.labels_text(pair.results, scores=True))
        _write(Path(folder, "truth", "evaluate_tracking.seqmap.training"), "".join(rows))
        config = {
            "GT_FOLDER": f"{folder}/truth",
            "TRACKERS_FOLDER": f"{folder}/trackers",
            "TRACKERS_TO_EVAL": ["it"],
            "CLASSES_TO_EVAL": list(classes),
            "SPLIT_TO_EVAL": "training",
            "PRINT_CONFIG": False,
        }
        return _run(trackeval, trackeval.datasets.Kitti2DBox, config)


def score_boxes(pairs: Iterable[SequencePair], names: tuple[str, ...] = ()) -> TrackScores:
    """Scores by IoU, without any benchmark's filters.

    Objects whose flag 'considered' is false are ignored, as in MOTChallenge.

    Args:
        pairs: The recordings.
        names: The classes; empty: all that the ground truth has objects of.
    """
    pairs = check_pairs(pairs)
    names = names or tuple(sorted({name for pair in pairs for name in present_classes(pair.truth)}))
    per_class = {}
    for name in names:
        chosen = [SequencePair(_only(pair.truth, name), _only(pair.results, name)) for pair in pairs]
        per_class[name] = score_mot(chosen, "MOT15")
    sequences = {
        pair.truth.name: {name: per_class[name].sequences[pair.truth.name]["pedestrian"] for name in names}
        for pair in pairs
    }
    return TrackScores(sequences, {name: per_class[name].combined["pedestrian"] for name in names})


def combine(sequences: Mapping[str, Mapping[str, Mapping[str, Raw]]]) -> dict[str, dict[str, Raw]]:
    """Class -> metric -> field -> value over all sequences, each metric added up by its own rule."""
    classes = next(iter(sequences.values())).keys()
    return {
        name: {
            title: _plain(
                metric.combine_sequences({key: _arrays(value[name][title]) for key, value in sequences.items()})
            )
            for title, metric in metric_classes().items()
        }
        for name in classes
    }


def check_raw(classes: JsonValue) -> None:
    """Checks the raw fields of one sequence in a document: class -> metric -> field -> value, as `combine` reads them.

    Raises:
        DataError: A field is missing or is something else; the text names its place.
    """
    for _, fields_of in classes.entries():
        for title, metric in metric_classes().items():
            for field in metric.fields:
                value = fields_of[title][field]
                if field in (*metric.integer_array_fields, *metric.float_array_fields):
                    value.numbers(len(metric.array_labels))
                elif abs(value.number()) > _LARGEST:
                    raise value.expected("a number of objects or frames")


def summary(raw: Mapping[str, Raw]) -> dict[str, float | int]:
    """The figures of TrackEval's summary of one class: percent in full precision, counts as integers."""
    figures: dict[str, float | int] = {}
    for title, metric in metric_classes().items():
        for field in metric.summary_fields:
            value = raw[title][field]
            whole = field in metric.integer_fields
            figures[field] = int(value) if whole else 100.0 * float(np.mean(value))
    return figures


def _run(trackeval: Any, dataset_class: Any, config: dict[str, Any]) -> TrackScores:
    """Scores every sequence of the dataset, as `trackeval.Evaluator` does, without its printing and files."""
    output = io.StringIO()
    metrics = metric_classes()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            dataset = dataset_class(config)
            sequences = {
                name: trackeval.eval.eval_sequence(
                    name, dataset, "it", dataset.class_list, list(metrics.values()), list(metrics)
                )
                for name in dataset.seq_list
            }
    except trackeval.utils.TrackEvalException as error:
        raise ValueError(f"TrackEval: {error}") from None
    plain = {
        name: {kind: {title: _plain(raw) for title, raw in titles.items()} for kind, titles in kinds.items()}
        for name, kinds in sequences.items()
    }
    return TrackScores(plain, combine(plain))


def _plain(raw: Raw) -> Raw:
    return {field: np.asarray(value).tolist() for field, value in raw.items()}


def _arrays(raw: Raw) -> Raw:
    return {field: np.array(value) if isinstance(value, list) else value for field, value in raw.items()}


def check_pairs(pairs: Iterable[SequencePair]) -> list[SequencePair]:
    """The pairs as a list.

    Raises:
        ValueError: There are none, results lie outside of the ground truth's frames, a recording is longer than can be
            computed, or an object has no identity.
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("no sequence to evaluate")
    for pair in pairs:
        _check_pair(pair)
    return pairs


def check_evaluation(pairs: Iterable[SequencePair]) -> None:
    """Checks all the recordings of an evaluation together.

    Raises:
        ValueError: Two have the same name, there is no ground truth in any, or no result has an area.
    """
    pairs = list(pairs)
    names = [pair.truth.name for pair in pairs]
    where = ", ".join([*names[:8], *(["…"] if len(names) > 8 else [])])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two sequences are called '{twice[0]}', so their scores cannot be told apart")
    if not any(len(frame.tracks) for pair in pairs for frame in pair.truth):
        raise ValueError(f"{where}: no object in the ground truth, so there is nothing to evaluate")
    boxes = [frame.tracks.detections.boxes for pair in pairs for frame in pair.results if len(frame.tracks)]
    if boxes and not (np.concatenate(boxes)[:, 2:] > np.concatenate(boxes)[:, :2]).all(axis=1).any():
        raise ValueError(f"{where}: no box of the results has an area; expected x1 < x2 and y1 < y2")


def _check_pair(pair: SequencePair) -> None:
    truth = pair.truth
    last = truth.first + truth.length - 1
    outside = [frame.index for frame in pair.results if not truth.first <= frame.index <= last]
    if outside:
        raise ValueError(
            f"{truth.name}: the results have frame {outside[0]}, the ground truth has {truth.first} to {last}"
        )
    if truth.length > MAX_FRAMES:
        raise ValueError(f"{truth.name}: {truth.length} frames, at most {MAX_FRAMES}: are these numbers of frames?")
    for sequence, whose in ((truth, "the ground truth"), (pair.results, "the results")):
        unknown = sum(int((frame.tracks.ids == NO_IDENTITY).sum()) for frame in sequence)
        if unknown:
            count = sum(len(frame.tracks) for frame in sequence)
            raise ValueError(
                f"{truth.name}: {unknown} of {count} objects of {whose} have no id (or -1); HOTA and IDF1 compare ids"
            )


def _with_dense_ids(pair: SequencePair) -> SequencePair:
    """The pair with the ids 1, 2, … in the order of their own: TrackEval makes tables as large as the largest id."""

    def renamed(sequence: VideoSequence) -> VideoSequence:
        ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(frame.tracks.ids for frame in sequence)]))
        frames = tuple(
            replace(frame, tracks=replace(frame.tracks, ids=np.searchsorted(ids, frame.tracks.ids) + 1))
            for frame in sequence
        )
        return replace(sequence, frames=frames)

    return SequencePair(renamed(pair.truth), renamed(pair.results))


def _renumbered(pair: SequencePair) -> SequencePair:
    """The pair with frames counted from 1."""
    shift = 1 - pair.truth.first

    def shifted(sequence: VideoSequence) -> VideoSequence:
        return replace(sequence, frames=tuple(replace(frame, index=frame.index + shift) for frame in sequence), first=1)

    return SequencePair(shifted(pair.truth), shifted(pair.results))


def _as_pedestrians(frame: AnnotatedFrame) -> AnnotatedFrame:
    detections = replace(frame.tracks.detections, class_ids=np.zeros(len(frame.tracks), np.int64))
    return replace(frame, tracks=replace(frame.tracks, detections=detections))


def present_classes(truth: VideoSequence) -> set[str]:
    """Names of the classes of which the sequence has objects."""
    return {truth.classes[kind] for frame in truth for kind in np.unique(frame.tracks.detections.class_ids).tolist()}


def _only(sequence: VideoSequence, name: str) -> VideoSequence:
    """The objects of one class, as pedestrians."""
    kind = sequence.classes.index(name) if name in sequence.classes else -1
    frames = tuple(_as_pedestrians(frame.select(frame.tracks.detections.class_ids == kind)) for frame in sequence)
    return replace(sequence, classes=("pedestrian",), frames=frames)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
