# SPDX-License-Identifier: Apache-2.0
"""The torch engine with a network that Inductor compiles: needs a C++ compiler (CPU) or Triton (CUDA)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from centertrack_ros.engine.torch_engine import TorchEngine

_LOG = logging.getLogger(__name__)


class Compiled(nn.Module):
    """Compiles a network for each input shape when it first occurs, and runs it uncompiled if that is not possible."""

    def __init__(self, network: nn.Module) -> None:
        import torch._inductor.config  # noqa: F401 (torch does not import it by itself)

        super().__init__()
        self.network = network
        self._compiled: Callable[..., Any] | None = _compile(network)

    def forward(self, *inputs: Tensor | None) -> Mapping[str, Tensor]:
        """See `PeakNetwork.forward`."""
        if self._compiled is not None:
            try:
                # Freezing arranges the weights in memory once instead of at every call.
                with torch._inductor.config.patch(freezing=True):
                    return self._compiled(*inputs)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # a missing compiler raises another type on each platform
                self._compiled = None
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                _LOG.warning("torch.compile is not possible here, the network runs uncompiled: %s", reason)
        return self.network(*inputs)


def _compile(network: nn.Module) -> Callable[..., Any]:
    compiled = torch.compile(network, dynamic=False)
    return lambda *inputs: compiled(*inputs)  # a function: a module would be registered a second time


class CompiledEngine(TorchEngine):
    """`TorchEngine`, compiled: the first frame of each input size takes a minute."""

    name = "torch-compile"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._network = Compiled(self._network)
