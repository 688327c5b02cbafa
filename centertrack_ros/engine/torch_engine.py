"""Networks run by PyTorch itself: the engine that is always there, and the reference for all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise
from centertrack_ros.geometry import gaussian
from centertrack_ros.network.decode import PeakNetwork, to_peaks
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile


class TorchEngine:
    """Runs a network eagerly, in float32; implements `engine.base.Engine`.

    network    as `network.build` makes it; copied when `fuse` is set, otherwise used (and moved) as it is
    device     'cpu', 'cuda', 'cuda:1', …
    flip_test  average over the mirrored image, as the official option does
    dense      evaluate every head everywhere instead of at the peaks only (same numbers, slower)
    fuse       merge batch norms into convolutions and keep maps in channels-last order
    threads    CPU threads of torch, for the whole process; None leaves them as they are
    """

    name = "torch"

    def __init__(
        self,
        network: nn.Module,
        profile: ModelProfile,
        device: str = "cpu",
        flip_test: bool = False,
        dense: bool = False,
        fuse: bool = True,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.profile = profile
        self.device = torch.device(device)
        self._layout = torch.channels_last if fuse else torch.contiguous_format
        network = network.fused() if fuse else network.eval()  # type: ignore[operator]
        self._network = PeakNetwork(network, profile.max_detections, flip_test, dense).eval()
        self._network.to(device=self.device)
        if fuse:
            self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._table = normalisation_table(profile)

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
        """A (1, 3, h, w) float32 tensor on the engine's device; see `Engine.prepare`."""
        pixels = warp_and_normalise(image, affine, size, self._table, self.profile.color_order)
        # (h, w, 3) seen as (1, 3, h, w) is channels-last already: nothing is copied.
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        return tensor.to(self.device).contiguous(memory_format=self._layout)

    def infer(
        self, images: Sequence[Tensor], previous: Sequence[Any], priors: Sequence[NDArray[np.int64]]
    ) -> list[Peaks]:
        """See `Engine.infer`. Raises ValueError when the inputs' numbers or sizes differ."""
        if not len(images) == len(previous) == len(priors):
            raise ValueError(f"{len(images)} images with {len(previous)} previous images and {len(priors)} priors")
        if not images:
            return []
        sizes = {tuple(tensor.shape[-2:]) for tensor in (*images, *previous)}
        if len(sizes) != 1:
            raise ValueError(f"all inputs of one batch, previous ones too, must be of one size, got {sorted(sizes)}")
        (size,) = sizes
        with torch.inference_mode():
            found = self._network(
                self._batch(images),
                self._batch(previous) if self.profile.previous_image else None,
                self._prior_heatmaps(priors, size) if self.profile.prior_heatmap else None,
            )
            ratio = self.profile.down_ratio
            return to_peaks(found, (size[0] // ratio, size[1] // ratio))

    def _batch(self, tensors: Sequence[Tensor]) -> Tensor:
        if len(tensors) == 1:
            return tensors[0]
        return torch.cat(list(tensors)).contiguous(memory_format=self._layout)

    def _prior_heatmaps(self, priors: Sequence[NDArray[np.int64]], size: tuple[int, int]) -> Tensor:
        heatmaps = np.stack([gaussian.render(prior, size) for prior in priors])
        return torch.from_numpy(heatmaps)[:, None].to(self.device)
