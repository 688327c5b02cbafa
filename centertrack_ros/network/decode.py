# SPDX-License-Identifier: Apache-2.0
"""From a network's raw output to peaks: sigmoid, 3x3 maximum, top K, and the values of every head at these cells.

Follows CenterTrack's `lib/model/decode.py` step by step, ties included (paper section 3.1). All steps are tensor
operations of fixed shape, so that a `PeakNetwork` can be exported or compiled as a whole. The records that come out
are in `network.peaks`, which needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.heads import HEATMAPS, SparseHeads, channels_read, gather_cells, join_parts
from centertrack_ros.network.peaks import Peaks, from_arrays

# Index of the joint that each of COCO's 17 joints becomes in a mirror: left and right eyes, ears, … are swapped.
MIRRORED_JOINTS = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
# The flip test averages these heads; it takes all others from the unmirrored image.
FLIP_AVERAGED = ("wh", "dep", "dim", "amodel_offset", "hps")

Values = dict[str, Tensor]  # head name -> (B, N, C)
Reader = Callable[[Tensor], Values]  # flat cells (B, N) -> the heads' raw values there


def suppress_neighbours(heat: Tensor) -> Tensor:
    """Set cells to 0 that a neighbour exceeds; of equal neighbours all stay.

    Args:
        heat: (B, C, h, w) scores in 0..1.
    """
    return heat * (F.max_pool2d(heat, 3, 1, 1) == heat).to(heat.dtype)


def top_k_per_channel(heat: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The strongest cells of every channel.

    Args:
        heat: (B, C, h, w) scores.
        count: K; all cells where there are fewer.

    Returns:
        Scores and flat cells y * w + x, both (B, C, K).
    """
    flat = heat.flatten(2)
    return torch.topk(flat, _bounded(count, flat.shape[2]))


def _bounded(count: int, available: int) -> int:
    """Like `min`, but also a plain number where an exporter only knows that `available` suffices."""
    return count if available >= count else available


def top_k(heat: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest cells over all channels.

    Args:
        heat: (B, C, h, w) scores.
        count: K.

    Returns:
        Scores, channels and flat cells, each (B, K).
    """
    height = heat.shape[2] if isinstance(heat.shape[2], int) else _FEWEST_ROWS
    if torch.compiler.is_exporting() and heat.shape[1] * height >= count:
        return _top_k_by_rows(heat, count)
    scores, cells = top_k_per_channel(heat, count)
    per_channel = scores.shape[2]
    # First per channel and then over channels, as in the official code: this order decides between equal scores.
    best, index = torch.topk(scores.flatten(1), _bounded(count, scores.shape[1] * per_channel))
    return best, torch.div(index, per_channel, rounding_mode="floor"), cells.flatten(1).gather(1, index)


_FEWEST_ROWS = 16  # of the output grid, in exported files of any size: two cells of stride 32


def _top_k_by_rows(heat: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """`top_k` in two exact stages: only rows whose maximum is among the K best can hold one of the K best cells.

    Of equal scores those of the first channel and of its first cell come first, as in the official way with a TopK that
    keeps their order: a row that is left out has K better, or equal and earlier, cells before it. A runtime's own TopK
    need not keep that order (OpenVINO's does not, or takes as long as the whole network).
    """
    height, width = heat.shape[2:]
    rows = heat.flatten(1, 2)  # (B, C h, w)
    chosen = _first_best(rows.amax(2), count)
    values = rows.gather(1, chosen[:, :, None].expand(-1, -1, width)).flatten(1)
    place = _first_best(values, count)
    best = values.gather(1, place)
    # Their number of better or equal and earlier ones is their place in the order.
    index = torch.arange(count, device=heat.device)
    one, other = best[:, :, None], best[:, None, :]
    before = (other > one) | ((other == one) & (index < index[:, None]))
    order = torch.topk(before.to(heat.dtype).sum(2), count, largest=False)[1]
    best, place = best.gather(1, order), place.gather(1, order)
    of_chosen = torch.div(place, width, rounding_mode="floor")
    row = chosen.gather(1, of_chosen)
    channel = torch.div(row, height, rounding_mode="floor")
    return best, channel, (row - channel * height) * width + place - of_chosen * width


def _first_best(values: Tensor, count: int) -> Tensor:
    """Indices (B, K) of the K best of (B, N), ascending; of equal values the first, whatever order TopK keeps."""
    length = values.shape[1]
    least = torch.topk(values, count)[0][:, -1:]
    earliness = 1 - torch.arange(length, device=values.device, dtype=values.dtype) / length  # in 0..1, all different
    key = 2 * (values > least).to(values.dtype) + (values == least).to(values.dtype) * earliness
    return torch.sort(torch.topk(key, count)[1], dim=1)[0]


def _columns_and_rows(cells: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """X and y of flat cells. Without `%`: the ONNX exporter does not support it for a dynamic width."""
    rows = torch.div(cells, width, rounding_mode="floor")
    return cells - rows * width, rows


def metric_depth(raw: Tensor) -> Tensor:
    """Depth from the raw output of head 'dep', 1 / (sigmoid + 1e-6) - 1: any shape, m, before any depth scale."""
    return 1.0 / (_at_least_float32(raw).sigmoid() + 1e-6) - 1.0


def _at_least_float32(values: Tensor) -> Tensor:
    """Converts 16-bit values to float32: they rank scores too coarsely and cannot hold 1e-6 beside 1."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _unmirror(name: str, values: Tensor) -> Tensor:
    """Converts values (B, N, C) of a head from the mirrored image to the image."""
    if name == "amodel_offset":
        return _negate_x(values)
    if name == "hps":
        return _negate_x(_reorder(values.unflatten(2, (-1, 2)), 2, MIRRORED_JOINTS)).flatten(2)
    return values


def _negate_x(offsets: Tensor) -> Tensor:
    """(…, 2) with negated x. Without constants or index lists, which a CUDA graph cannot copy to the GPU."""
    return torch.cat([-offsets[..., :1], offsets[..., 1:]], dim=-1)


def _reorder(values: Tensor, dim: int, order: Sequence[int]) -> Tensor:
    return torch.stack([values.select(dim, index) for index in order], dim)


def _merge_flip(direct: Values, mirrored: Values) -> Values:
    return {
        name: (value + _unmirror(name, mirrored[name])) / 2 if name in FLIP_AVERAGED else value
        for name, value in direct.items()
    }


def _merge_flipped_heat(heat: Tensor, swap: tuple[int, ...] | None = None) -> Tensor:
    direct, mirrored = heat.chunk(2)
    mirrored = mirrored.flip(3)
    return (direct + (mirrored if swap is None else _reorder(mirrored, 1, swap))) / 2


def decode_peaks(
    heatmaps: Mapping[str, Tensor],
    reader: Reader,
    joint_offsets: Reader | None,
    count: int,
    mirror: Reader | None,
    asked: Tensor | None = None,
) -> dict[str, Tensor]:
    """Decode a batch into peaks as tensors.

    Args:
        heatmaps: 'hm' and, for pose models, 'hm_hp': scores in 0..1, (B, C, h, w).
        reader: Reads the raw values of the other heads.
        joint_offsets: Reads the one head that refines joints; None adds half a cell.
        count: K.
        mirror: Reads the other heads in the mirrored image (flip test), or None.
        asked: (B, K) flat cells that take the places of the peaks' cells where they are not negative.

    Returns:
        scores and class_ids (B, K), cells (B, K, 2), 'value.<head>' (B, K, C), and for pose models joint_scores
        (B, J, K) and joint_points (B, J, K, 2), output-grid px.
    """
    heat = heatmaps["hm"]
    width = heat.shape[3]
    scores, class_ids, cells = top_k(suppress_neighbours(heat), count)
    if asked is not None:
        cells = torch.where(asked >= 0, asked, cells)
    values = _with_depth(reader(cells))
    x, y = _columns_and_rows(cells, width)
    if mirror is not None:
        values = _merge_flip(values, _with_depth(mirror(y * width + (width - 1 - x))))
    outputs = {"scores": scores, "class_ids": class_ids, "cells": torch.stack((x, y), -1)}
    outputs.update({f"value.{name}": value for name, value in values.items()})
    if "hm_hp" in heatmaps:
        outputs["joint_scores"], outputs["joint_points"] = _decode_joints(heatmaps["hm_hp"], joint_offsets, count)
    return outputs


def _with_depth(values: Values) -> Values:
    return {name: metric_depth(value) if name == "dep" else value for name, value in values.items()}


def _decode_joints(heat: Tensor, offsets: Reader | None, count: int) -> tuple[Tensor, Tensor]:
    batch, joints, _, width = heat.shape
    scores, cells = top_k_per_channel(suppress_neighbours(heat), count)
    points = torch.stack(_columns_and_rows(cells, width), -1).to(heat.dtype)
    if offsets is None:
        return scores, points + 0.5
    (refinement,) = offsets(cells.view(batch, -1)).values()
    return scores, points + refinement.view(batch, joints, -1, 2)


class PeakNetwork(nn.Module):
    """A network together with its decoding: images in, K peaks out.

    Copies the weights of its sparse heads when it is constructed: later training does not change them.

    Args:
        network: The network to run.
        count: K.
        flip_test: Run the mirrored images too and average (twice the time), as the official `--flip_test`.
        dense: Evaluate every head at every cell instead of at the peaks only; the same numbers, slower.
    """

    def __init__(
        self, network: TrackingNetwork, count: int = 100, flip_test: bool = False, dense: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.count = count
        self.flip_test = flip_test
        heads = network.heads
        self._heatmaps = [name for name in HEATMAPS if name in heads]
        self._value_heads = [name for name in heads if name not in (*HEATMAPS, "hp_offset")]
        refine = next((name for name in ("hp_offset", "reg") if name in heads), None)
        self._refine = refine if "hm_hp" in heads else None
        self._sparse = None if dense else SparseHeads({name: heads[name] for name in self._value_heads})
        self._sparse_refine = None
        if not dense and self._refine is not None:
            self._sparse_refine = SparseHeads({self._refine: heads[self._refine]})

    def forward(
        self, image: Tensor, previous: Tensor | None, prior: Tensor | None, asked: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Run the network and decode.

        Args:
            image: As in `TrackingNetwork.features`.
            previous: As in `TrackingNetwork.features`.
            prior: As in `TrackingNetwork.features`.
            asked: As in `decode_peaks`.

        Returns:
            The tensors of `decode_peaks`.
        """
        if self.flip_test:
            image = _with_mirrored(image)
            previous = None if previous is None else _with_mirrored(previous)
            prior = None if prior is None else _with_mirrored(prior)
        parts = self.network.feature_parts(image, previous, prior)
        heads = {name: self.network.heads[name] for name in self._heatmaps}
        raw = {name: head(join_parts(parts, channels_read(head))) for name, head in heads.items()}
        heatmaps = {name: _at_least_float32(value).sigmoid() for name, value in raw.items()}
        direct, mirrored = parts, None
        if self.flip_test:
            halves = [part.chunk(2) for part in parts]
            direct, mirrored = [half[0] for half in halves], [half[1] for half in halves]
            heatmaps = _merge_flipped_heatmaps(heatmaps)
        return decode_peaks(
            heatmaps,
            self._reader(direct, self._value_heads, self._sparse),
            None if self._refine is None else self._reader(direct, [self._refine], self._sparse_refine),
            self.count,
            None if mirrored is None else self._reader(mirrored, self._value_heads, self._sparse),
            asked,
        )

    def _reader(self, parts: Sequence[Tensor], names: list[str], sparse: SparseHeads | None) -> Reader:
        if sparse is not None:
            return lambda cells: sparse(parts, cells)
        heads, features = self.network.heads, join_parts(parts)
        return lambda cells: {name: gather_cells(heads[name](features), cells) for name in names}


def _with_mirrored(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (2 B, C, H, W): the images, then the mirrored images."""
    return torch.cat((images, images.flip(3)))


def _merge_flipped_heatmaps(heatmaps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    swaps = {"hm_hp": MIRRORED_JOINTS}
    return {name: _merge_flipped_heat(heat, swaps.get(name)) for name, heat in heatmaps.items()}


def extract_peaks(raw: Mapping[str, Tensor], count: int = 100, flip_test: bool = False) -> list[Peaks]:
    """Decode a network's raw dense output (`TrackingNetwork.forward`).

    Args:
        raw: Head name -> (B, C, h, w).
        count: K.
        flip_test: The second half of the batch belongs to the mirrored images.

    Returns:
        One record per image.
    """
    heatmaps = {name: raw[name].sigmoid() for name in HEATMAPS if name in raw}
    dense = {name: value for name, value in raw.items() if name not in (*HEATMAPS, "hp_offset")}
    mirror = None
    if flip_test:
        heatmaps = _merge_flipped_heatmaps(heatmaps)
        second = {name: value.chunk(2)[1] for name, value in dense.items()}
        mirror = _dense_reader(second)
        raw = {name: value.chunk(2)[0] for name, value in raw.items()}
        dense = {name: raw[name] for name in dense}
    refine = next((name for name in ("hp_offset", "reg") if name in raw), None)
    offsets = None if refine is None else _dense_reader({refine: raw[refine]})
    grid = (heatmaps["hm"].shape[2], heatmaps["hm"].shape[3])
    return to_peaks(decode_peaks(heatmaps, _dense_reader(dense), offsets, count, mirror), grid)


def _dense_reader(maps: Mapping[str, Tensor]) -> Reader:
    return lambda cells: {name: gather_cells(value, cells) for name, value in maps.items()}


def to_peaks(outputs: Mapping[str, Any], grid: tuple[int, int], asked: Sequence[int] | None = None) -> list[Peaks]:
    """Convert the result of `decode_peaks` to records.

    Args:
        outputs: Tensors on any device, or arrays from another runtime.
        grid: (height, width) of the output grid.
        asked: As in `from_arrays`.

    Returns:
        One record per image.
    """
    return from_arrays({name: _array(value) for name, value in outputs.items()}, grid, asked)


def _array(value: Any) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        return np.asarray(value)
    return (value.detach().float() if value.is_floating_point() else value).cpu().numpy()
