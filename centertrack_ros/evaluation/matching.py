# SPDX-License-Identifier: Apache-2.0
"""Matches result files with ground-truth files, and selects the frames to evaluate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from centertrack_ros.datasets import kitti, mot
from centertrack_ros.datasets.image_names import files_in
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.sequence_info import SequenceInfo

_RESULT_NAMES = ("tracks.txt", "results.txt", "test.txt")


@dataclass(frozen=True)
class Matches:
    """Recordings with ground truth and results, and notes on what was left out."""

    pairs: tuple[SequencePair, ...]
    notes: tuple[str, ...] = ()


def match_mot(
    results: Path, truth: Path, sequences: tuple[str, ...] = (), frames: tuple[int, int] | None = None
) -> Matches:
    """Matches files in MOTChallenge's form: a file each, or folders of several sequences.

    Without `frames`, and without a seqinfo.ini that states the recording's length, results after the last frame of the
    ground truth are left out, with a note.

    Args:
        results: A file, or a folder of NAME.txt, data/NAME.txt or NAME/tracks.txt.
        truth: A file, or a folder of NAME/gt/gt.txt, NAME/gt.txt or NAME.txt.
        sequences: Only these; empty: all.
        frames: First and last frame to evaluate; None: all.

    Raises:
        DataError: A file is missing or malformed.
    """
    pairs, notes = [], []
    files = mot_truth_files(truth)
    if not sequences:
        notes += [f"{name}: no ground truth, left out" for name in _unmatched(results, files)]
    for name, file in _chosen(files, sequences, truth).items():
        sequence = mot.read_truth(file, name)
        predictions = mot.read_results(mot_result_file(results, name), name, first=sequence.first)
        predictions, left_out = _pedestrians(predictions)
        notes += [f"{name}: {left_out}"] if left_out else []
        length = _stated_length(file)
        if frames is not None:
            sequence, predictions = sequence.between(*frames), predictions.between(*frames)
        elif length is not None:
            sequence = replace(sequence, length=max(length, sequence.length))
        else:
            last = sequence.first + sequence.length - 1
            if later := sum(frame.index > last for frame in predictions):
                notes.append(
                    f"{name}: the ground truth covers frames {sequence.first} to {last}; "
                    f"{later} later frames of the results are left out"
                )
            predictions = predictions.between(sequence.first, last)
        if sequence.first == 0 and predictions.frames and predictions.frames[0].index:
            notes.append(f"{name}: the ground truth begins at frame 0, the results later: are both numbered alike?")
        pairs.append(SequencePair(sequence, predictions))
    return Matches(tuple(pairs), (*notes, *_strangers(pairs)))


def _pedestrians(results: VideoSequence) -> tuple[VideoSequence, str]:
    """The pedestrians of results that have them among other classes, and a clause on what is left out."""
    if "pedestrian" not in results.classes or len(results.classes) == 1:
        return results, ""
    kind = results.classes.index("pedestrian")
    counts = mot.class_counts(results)
    others = ", ".join(f"{count} of {results.classes[other]}" for other, count in counts.items() if other != kind)
    frames = tuple(frame.select(frame.tracks.detections.class_ids == kind) for frame in results)
    return replace(results, frames=frames), f"pedestrians are evaluated, other boxes are left out: {others}"


def _unmatched(results: Path, files: dict[str, Path]) -> list[str]:
    """Names of the result files in a folder that belong to no sequence of the ground truth."""
    if not results.is_dir():
        return []
    found = {path.stem for folder in (results, results / "data") for path in files_in(folder, [".txt"])}
    return sorted(found - set(files) - {Path(name).stem for name in _RESULT_NAMES})


def _strangers(pairs: list[SequencePair]) -> list[str]:
    """Notes on the sequences without results, or whose results and ground truth have no frame in common."""
    notes = []
    for pair in pairs:
        true, found = ([frame.index for frame in side if len(frame.tracks)] for side in (pair.truth, pair.results))
        if not found:
            notes.append(f"{pair.truth.name}: the results have no object")
        elif true and not set(true) & set(found):
            notes.append(
                f"{pair.truth.name}: no frame has both truth (from {true[0]}) and results (from {found[0]}): "
                "are both numbered alike?"
            )
    return notes


def _stated_length(truth: Path) -> int | None:
    """The number of frames that the recording's seqinfo.ini states; None when nothing does."""
    for folder in (truth.parent, truth.parent.parent):
        if length := SequenceInfo(folder).number("seqLength"):
            return int(length)
    return None


def mot_truth_files(truth: Path) -> dict[str, Path]:
    """Sequence name -> ground-truth file.

    Raises:
        DataError: There is none.
    """
    if truth.is_file():
        return {mot.sequence_name(truth): truth}
    if not truth.is_dir():
        raise DataError(truth, "no such file or folder with ground truth")
    if (truth / "gt" / "gt.txt").is_file():
        return {truth.resolve().name: truth / "gt" / "gt.txt"}
    folders = sorted(path for path in truth.iterdir() if path.is_dir() and not path.name.startswith("."))
    candidates = [(folder.name, folder / file) for folder in folders for file in ("gt/gt.txt", "gt.txt")]
    files = {name: path for name, path in candidates if path.is_file()}
    files = files or {path.stem: path for path in files_in(truth, [".txt"])}
    if not files:
        raise DataError(truth, "no ground truth: expected NAME/gt/gt.txt, NAME/gt.txt or NAME.txt")
    return files


def mot_result_file(results: Path, name: str) -> Path:
    """The result file of sequence `name`.

    Raises:
        DataError: There is none; the text states the names that were tried.
    """
    if results.is_file():
        return results
    if not results.is_dir():
        raise DataError(results, "no such file or folder with results")
    candidates = [results / f"{name}.txt", results / "data" / f"{name}.txt"]
    candidates += [results / name / file for file in _RESULT_NAMES] + [results / file for file in _RESULT_NAMES]
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        results, f"no results of sequence {name}: expected {name}.txt, data/{name}.txt or {name}/tracks.txt"
    )


def match_kitti(
    results: Path, labels: Path, sequences: tuple[str, ...] = (), lengths: dict[str, int] | None = None
) -> Matches:
    """Matches result files NAME.txt (or data/NAME.txt) with label files NAME.txt (or label_02/NAME.txt).

    Sequences with results but without labels are left out, with a note, unless they are in `sequences`.

    Args:
        results: Folder of the results.
        labels: Folder of the labels.
        sequences: Only these; empty: all.
        lengths: Frames of each sequence; None: from the sequence map beside the labels, else from the two files.

    Raises:
        DataError: A file is missing or malformed.
    """
    labels = labels / "label_02" if (labels / "label_02").is_dir() else labels
    results = results / "data" if (results / "data").is_dir() else results
    for folder, what in ((labels, "label"), (results, "result")):
        if not folder.is_dir():
            raise DataError(folder, f"no such folder with {what} files")
    lengths = kitti.find_seqmap(labels) if lengths is None else lengths
    files = {path.stem: path for path in files_in(labels, [".txt"])}
    result_files = {path.stem: path for path in files_in(results, [".txt"])}
    if not files:
        raise DataError(labels, "no label files NAME.txt")
    pairs = []
    for name, file in _chosen(files, sequences, labels).items():
        if name not in result_files:
            raise DataError(results, f"no results of sequence {name}: expected {name}.txt")
        pairs.append(_kitti_pair(file, result_files[name], name, lengths.get(name)))
    missing = sorted(set(result_files) - set(files)) if not sequences else []
    notes = [f"{name}: no label file, left out" for name in missing]
    return Matches(tuple(pairs), (*notes, *_strangers(pairs)))


def _kitti_pair(labels: Path, results: Path, name: str, length: int | None) -> SequencePair:
    truth, predictions = kitti.read_labels(labels, name, length), kitti.read_labels(results, name, length)
    longest = max(truth.length, predictions.length)
    return SequencePair(replace(truth, length=longest), replace(predictions, length=longest))


def _chosen(files: dict[str, Path], sequences: tuple[str, ...], folder: Path) -> dict[str, Path]:
    if not sequences:
        return files
    for name in sequences:
        if name not in files:
            raise DataError(folder, f"no ground truth of sequence {name}; there is {', '.join(sorted(files))}")
    return {name: files[name] for name in sequences}
