"""What every network of this package is: stems and a backbone that make one feature map, and heads that read it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class TrackingNetwork(nn.Module):
    """A CenterTrack network: a subclass makes the features, its heads are children that bear the heads' names.

    Whatever engines and decoding need of a network is `features`, `heads` and `fused`.
    """

    def __init__(self, head_names: Iterable[str]) -> None:
        super().__init__()
        self._head_names = tuple(head_names)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """Head name -> module from features (B, F, h, w) to raw output (B, C, h, w); hm first."""
        return {name: self.get_submodule(name) for name in self._head_names}

    def features(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """What the heads read: (B, F, H/4, W/4).

        image, previous  (B, 3, H, W) normalised network inputs; H and W multiples of 32, or ValueError
        prior            (B, 1, H, W) prior heatmap in 0..1
        A stem takes part only if the network has it and its input is given.
        """
        raise NotImplementedError

    def forward(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> dict[str, Tensor]:
        """Raw dense output of every head, (B, C, H/4, W/4): no sigmoid, no depth transform. Inputs as in `features`."""
        features = self.features(image, previous, prior)
        return {name: head(features) for name, head in self.heads.items()}

    def fused(self) -> TrackingNetwork:
        """A copy for inference with every batch norm merged into its convolution."""
        return fold_batchnorm(copy.deepcopy(self).eval())


def check_input_size(image: Tensor) -> None:
    """Raises ValueError unless the last two sizes are multiples of 32, which every down- and up-sampling path needs."""
    height, width = image.shape[-2:]
    if height % 32 or width % 32 or not height or not width:
        raise ValueError(f"network input must have a height and width that are multiples of 32, got {height}x{width}")


def fold_batchnorm(module: Module) -> Module:
    """Merge every BatchNorm into the convolution before it, in place; for inference. Returns the module.

    The pairs are neighbours in an `nn.Sequential`, or what a module's `batchnorm_pairs()` names: (convolution, batch
    norm) attribute paths relative to it.
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
        for first, second in zip(names, names[1:], strict=False)
        if isinstance(owner[int(first)], nn.Conv2d) and isinstance(owner[int(second)], nn.BatchNorm2d)
    ]


def _fold(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
    """Scale and shift a convolution (anything with `weight` (O, …) and `bias`) as the batch norm after it would."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    with torch.no_grad():
        scale = (norm.running_var + norm.eps).rsqrt()
        shift = -norm.running_mean * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        weight, bias = conv.weight, conv.bias
        folded = weight * scale.view(-1, *[1] * (weight.dim() - 1))  # type: ignore[operator]
        conv.weight = nn.Parameter(folded, requires_grad=False)
        conv.bias = nn.Parameter(shift if bias is None else bias * scale + shift, requires_grad=False)  # type: ignore
