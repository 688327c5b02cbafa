"""Which result file belongs to which truth file, and the frames of both that are judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from centertrack_ros.datasets import kitti, mot
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.trackeval_metrics import Pair
from centertrack_ros.io.errors import DataError

_RESULT_NAMES = ("tracks.txt", "results.txt", "test.txt")


@dataclass(frozen=True)
class Pairs:
    """What is judged, and sentences on what is not."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


def mot_pairs(
    results: Path, truth: Path, sequences: tuple[str, ...] = (), frames: tuple[int, int] | None = None
) -> Pairs:
    """Result files and truth files of MOTChallenge's form: a file each, or folders of several sequences.

    truth folders: NAME/gt/gt.txt, NAME/gt.txt or NAME.txt; result folders: NAME.txt, data/NAME.txt, NAME/tracks.txt.
    `frames` (first, last) judges only these; without it, and without a seqinfo.ini that says how long the recording
    is, results after the truth's last frame are left out and a note says so. Raises DataError.
    """
    pairs, notes = [], []
    for name, file in _chosen(mot_truth_files(truth), sequences, truth).items():
        answer = mot.read_results(mot_result_file(results, name), name)
        said = mot.read_truth(file, name)
        length = _stated_length(file)
        if frames is not None:
            said, answer = said.between(*frames), answer.between(*frames)
        elif length is not None:
            said = replace(said, length=max(length, said.length))
        else:
            beyond = sum(frame.index > said.length for frame in answer)
            if beyond:
                notes.append(
                    f"{name}: truth covers frames 1 to {said.length}; "
                    f"{beyond} later frames of the results are not judged"
                )
            answer = answer.between(1, said.length)
        pairs.append(Pair(said, answer))
    return Pairs(tuple(pairs), tuple(notes))


def _stated_length(truth: Path) -> int | None:
    for folder in (truth.parent, truth.parent.parent):
        if info := mot.read_info(folder):
            return int(info["seqLength"]) if info.get("seqLength", "").isdigit() else None
    return None


def mot_truth_files(truth: Path) -> dict[str, Path]:
    """Sequence name -> truth file. Raises DataError when there is none."""
    if truth.is_file():
        return {mot.sequence_name(truth): truth}
    if not truth.is_dir():
        raise DataError(truth, "no such file or folder with truth")
    if (truth / "gt" / "gt.txt").is_file():
        return {truth.resolve().name: truth / "gt" / "gt.txt"}
    found = {path.parent.parent.name: path for path in sorted(truth.glob("*/gt/gt.txt"))}
    found |= {path.parent.name: path for path in sorted(truth.glob("*/gt.txt"))}
    found = found or {path.stem: path for path in sorted(truth.glob("*.txt"))}
    if not found:
        raise DataError(truth, "no truth: expected NAME/gt/gt.txt, NAME/gt.txt or NAME.txt")
    return found


def mot_result_file(results: Path, name: str) -> Path:
    """The result file of sequence `name`. Raises DataError naming what was looked for."""
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


def kitti_pairs(
    results: Path, labels: Path, sequences: tuple[str, ...] = (), lengths: dict[str, int] | None = None
) -> Pairs:
    """Result files NAME.txt (or data/NAME.txt) and label files NAME.txt (or label_02/NAME.txt).

    Recordings are as long as the sequence map beside the labels says (or `lengths`), else as the two files say.
    Sequences with results but without labels are left out and a note says so, unless `sequences` asks for them.
    Raises DataError.
    """
    labels = labels / "label_02" if (labels / "label_02").is_dir() else labels
    results = results / "data" if (results / "data").is_dir() else results
    for folder, what in ((labels, "label"), (results, "result")):
        if not folder.is_dir():
            raise DataError(folder, f"no such folder with {what} files")
    lengths = kitti.find_seqmap(labels) if lengths is None else lengths
    files = {path.stem: path for path in sorted(labels.glob("*.txt"))}
    answers = {path.stem: path for path in sorted(results.glob("*.txt"))}
    if not files:
        raise DataError(labels, "no label files NAME.txt")
    pairs = []
    for name, file in _chosen(files, sequences, labels).items():
        if name not in answers:
            raise DataError(results, f"no results of sequence {name}: expected {name}.txt")
        pairs.append(_kitti_pair(file, answers[name], name, lengths.get(name)))
    missing = sorted(set(answers) - set(files)) if not sequences else []
    notes = [f"{name}: no label file, left out" for name in missing]
    return Pairs(tuple(pairs), tuple(notes))


def _kitti_pair(labels: Path, results: Path, name: str, length: int | None) -> Pair:
    truth, answer = kitti.read_labels(labels, name, length), kitti.read_labels(results, name, length)
    longest = max(truth.length, answer.length)
    return Pair(replace(truth, length=longest), replace(answer, length=longest))


def _chosen(files: dict[str, Path], sequences: tuple[str, ...], folder: Path) -> dict[str, Path]:
    if not sequences:
        return files
    for name in sequences:
        if name not in files:
            raise DataError(folder, f"no truth of sequence {name}; there is {', '.join(sorted(files))}")
    return {name: files[name] for name in sequences}


def truth_as_results(truth: VideoSequence) -> VideoSequence:
    """The judged objects of `truth` as a perfect tracker would report them."""
    frames = tuple(frame.select(frame.flags["considered"]) if "considered" in frame.flags else frame for frame in truth)
    return replace(truth, frames=frames)
