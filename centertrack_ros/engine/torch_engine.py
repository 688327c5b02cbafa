# SPDX-License-Identifier: Apache-2.0
"""PyTorch itself: the engine that is always available, and the reference for all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.engine.base import check_batch
from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise
from centertrack_ros.geometry import gaussian
from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.decode import PeakNetwork, to_peaks
from centertrack_ros.network.peaks import Peaks, places_of
from centertrack_ros.network.profile import ModelProfile

# Torch has one number of threads for the process; an engine must not leave its own to the next one.
_initial_threads: int | None = None


def _use_threads(threads: int | None) -> None:
    """Sets torch's threads; None: back to the number before the first engine that changed it."""
    global _initial_threads
    if threads is not None:
        _initial_threads = _initial_threads or torch.get_num_threads()
        torch.set_num_threads(threads)
    elif _initial_threads is not None:
        torch.set_num_threads(_initial_threads)
        _initial_threads = None


class TorchEngine:
    """Runs a network eagerly, in float32; implements `engine.base.Engine`.

    Args:
        network: Copied with `fuse`, otherwise used (and moved to the device) itself.
        profile: Of the model.
        device: 'cpu', 'cuda', 'cuda:1', …
        flip_test: Average with the mirrored image, as the official `--flip_test`.
        dense: Evaluate every head at every cell instead of at the peaks only; the same numbers, slower.
        fuse: Merge batch norms into convolutions and use the channels-last memory format.
        threads: CPU threads of torch, for the whole process; None: as many as before an engine changed them.
    """

    name = "torch"

    def __init__(
        self,
        network: TrackingNetwork,
        profile: ModelProfile,
        device: str = "cpu",
        flip_test: bool = False,
        dense: bool = False,
        fuse: bool = True,
        threads: int | None = None,
    ) -> None:
        _use_threads(threads)
        self._profile = profile
        self._device = torch.device(device)
        self._layout = torch.channels_last if fuse else torch.contiguous_format
        network = network.fused() if fuse else network.eval()
        self._network: nn.Module = PeakNetwork(network, profile.max_detections, flip_test, dense).eval()
        self._network.to(device=self._device)
        if fuse:
            self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._table = normalisation_table(profile)

    @property
    def profile(self) -> ModelProfile:
        """See `Engine.profile`."""
        return self._profile

    @property
    def device(self) -> str:
        """See `Engine.device`."""
        return str(self._device)

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
        """A (1, 3, h, w) float32 tensor on the engine's device; see `Engine.prepare`."""
        pixels = warp_and_normalise(image, affine, size, self._table, self._profile.color_order)
        # (h, w, 3) viewed as (1, 3, h, w) is channels-last already, without a copy.
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        return tensor.to(self._device).contiguous(memory_format=self._layout)

    def infer(
        self,
        images: Sequence[Tensor],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`."""
        size = check_batch(images, previous, priors)
        if size is None:
            return []
        profile = self._profile
        grid = (size[0] // profile.down_ratio, size[1] // profile.down_ratio)
        with torch.inference_mode():
            inputs = [
                self._batch(images),
                self._batch(previous) if profile.previous_image else None,
                self._prior_heatmaps(priors, size) if profile.prior_heatmap else None,
            ]
            if cells is None:
                return to_peaks(self._network(*inputs), grid)
            places = places_of(cells, grid[1], min(profile.max_detections, len(profile.classes) * grid[0] * grid[1]))
            outputs = self._network(*inputs, torch.from_numpy(places).to(self._device))
            return to_peaks(outputs, grid, [len(asked) for asked in cells])

    def _batch(self, tensors: Sequence[Tensor]) -> Tensor:
        if len(tensors) == 1:
            return tensors[0]
        return torch.cat(list(tensors)).contiguous(memory_format=self._layout)

    def _prior_heatmaps(self, priors: Sequence[NDArray[np.int64]], size: tuple[int, int]) -> Tensor:
        heatmaps = np.stack([gaussian.render(prior, size) for prior in priors])
        return torch.from_numpy(heatmaps)[:, None].to(self._device)
