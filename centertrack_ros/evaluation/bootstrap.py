# SPDX-License-Identifier: Apache-2.0
"""The bootstrap over recordings: intervals of figures, and paired differences between two evaluations.

Recordings are drawn with replacement. Two evaluations are compared with the same draws (paired), so that what is hard
in a recording does not count as a difference. `compare` adds each draw up by the metrics' own rules (TrackEval's
`combine_sequences`), so that an interval belongs to exactly the figure that is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.evaluation.trackeval_metrics import combine, summary
from centertrack_ros.typed_records import shown

Array = NDArray[np.float64]

NUSCENES_FIGURES = ("amota", "amotp", "recall", "mota", "motp", "fp", "fn", "ids", "frag")
FIGURES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "CLR_FP", "CLR_FN", "IDSW", "Frag")


def draw_recordings(recordings: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Draws recordings with replacement.

    Returns:
        (1 + draws, recordings) indices: every recording once in the first row, the drawn ones in the others.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, recordings, (draws, recordings))
    return np.concatenate([np.arange(recordings)[None], drawn])


def draw_weights(recordings: int, draws: int, seed: int) -> Array:
    """(1 + draws, recordings): how often each recording counts in each row of `draw_recordings`."""
    rows = draw_recordings(recordings, draws, seed)
    return np.stack([np.bincount(row, minlength=recordings) for row in rows]).astype(np.float64)


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap interval.

    Attributes:
        value: The figure over all recordings.
        low: Lower bound of the middle 95 % of the draws.
        high: Upper bound of the middle 95 % of the draws.
        draws: (D,) the figure of each draw, for comparisons with the same draws of another evaluation.
    """

    value: float
    low: float
    high: float
    draws: Array

    @classmethod
    def of(cls, value: float, draws: Array) -> Estimate:
        """The estimate of these draws; NaN bounds where no draw has the figure."""
        known = draws[np.isfinite(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
        return cls(float(value), float(low), float(high), draws)

    @classmethod
    def of_table(cls, table: Array) -> Estimate:
        """The estimate of figures (1 + D,) in the order of `draw_recordings`: the value, then its draws."""
        return cls.of(table[0], table[1:])

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference; both must come from the same draws of the same recordings."""
        return Estimate.of(self.value - other.value, self.draws - other.draws)

    @property
    def is_clear(self) -> bool:
        """Of a difference: whether the interval does not contain 0."""
        return self.low > 0 or self.high < 0

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high

    def document(self) -> dict[str, float | None]:
        """Value and bounds for JSON: NaN becomes None."""
        bounds = {"value": self.value, "low": self.low, "high": self.high}
        return {name: float(value) if np.isfinite(value) else None for name, value in bounds.items()}


def weighted_mean(values: Sequence[Array], weights: Array) -> Array:
    """The mean over the values of all recordings.

    Args:
        values: S arrays, one for each recording.
        weights: (D, S) how often each recording counts in each draw.

    Returns:
        (D,) means; NaN where a draw has no value.
    """
    sums = weights @ np.array([one.sum() for one in values])
    sizes = weights @ np.array([float(len(one)) for one in values])
    return np.divide(sums, sizes, out=np.full(len(weights), np.nan), where=sizes > 0)


def weighted_median(values: Sequence[Array], weights: Array) -> Array:
    """The median over the values of all recordings; arguments and result as for `weighted_mean`."""
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


@dataclass(frozen=True)
class Difference:
    """B minus A of one figure of one class.

    Attributes:
        kind: The class.
        figure: Name of the figure.
        a: The figure of the first evaluation.
        b: The figure of the second one.
        difference: b - a.
        low: Lower bound of the middle 95 % of the draws.
        high: Upper bound of the middle 95 % of the draws.
        better: Share of the draws in which B is greater than A.
    """

    kind: str
    figure: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    better: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not contain 0."""
        return self.low > 0 or self.high < 0

    @classmethod
    def of_tables(cls, kind: str, figure: str, a: Array, b: Array) -> Difference:
        """The difference of two figures (1 + D,), both in the order of `draw_recordings`."""
        paired = Estimate.of_table(b).minus(Estimate.of_table(a))
        better = float(np.mean(paired.draws > 0)) if len(paired.draws) else float("nan")
        return cls(kind, figure, float(a[0]), float(b[0]), paired.value, paired.low, paired.high, better)


def compare(a: Mapping[str, Any], b: Mapping[str, Any], draws: int = 1000, seed: int = 0) -> list[Difference]:
    """Compares two documents of `centertrack evaluate --json` on the same recordings and classes.

    Args:
        a: The first document.
        b: The second document.
        draws: Number of bootstrap draws.
        seed: Of the draws.

    Returns:
        The difference of every figure of every class that both documents have.

    Raises:
        ValueError: The documents are of different recordings, or do not hold what a comparison needs.
    """
    try:
        return _compare(a, b, draws, seed)
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # of documents that another program has changed
        raise ValueError(f"one of the documents is not as `centertrack evaluate --json` writes it: {error!r}") from None


def _compare(a: Mapping[str, Any], b: Mapping[str, Any], draws: int, seed: int) -> list[Difference]:
    if a["benchmark"] != b["benchmark"]:
        raise ValueError(
            f"the documents are of different benchmarks: {shown(a['benchmark'])} and {shown(b['benchmark'])}"
        )
    if "scenes" in a and "scenes" in b:
        return _compare_scenes(a["scenes"], b["scenes"], draws, seed)
    if "raw" not in a or "raw" not in b:
        raise ValueError(
            "only documents of `evaluate mot`, `kitti`, `bag` and `nuscenes --scenes` hold what a comparison needs"
        )
    names = _common_names(a["raw"], b["raw"])
    kinds = [kind for kind in a["combined"] if kind in b["combined"]]
    if not kinds:
        raise ValueError("the documents have no class in common")
    rows = draw_recordings(len(names), draws, seed)
    tables = [[_figures(side["raw"], [names[i] for i in row], kinds) for row in rows] for side in (a, b)]
    return [
        Difference.of_tables(kind, figure, *(np.array([row[kind, figure] for row in table]) for table in tables))
        for kind in kinds
        for figure in FIGURES
    ]


def _common_names(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    if odd := sorted(set(a) ^ set(b)):
        raise ValueError(f"the documents are of different recordings: only one has {', '.join(odd)[:160]}")
    return sorted(a)


def _compare_scenes(a: Mapping[str, Any], b: Mapping[str, Any], draws: int, seed: int) -> list[Difference]:
    """Differences of nuScenes' figures, as means over the scenes that have them: only the devkit can add scenes up."""
    names = _common_names(a, b)
    rows = draw_recordings(len(names), draws, seed)
    differences = []
    for figure in NUSCENES_FIGURES:
        one, two = (
            np.array([np.nan if (v := side[name]["combined"][figure]) is None else v for name in names], np.float64)
            for side in (a, b)
        )
        known = np.isfinite(one) & np.isfinite(two)
        if known.any():
            means = [_row_means(np.where(known, side, np.nan)[rows]) for side in (one, two)]
            differences.append(Difference.of_tables("mean over scenes", figure.upper(), *means))
    return differences


def _row_means(table: Array) -> Array:
    """The mean of each row over its finite values; rows without one are left out."""
    count = np.isfinite(table).sum(axis=1)
    return np.asarray(np.nansum(table, axis=1)[count > 0] / count[count > 0], np.float64)


def _figures(raw: Mapping[str, Any], names: list[str], kinds: list[str]) -> dict[tuple[str, str], float]:
    """(class, figure) -> its value over these recordings, some of which may occur more than once."""
    drawn = {f"{place}": {kind: raw[name][kind] for kind in kinds} for place, name in enumerate(names)}
    combined = combine(drawn)
    return {(kind, figure): float(summary(combined[kind])[figure]) for kind in kinds for figure in FIGURES}
