# SPDX-License-Identifier: Apache-2.0
"""A light CenterNet on MobileNetV3 with CenterTrack's two extra stems and a displacement head.

The detector is the published COCO network of github.com/610265158/mobilenetv3_centernet (2.0 M parameters), laid out as
its TensorFlow graph is, with TensorFlow's padding and up-sampling; `tools.tfjs` copies that graph's weights. The stems
and all further heads change nothing at first: their contribution is exactly 0 until they are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from centertrack_ros.network.base import TrackingNetwork, check_input_size
from centertrack_ros.network.correlation import MotionBranch
from centertrack_ros.network.heads import HEATMAPS, PRIOR_BIAS, join_parts, make_head
from centertrack_ros.network.mobilenetv3_shapes import (
    ACTIVATION_SCALE,
    BLOCKS,
    DETECTION_HEADS,
    FEATURE_CHANNELS,
    LAST_CHANNELS,
    LATERAL_EXPANSIONS,
    LATERAL_OUTPUT,
    STEM_CHANNELS,
    BlockShape,
)


def hard_swish(x: Tensor) -> Tensor:
    """Hard swish with the constant of the published graph, see `ACTIVATION_SCALE`."""
    return F.hardswish(x) * ACTIVATION_SCALE


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "hard_swish": hard_swish,
    "unit_hard_swish": F.hardswish,
}


class ConvLayer(nn.Module):
    """Convolution padded as TensorFlow's SAME, then a BatchNorm if there is one, then an activation.

    At stride 2 and an even input, SAME puts the odd pixel of padding at the right and at the bottom.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: str = "none",
        bias: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.margins: tuple[int, int, int, int] | None = None
        padding = kernel // 2
        if stride == 2:
            before = (kernel - 2) // 2
            after = kernel - 2 - before
            self.margins = (before, after, before, after)
            padding = 0
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride, padding, groups=groups, bias=bias and not batch_norm
        )
        self.norm = nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, ceil(H / stride), ceil(W / stride))."""
        if self.margins is not None:
            x = F.pad(x, self.margins)
        return _ACTIVATIONS[self.activation](self.norm(self.conv(x)))

    def batchnorm_pairs(self) -> list[tuple[str, str]]:
        """For `fold_batchnorm`."""
        return [("conv", "norm")]


class Separable(nn.Module):
    """Depthwise convolution without bias, then 1x1, without activations, as in the graph's neck and detection heads.

    Reads the first `channels_in` channels of its input.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.channels_in = channels_in
        self.patch_kernel = kernel  # `SparseHeads` can evaluate it on patches of this size
        self.channels_read: int | None = channels_in
        self.depthwise = ConvLayer(channels_in, channels_in, kernel, groups=channels_in, bias=False)
        self.pointwise = ConvLayer(channels_in, channels_out, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, at least Cin, H, W) -> (B, Cout, H, W)."""
        return self.pointwise(self.depthwise(x[:, : self.channels_in]))


class ConditionedHeatmap(Separable):
    """The published heatmap head plus a correction from the motion branch, which is 0 until it is trained."""

    def __init__(self, channels_in: int, added: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)
        self.channels_read = None  # all
        self.correction = nn.Conv2d(added, channels_out, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin + added, H, W) -> logits (B, Cout, H, W)."""
        return super().forward(x) + self.correction(x[:, self.channels_in :])


class SqueezeExcite(nn.Module):
    """Channel gates from the global mean; `gate` is 'hard_sigmoid' (backbone) or 'sigmoid' (neck, without bias)."""

    def __init__(self, channels: int, squeezed: int, gate: str = "hard_sigmoid", batch_norm: bool = False) -> None:
        super().__init__()
        self.gate = gate
        self.reduce = ConvLayer(channels, squeezed, activation="relu", batch_norm=batch_norm)
        self.expand = ConvLayer(squeezed, channels, bias=gate == "hard_sigmoid")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        gates = self.expand(self.reduce(x.mean(dim=(2, 3), keepdim=True)))
        if self.gate == "sigmoid":
            return x * torch.sigmoid(gates)
        gates = F.hardsigmoid(gates)
        return x * (gates * ACTIVATION_SCALE if self.gate == "hard_sigmoid" else gates)


class InvertedResidual(nn.Module):
    """MobileNetV3's block (arXiv 1905.02244); gives (output, expansion), the second for the neck."""

    def __init__(self, channels_in: int, shape: BlockShape, batch_norm: bool) -> None:
        super().__init__()
        inner = shape.expanded or channels_in
        self.expand = None
        if shape.expanded:
            self.expand = ConvLayer(channels_in, inner, activation=shape.activation, batch_norm=batch_norm)
        self.depthwise = ConvLayer(
            inner, inner, shape.kernel, shape.stride, inner, activation=shape.activation, batch_norm=batch_norm
        )
        self.squeeze = SqueezeExcite(inner, shape.squeezed) if shape.squeezed else None
        self.project = ConvLayer(inner, shape.out, batch_norm=batch_norm)
        self.residual = shape.stride == 1 and channels_in == shape.out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Cin, H, W) -> output and expansion; see the class."""
        expansion = x if self.expand is None else self.expand(x)
        inner = self.depthwise(expansion)
        if self.squeeze is not None:
            inner = self.squeeze(inner)
        out = self.project(inner)
        return (out + x if self.residual else out), expansion


def upsample_twice(x: Tensor) -> Tensor:
    """Up-sample like TensorFlow's bilinear resize with align_corners=False and half_pixel_centers=False.

    Output 2i is input i, and output 2i + 1 is the mean of inputs i and i + 1, with the last input repeated at the
    border. With one repeated row and column this is the corner-aligned interpolation to 2n + 1, without its last row
    and column.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, C, 2H, 2W).
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    return F.interpolate(padded, size=size, mode="bilinear", align_corners=True)[..., :-1, :-1]


class Lateral(nn.Module):
    """Lateral connection from the backbone to the neck: 1x1 + ReLU, then a separable 5x5."""

    def __init__(self, channels_in: int, middle: int, channels_out: int, batch_norm: bool) -> None:
        super().__init__()
        self.reduce = ConvLayer(channels_in, middle, activation="relu", batch_norm=batch_norm)
        self.spread = Separable(middle, channels_out, 5, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        return self.spread(self.reduce(x))


class Upsample(nn.Module):
    """Sum of a separable 3x3 and a separable 5x5, then doubled in size."""

    def __init__(self, channels_in: int, channels_out: int, batch_norm: bool) -> None:
        super().__init__()
        self.narrow = Separable(channels_in, channels_out, 3, batch_norm)
        self.wide = Separable(channels_in, channels_out, 5, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, 2H, 2W)."""
        return upsample_twice(self.narrow(x) + self.wide(x))


class Neck(nn.Module):
    """Maps at strides 4, 8, 16, 32 -> one of `FEATURE_CHANNELS` at stride 4."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        self.lateral4 = Lateral(72, 18, 64, batch_norm)
        self.lateral8 = Lateral(96, 24, 96, batch_norm)
        self.lateral16 = Lateral(88, 22, 128, batch_norm)
        self.up32 = Upsample(LAST_CHANNELS, 128, batch_norm)
        self.up16 = Upsample(256, 96, batch_norm)
        self.up8 = Upsample(192, 64, batch_norm)
        self.attention = SqueezeExcite(FEATURE_CHANNELS, 32, "sigmoid", batch_norm)

    def forward(self, stride4: Tensor, stride8: Tensor, stride16: Tensor, stride32: Tensor) -> Tensor:
        """See the class."""
        x = F.relu(torch.cat([self.lateral16(stride16), self.up32(stride32)], dim=1))
        x = F.relu(torch.cat([self.lateral8(stride8), self.up16(x)], dim=1))
        x = F.relu(torch.cat([self.lateral4(stride4), self.up8(x)], dim=1))
        return self.attention(x)


class Stem(nn.Module):
    """An extra input of CenterTrack: convolution, BatchNorm whose scale starts at 0, hard swish.

    Hard swish instead of ReLU: its slope at 0 is 1/2, so that the scale of 0 receives a gradient.
    """

    def __init__(self, channels_in: int, kernel: int) -> None:
        super().__init__()
        self.layer = ConvLayer(channels_in, STEM_CHANNELS, kernel, 2, activation="unit_hard_swish", batch_norm=True)
        nn.init.zeros_(self.layer.norm.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, 16, H / 2, W / 2)."""
        return self.layer(x)

    def adds_nothing(self) -> bool:
        """Whether the output is 0 for every input; for a stem whose batch norm is folded."""
        return not any(bool(parameter.any()) for parameter in self.layer.conv.parameters())


class MobileNetV3CenterNet(TrackingNetwork):
    """CenterTrack heads at stride 4 from one RGB image (0..255, not normalized), and optionally the two extra inputs.

    Args:
        heads: Head name -> channels, hm first. 'hm' and 'ltrb' have the published form; all others are added heads,
            which have the form of the official ones.
        previous_image: Whether the network uses the previous image.
        prior_heatmap: Whether the network uses the prior heatmap.
        head_conv: Channels of the hidden convolution of an added head.
        hidden: Added head -> channels of its hidden convolutions one by one, instead of one of `head_conv`. A head is
            evaluated at few cells only, so that a larger one costs little.
        stem_kernel: Kernel of the two extra stems.
        batch_norm: True: a BatchNorm after the convolutions of backbone and neck, for training from scratch. False (the
            published weights): they are folded into the convolutions.
        motion: False: CenterTrack's stems add the two extra inputs to the first layer. True: a separate branch
            (`MotionBranch`) reads them, for the added heads only, so that training it does not change the published
            heads.
        motion_strides: Further strides at which the branch compares the images, see `MotionBranch`.
        conditioned_heatmap: The branch also corrects the heatmap.
        coordinates: Added heads also read the position of a cell, see `coordinates`. For a camera whose height and
            pitch belong to the model, the position in the image shows the distance of objects on the ground.

    Raises:
        TypeError: `hidden` names a head that is not an added one.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        *,
        previous_image: bool = True,
        prior_heatmap: bool = True,
        head_conv: int = 64,
        hidden: Mapping[str, Sequence[int]] | None = None,
        stem_kernel: int = 3,
        batch_norm: bool = False,
        motion: bool = False,
        motion_strides: Collection[int] = (),
        conditioned_heatmap: bool = False,
        coordinates: bool = False,
    ) -> None:
        super().__init__(heads)
        self.coordinates = coordinates
        self.stem = ConvLayer(3, STEM_CHANNELS, 3, 2, activation="hard_swish", batch_norm=batch_norm)
        self.previous_stem = Stem(3, stem_kernel) if previous_image and not motion else None
        self.prior_stem = Stem(1, stem_kernel) if prior_heatmap and not motion else None
        self.motion = MotionBranch(previous_image, prior_heatmap, motion_strides) if motion else None
        widths = [STEM_CHANNELS, *(block.out for block in BLOCKS)]
        self.blocks = nn.ModuleList(
            InvertedResidual(width, block, batch_norm) for width, block in zip(widths, BLOCKS, strict=False)
        )
        self.last = ConvLayer(widths[-1], LAST_CHANNELS, activation="hard_swish", batch_norm=batch_norm)
        self.neck = Neck(batch_norm)
        added = (self.motion.channels if self.motion is not None else 0) + (2 if coordinates else 0)
        hidden = hidden or {}
        own = [name for name in heads if name not in DETECTION_HEADS]
        if unknown := sorted(set(hidden) - set(own)):
            raise TypeError(f"hidden: '{unknown[0]}' is not an added head, expected some of {', '.join(own)}")
        for name, channels in heads.items():
            wide = [int(width) for width in hidden.get(name, [head_conv] if head_conv else [])]
            self.add_module(name, _head(name, added, channels, wide, conditioned_heatmap and motion))

    def features(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """See `TrackingNetwork.features`; F is 128 and the channels of the motion branch and of `coordinates`."""
        return join_parts(self.feature_parts(image, previous, prior))

    def feature_parts(
        self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None
    ) -> Sequence[Tensor]:
        """See `TrackingNetwork.feature_parts`."""
        check_input_size(image)
        x = self.stem(image)
        if self.previous_stem is not None and previous is not None:
            x = x + self.previous_stem(previous)
        if self.prior_stem is not None and prior is not None:
            x = x + self.prior_stem(prior)
        laterals: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x, expansion = block(x)
            if index in LATERAL_EXPANSIONS:
                laterals.append(expansion)
            if index == LATERAL_OUTPUT:
                laterals.append(x)
        parts = [self.neck(*laterals, self.last(x))]
        if self.motion is not None:
            parts.append(self.motion(image, previous, prior))
        if self.coordinates:
            parts.append(coordinates(parts[0]))
        return parts

    def fused(self) -> MobileNetV3CenterNet:
        """A copy for inference: batch norms and `ACTIVATION_SCALE` are merged into convolutions; equal to 1e-5.

        The copy has no stem that adds exactly 0, as an untrained one does.
        """
        twin = super().fused()
        assert isinstance(twin, MobileNetV3CenterNet)
        if twin.previous_stem is not None and twin.previous_stem.adds_nothing():
            twin.previous_stem = None
        if twin.prior_stem is not None and twin.prior_stem.adds_nothing():
            twin.prior_stem = None
        with torch.no_grad():
            for block in twin.blocks:
                assert isinstance(block, InvertedResidual)
                _absorb_scales(block)
            if twin.last.activation == "hard_swish":
                twin.last.activation = "unit_hard_swish"
                for branch in (twin.neck.up32.narrow, twin.neck.up32.wide):
                    branch.depthwise.conv.weight *= ACTIVATION_SCALE
        return twin


def coordinates(features: Tensor) -> Tensor:
    """Coordinates of the cells of a map from the map's center, to the right and down, in units of 32 cells.

    Args:
        features: (B, C, h, w).

    Returns:
        (B, 2, h, w).
    """
    height, width = features.shape[-2:]
    x = (torch.arange(width, device=features.device, dtype=features.dtype) + 0.5 - width / 2) / 32
    y = (torch.arange(height, device=features.device, dtype=features.dtype) + 0.5 - height / 2) / 32
    column, row = x.expand(height, width), y[:, None].expand(height, width)
    return torch.stack([column, row])[None].expand(features.shape[0], -1, -1, -1)


def _head(name: str, added: int, channels: int, hidden: Sequence[int], conditioned: bool) -> nn.Module:
    """Published form for 'hm' and 'ltrb'; official CenterTrack form for any other, whose output is 0 until trained."""
    if name not in DETECTION_HEADS:
        head = make_head(name, FEATURE_CHANNELS + added, channels, hidden=hidden)
        if name not in HEATMAPS:
            nn.init.zeros_(head[-1].weight)  # type: ignore[arg-type]
        return head
    if name == "hm" and conditioned:
        published: Separable = ConditionedHeatmap(FEATURE_CHANNELS, added, channels)
    else:
        published = Separable(FEATURE_CHANNELS, channels, 3)
    if name == "hm":
        nn.init.constant_(published.pointwise.conv.bias, PRIOR_BIAS)  # type: ignore[arg-type]
    return published


def _absorb_scales(block: InvertedResidual) -> None:
    """Moves `ACTIVATION_SCALE` from the block's activations and gates into the weights after them."""
    project = block.project.conv.weight
    if block.expand is not None and block.expand.activation == "hard_swish":
        block.expand.activation = "unit_hard_swish"
        block.depthwise.conv.weight *= ACTIVATION_SCALE
    if block.depthwise.activation == "hard_swish":
        block.depthwise.activation = "unit_hard_swish"
        project *= ACTIVATION_SCALE
        if block.squeeze is not None:
            block.squeeze.reduce.conv.weight *= ACTIVATION_SCALE
    if block.squeeze is not None and block.squeeze.gate == "hard_sigmoid":
        block.squeeze.gate = "unit_hard_sigmoid"
        project *= ACTIVATION_SCALE
