# SPDX-License-Identifier: Apache-2.0
"""Evaluates recordings one by one, in processes of this machine, or as tasks on a Ray cluster.

Recordings are independent of each other. Their scores are added up at the end in one place, so that the numbers do not
depend on where and in which order the recordings were evaluated. Finished recordings can be kept in a folder, so that
an evaluation continues where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.trackeval_metrics import (
    SequencePair,
    TrackScores,
    check_evaluation,
    check_pairs,
    combine,
    present_classes,
    score_boxes,
    score_kitti,
    score_mot,
)
from centertrack_ros.io.json_files import load_json, write_json

ENGINES = ("local", "ray")
_RETRIES = 3  # of a task whose worker was killed

# One recording's scores: class -> metric -> field -> value.
Scores = dict[str, Any]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Executor:
    """Where tasks run.

    Attributes:
        engine: 'local' or 'ray'.
        address: Of the Ray cluster; None: a Ray of this machine's own.
        finished: A folder that keeps the scores of finished recordings; None: none are kept.
        workers: Processes of engine 'local'; 1: the tasks run in this process.
    """

    engine: str = "local"
    address: str | None = None
    finished: Path | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got '{self.engine}'")


def score_mot_parallel(executor: Executor, pairs: Iterable[SequencePair], rules: str) -> TrackScores:
    """`score_mot`, with each recording as one task."""
    return _score(executor, pairs, partial(_mot_scores, rules=rules), f"mot {rules}")


def score_kitti_parallel(executor: Executor, pairs: Iterable[SequencePair], classes: tuple[str, ...]) -> TrackScores:
    """`score_kitti`, with each recording as one task."""
    return _score(executor, pairs, partial(_kitti_scores, classes=classes), f"kitti {' '.join(classes)}")


def score_boxes_parallel(executor: Executor, pairs: Iterable[SequencePair]) -> TrackScores:
    """`score_boxes`, with each recording as one task."""
    pairs = list(pairs)
    names = tuple(sorted({name for pair in pairs for name in present_classes(pair.truth)}))
    return _score(executor, pairs, partial(_box_scores, names=names), f"boxes {' '.join(names)}")


def _mot_scores(pair: SequencePair, rules: str) -> Scores:
    return dict(score_mot([pair], rules).sequences[pair.truth.name])


def _kitti_scores(pair: SequencePair, classes: tuple[str, ...]) -> Scores:
    return dict(score_kitti([pair], classes).sequences[pair.truth.name])


def _box_scores(pair: SequencePair, names: tuple[str, ...]) -> Scores:
    return dict(score_boxes([pair], names).sequences[pair.truth.name])


def _score(
    executor: Executor, pairs: Iterable[SequencePair], evaluate: Callable[[SequencePair], Scores], rules: str
) -> TrackScores:
    pairs = check_pairs(pairs)
    check_evaluation(pairs)
    scores = dict(evaluate_pairs(executor, pairs, evaluate, rules))
    sequences = {pair.truth.name: scores[pair.truth.name] for pair in pairs}
    return TrackScores(sequences, combine(sequences))


def evaluate_pairs(
    executor: Executor, pairs: list[SequencePair], evaluate: Callable[[SequencePair], Scores], rules: str
) -> Iterator[tuple[str, Scores]]:
    """Evaluates recordings; see `run_cached`.

    Args:
        executor: Where.
        pairs: The recordings.
        evaluate: The scores of one recording.
        rules: Name of the rules, so that kept scores by other rules are not taken for these.

    Yields:
        Name and scores of each recording.
    """
    items = {pair.truth.name: pair for pair in pairs}
    return run_cached(executor, items, evaluate, partial(_pair_digest, rules=rules))


def run_cached(
    executor: Executor, items: Mapping[str, Any], function: Callable[[Any], Scores], digest: Callable[[Any], str]
) -> Iterator[tuple[str, Scores]]:
    """Calls `function` with every item, and keeps each result in `executor.finished` as soon as it is there.

    Args:
        executor: Where the calls run.
        items: The items by name.
        function: What to call. Items whose result is kept already are not repeated.
        digest: Tells items with the same name apart.

    Yields:
        Name and result of each item.
    """
    unfinished: dict[str, Any] = {}
    files = {}
    for name, item in items.items():
        if executor.finished is not None:
            files[name] = executor.finished / f"{name.replace('/', '_')}-{digest(item)[:16]}.json"
        if (kept := _read_kept(files.get(name))) is not None:
            yield name, kept
        else:
            unfinished[name] = item
    for name, result in run_tasks(executor, unfinished, function):
        if name in files:
            files[name].parent.mkdir(parents=True, exist_ok=True)
            write_json(files[name], {"scores": result, "sha256": _scores_digest(result)})
        yield name, result


def _read_kept(file: Path | None) -> Scores | None:
    """The result that an earlier run has kept; None where there is none, or where the file is damaged."""
    if file is None or not file.is_file():
        return None
    try:
        kept = load_json(file)
    except (ValueError, OSError):
        return None
    if not isinstance(kept, dict) or kept.get("sha256") != _scores_digest(kept.get("scores")):
        return None
    return dict(kept["scores"])


def _scores_digest(scores: Any) -> str:
    """Of the scores as JSON has them; '' for what is none."""
    if not isinstance(scores, Mapping):
        return ""
    return hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()


def run_tasks(
    executor: Executor, items: Mapping[Key, Any], function: Callable[[Any], Any]
) -> Iterator[tuple[Key, Any]]:
    """Calls `function` with every item; both must be picklable unless they run in this process.

    Yields:
        Name and result of each item: in the order of the items, with Ray in the order in which they finish.

    Raises:
        ImportError: Ray is not installed.
        ValueError: There is no Ray cluster at the address, or a task failed there.
        OSError: Workers were killed repeatedly, or the machine has no memory left.
    """
    if not items:
        return
    if executor.engine == "ray":
        yield from _run_on_ray(executor, items, function)
    elif executor.workers > 1:
        yield from _run_in_processes(executor, items, function)
    else:
        for name, item in items.items():
            yield name, _run_task(function, item)


def _run_task(function: Callable[[Any], Any], item: Any) -> Any:
    """What every worker runs, wherever it is."""
    return function(item)


def _run_in_processes(
    executor: Executor, items: Mapping[Key, Any], function: Callable[[Any], Any]
) -> Iterator[tuple[Key, Any]]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(executor.workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {name: pool.submit(_run_task, function, item) for name, item in items.items()}
        for name, future in waiting.items():
            yield name, future.result()


def _run_on_ray(
    executor: Executor, items: Mapping[Key, Any], function: Callable[[Any], Any]
) -> Iterator[tuple[Key, Any]]:
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray: pip install ray ({error})") from None
    is_own = not ray.is_initialized()
    try:
        if is_own:
            # Without a limit, Ray would wait for free memory for ever, without a message.
            limits = {"task_oom_retries": _RETRIES} if executor.address is None else None
            ray.init(address=executor.address, log_to_driver=False, include_dashboard=False, _system_config=limits)
    except ConnectionError as error:
        raise ValueError(f"no Ray cluster at '{executor.address}': {error}") from None
    try:
        task = ray.remote(max_retries=_RETRIES)(_run_task)
        waiting = {task.remote(function, item): name for name, item in items.items()}
        while waiting:
            [done], _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise ValueError(str(error.cause)) from None
    except ray.exceptions.OutOfMemoryError:
        raise OSError(
            f"this machine's memory was full: Ray ended the worker of a recording {_RETRIES + 1} times; free some, or"
            " evaluate without --engine ray"
        ) from None
    except ray.exceptions.WorkerCrashedError as error:
        raise OSError(f"a worker was killed {_RETRIES + 1} times at the same recording: {error}") from None
    finally:
        if is_own:
            ray.shutdown()


def _pair_digest(pair: SequencePair, rules: str) -> str:
    """A digest of the ground truth, the results and the rules."""
    digest = hashlib.sha256(rules.encode())
    for side in (pair.truth, pair.results):
        _update(digest, side)
    return digest.hexdigest()


def _update(digest: Any, sequence: VideoSequence) -> None:
    digest.update(f"{sequence.name} {sequence.classes} {sequence.first} {sequence.length}".encode())
    for frame in sequence:
        detections = frame.tracks.detections
        columns = [
            frame.tracks.ids, detections.class_ids, detections.scores, detections.boxes, frame.ignore,
            *frame.flags.values(),
        ]  # fmt: skip
        digest.update(str(frame.index).encode())
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
