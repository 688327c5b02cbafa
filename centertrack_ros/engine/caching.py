# SPDX-License-Identifier: Apache-2.0
"""An engine that caches the network's results."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine, EngineAround
from centertrack_ros.network.peaks import Peaks

_NO_POINTS = np.zeros((0, 3), np.int64)


@dataclass(frozen=True)
class _Input:
    """A prepared input with the digest of everything that it was made from."""

    key: bytes
    value: Any


class CachingEngine(EngineAround):
    """Runs `engine` once for each image with its previous one, prior heatmap and cells: exact, for comparisons.

    Trackers with the same inputs get the same peaks without running the network again. Everything is kept until
    `clear`.

    Args:
        engine: What runs the network.
        detection_only: The previous image is always the image itself and the prior heatmap is empty, whatever the
            tracker's inputs are.
        repeating: An image gets the peaks that it got last, whatever the other inputs are; KeyError for a new image.

    Attributes:
        requests: Number of images that peaks were requested for.
        runs: Number of images that the network ran for.
    """

    def __init__(self, engine: Engine, detection_only: bool = False, repeating: bool = False) -> None:
        super().__init__(engine)
        self.detection_only, self.repeating = detection_only, repeating
        self.requests = self.runs = 0
        self._inputs: dict[bytes, _Input] = {}
        self._peaks: dict[tuple[bytes, bytes, bytes, bytes], Peaks] = {}
        self._last: dict[bytes, Peaks] = {}  # by image alone

    def for_single_images(self) -> CachingEngine:
        """A detector of single images with the same cache."""
        return self._sharing_cache(CachingEngine(self.engine, detection_only=True))

    def repeater(self) -> CachingEngine:
        """An engine with the same cache that repeats the last peaks of each image.

        It gives another tracker the same detections, although its own tracks would make another prior heatmap.
        """
        return self._sharing_cache(CachingEngine(self.engine, repeating=True))

    def _sharing_cache(self, other: CachingEngine) -> CachingEngine:
        other._inputs, other._peaks, other._last = self._inputs, self._peaks, self._last
        return other

    def clear(self) -> None:
        """Empties the cache, also that of the engines that share it."""
        self._inputs.clear()
        self._peaks.clear()
        self._last.clear()

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> _Input:
        """See `Engine.prepare`."""
        digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(affine).tobytes() + repr((image.shape, size)).encode())
        key = digest.digest()
        if key not in self._inputs:
            self._inputs[key] = _Input(key, self.engine.prepare(image, affine, size))
        return self._inputs[key]

    def infer(
        self,
        images: Sequence[_Input],
        previous: Sequence[_Input],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`."""
        if self.repeating:
            return [self._last[image.key] for image in images]
        if self.detection_only:
            previous, priors = images, [_NO_POINTS] * len(images)
        asked = [b""] * len(images) if cells is None else [np.asarray(one, np.int64).tobytes() for one in cells]
        keys = [
            (image.key, before.key, np.unique(np.asarray(prior, np.int64), axis=0).tobytes(), at)
            for image, before, prior, at in zip(images, previous, priors, asked, strict=True)
        ]
        missing = [row for row, key in enumerate(keys) if key not in self._peaks]
        if missing:
            computed = self.engine.infer(
                [images[row].value for row in missing],
                [previous[row].value for row in missing],
                [priors[row] for row in missing],
                None if cells is None else [cells[row] for row in missing],
            )
            self._peaks.update({keys[row]: peaks for row, peaks in zip(missing, computed, strict=True)})
        self.requests += len(keys)
        self.runs += len(missing)
        results = [self._peaks[key] for key in keys]
        if not self.detection_only:
            self._last.update({image.key: peaks for image, peaks in zip(images, results, strict=True)})
        return results
