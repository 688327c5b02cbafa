# SPDX-License-Identifier: Apache-2.0
"""The record between network and tracking: the strongest peaks of the heatmap, with the head values at them.

Needs no torch, so that engines of exported files start without it; `network.decode` makes these records from tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class JointPeaks:
    """The strongest K peaks of each joint J in `hm_hp`.

    Attributes:
        scores: (J, K) in 0..1.
        points: (J, K, 2), output-grid px, `hp_offset` already added.
    """

    scores: NDArray[np.float32]
    points: NDArray[np.float32]


@dataclass(frozen=True)
class Peaks:
    """The network's output for one image, strongest first; the boundary between engine and tracking.

    Attributes:
        scores: (K,) float32 in 0..1.
        class_ids: (K,) int64, 0-based heatmap channel.
        cells: (K, 2) int64, (x, y) of the peak on the output grid.
        values: Head name -> (K, C) float32 at the peak, for every head but hm, hm_hp and hp_offset. Raw values, except
            that 'dep' is metric already, 1 / (sigmoid + 1e-6) - 1, before any depth scale.
        grid: (height, width) of the output grid.
        joints: Only for pose models.
        asked: Head name -> (N, C) values, as those of the peaks, at the cells that the caller asked for; None: at none.
    """

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    cells: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float32]]
    grid: tuple[int, int]
    joints: JointPeaks | None = None
    asked: Mapping[str, NDArray[np.float32]] | None = None


def places_of(cells: Sequence[NDArray[np.int64]], width: int, count: int) -> NDArray[np.int64]:
    """The cells that a caller asks for, as a network takes them: in the places of the weakest peaks.

    Args:
        cells: Per image (N, 2): x, y on the output grid.
        width: Of the output grid.
        count: Number of peaks K.

    Returns:
        (B, K) flat cells y * width + x, at the end of each row; -1 in the others.

    Raises:
        ValueError: More cells than peaks.
    """
    places = np.full((len(cells), count), -1, np.int64)
    for row, asked in zip(places, cells, strict=True):
        if len(asked) > count:
            raise ValueError(f"the network's heads can be read at {count} cells, got {len(asked)}")
        row[count - len(asked) :] = asked[:, 1] * width + asked[:, 0]
    return places


def from_arrays(
    arrays: Mapping[str, NDArray[Any]], grid: tuple[int, int], asked: Sequence[int] | None = None
) -> list[Peaks]:
    """Split the outputs of a batch into records.

    Args:
        arrays: The outputs of `network.decode.decode_peaks` by name, as arrays from any runtime.
        grid: (height, width) of the output grid.
        asked: Per image the number of cells of `places_of`, which stand in the places of the last peaks.

    Returns:
        One record per image.
    """
    heads = [name for name in arrays if name.startswith("value.")]
    count = len(arrays["scores"])
    joints: list[JointPeaks | None] = [None] * count
    if "joint_scores" in arrays:
        joints = [JointPeaks(*pair) for pair in zip(arrays["joint_scores"], arrays["joint_points"], strict=True)]
    peaks = [
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
    return peaks if asked is None else [_split(one, number) for one, number in zip(peaks, asked, strict=True)]


def _split(peaks: Peaks, asked: int) -> Peaks:
    """The peaks without the last ones, whose values are those of the cells that the caller asked for."""
    left = len(peaks.scores) - asked
    return replace(
        peaks,
        scores=peaks.scores[:left],
        class_ids=peaks.class_ids[:left],
        cells=peaks.cells[:left],
        values={name: value[:left] for name, value in peaks.values.items()},
        asked={name: value[left:] for name, value in peaks.values.items()},
    )
