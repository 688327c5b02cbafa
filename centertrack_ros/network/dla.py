# SPDX-License-Identifier: Apache-2.0
"""DLA-34 with iterative deep aggregation (arXiv 1707.06484), as CenterTrack uses it; official parameter names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from centertrack_ros.network.base import TrackingNetwork, check_input_size
from centertrack_ros.network.deform_conv import DeformConv
from centertrack_ros.network.heads import make_head

CHANNELS = (16, 32, 64, 128, 256, 512)  # of levels 0..5, at strides 1..32
FEATURES = 64  # channels of the map at stride 4 that the heads read

NodeFactory = Callable[[int, int], nn.Module]


def _conv_block(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def batchnorm_pairs(self) -> Iterator[tuple[str, str]]:
        """For `fold_batchnorm`."""
        yield "conv1", "bn1"
        yield "conv2", "bn2"

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """(B, Cin, H, W) and a residual of the output's shape -> (B, Cout, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + residual)


class Root(nn.Module):
    """Joins the outputs of a tree's children by a 1x1 convolution (aggregation node of arXiv 1707.06484)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def batchnorm_pairs(self) -> Iterator[tuple[str, str]]:
        """For `fold_batchnorm`."""
        yield "conv", "bn"

    def forward(self, *children: Tensor) -> Tensor:
        """Maps of one size -> (B, Cout, H, W)."""
        return F.relu(self.bn(self.conv(torch.cat(children, 1))))


class Tree(nn.Module):
    """Hierarchical aggregation of `depth` levels.

    With two levels the sub-trees do not use the residual that is computed here, so `project` has no effect there; it
    exists because every official checkpoint has its weights.

    Args:
        depth: Levels of the tree, 1 or 2.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution.
        level_root: Whether the root also reads the (pooled) input.
        root_channels: Channels that the root reads; 0 takes twice `out_channels`.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        stride: int,
        level_root: bool = False,
        root_channels: int = 0,
    ) -> None:
        super().__init__()
        root_channels = root_channels or 2 * out_channels
        if level_root:
            root_channels += in_channels
        self.tree1: nn.Module
        self.tree2: nn.Module
        if depth == 1:
            self.tree1 = BasicBlock(in_channels, out_channels, stride)
            self.tree2 = BasicBlock(out_channels, out_channels)
            self.root = Root(root_channels, out_channels)
        else:
            self.tree1 = Tree(depth - 1, in_channels, out_channels, stride)
            self.tree2 = Tree(depth - 1, out_channels, out_channels, 1, root_channels=root_channels + out_channels)
        self.depth = depth
        self.level_root = level_root
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project: nn.Module | None = None
        if in_channels != out_channels:
            self.project = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )
            # A deeper tree has these weights in the official files but never uses them: they get no gradient.
            self.project.requires_grad_(depth == 1)

    def forward(self, x: Tensor, children: Sequence[Tensor] = ()) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride); the root also reads `children`."""
        bottom = self.downsample(x)
        if self.level_root:
            children = (*children, bottom)
        if self.depth > 1:
            first = self.tree1(x)
            return self.tree2(first, (*children, first))
        first = self.tree1(x, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        return self.root(second, first, *children)


class Backbone(nn.Module):
    """DLA-34 with CenterTrack's stems; gives the features of all six levels, finest first."""

    def __init__(self, previous_image: bool, prior_heatmap: bool) -> None:
        super().__init__()
        self.base_layer = _conv_block(3, CHANNELS[0], 7)
        self.level0 = _conv_block(CHANNELS[0], CHANNELS[0], 3)
        self.level1 = _conv_block(CHANNELS[0], CHANNELS[1], 3, stride=2)
        self.level2 = Tree(1, CHANNELS[1], CHANNELS[2], 2)
        self.level3 = Tree(2, CHANNELS[2], CHANNELS[3], 2, level_root=True)
        self.level4 = Tree(2, CHANNELS[3], CHANNELS[4], 2, level_root=True)
        self.level5 = Tree(1, CHANNELS[4], CHANNELS[5], 2, level_root=True)
        self.pre_img_layer = _conv_block(3, CHANNELS[0], 7) if previous_image else None
        self.pre_hm_layer = _conv_block(1, CHANNELS[0], 7) if prior_heatmap else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, previous: Tensor | None, prior: Tensor | None) -> list[Tensor]:
        """Inputs as in `TrackingNetwork.features` -> maps at strides 1, 2, 4, 8, 16, 32."""
        x = self.base_layer(image)
        if self.pre_img_layer is not None and previous is not None:
            x = x + self.pre_img_layer(previous)
        if self.pre_hm_layer is not None and prior is not None:
            x = x + self.pre_hm_layer(prior)
        levels = []
        for level in (self.level0, self.level1, self.level2, self.level3, self.level4, self.level5):
            x = level(x)
            levels.append(x)
        return levels


class DeformNode(nn.Module):
    """Deformable convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
        self.conv = DeformConv(in_channels, out_channels)

    def batchnorm_pairs(self) -> Iterator[tuple[str, str]]:
        """For `fold_batchnorm`."""
        yield "conv", "actf.0"

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        return self.actf(self.conv(x))


class ConvNode(nn.Module):
    """1x1 convolution, batch norm, ReLU: the node of `dla_34_conv`, for runtimes without deformable convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _conv_block(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        return self.conv(x)


def _bilinear(kernel: int) -> Tensor:
    """(1, 1, k, k) weights with which a transposed convolution of stride k / 2 interpolates."""
    factor = (kernel + 1) // 2
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    profile = 1 - (torch.arange(kernel) / factor - centre).abs()
    return (profile[:, None] * profile)[None, None]


class IterativeAggregation(nn.Module):
    """Up-samples maps of different strides to the first map's stride, one after the other (IDAUp)."""

    def __init__(self, out_channels: int, channels: Sequence[int], factors: Sequence[int], node: NodeFactory) -> None:
        super().__init__()
        self.steps = len(channels) - 1
        for i in range(1, len(channels)):
            kernel = 2 * factors[i]
            up = nn.ConvTranspose2d(
                out_channels, out_channels, kernel, factors[i], factors[i] // 2, groups=out_channels, bias=False
            )
            with torch.no_grad():
                up.weight.copy_(_bilinear(kernel).expand_as(up.weight))
            self.add_module(f"proj_{i}", node(channels[i], out_channels))
            self.add_module(f"up_{i}", up)
            self.add_module(f"node_{i}", node(out_channels, out_channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Aggregate the maps.

        Args:
            maps: Finest first.

        Returns:
            Each map aggregated with those before it, all at the finest stride; the first one unchanged.
        """
        joined = [maps[0]]
        for i in range(1, self.steps + 1):
            raised = self.get_submodule(f"up_{i}")(self.get_submodule(f"proj_{i}")(maps[i]))
            joined.append(self.get_submodule(f"node_{i}")(raised + joined[-1]))
        return joined


class DeepAggregation(nn.Module):
    """DLAUp over the maps at strides 4, 8, 16, 32: one aggregated map at each of these strides, finest first."""

    def __init__(self, node: NodeFactory) -> None:
        super().__init__()
        self.ida_0 = IterativeAggregation(256, (256, 512), (1, 2), node)
        self.ida_1 = IterativeAggregation(128, (128, 256, 256), (1, 2, 2), node)
        self.ida_2 = IterativeAggregation(64, (64, 128, 128, 128), (1, 2, 2, 2), node)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """See the class."""
        stride4, stride8, stride16, stride32 = maps
        deep16 = self.ida_0((stride16, stride32))
        deep8 = self.ida_1((stride8, *deep16))
        deep4 = self.ida_2((stride4, *deep8))
        return [deep4[-1], deep8[-1], deep16[-1], stride32]


class DLA34(TrackingNetwork):
    """The network of every official CenterTrack checkpoint, or its variant with plain convolutions.

    Args:
        heads: Head name -> channels, hm first.
        previous_image: Whether there is a stem for the previous image.
        prior_heatmap: Whether there is a stem for the prior heatmap.
        deformable: Whether the up-sampling nodes are deformable convolutions (official 'dla_34') or 1x1 ones.
        head_options: `head_conv`, `num_head_conv`, `head_kernel` of `heads.make_head`.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        *,
        previous_image: bool = True,
        prior_heatmap: bool = True,
        deformable: bool = True,
        **head_options: Any,
    ) -> None:
        super().__init__(heads)
        node: NodeFactory = DeformNode if deformable else ConvNode
        self.base = Backbone(previous_image, prior_heatmap)
        self.dla_up = DeepAggregation(node)
        self.ida_up = IterativeAggregation(FEATURES, (64, 128, 256), (1, 2, 4), node)
        for name, channels in heads.items():
            self.add_module(name, make_head(name, FEATURES, channels, **head_options))

    def features(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """See `TrackingNetwork.features`."""
        check_input_size(image)
        levels = self.base(image, previous, prior)
        return self.ida_up(self.dla_up(levels[2:])[:3])[-1]
