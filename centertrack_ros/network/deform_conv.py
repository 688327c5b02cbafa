"""Modulated deformable convolution (DCNv2, arXiv 1811.11168): the one place of the network that plain PyTorch lacks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> Tensor:
    """A convolution whose T = kh * kw taps are moved by `offset` and weighted by `mask` at every output pixel.

    x       (B, C, H, W)
    offset  (B, 2 T, Ho, Wo) px; channels 2 t and 2 t + 1 are dy and dx of tap t (row-major), as in DCNv2 and in ONNX
    mask    (B, T, Ho, Wo), already between 0 and 1
    weight  (O, C, kh, kw); bias (O,) or None

    Returns (B, O, Ho, Wo). Values between pixels are bilinear; outside of the image everything is 0. Works under
    autograd with respect to all five tensors. Raises ValueError when the shapes do not fit together.
    """
    batch, channels, height, width = x.shape
    out_channels, in_channels, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    out_h, out_w = offset.shape[-2:]
    out_size = tuple(
        (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for length, kernel in ((height, kernel_h), (width, kernel_w))
    )
    offset_shape, mask_shape = (batch, 2 * taps, *out_size), (batch, taps, *out_size)
    if in_channels != channels or tuple(offset.shape) != offset_shape or tuple(mask.shape) != mask_shape:
        raise ValueError(
            f"deform_conv2d: an input of {tuple(x.shape)} and a weight of {tuple(weight.shape)} need an offset of "
            f"{offset_shape} and a mask of {mask_shape}, got {tuple(offset.shape)} and {tuple(mask.shape)}"
        )
    rows, row_weights = _corners(offset, mask, (height, width), (kernel_h, kernel_w), stride, padding, dilation)
    row_weights = row_weights.to(x.dtype)
    table = x.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    flat_weight = weight.permute(0, 2, 3, 1).reshape(out_channels, taps * channels, 1, 1)

    def at(pixels: slice) -> Tensor:
        """Output values (n, O) of some of the B * Ho * Wo pixels."""
        part = slice(pixels.start * taps, pixels.stop * taps)
        # One bag is one tap of one output pixel: the weighted sum of its four corners, read in one pass.
        columns = F.embedding_bag(rows[part], table, mode="sum", per_sample_weights=row_weights[part])
        # As a 1x1 convolution and not as a matrix product: much faster with the CPU libraries that torch uses.
        out = F.conv2d(columns.view(1, -1, 1, taps * channels).permute(0, 3, 1, 2), flat_weight, bias)
        return out.permute(0, 2, 3, 1).reshape(-1, out_channels)

    count = batch * out_h * out_w
    step = _TILE if _is_tiled(x) else count
    tiles = [at(slice(first, min(first + step, count))) for first in range(0, count, step)]
    return torch.cat(tiles).view(batch, out_h, out_w, out_channels).permute(0, 3, 1, 2)


# Pixels per tile, small enough for their columns (9 * C values each) to stay in the cache.
_TILE = 2048


def _is_tiled(x: Tensor) -> bool:
    """Tiles pay on the CPU; autograd would keep all of them, and a compiler or exporter would unroll the loop."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _corners(
    offset: Tensor,
    mask: Tensor,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> tuple[Tensor, Tensor]:
    """The four pixels around every sample, as rows of the flattened (B * H * W) image, and their weights: (n, 4)."""
    height, width = size
    batch, _, out_h, out_w = offset.shape
    taps = kernel[0] * kernel[1]
    # Coordinates need more than 16-bit floats, whatever the features are.
    real = torch.promote_types(offset.dtype, torch.float32)
    device = offset.device
    moved = offset.to(real).view(batch, taps, 2, out_h, out_w).permute(0, 3, 4, 1, 2)
    tap_y = torch.arange(kernel[0], device=device, dtype=real).mul_(dilation).repeat_interleave(kernel[1])
    tap_x = torch.arange(kernel[1], device=device, dtype=real).mul_(dilation).repeat(kernel[0])
    pixel_y = torch.arange(out_h, device=device, dtype=real).mul_(stride).sub_(padding)
    pixel_x = torch.arange(out_w, device=device, dtype=real).mul_(stride).sub_(padding)
    # A sample two pixels outside counts nothing already; the clamp keeps absurd offsets within the integers.
    y = (moved[..., 0] + (pixel_y[:, None, None] + tap_y)).clamp(-2, height + 1)
    x = (moved[..., 1] + (pixel_x[:, None] + tap_x)).clamp(-2, width + 1)
    top, left = y.detach().floor(), x.detach().floor()
    below, right = y - top, x - left

    modulation = mask.to(real).permute(0, 2, 3, 1)
    weight_top = (1 - below) * modulation * ((top >= 0) & (top < height))
    weight_bottom = below * modulation * ((top >= -1) & (top < height - 1))
    weight_left = (1 - right) * ((left >= 0) & (left < width))
    weight_right = right * ((left >= -1) & (left < width - 1))
    weights = torch.stack(
        (
            weight_top * weight_left,
            weight_top * weight_right,
            weight_bottom * weight_left,
            weight_bottom * weight_right,
        ),
        -1,
    )

    integer = torch.int32 if batch * height * width < 2**31 else torch.int64
    image = torch.arange(batch, device=device, dtype=integer).mul_(height * width).view(batch, 1, 1, 1)
    row, column = top.to(integer), left.to(integer)
    row_top = row.clamp(0, height - 1) * width + image
    row_bottom = (row + 1).clamp(0, height - 1) * width + image
    column_left, column_right = column.clamp(0, width - 1), (column + 1).clamp(0, width - 1)
    rows = torch.stack(
        (row_top + column_left, row_top + column_right, row_bottom + column_left, row_bottom + column_right), -1
    )
    return rows.view(-1, 4), weights.view(-1, 4)


class DeformConv(nn.Module):
    """3x3 deformable convolution that predicts its own offsets and mask; official parameter names."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.conv_offset_mask = nn.Conv2d(in_channels, 27, 3, padding=1)
        # A fresh layer is half an ordinary convolution: no offset, every mask sigmoid(0).
        bound = (9 * in_channels) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        predicted = self.conv_offset_mask(x)
        return deform_conv2d(x, predicted[:, :18], predicted[:, 18:].sigmoid(), self.weight, self.bias)
