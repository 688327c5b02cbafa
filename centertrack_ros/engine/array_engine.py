"""What engines that run exported files share: arrays in, arrays out, and no need of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.preprocess import normalisation_table, warp_to_planes
from centertrack_ros.geometry import gaussian
from centertrack_ros.network.peaks import Peaks, from_arrays
from centertrack_ros.network.profile import ModelProfile

INPUTS = ("image", "previous_image", "prior_heatmap")  # of every exported file, as far as its network has them


class ArrayEngine:
    """Implements `engine.base.Engine` on top of `_run`; network inputs are float32 arrays (1, 3, h, w)."""

    name: str
    device = "cpu"

    def __init__(self, profile: ModelProfile, inputs: Sequence[str]) -> None:
        self.profile = profile
        self._inputs = frozenset(inputs)
        self._table = normalisation_table(profile)

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        """The graph's outputs by name."""
        raise NotImplementedError

    def prepare(
        self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """See `Engine.prepare`."""
        return warp_to_planes(image, affine, size, self._table, self.profile.color_order)[None]

    def infer(self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[NDArray[np.int64]]) -> list[Peaks]:
        """See `Engine.infer`; CPU tensors of the torch engine are taken too. Raises ValueError as that does."""
        if not len(images) == len(previous) == len(priors):
            raise ValueError(f"{len(images)} images with {len(previous)} previous images and {len(priors)} priors")
        if not images:
            return []
        sizes = {tuple(array.shape[-2:]) for array in (*images, *previous)}
        if len(sizes) != 1:
            raise ValueError(f"all inputs of one batch, previous ones too, must be of one size, got {sorted(sizes)}")
        (size,) = sizes
        if size[0] % 32 or size[1] % 32:
            raise ValueError(
                f"network input must have a height and width that are multiples of 32, got {size[0]}x{size[1]}"
            )
        found = self._run(self._feeds(images, previous, priors, size))
        ratio = self.profile.down_ratio
        return from_arrays(found, (size[0] // ratio, size[1] // ratio))

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
