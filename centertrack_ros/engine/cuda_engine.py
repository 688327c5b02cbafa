# SPDX-License-Identifier: Apache-2.0
"""Networks on NVIDIA GPUs: float16, and one CUDA graph per batch and input size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile

_LOG = logging.getLogger(__name__)
_WARM_UPS = 3  # runs before a capture, so that cuDNN has chosen its algorithms


class CudaEngine(TorchEngine):
    """`TorchEngine` in float16, except coordinates, scores and depths. It halves a batch that does not fit into memory.

    Args:
        network: See `TorchEngine`.
        profile: See `TorchEngine`.
        device: 'cuda', 'cuda:1', …
        flip_test: See `TorchEngine`.
        half: False computes in float32.
    """

    name = "torch-cuda"

    def __init__(
        self, network: TrackingNetwork, profile: ModelProfile, device: str, flip_test: bool = False, half: bool = True
    ) -> None:
        super().__init__(network, profile, device, flip_test=flip_test)
        self._type = torch.float16 if half else torch.float32
        torch.backends.cudnn.benchmark = True  # input sizes do not change from frame to frame
        self._network.to(dtype=self._type)
        self._network = _Graphed(self._network)
        self._batch_limit: int | None = None  # set when the memory is too small for a batch

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
        """See `TorchEngine.prepare`."""
        return super().prepare(image, affine, size).to(self._type)

    def infer(
        self,
        images: Sequence[Tensor],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`.

        Raises:
            RuntimeError: The GPU's memory does not suffice for one image.
        """
        step = self._batch_limit or max(1, len(images))
        if step < len(images):
            parts = [slice(first, first + step) for first in range(0, len(images), step)]
            return [
                peaks
                for part in parts
                for peaks in self.infer(
                    images[part], previous[part], priors[part], None if cells is None else cells[part]
                )
            ]
        try:
            return super().infer(images, previous, priors, cells)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            if len(images) <= 1:
                raise RuntimeError("the GPU's memory does not suffice for one image of this size") from None
        self._batch_limit = len(images) // 2
        _LOG.warning(
            "the GPU's memory does not suffice for %d images at once: %d from now on", len(images), self._batch_limit
        )
        return self.infer(images, previous, priors, cells)

    def _prior_heatmaps(self, priors: Sequence[NDArray[np.int64]], size: tuple[int, int]) -> Tensor:
        return super()._prior_heatmaps(priors, size).to(self._type)


class _Graphed(nn.Module):
    """Records the kernels of a network once per input shape, and then starts all of them at once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._graphs: dict[tuple[Any, ...], tuple[Any, list[Tensor | None], Mapping[str, Tensor]]] = {}
        self._usable = True

    def forward(self, *inputs: Tensor | None) -> Mapping[str, Tensor]:
        shape = tuple(None if tensor is None else tuple(tensor.shape) for tensor in inputs)
        if self._usable and shape not in self._graphs:
            try:
                self._graphs[shape] = self._record(inputs)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._usable = False
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                _LOG.warning("CUDA graphs are not possible here, kernels are started one by one: %s", reason)
        if not self._usable:
            return self.network(*inputs)
        graph, buffers, outputs = self._graphs[shape]
        for buffer, tensor in zip(buffers, inputs, strict=True):
            if buffer is not None and tensor is not None:
                buffer.copy_(tensor)
        graph.replay()
        return outputs  # valid until the next replay: `to_peaks` copies them to the host

    def _record(self, inputs: Sequence[Tensor | None]) -> tuple[Any, list[Tensor | None], Mapping[str, Tensor]]:
        buffers = [None if tensor is None else tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self.network(*buffers)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.network(*buffers)
        return graph, buffers, outputs
