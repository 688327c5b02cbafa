# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs: all kernels of a function are recorded once for each shape of its inputs, and then started at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)
_WARM_UPS = 3  # runs before a recording, so that cuDNN and the runtimes have chosen their kernels
_MOST = 8  # recordings that are kept: each has memory of its own

Function = Callable[..., tuple[Tensor, ...]]  # (inputs, *constants)


class Graphs:
    """Runs a function of tensors by CUDA graphs; where that is not possible, kernel by kernel.

    Args:
        function: Tensors of fixed shapes in, tensors out; all on one device, without a copy to the host.
        usable: False starts the kernels one by one, as on a CPU.
    """

    def __init__(self, function: Function, usable: bool = True) -> None:
        self.function = function
        self.usable = usable
        self.recordings: dict[tuple[Any, ...], tuple[Any, list[Tensor | None], tuple[Tensor, ...]]] = {}

    def __call__(self, inputs: Sequence[Tensor | None], *constants: Any) -> tuple[Tensor, ...]:
        """Run the function.

        Args:
            inputs: On the device of the function.
            constants: Its other arguments: each of their values has a graph of its own.

        Returns:
            Its results. Those of a graph are overwritten by the next call with inputs of these shapes.
        """
        key = (shapes_of(inputs), constants)
        if self.usable and key not in self.recordings:
            self._try_to_record(key, inputs, constants)
        if not self.usable:
            return self.function(inputs, *constants)
        graph, buffers, outputs = self.recordings[key]
        self.recordings[key] = self.recordings.pop(key)  # the last used one comes last
        for buffer, tensor in zip(buffers, inputs, strict=True):
            if buffer is not None and tensor is not None:
                buffer.copy_(tensor, non_blocking=True)
        graph.replay()
        return outputs

    def _try_to_record(self, key: tuple[Any, ...], inputs: Sequence[Tensor | None], constants: tuple[Any, ...]) -> None:
        while len(self.recordings) >= _MOST:
            self.recordings.pop(next(iter(self.recordings)))
        try:
            self.recordings[key] = self._record(inputs, constants)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.usable = False
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            _LOG.warning("CUDA graphs are not possible here, kernels are started one by one: %s", reason)

    def _record(
        self, inputs: Sequence[Tensor | None], constants: tuple[Any, ...]
    ) -> tuple[Any, list[Tensor | None], tuple[Tensor, ...]]:
        buffers = [None if tensor is None else tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self.function(buffers, *constants)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads go on to upload images meanwhile; only this thread's mistakes are to end the recording.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = self.function(buffers, *constants)
        return graph, buffers, outputs


def shapes_of(inputs: Sequence[Tensor | None]) -> tuple[Any, ...]:
    """What a recording is valid for: shapes and types of the inputs.

    Args:
        inputs: Tensors, or None for absent ones.
    """
    return tuple(None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in inputs)
