"""What leaves a network: the K strongest heatmap peaks and the regressed values at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class JointPeaks:
    """The strongest K peaks of each joint J in `hm_hp`; output-grid px, `hp_offset` already added."""

    scores: NDArray[np.float32]  # (J, K)
    points: NDArray[np.float32]  # (J, K, 2)


@dataclass(frozen=True)
class Peaks:
    """The network's answer for one image, strongest first; the boundary between engine and tracking.

    scores     (K,) float32 in 0..1
    class_ids  (K,) int64, 0-based heatmap channel
    cells      (K, 2) int64, (x, y) of the peak on the output grid
    values     head name -> (K, C) float32 at the peak for every head but hm, hm_hp and hp_offset; raw, except that
               'dep' is already metric, 1 / (sigmoid + 1e-6) - 1, before any depth scale
    joints     only for pose models
    grid       (height, width) of the output grid
    """

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    cells: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float32]]
    grid: tuple[int, int]
    joints: JointPeaks | None = None


def from_arrays(arrays: Mapping[str, NDArray[Any]], grid: tuple[int, int]) -> list[Peaks]:
    """What `network.decode.decode` gives for a batch, as arrays from any runtime: one record per image."""
    heads = [name for name in arrays if name.startswith("value.")]
    count = len(arrays["scores"])
    joints: list[JointPeaks | None] = [None] * count
    if "joint_scores" in arrays:
        joints = [JointPeaks(*pair) for pair in zip(arrays["joint_scores"], arrays["joint_points"], strict=True)]
    return [
        Peaks(
            scores=arrays["scores"][i],
            class_ids=arrays["class_ids"][i],
            cells=arrays["cells"][i],
            values={name.removeprefix("value."): arrays[name][i] for name in heads},
            grid=grid,
            joints=joints[i],
        )
        for i in range(count)
    ]
