# SPDX-License-Identifier: Apache-2.0
"""Tracking figures of many draws of recordings from sums of counts, so that a thousand draws take no time.

TrackEval adds recordings up by summing counts (CLEAR, Identity) or sums per localisation threshold (HOTA); the same
sums, weighted by how often a recording is drawn, give the figure of a draw. A test compares the figures of every
recording drawn once with TrackEval's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.evaluation.trackeval_metrics import Raw

Array = NDArray[np.float64]

_COUNTS = {
    "CLEAR": ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW"),
    "Identity": ("IDTP", "IDFN", "IDFP"),
    "HOTA": ("HOTA_TP", "HOTA_FN", "HOTA_FP"),
}


def sum_counts(classes: Mapping[str, Mapping[str, Raw]]) -> dict[str, Array]:
    """One recording's counts, summed over its classes as if each class were a recording of its own."""
    sums: dict[str, Array] = {}
    for raw in classes.values():
        for title, names in _COUNTS.items():
            for name in names:
                sums[name] = sums.get(name, 0.0) + np.asarray(raw[title][name], np.float64)
        hota = raw["HOTA"]
        weighted = np.asarray(hota["AssA"], np.float64) * np.asarray(hota["HOTA_TP"], np.float64)
        sums["AssA_TP"] = sums.get("AssA_TP", 0.0) + weighted
    return sums


def track_figures(counts: Sequence[Mapping[str, Array]], weights: Array) -> dict[str, Array]:
    """Figures over all recordings.

    Args:
        counts: The counts of S recordings.
        weights: (D, S) how often each recording counts in each draw.

    Returns:
        (D,) IDF1, MOTA and HOTA in percent, and IDSW, the number of id switches.
    """

    def total(name: str) -> Array:
        return np.asarray(weights @ np.stack([one[name] for one in counts]))

    matched, missed, false, switched = (total(name) for name in _COUNTS["CLEAR"])
    id_true, id_missed, id_false = (total(name) for name in _COUNTS["Identity"])
    hota_true, hota_missed, hota_false = (total(name) for name in _COUNTS["HOTA"])
    detection = hota_true / np.maximum(hota_true + hota_missed + hota_false, 1)
    association = total("AssA_TP") / np.maximum(hota_true, 1)
    return {
        "IDF1": 100 * id_true / np.maximum(id_true + 0.5 * id_missed + 0.5 * id_false, 1),
        "MOTA": 100 * (matched - false - switched) / np.maximum(matched + missed, 1),
        "HOTA": 100 * np.sqrt(detection * association).mean(axis=1),
        "IDSW": switched,
    }
