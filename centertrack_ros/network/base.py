# SPDX-License-Identifier: Apache-2.0
"""The base class of all networks: stems and a backbone make one feature map, and heads read it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Module = TypeVar("Module", bound=nn.Module)


class TrackingNetwork(nn.Module):
    """A CenterTrack network. A subclass computes the features; its heads are child modules under the heads' names.

    Engines and decoding use only `features`, `heads` and `fused`.

    Args:
        head_names: In the official order, hm first.
    """

    def __init__(self, head_names: Iterable[str]) -> None:
        super().__init__()
        self._head_names = tuple(head_names)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """Head name -> module from features (B, F, h, w) to raw output (B, C, h, w); hm first."""
        return {name: self.get_submodule(name) for name in self._head_names}

    def features(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """Compute the feature map that the heads read.

        A stem takes part only if the network has it and its input is there.

        Args:
            image: (B, 3, H, W), normalized network input; H and W are multiples of 32.
            previous: (B, 3, H, W), the previous image, prepared in the same way.
            prior: (B, 1, H, W), the prior heatmap in 0..1.

        Returns:
            (B, F, H/4, W/4).

        Raises:
            ValueError: H or W is not a multiple of 32.
        """
        raise NotImplementedError

    def feature_parts(
        self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None
    ) -> Sequence[Tensor]:
        """The feature map in parts that follow each other along the channels, so that nobody needs to join them.

        Args:
            image: As in `features`.
            previous: As in `features`.
            prior: As in `features`.
        """
        return (self.features(image, previous, prior),)

    def forward(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> dict[str, Tensor]:
        """Raw dense output of every head, (B, C, H/4, W/4): no sigmoid, no depth transform.

        Args:
            image: As in `features`.
            previous: As in `features`.
            prior: As in `features`.
        """
        features = self.features(image, previous, prior)
        return {name: head(features) for name, head in self.heads.items()}

    def fused(self) -> TrackingNetwork:
        """A copy for inference with every batch norm merged into its convolution."""
        return fold_batchnorm(copy.deepcopy(self).eval())


def check_input_size(image: Tensor) -> None:
    """Check that height and width, the last two sizes, are multiples of 32: every up-sampling path needs that.

    Args:
        image: (..., H, W).

    Raises:
        ValueError: They are not.
    """
    height, width = image.shape[-2:]
    if height % 32 or width % 32 or not height or not width:
        raise ValueError(f"network input must have a height and width that are multiples of 32, got {height}x{width}")


def fold_batchnorm(module: Module) -> Module:
    """Merge every BatchNorm into the convolution before it, in place; for inference.

    The pairs are neighbours in an `nn.Sequential`, or what a module's `batchnorm_pairs()` lists: (convolution, batch
    norm) attribute paths relative to it. A convolution is any module with a `weight` (O, …) and a `bias`.

    Args:
        module: In evaluation mode.

    Returns:
        The same module.

    Raises:
        ValueError: A batch norm has no running statistics.
    """
    for owner in list(module.modules()):
        for conv_name, norm_name in _pairs(owner):
            conv, norm = owner.get_submodule(conv_name), owner.get_submodule(norm_name)
            if isinstance(norm, nn.BatchNorm2d):
                _fold(conv, norm)
                parent, _, leaf = norm_name.rpartition(".")
                setattr(owner.get_submodule(parent), leaf, nn.Identity())
    return module


def _pairs(owner: nn.Module) -> list[tuple[str, str]]:
    if hasattr(owner, "batchnorm_pairs"):
        return list(owner.batchnorm_pairs())  # type: ignore[operator]
    if not isinstance(owner, nn.Sequential):
        return []
    names = list(owner._modules)
    return [
        (first, second)
        for first, second in pairwise(names)
        if isinstance(owner[int(first)], nn.Conv2d) and isinstance(owner[int(second)], nn.BatchNorm2d)
    ]


def _fold(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    with torch.no_grad():
        weight, bias = fuse_conv_bn_weights(
            conv.weight,  # type: ignore[arg-type]
            conv.bias,  # type: ignore[arg-type]
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
