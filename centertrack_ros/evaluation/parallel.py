"""Where recordings are judged: one after the other here, or one task for each on a Ray cluster; finished ones are kept.

Recordings are independent of each other and are added up at the end in one place, so that the numbers do not depend on
where and in which order they were judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.trackeval_metrics import (
    Pair,
    TrackScores,
    check_pairs,
    combine,
    present_classes,
    score_boxes,
    score_kitti,
    score_mot,
)
from centertrack_ros.io.json_files import write_json

ENGINES = ("local", "ray")
_RETRIES = 3  # of a recording whose worker was killed

# One recording's scores: class -> metric -> field -> value.
Judged = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where to judge: 'local' or 'ray', at `address` (None: a Ray of its own); folder `finished` keeps what is done."""

    engine: str = "local"
    address: str | None = None
    finished: Path | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got '{self.engine}'")


def score_mot_at(place: Place, pairs: Iterable[Pair], rules: str) -> TrackScores:
    """`score_mot` of every recording at `place`."""
    return _score(place, pairs, partial(_judge_mot, rules=rules), f"mot {rules}")


def score_kitti_at(place: Place, pairs: Iterable[Pair], classes: tuple[str, ...]) -> TrackScores:
    """`score_kitti` of every recording at `place`."""
    return _score(place, pairs, partial(_judge_kitti, classes=classes), f"kitti {' '.join(classes)}")


def score_boxes_at(place: Place, pairs: Iterable[Pair]) -> TrackScores:
    """`score_boxes` of every recording at `place`."""
    pairs = list(pairs)
    names = tuple(sorted({name for pair in pairs for name in present_classes(pair.truth)}))
    return _score(place, pairs, partial(_judge_boxes, names=names), f"boxes {' '.join(names)}")


def _judge_mot(pair: Pair, rules: str) -> Judged:
    return dict(score_mot([pair], rules).sequences[pair.truth.name])


def _judge_kitti(pair: Pair, classes: tuple[str, ...]) -> Judged:
    return dict(score_kitti([pair], classes).sequences[pair.truth.name])


def _judge_boxes(pair: Pair, names: tuple[str, ...]) -> Judged:
    return dict(score_boxes([pair], names).sequences[pair.truth.name])


def _score(place: Place, pairs: Iterable[Pair], judge: Callable[[Pair], Judged], what: str) -> TrackScores:
    pairs = check_pairs(pairs)
    judged = dict(judge_all(place, pairs, judge, what))
    sequences = {pair.truth.name: judged[pair.truth.name] for pair in pairs}
    return TrackScores(sequences, combine(sequences))


def judge_all(
    place: Place, pairs: list[Pair], judge: Callable[[Pair], Judged], what: str
) -> Iterator[tuple[str, Judged]]:
    """Every recording's name and scores, each kept in `place.finished` as soon as it is there; those kept are not
    redone.

    what  names the rules, so that scores by other rules, or of other files, are not taken for these
    """
    found = {pair.truth.name: pair for pair in pairs}
    return run_all(place, found, judge, partial(_pair_digest, what=what))


def run_all(
    place: Place, items: Mapping[str, Any], judge: Callable[[Any], Judged], digest: Callable[[Any], str]
) -> Iterator[tuple[str, Judged]]:
    """`judge` of every item at `place`, by name; `digest` tells items apart whose names are the same."""
    unfinished: dict[str, Any] = {}
    files = {}
    for name, item in items.items():
        if place.finished is not None:
            files[name] = place.finished / f"{name.replace('/', '_')}-{digest(item)[:16]}.json"
        if (kept := _kept(files.get(name))) is not None:
            yield name, kept
        else:
            unfinished[name] = item
    run = _on_ray if place.engine == "ray" else _here
    for name, judged in run(place, unfinished, judge):
        if name in files:
            files[name].parent.mkdir(parents=True, exist_ok=True)
            write_json(files[name], judged)
        yield name, judged


def _kept(file: Path | None) -> Judged | None:
    """What a run before has left; None for nothing, or for a file that somebody has damaged."""
    if file is None or not file.is_file():
        return None
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return kept if isinstance(kept, dict) else None


def _here(place: Place, items: Mapping[str, Any], judge: Callable[[Any], Judged]) -> Iterator[tuple[str, Judged]]:
    for name, item in items.items():
        yield name, judge(item)


def _on_ray(place: Place, items: Mapping[str, Any], judge: Callable[[Any], Judged]) -> Iterator[tuple[str, Judged]]:
    if not items:
        return
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray: pip install ray ({error})") from None
    begun = not ray.is_initialized()
    try:
        if begun:
            # Ray would wait for memory without end, and without a word.
            limits = {"task_oom_retries": _RETRIES} if place.address is None else None
            ray.init(address=place.address, log_to_driver=False, include_dashboard=False, _system_config=limits)
    except ConnectionError as error:
        raise ValueError(f"no Ray cluster at '{place.address}': {error}") from None
    try:
        task = ray.remote(max_retries=_RETRIES)(_call)
        waiting = {task.remote(judge, item): name for name, item in items.items()}
        while waiting:
            [done], _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise ValueError(str(error.cause)) from None
    except ray.exceptions.OutOfMemoryError:
        raise OSError(
            f"this machine's memory was full: Ray ended the worker of a recording {_RETRIES + 1} times; free some, or"
            " judge without --engine ray"
        ) from None
    except ray.exceptions.WorkerCrashedError as error:
        raise OSError(f"a worker was killed {_RETRIES + 1} times at the same recording: {error}") from None
    finally:
        if begun:
            ray.shutdown()


def _call(judge: Callable[[Any], Judged], item: Any) -> Judged:
    return judge(item)


def _pair_digest(pair: Pair, what: str) -> str:
    """Of this recording, these results and these rules."""
    digest = hashlib.sha256(what.encode())
    for side in (pair.truth, pair.results):
        _add(digest, side)
    return digest.hexdigest()


def _add(digest: Any, sequence: VideoSequence) -> None:
    digest.update(f"{sequence.name} {sequence.classes} {sequence.first} {sequence.length}".encode())
    for frame in sequence:
        found = frame.tracks.detections
        columns = [frame.tracks.ids, found.class_ids, found.scores, found.boxes, frame.ignore, *frame.flags.values()]
        digest.update(str(frame.index).encode())
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
