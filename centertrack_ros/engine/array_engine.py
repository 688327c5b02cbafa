# SPDX-License-Identifier: Apache-2.0
"""The base class of engines that run exported files: arrays in, arrays out, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import check_batch
from centertrack_ros.engine.preprocess import normalisation_table, warp_to_planes
from centertrack_ros.geometry import gaussian
from centertrack_ros.network.peaks import Peaks, from_arrays, places_of
from centertrack_ros.network.profile import ModelProfile

# Inputs of every exported file; a network without a stem lacks its input.
INPUTS = ("image", "previous_image", "prior_heatmap")


class ArrayEngine:
    """Implements `engine.base.Engine` on top of `_run`; network inputs are float32 arrays (1, 3, h, w).

    Args:
        profile: Of the model, with the requested input size.
        inputs: Those of `INPUTS` that the file has.
    """

    name: str
    device = "cpu"

    def __init__(self, profile: ModelProfile, inputs: Sequence[str]) -> None:
        self._profile = profile
        self._inputs = frozenset(inputs)
        self._table = normalisation_table(profile)

    @property
    def profile(self) -> ModelProfile:
        """See `Engine.profile`."""
        return self._profile

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        """The graph's outputs by name."""
        raise NotImplementedError

    def prepare(
        self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """See `Engine.prepare`."""
        return warp_to_planes(image, affine, size, self._table, self._profile.color_order)[None]

    def _run_at(
        self, feeds: Mapping[str, NDArray[np.float32]], places: NDArray[np.int64]
    ) -> Mapping[str, NDArray[Any]]:
        """The same with the heads read at the cells of `network.peaks.places_of`."""
        raise ValueError(f"engine {self.name} reads the network's heads at its own peaks only: use torch or openvino")

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`; accepts CPU tensors of the torch engine too."""
        size = check_batch(images, previous, priors)
        if size is None:
            return []
        if size[0] % 32 or size[1] % 32:
            raise ValueError(
                f"network input must have a height and width that are multiples of 32, got {size[0]}x{size[1]}"
            )
        feeds, ratio = self._feeds(images, previous, priors, size), self._profile.down_ratio
        grid = (size[0] // ratio, size[1] // ratio)
        if cells is None:
            return from_arrays(self._run(feeds), grid)
        outputs = self._run_at(feeds, places_of(cells, grid[1], self._profile.max_detections))
        return from_arrays(outputs, grid, [len(asked) for asked in cells])

    def _feeds(
        self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[NDArray[np.int64]], size: tuple[int, int]
    ) -> dict[str, NDArray[np.float32]]:
        feeds = {"image": _batch(images)}
        if "previous_image" in self._inputs:
            feeds["previous_image"] = _batch(previous)
        if "prior_heatmap" in self._inputs:
            feeds["prior_heatmap"] = np.stack([gaussian.render(prior, size) for prior in priors])[:, None]
        return feeds


def _batch(arrays: Sequence[Any]) -> NDArray[np.float32]:
    first = np.ascontiguousarray(arrays[0])
    return first if len(arrays) == 1 else np.concatenate([np.asarray(array) for array in arrays])
