"""Whether a difference between two evaluations means something: the paired bootstrap over recordings.

The recordings are drawn with replacement, the same draw for both evaluations; each draw is added up by the metrics'
own rules (TrackEval's `combine_sequences`), so that an interval belongs to exactly the figure that is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.evaluation.trackeval_metrics import combine, summary

NUSCENES_FIGURES = ("amota", "amotp", "recall", "mota", "motp", "fp", "fn", "ids", "frag")
FIGURES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "CLR_FP", "CLR_FN", "IDSW", "Frag")


@dataclass(frozen=True)
class Difference:
    """B minus A of one figure.

    low, high  bounds of the middle 95 % of the draws;  better  share of the draws in which B is greater than A
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
        """The interval does not hold 0."""
        return self.low > 0 or self.high < 0


def compare(a: Mapping[str, Any], b: Mapping[str, Any], draws: int = 1000, seed: int = 0) -> list[Difference]:
    """Differences of two documents of `centertrack evaluate --json` on the same recordings and classes.

    Raises ValueError when they do not hold the same recordings, or none that can be drawn.
    """
    if a["benchmark"] != b["benchmark"]:
        raise ValueError(f"the documents are of different benchmarks: '{a['benchmark']}' and '{b['benchmark']}'")
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
    rng = np.random.default_rng(seed)
    picks = [names] + [[names[i] for i in rng.integers(0, len(names), len(names))] for _ in range(draws)]
    table_a = [_figures(a["raw"], pick, kinds) for pick in picks]
    table_b = [_figures(b["raw"], pick, kinds) for pick in picks]
    return [
        _difference(kind, figure, [row[kind, figure] for row in table_a], [row[kind, figure] for row in table_b])
        for kind in kinds
        for figure in FIGURES
    ]


def _common_names(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    if odd := sorted(set(a) ^ set(b)):
        raise ValueError(f"the documents are of different recordings: only one has {', '.join(odd)}")
    return sorted(a)


def _compare_scenes(a: Mapping[str, Any], b: Mapping[str, Any], draws: int, seed: int) -> list[Difference]:
    """Of nuScenes' figures, whose sum over scenes only the devkit knows: the mean over the scenes that have them."""
    names = _common_names(a, b)
    rng = np.random.default_rng(seed)
    picks = np.concatenate((np.arange(len(names))[None], rng.integers(0, len(names), (draws, len(names)))))
    found = []
    for figure in NUSCENES_FIGURES:
        one, two = (
            np.array([np.nan if (v := side[name]["combined"][figure]) is None else v for name in names], np.float64)
            for side in (a, b)
        )
        known = np.isfinite(one) & np.isfinite(two)
        if known.any():
            means = [_means(np.where(known, side, np.nan)[picks]) for side in (one, two)]
            found.append(_difference("mean over scenes", figure.upper(), *means))
    return found


def _means(table: NDArray[np.float64]) -> list[float]:
    """Of each row, over what is known; rows of which nothing is are left out."""
    count = np.isfinite(table).sum(axis=1)
    return (np.nansum(table, axis=1)[count > 0] / count[count > 0]).tolist()


def _figures(raw: Mapping[str, Any], pick: list[str], kinds: list[str]) -> dict[tuple[str, str], float]:
    drawn = {f"{place}": {kind: raw[name][kind] for kind in kinds} for place, name in enumerate(pick)}
    combined = combine(drawn)
    return {(kind, figure): float(summary(combined[kind])[figure]) for kind in kinds for figure in FIGURES}


def _difference(kind: str, figure: str, a: list[float], b: list[float]) -> Difference:
    draws = np.subtract(b[1:], a[1:])
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    better = float(np.mean(draws > 0)) if len(draws) else float("nan")
    return Difference(kind, figure, a[0], b[0], b[0] - a[0], float(low), float(high), better)
