"""95 % bootstrap intervals of tracking figures over recordings: drawn as counts, so that a thousand draws take no time.

TrackEval adds recordings up by summing counts (CLEAR, Identity) or sums per localisation threshold (HOTA); the same
sums, weighted by how often a recording is drawn, give the figure of a draw. A test holds the figure of everything drawn
once against TrackEval's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.evaluation.trackeval_metrics import Raw

Array = NDArray[np.float64]

_COUNTS = {
    "CLEAR": ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW"),
    "Identity": ("IDTP", "IDFN", "IDFP"),
    "HOTA": ("HOTA_TP", "HOTA_FN", "HOTA_FP"),
}
FIGURES = ("IDF1", "MOTA", "HOTA", "IDSW")


@dataclass(frozen=True)
class Estimate:
    """A figure with the middle 95 % of its draws; `draws` (D,) stay for comparisons with the same draws of another."""

    value: float
    low: float
    high: float
    draws: Array

    @classmethod
    def of(cls, value: float, draws: Array) -> Estimate:
        """NaN bounds where no draw has the figure."""
        known = draws[np.isfinite(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
        return cls(float(value), float(low), float(high), draws)

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference; both must come from the same draws of the same recordings."""
        return Estimate.of(self.value - other.value, self.draws - other.draws)

    @property
    def is_clear(self) -> bool:
        """As a difference: the interval does not hold 0."""
        return self.low > 0 or self.high < 0

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high


def draw_weights(recordings: int, draws: int, seed: int) -> Array:
    """(1 + draws, recordings): once each in the first row, then how often each is drawn with replacement."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, recordings, (draws, recordings))
    drawn = np.apply_along_axis(np.bincount, 1, picks, minlength=recordings) if draws else np.zeros((0, recordings))
    return np.concatenate([np.ones((1, recordings)), drawn]).astype(np.float64)


def counts_of(classes: Mapping[str, Mapping[str, Raw]]) -> dict[str, Array]:
    """One recording's counts, summed over its classes as if each were a recording of its own."""
    total: dict[str, Array] = {}
    for raw in classes.values():
        for title, names in _COUNTS.items():
            for name in names:
                total[name] = total.get(name, 0.0) + np.asarray(raw[title][name], np.float64)
        hota = raw["HOTA"]
        weighted = np.asarray(hota["AssA"], np.float64) * np.asarray(hota["HOTA_TP"], np.float64)
        total["AssA_TP"] = total.get("AssA_TP", 0.0) + weighted
    return total


def track_figures(counts: Sequence[Mapping[str, Array]], weights: Array) -> dict[str, Array]:
    """(D,) of each figure, percent but for IDSW, for draws of the recordings (weights (D, S))."""

    def added(name: str) -> Array:
        return np.asarray(weights @ np.stack([one[name] for one in counts]))

    true, missed, false, switched = (added(name) for name in _COUNTS["CLEAR"])
    id_true, id_missed, id_false = (added(name) for name in _COUNTS["Identity"])
    hota_true, hota_missed, hota_false = (added(name) for name in _COUNTS["HOTA"])
    detection = hota_true / np.maximum(hota_true + hota_missed + hota_false, 1)
    association = added("AssA_TP") / np.maximum(hota_true, 1)
    return {
        "IDF1": 100 * id_true / np.maximum(id_true + 0.5 * id_missed + 0.5 * id_false, 1),
        "MOTA": 100 * (true - false - switched) / np.maximum(true + missed, 1),
        "HOTA": 100 * np.sqrt(detection * association).mean(axis=1),
        "IDSW": switched,
    }


def estimate(table: Array) -> Estimate:
    """Of the figures of `draw_weights`: the first is the value, the others its draws."""
    return Estimate.of(table[0], table[1:])


def weighted_mean(values: Sequence[Array], weights: Array) -> Array:
    """(D,) mean over all values (S arrays, one of each recording); NaN where a draw has none."""
    sums = weights @ np.array([one.sum() for one in values])
    sizes = weights @ np.array([float(len(one)) for one in values])
    return np.divide(sums, sizes, out=np.full(len(weights), np.nan), where=sizes > 0)


def weighted_median(values: Sequence[Array], weights: Array) -> Array:
    """(D,) median over all values (S arrays, one of each recording); NaN where a draw has none."""
    joined = np.concatenate([np.zeros(0), *values])
    owners = np.repeat(np.arange(len(values)), [len(one) for one in values])
    order = np.argsort(joined, kind="stable")
    joined, owners = joined[order], owners[order]
    result = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        passed = np.cumsum(weight[owners])
        if len(passed) and passed[-1] > 0:
            half = passed[-1] / 2
            low = joined[np.searchsorted(passed, half, side="left")]
            high = joined[min(np.searchsorted(passed, half, side="right"), len(joined) - 1)]
            result[row] = (low + high) / 2
    return result


def plain(one: Estimate) -> dict[str, Any]:
    """For JSON: NaN becomes None."""
    return {
        name: (float(value) if np.isfinite(value) else None)
        for name, value in (("value", one.value), ("low", one.low), ("high", one.high))
    }
