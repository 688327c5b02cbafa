# SPDX-License-Identifier: Apache-2.0
"""PyTorch on NVIDIA GPUs: from a camera's bytes to peaks in one CUDA graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from centertrack_ros.engine.device_engine import DeviceEngine
from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.decode import PeakNetwork
from centertrack_ros.network.profile import ModelProfile

# cuDNN tries at most so many algorithms for each convolution; without a limit the first pass at a size takes minutes.
_SEARCHED = 4


class CudaEngine(DeviceEngine):
    """A fused network with its decoding, by torch.

    Args:
        network: Copied.
        profile: Of the model.
        device: 'cuda', 'cuda:1', …; 'cpu' for tests.
        flip_test: Average with the mirrored image, as the official `--flip_test`.
        half: Compute in float16, except coordinates, scores and depths; else in float32 proper, without TF32.
        graphs: Use CUDA graphs where they are possible.
        search: cuDNN times several algorithms at the first pass at a size, and takes the fastest.
        compiled: By Inductor, where Triton is there.
    """

    def __init__(
        self,
        network: TrackingNetwork,
        profile: ModelProfile,
        device: str,
        flip_test: bool = False,
        half: bool = False,
        graphs: bool = True,
        search: bool = True,
        compiled: bool = False,
    ) -> None:
        self.name = ("torch-compile" if compiled else "torch") + ("-fp16" if half else "")
        kind = torch.float16 if half else torch.float32
        super().__init__(profile, device, kind, torch.channels_last, graphs)
        self._search = search
        peaks: nn.Module = PeakNetwork(network.fused(), profile.max_detections, flip_test).eval()
        peaks = peaks.to(device=self._device, dtype=kind)
        self._peaks = peaks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            from centertrack_ros.engine.compiled_engine import Compiled

            self._peaks = Compiled(self._peaks)

    def _network(
        self, image: Tensor, previous: Tensor | None, prior: Tensor | None, asked: Tensor | None
    ) -> Mapping[str, Tensor]:
        inputs = (image, previous, prior) if asked is None else (image, previous, prior, asked)
        with _cudnn(self._search):
            return self._peaks(*inputs)


@contextlib.contextmanager
def _cudnn(search: bool) -> Iterator[None]:
    """Settings of cuDNN for one call: torch has one set for the whole process."""
    backend = torch.backends.cudnn
    if not backend.is_available():
        yield
        return
    before = (backend.benchmark, backend.benchmark_limit, backend.allow_tf32)
    backend.benchmark, backend.benchmark_limit, backend.allow_tf32 = search, _SEARCHED, False
    try:
        yield
    finally:
        backend.benchmark, backend.benchmark_limit, backend.allow_tf32 = before
