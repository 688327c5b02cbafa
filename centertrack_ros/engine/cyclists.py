# SPDX-License-Identifier: Apache-2.0
"""Riders and their bicycles or motorcycles as one object of one more class, 'cyclist'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine, EngineAround
from centertrack_ros.network.class_groups import CYCLES, are_among
from centertrack_ros.network.peaks import Peaks

CYCLIST = "cyclist"
# A bicycle is 1.0 to 1.1 m high, its rider 1.2 to 1.6 m from the feet on the pedals up.
_HEIGHT_RATIOS = (0.8, 2.2)  # of a rider over the cycle
_FEET = (0.3, 1.1)  # how far down the cycle's box the rider's box ends
_HALF_SEEN = 0.5
_HEAD = 0.25  # least part of the rider above the cycle


class CyclistEngine(EngineAround):
    """Implements `engine.base.Engine` by another one, and joins each rider with the cycle below.

    The profile has the class 'cyclist' behind those of the model. A joined object has the box around both, the higher
    score, and the displacement of the rider.

    Args:
        engine: Runs the network; its model knows people and bicycles or motorcycles.

    Raises:
        ValueError: The model knows cyclists already, has no class of people or cycles, or no 2D boxes.
    """

    def __init__(self, engine: Engine) -> None:
        names = engine.profile.classes
        people, cycles = are_among(names, ("person", "pedestrian")), are_among(names, CYCLES)
        if are_among(names, (CYCLIST,)).any() or not people.any() or not cycles.any():
            raise ValueError(
                f"cyclists cannot be joined for '{engine.profile.name}': it needs classes of people and of bicycles or "
                "motorcycles, and none of cyclists"
            )
        if "ltrb" not in engine.profile.heads or "ltrb_amodal" in engine.profile.heads:
            raise ValueError(f"cyclists cannot be joined for '{engine.profile.name}': it has no head 'ltrb' alone")
        heads = {**engine.profile.heads, "hm": len(names) + 1}
        super().__init__(engine, replace(engine.profile, classes=(*names, CYCLIST), heads=heads))
        self._people, self._cycles = people, cycles

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`."""
        threshold = self.profile.thresholds.track
        return [self._joined(peaks, threshold) for peaks in super().infer(images, previous, priors, cells)]

    def _joined(self, peaks: Peaks, threshold: float) -> Peaks:
        """The peaks with each rider above the threshold and the cycle below as one; strongest first."""
        strong = peaks.scores > np.float32(threshold)
        riders = np.flatnonzero(strong & self._people[peaks.class_ids])
        visible = peaks.scores > np.float32(_HALF_SEEN * threshold)  # its rider hides much of a cycle
        cycles = np.flatnonzero(visible & self._cycles[peaks.class_ids])
        boxes = np.tile(peaks.cells, 2) + peaks.values["ltrb"]
        pairs = pairs_of(boxes[riders], boxes[cycles])
        if not len(pairs):
            return peaks
        first, second = riders[pairs[:, 0]], cycles[pairs[:, 1]]
        low = np.minimum(boxes[first, :2], boxes[second, :2])
        high = np.maximum(boxes[first, 2:], boxes[second, 2:])
        scores, class_ids, sides = peaks.scores.copy(), peaks.class_ids.copy(), peaks.values["ltrb"].copy()
        scores[first] = np.maximum(scores[first], scores[second])
        class_ids[first] = len(self._people)
        sides[first] = np.concatenate([low, high], axis=1) - np.tile(peaks.cells[first], 2)
        rest = np.setdiff1d(np.arange(len(scores)), second)
        order = rest[np.argsort(-scores[rest], kind="stable")]
        values = {head: value[order] for head, value in {**peaks.values, "ltrb": sides}.items()}
        return replace(peaks, scores=scores[order], class_ids=class_ids[order], cells=peaks.cells[order], values=values)


def pairs_of(riders: NDArray[np.floating], cycles: NDArray[np.floating]) -> NDArray[np.int64]:
    """Which people ride which cycles.

    A rider is centred over the cycle, reaches above it, ends on it, and is of a matching size.

    Args:
        riders: (N, 4) boxes x1, y1, x2, y2 of people.
        cycles: (M, 4) boxes.

    Returns:
        (P, 2) rows of riders and of cycles, each at most once; those that are centred best come first.
    """
    if not len(riders) or not len(cycles):
        return np.zeros((0, 2), np.int64)
    heights, cycle_heights = riders[:, 3] - riders[:, 1], cycles[:, 3] - cycles[:, 1]
    widths = np.maximum(cycles[:, 2] - cycles[:, 0], 0.5 * cycle_heights)
    across = (riders[:, 0] + riders[:, 2])[:, None] - (cycles[:, 0] + cycles[:, 2])[None]
    offsets = np.abs(across) / 2 / np.maximum(widths, 1e-6)
    ratios = heights[:, None] / np.maximum(cycle_heights, 1e-6)
    feet = (riders[:, 3, None] - cycles[None, :, 1]) / np.maximum(cycle_heights, 1e-6)
    above = (cycles[None, :, 1] - riders[:, 1, None]) / np.maximum(heights, 1e-6)[:, None]
    fits = (offsets < 0.5) & (above > _HEAD)
    for values, (low, high) in ((ratios, _HEIGHT_RATIOS), (feet, _FEET)):
        fits &= (values > low) & (values < high)
    found: list[tuple[int, int]] = []
    for row, column in np.argwhere(fits)[np.argsort(offsets[fits], kind="stable")].tolist():
        if all(row != other and column != taken for other, taken in found):
            found.append((row, column))
    return np.array(found, np.int64).reshape(-1, 2)
