# SPDX-License-Identifier: Apache-2.0
"""Modulated deformable convolution (DCNv2, arXiv 1811.11168), which PyTorch itself does not have.

It is written here because torchvision is an optional dependency, its kernel misses CUDA graphs, and exporters need one
operator. On GPUs with torchvision, its kernel is used where that is possible.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

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
    """Convolve with T = kh * kw taps that are moved by `offset` and weighted by `mask` at every output pixel.

    Values between pixels are bilinear; outside the image everything is 0. Works under autograd with respect to all five
    tensors, whose types can differ, as they do under autocast.

    Args:
        x: (B, C, H, W).
        offset: (B, 2 T, Ho, Wo) px; channels 2 t and 2 t + 1 are dy and dx of tap t (row-major), as in DCNv2 and ONNX.
        mask: (B, T, Ho, Wo) in 0..1.
        weight: (O, C, kh, kw).
        bias: (O,) or None.
        stride: Px.
        padding: Px.
        dilation: Px.

    Returns:
        (B, O, Ho, Wo) in x's type.

    Raises:
        ValueError: The shapes do not fit together.
    """
    batch, channels, height, width = x.shape
    _, in_channels, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
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
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return by_gather(x, offset, mask, weight, bias, stride, padding, dilation)
    return operator(x, offset, mask, weight, bias, stride, padding, dilation)


@torch.library.custom_op("centertrack::deform_conv2d", mutates_args=())
def operator(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Tensor:
    """`deform_conv2d` as one operator that exporters keep whole; chooses the form that suits the device."""
    # Parameters stay float32 under autocast, where `by_gather` would need the memory of a whole batch.
    form = _form(x.device, weight.dtype == torch.float32)
    return form(x, offset, mask, weight, bias, stride, padding, dilation)


@operator.register_fake
def _(x, offset, mask, weight, bias, stride, padding, dilation):  # type: ignore[no-untyped-def]
    shape = (x.shape[0], weight.shape[0], *offset.shape[-2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.geometry = inputs[5:]


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """By autograd through a form, which samples again: stored samples need nine times the input's memory."""
    with torch.enable_grad():
        inputs = [
            None if tensor is None else tensor.detach().requires_grad_(needed)
            for tensor, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        ]
        # Sums of many small gradients need more than 16 bits; autograd converts each to the type of its tensor.
        output = _form(gradient.device, True)(*map(_wide, inputs), *ctx.geometry)
    requested = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    gradients = iter(torch.autograd.grad(output, requested, gradient.to(output.dtype)))
    return (
        *(next(gradients) if tensor is not None and tensor.requires_grad else None for tensor in inputs),
        *[None] * 3,
    )


operator.register_autograd(_gradients, setup_context=_save_inputs)


def _form(device: torch.device, in_float32: bool) -> Callable[..., Tensor]:
    """The fastest form on the device; torchvision's kernel only for float32."""
    if device.type == "cpu":
        return by_bags
    # That kernel always runs on the default stream (pytorch/vision issue 9513): a CUDA graph of another stream
    # misses it.
    usable = in_float32 and device.type == "cuda" and _torchvision_kernel() is not None
    if usable and torch.cuda.current_stream(device) == torch.cuda.default_stream(device):
        return by_kernel
    return by_gather


def _wide(tensor: Tensor | None) -> Tensor | None:
    """Converts 16-bit values to float32."""
    return None if tensor is None else tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@functools.cache
def _torchvision_kernel() -> Any:
    """Torchvision's deform_conv2d if it is installed for this torch, else None."""
    try:
        from torchvision.ops import deform_conv2d as kernel  # type: ignore[import-not-found,unused-ignore]
    except Exception:  # a build for another torch fails in many ways
        return None
    return kernel


def by_kernel(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, *geometry: int) -> Tensor:
    """The form for GPUs with torchvision. Arguments as `deform_conv2d`, unchecked."""
    # The kernel computes coordinates in the type of the data, and all tensors must have one type.
    values, moved, modulation, weight, bias = map(_wide, (x, offset, mask, weight, bias))  # type: ignore[assignment]
    pairs = [(number, number) for number in geometry]
    return _torchvision_kernel()(values, moved, weight, bias, *pairs, modulation).to(x.dtype)


def by_bags(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Tensor:
    """The form for CPUs without a compiler. Arguments as `deform_conv2d`, unchecked; differentiable by itself."""
    out_channels, channels, *kernel = weight.shape
    taps = kernel[0] * kernel[1]
    batch, out_h, out_w = x.shape[0], *offset.shape[-2:]
    rows, row_weights = _corners(
        offset, mask, (x.shape[2], x.shape[3]), (kernel[0], kernel[1]), stride, padding, dilation
    )
    row_weights = row_weights.to(x.dtype)
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    flat_weight = weight.permute(0, 2, 3, 1).reshape(out_channels, taps * channels, 1, 1)

    def at(pixels: slice) -> Tensor:
        """Output values (n, O) of some of the B * Ho * Wo pixels."""
        part = slice(pixels.start * taps, pixels.stop * taps)
        # One bag is one tap of one output pixel: the weighted sum of its four corners, in one pass.
        columns = F.embedding_bag(rows[part], table, mode="sum", per_sample_weights=row_weights[part])
        return _product(columns.view(1, -1, 1, taps * channels), flat_weight, bias).reshape(-1, out_channels)

    count = batch * out_h * out_w
    # Tiles are faster on the CPU, but autograd would keep all of them.
    step = _TILE if x.device.type == "cpu" and not torch.is_grad_enabled() else count
    tiles = [at(slice(first, min(first + step, count))) for first in range(0, count, step)]
    return torch.cat(tiles).view(batch, out_h, out_w, out_channels).permute(0, 3, 1, 2)


def by_gather(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Tensor:
    """The form for compilers, which fuse coordinates and gather. Arguments as `deform_conv2d`, unchecked."""
    out_channels, channels, *kernel = weight.shape
    taps = kernel[0] * kernel[1]
    batch, out_h, out_w = x.shape[0], *offset.shape[-2:]
    rows, row_weights = _corners(
        offset, mask, (x.shape[2], x.shape[3]), (kernel[0], kernel[1]), stride, padding, dilation
    )
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    read = table[rows.flatten().long()].view(-1, 4, channels).to(row_weights.dtype)
    columns = (read * row_weights[..., None]).sum(1).to(x.dtype).view(batch, out_h, out_w, taps * channels)
    flat_weight = weight.permute(0, 2, 3, 1).reshape(out_channels, taps * channels, 1, 1)
    return _product(columns, flat_weight, bias).permute(0, 3, 1, 2)


def _product(columns: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, h, w, T) columns times (O, T, 1, 1) weights: (B, h, w, O).

    A 1x1 convolution, because it is much faster than a matrix product with the CPU libraries of torch. The result has
    the type of the columns, even if the parameters or autocast have another.
    """
    kind = columns.dtype
    bias = None if bias is None else bias.to(kind)
    return F.conv2d(columns.permute(0, 3, 1, 2), weight.to(kind), bias).permute(0, 2, 3, 1).to(kind)


# Pixels per tile, so that their columns (9 * C values each) stay in the cache.
_TILE = 2048


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
    # Coordinates need more than 16 bits, even if the features have 16.
    real = torch.promote_types(offset.dtype, torch.float32)
    device = offset.device
    moved = offset.to(real).view(batch, taps, 2, out_h, out_w).permute(0, 3, 4, 1, 2)
    tap_y = torch.arange(kernel[0], device=device, dtype=real).mul_(dilation).repeat_interleave(kernel[1])
    tap_x = torch.arange(kernel[1], device=device, dtype=real).mul_(dilation).repeat(kernel[0])
    pixel_y = torch.arange(out_h, device=device, dtype=real).mul_(stride).sub_(padding)
    pixel_x = torch.arange(out_w, device=device, dtype=real).mul_(stride).sub_(padding)
    # A sample two pixels outside has weight 0 already; the clamp keeps extreme offsets within the integers.
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
        # An untrained layer is half an ordinary convolution: no offset, every mask is sigmoid(0).
        bound = (9 * in_channels) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        predicted = self.conv_offset_mask(x)
        return deform_conv2d(x, predicted[:, :18], predicted[:, 18:].sigmoid(), self.weight, self.bias)
