"""Whether an engine says what the reference says, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.peaks import Peaks

# Float32 differs by the order of sums; what is beyond these is another result.
SCORE_TOLERANCE = 5e-4
VALUE_TOLERANCE = 5e-3
_IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Agreement:
    """How two engines' peaks of the same images differ.

    overlap       share of the clear peaks (above the weakest by the tolerance) of the first that the second has too
    score_error   largest difference of scores, of peaks that both have
    value_error   largest difference of any head's value there, relative to 1 or its size
    """

    overlap: float
    score_error: float
    value_error: float

    @property
    def exact(self) -> bool:
        """Whether it is the same result but for rounding in float32."""
        return self.overlap == 1.0 and self.score_error < SCORE_TOLERANCE and self.value_error < VALUE_TOLERANCE

    def __str__(self) -> str:
        return (
            f"{100 * self.overlap:.0f} % of the peaks, scores within {self.score_error:.1e}, "
            f"values within {self.value_error:.1e}"
        )


def scene(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """A BGR picture with structure at every scale, the same for every call: rectangles over smooth noise."""
    import cv2

    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(0, 256, (max(2, height // 32), max(2, width // 32), 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        end = (x + int(rng.integers(8, width // 2)), y + int(rng.integers(8, height // 2)))
        cv2.rectangle(picture, (x, y), end, [int(value) for value in rng.integers(0, 256, 3)], -1)
    return np.asarray(picture, np.uint8)


def answers(engine: Engine, size: tuple[int, int], batch: int = 1, seed: int = 0) -> list[Peaks]:
    """The engine's peaks of `batch` scenes, each with another previous image and some tracklets in the prior."""
    images = [engine.prepare(scene(size, seed + i), _IDENTITY, size) for i in range(batch)]
    previous = [engine.prepare(scene(size, seed + batch + i), _IDENTITY, size) for i in range(batch)]
    rng = np.random.default_rng(seed)
    priors = [
        np.stack([rng.integers(0, size[1], 6), rng.integers(0, size[0], 6), rng.integers(2, 20, 6)], axis=1).astype(
            np.int64
        )
        for _ in range(batch)
    ]
    return engine.infer(images, previous, priors)


def compare(reference: list[Peaks], got: list[Peaks]) -> Agreement:
    """The worst agreement over a batch."""
    pairs = [_compare(first, second) for first, second in zip(reference, got, strict=True)]
    return Agreement(
        min(pair.overlap for pair in pairs),
        max(pair.score_error for pair in pairs),
        max(pair.value_error for pair in pairs),
    )


def _compare(reference: Peaks, got: Peaks) -> Agreement:
    places = {place: i for i, place in enumerate(_places(got))}
    clear = reference.scores > reference.scores.min() + SCORE_TOLERANCE
    both = [(i, places[place]) for i, place in enumerate(_places(reference)) if place in places]
    first, second = (np.array([pair[side] for pair in both], np.int64) for side in (0, 1))
    missing = [
        i for i in np.flatnonzero(clear) if i not in set(first.tolist()) and not _is_tied(reference, int(i), got)
    ]
    found = int(clear.sum()) - len(missing)
    overlap = found / max(1, int(clear.sum())) if clear.any() else float(len(both) > 0)
    if not both:
        return Agreement(overlap, 1.0, float("inf"))
    score_error = float(np.abs(reference.scores[first] - got.scores[second]).max())
    errors = [_value_error(reference.values, got.values, name, first, second) for name in reference.values]
    if reference.joints is not None and got.joints is not None:
        errors.append(float(np.abs(np.sort(reference.joints.scores) - np.sort(got.joints.scores)).max()))
    return Agreement(overlap, score_error, max(errors, default=0.0))


def _is_tied(reference: Peaks, index: int, got: Peaks) -> bool:
    """Whether a neighbour of a peak that is not in `got` stands for it: rounding decides which of equals stays."""
    near = np.abs(got.cells - reference.cells[index]).max(axis=1) <= 1
    same = near & (got.class_ids == reference.class_ids[index])
    return bool((np.abs(got.scores[same] - reference.scores[index]) < SCORE_TOLERANCE).any())


def _places(peaks: Peaks) -> list[tuple[int, int, int]]:
    rows = zip(peaks.class_ids.tolist(), peaks.cells.tolist(), strict=True)
    return [(class_id, x, y) for class_id, (x, y) in rows]


def _value_error(
    reference: Mapping[str, NDArray[np.float32]],
    got: Mapping[str, NDArray[np.float32]],
    name: str,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> float:
    expected, found = reference[name][first], got[name][second]
    return float((np.abs(expected - found) / np.maximum(1.0, np.abs(expected))).max(initial=0.0))


def milliseconds(
    engines: Mapping[str, Engine], size: tuple[int, int], rounds: int = 3, count: int = 1
) -> dict[str, float]:
    """The shortest time of `count` images in each engine, which are asked in turns: neighbours disturb them alike."""
    inputs = {}
    for name, engine in engines.items():
        image = engine.prepare(scene(size, 0), _IDENTITY, size)
        inputs[name] = ([image] * count, [image] * count, [np.zeros((0, 3), np.int64)] * count)
        engine.infer(*inputs[name])
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(rounds):
        for name, engine in engines.items():
            start = perf_counter()
            engine.infer(*inputs[name])
            best[name] = min(best[name], (perf_counter() - start) * 1e3)
    return best
