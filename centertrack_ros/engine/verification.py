# SPDX-License-Identifier: Apache-2.0
"""Whether the output of an engine equals the reference, and how long the engine takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.peaks import Peaks

# Float32 results differ by the order of sums; larger differences are another result.
SCORE_TOLERANCE = 5e-4
VALUE_TOLERANCE = 5e-3
# bfloat16 has 8 bits: rounding changes ranks and, rarely, a score by much. A wrong network differs everywhere.
CLOSE_OVERLAP, CLOSE_SCORE, CLOSE_VALUE = 0.9, 0.02, 0.05
_IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Agreement:
    """The differences of two engines' peaks of the same images.

    Attributes:
        overlap: Share of the reference's clear peaks (above the weakest by the tolerance) that the other engine has.
        score_error: Largest difference of scores, over common peaks.
        value_error: Largest difference of any head's value, over common peaks, relative to max(1, its size).
        near_overlap: As `overlap`, but a neighbouring cell of the same class will do, and a peak is clear when it is
            above the weakest by `CLOSE_SCORE`.
        typical_score_error: Median difference of scores.
        typical_value_error: Median difference of values, of the worst head.
    """

    overlap: float
    score_error: float
    value_error: float
    near_overlap: float
    typical_score_error: float
    typical_value_error: float

    @property
    def exact(self) -> bool:
        """Whether both results are equal but for rounding in float32."""
        return self.overlap == 1.0 and self.score_error < SCORE_TOLERANCE and self.value_error < VALUE_TOLERANCE

    @property
    def close(self) -> bool:
        """Whether both results are equal but for rounding in bfloat16."""
        return (
            self.near_overlap >= CLOSE_OVERLAP
            and self.typical_score_error < CLOSE_SCORE
            and self.typical_value_error < CLOSE_VALUE
        )

    def describe_close(self) -> str:
        """The figures that `close` goes by, as `str` gives those of `exact`."""
        return (
            f"{100 * self.near_overlap:.0f} % of the peaks, scores within {self.typical_score_error:.1e} and "
            f"values within {self.typical_value_error:.1e} in the median"
        )

    def __str__(self) -> str:
        return (
            f"{100 * self.overlap:.0f} % of the peaks, scores within {self.score_error:.1e}, "
            f"values within {self.value_error:.1e}"
        )


def make_test_image(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Make a deterministic image with structure at every scale: rectangles over smooth noise.

    Args:
        size: (height, width) px.
        seed: Of the random numbers.

    Returns:
        BGR, (height, width, 3).
    """
    import cv2

    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(0, 256, (max(2, height // 32), max(2, width // 32), 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        end = (x + int(rng.integers(8, width // 2)), y + int(rng.integers(8, height // 2)))
        cv2.rectangle(image, (x, y), end, [int(value) for value in rng.integers(0, 256, 3)], -1)
    return np.asarray(image, np.uint8)


def run_reference(engine: Engine, size: tuple[int, int], batch: int = 1, seed: int = 0) -> list[Peaks]:
    """Run an engine on the reference input: test images, other previous images, and some tracklets in the prior.

    Args:
        engine: Any engine.
        size: (height, width) of the network input, px.
        batch: Number of images.
        seed: Of the random numbers.

    Returns:
        One record per image.
    """
    images = [engine.prepare(make_test_image(size, seed + i), _IDENTITY, size) for i in range(batch)]
    previous = [engine.prepare(make_test_image(size, seed + batch + i), _IDENTITY, size) for i in range(batch)]
    rng = np.random.default_rng(seed)
    priors = [
        np.stack([rng.integers(0, size[1], 6), rng.integers(0, size[0], 6), rng.integers(2, 20, 6)], axis=1).astype(
            np.int64
        )
        for _ in range(batch)
    ]
    return engine.infer(images, previous, priors)


def compare(reference: list[Peaks], predicted: list[Peaks]) -> Agreement:
    """Compare the peaks of two engines.

    Args:
        reference: One record per image.
        predicted: Of the same images.

    Returns:
        The worst agreement over the batch.
    """
    pairs = [_compare(first, second) for first, second in zip(reference, predicted, strict=True)]
    return worst(pairs)


def worst(agreements: Sequence[Agreement]) -> Agreement:
    """The worst figure of each kind.

    Args:
        agreements: At least one.
    """
    return Agreement(
        **{
            kind.name: (min if kind.name.endswith("overlap") else max)(getattr(one, kind.name) for one in agreements)
            for kind in fields(Agreement)
        }
    )


def _compare(reference: Peaks, predicted: Peaks) -> Agreement:
    rows = {key: i for i, key in enumerate(_keys(predicted))}
    clear = reference.scores > reference.scores.min() + SCORE_TOLERANCE
    common = [(i, rows[key]) for i, key in enumerate(_keys(reference)) if key in rows]
    first, second = (np.array([pair[side] for pair in common], np.int64) for side in (0, 1))
    missing = [
        i for i in np.flatnonzero(clear) if i not in set(first.tolist()) and not _is_tied(reference, int(i), predicted)
    ]
    overlap = (int(clear.sum()) - len(missing)) / max(1, int(clear.sum())) if clear.any() else float(len(common) > 0)
    if not common:
        return Agreement(overlap, 1.0, float("inf"), 0.0, 1.0, float("inf"))
    score_errors = np.abs(reference.scores[first] - predicted.scores[second])
    errors = [_value_errors(reference.values, predicted.values, name, first, second) for name in reference.values]
    if reference.joints is not None and predicted.joints is not None:
        errors.append(np.abs(np.sort(reference.joints.scores) - np.sort(predicted.joints.scores)))
    return Agreement(
        overlap,
        float(score_errors.max()),
        max((float(one.max(initial=0.0)) for one in errors), default=0.0),
        _near_overlap(reference, predicted),
        float(np.median(score_errors)),
        max((float(np.median(one)) for one in errors if one.size), default=0.0),
    )


def _near_overlap(reference: Peaks, predicted: Peaks) -> float:
    """See `Agreement`."""
    clear = np.flatnonzero(reference.scores > reference.scores.min() + CLOSE_SCORE)
    near = np.abs(reference.cells[clear, None] - predicted.cells[None]).max(axis=2, initial=0) <= 1
    same = reference.class_ids[clear, None] == predicted.class_ids[None]
    return float((near & same).any(axis=1).mean()) if len(clear) else 1.0


def _is_tied(reference: Peaks, index: int, predicted: Peaks) -> bool:
    """Whether a neighbour replaces a peak that is not in `predicted`: rounding decides between equal neighbours."""
    near = np.abs(predicted.cells - reference.cells[index]).max(axis=1) <= 1
    same = near & (predicted.class_ids == reference.class_ids[index])
    return bool((np.abs(predicted.scores[same] - reference.scores[index]) < SCORE_TOLERANCE).any())


def _keys(peaks: Peaks) -> list[tuple[int, int, int]]:
    cells = zip(peaks.class_ids.tolist(), peaks.cells.tolist(), strict=True)
    return [(class_id, x, y) for class_id, (x, y) in cells]


def _value_errors(
    reference: Mapping[str, NDArray[np.float32]],
    predicted: Mapping[str, NDArray[np.float32]],
    name: str,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.float32]:
    expected, other = reference[name][first], predicted[name][second]
    return np.asarray(np.abs(expected - other) / np.maximum(1.0, np.abs(expected)), np.float32)


def measure_latency(
    engines: Mapping[str, Engine], size: tuple[int, int], rounds: int = 3, count: int = 1
) -> dict[str, float]:
    """Measure engines in turn, so that other load on the machine affects all of them equally.

    Args:
        engines: By name.
        size: (height, width) of the network input, px.
        rounds: Measurements of each engine.
        count: Images per batch.

    Returns:
        Name -> shortest time of one batch, ms.
    """
    inputs = {}
    for name, engine in engines.items():
        image = engine.prepare(make_test_image(size, 0), _IDENTITY, size)
        inputs[name] = ([image] * count, [image] * count, [np.zeros((0, 3), np.int64)] * count)
        engine.infer(*inputs[name])
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(rounds):
        for name, engine in engines.items():
            start = perf_counter()
            engine.infer(*inputs[name])
            best[name] = min(best[name], (perf_counter() - start) * 1e3)
    return best
