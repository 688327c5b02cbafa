# SPDX-License-Identifier: Apache-2.0
"""The heads that read the feature map: dense, or only at the cells of the peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels of every head of CenterTrack; 'hm' has one per class.
HEAD_CHANNELS = {
    "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2, "hps": 34, "hm_hp": 17,
    "hp_offset": 2, "ltrb": 4, "ltrb_amodal": 4, "nuscenes_att": 8, "velocity": 3,
}  # fmt: skip
HEAD_ORDER = ("hm", *HEAD_CHANNELS)
HEATMAPS = ("hm", "hm_hp")
# Bias of a heatmap's last layer: its sigmoid is 0.01, the initial share of positives (arXiv 1708.02002, section 4.1).
PRIOR_BIAS = -4.6


def make_head(
    name: str,
    in_channels: int,
    out_channels: int,
    head_conv: int = 256,
    num_head_conv: int = 1,
    head_kernel: int = 3,
    hidden: Sequence[int] | None = None,
) -> nn.Sequential:
    """Make a head as in the official checkpoints: a k x k convolution, 1x1 convolutions, ReLUs between, a last 1x1.

    Args:
        name: Of the head.
        in_channels: Channels of the feature map.
        out_channels: Channels of the head's output.
        head_conv: Channels of each hidden convolution; 0 makes the head a single 1x1 convolution.
        num_head_conv: Number of hidden convolutions; 'reg' always has one.
        head_kernel: Kernel of the first hidden convolution, k.
        hidden: Channels of the hidden convolutions one by one; replaces `head_conv` and `num_head_conv`.
    """
    if hidden is None:
        hidden = [head_conv] * (1 if name == "reg" else num_head_conv) if head_conv > 0 else []
    layers: list[nn.Module] = []
    width = in_channels
    for i, channels in enumerate(hidden):
        kernel = head_kernel if i == 0 else 1
        layers += [nn.Conv2d(width, channels, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        width = channels
    head = nn.Sequential(*layers, nn.Conv2d(width, out_channels, 1))
    for layer in head:
        if isinstance(layer, nn.Conv2d) and name not in HEATMAPS:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    if name in HEATMAPS:
        nn.init.constant_(head[-1].bias, PRIOR_BIAS)  # type: ignore[arg-type]
    return head


def gather_cells(dense: Tensor, index: Tensor) -> Tensor:
    """Read a dense map at some cells.

    Args:
        dense: (B, C, h, w).
        index: (B, N), flat cells y * w + x.

    Returns:
        (B, N, C).
    """
    flat = dense.flatten(2)
    return flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def join_parts(parts: Sequence[Tensor], channels: int | None = None) -> Tensor:
    """The parts of a feature map as one map.

    Args:
        parts: Of `TrackingNetwork.feature_parts`.
        channels: Enough parts for the first so many channels; None: all.
    """
    total = 0
    for count, part in enumerate(parts, 1):
        total += part.shape[1]
        if channels is not None and total >= channels:
            parts = parts[:count]
            break
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


def channels_read(head: nn.Module) -> int | None:
    """How many of the feature map's first channels a head reads; None: all."""
    return getattr(head, "channels_read", None)


def gather_patches(features: Tensor | Sequence[Tensor], index: Tensor, kernel: int) -> Tensor:
    """Read the neighbourhood of some cells; the map is padded with 0.

    Args:
        features: (B, F, h, w), or its parts.
        index: (B, N), flat cells y * w + x.
        kernel: Width and height of the neighbourhood, odd.

    Returns:
        (B, N, kernel * kernel * F).
    """
    parts = [features] if isinstance(features, Tensor) else features
    batch, _, height, width = parts[0].shape
    offsets = torch.arange(kernel, device=index.device) - kernel // 2
    row = torch.div(index, width, rounding_mode="floor")
    y = row[..., None, None] + offsets[:, None]
    x = (index - row * width)[..., None, None] + offsets
    inside = ((y >= 0) & (y < height)) & ((x >= 0) & (x < width))
    first = torch.arange(batch, device=index.device)[:, None, None, None] * (height * width)
    rows = y.clamp(0, height - 1) * width + x.clamp(0, width - 1) + first
    read = []
    for part in parts:
        table = part.permute(0, 2, 3, 1).reshape(-1, part.shape[1])
        read.append(table.index_select(0, rows.flatten()).view(*inside.shape, part.shape[1]))
    patches = read[0] if len(read) == 1 else torch.cat(read, -1)
    return (patches * inside[..., None].to(patches.dtype)).flatten(2)


class SparseHeads(nn.Module):
    """Evaluates several heads at N cells only: exact, and a third fewer operations for the whole network.

    For heads that are one k x k convolution, pointwise convolutions and element-wise functions, the first convolutions
    become one matrix product over the patches of the cells. Any other head runs on each patch as on a small image if it
    has a `patch_kernel` (its first layer has this kernel, all others are pointwise), else on the whole map.

    Args:
        heads: Head name -> module. Their weights are copied: later training does not change them.
    """

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._groups: dict[int, list[str]] = {}  # kernel of the first convolution -> heads
        self._widths: dict[int, list[int]] = {}
        self._tails = nn.ModuleDict()
        self._patched = nn.ModuleDict()
        self._dense = nn.ModuleDict()
        for name, head in heads.items():
            if _is_pointwise_after_first(head):
                self._groups.setdefault(head[0].kernel_size[0], []).append(name)  # type: ignore[index]
            elif getattr(head, "patch_kernel", None):
                self._patched[name] = head
            else:
                self._dense[name] = head
        for kernel, names in self._groups.items():
            first = [heads[name][0] for name in names]  # type: ignore[index]
            self._widths[kernel] = [conv.out_channels for conv in first]
            weight = torch.cat([conv.weight.detach().permute(0, 2, 3, 1).flatten(1) for conv in first])
            bias = torch.cat([_bias(conv) for conv in first])
            self.register_buffer(f"_weight{kernel}", weight.contiguous(), persistent=False)
            self.register_buffer(f"_bias{kernel}", bias, persistent=False)
            for name in names:
                self._tails[name] = nn.Sequential(*[_pointwise(layer) for layer in heads[name][1:]])  # type: ignore[index]

    def forward(self, features: Tensor | Sequence[Tensor], index: Tensor) -> dict[str, Tensor]:
        """Evaluate all heads at some cells.

        Args:
            features: (B, F, h, w), or its parts.
            index: (B, N), flat cells y * w + x.

        Returns:
            Head name -> raw values (B, N, C).
        """
        parts = [features] if isinstance(features, Tensor) else list(features)
        values = {name: gather_cells(head(join_parts(parts)), index) for name, head in self._dense.items()}
        for name, head in self._patched.items():
            values[name] = _on_patches(head, parts, index)
        for kernel, names in self._groups.items():
            patches = gather_patches(parts, index, kernel)
            hidden = F.linear(patches, self.get_buffer(f"_weight{kernel}"), self.get_buffer(f"_bias{kernel}"))
            for name, part in zip(names, hidden.split(self._widths[kernel], -1), strict=True):
                values[name] = self._tails[name](part)
        return values


def _on_patches(head: nn.Module, parts: Sequence[Tensor], index: Tensor) -> Tensor:
    """Runs the head on the (k, k) patch around every cell and keeps the middle: (B, N, C)."""
    kernel = int(head.patch_kernel)  # type: ignore[arg-type]
    features = join_parts(parts, channels_read(head))
    patches = gather_patches(features, index, kernel).view(-1, kernel, kernel, features.shape[1])
    middle = head(patches.permute(0, 3, 1, 2))[:, :, kernel // 2, kernel // 2]
    return middle.view(*index.shape, -1)


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()


def _is_pointwise_after_first(head: nn.Module) -> bool:
    if not isinstance(head, nn.Sequential) or len(head) == 0 or not isinstance(head[0], nn.Conv2d):
        return False
    first, rest = head[0], list(head)[1:]
    kernel = first.kernel_size[0]
    same = first.kernel_size == (kernel, kernel) and first.padding == (kernel // 2, kernel // 2) and kernel % 2 == 1
    plain = first.stride == (1, 1) and first.dilation == (1, 1) and first.groups == 1 and first.padding_mode == "zeros"
    return same and plain and all(_is_pointwise(layer) for layer in rest)


_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Identity)


def _is_pointwise(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0) and layer.groups == 1
    return isinstance(layer, _ELEMENTWISE)


def _pointwise(layer: nn.Module) -> nn.Module:
    """The same layer, but for values (…, C) instead of maps (B, C, h, w)."""
    if not isinstance(layer, nn.Conv2d):
        return type(layer)()  # not in place: the values are a view of the hidden layer of all heads
    linear = nn.Linear(layer.in_channels, layer.out_channels, device=layer.weight.device, dtype=layer.weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(layer.weight.flatten(1))
        linear.bias.copy_(_bias(layer))
    return linear


def order_heads(heads: Mapping[str, int] | Sequence[str]) -> list[str]:
    """Sort head names: known ones in the official order, then the others by name.

    Args:
        heads: Head names.
    """
    known = [name for name in HEAD_ORDER if name in heads]
    return known + sorted(set(heads) - set(known))
