"""From a network's raw output to peaks: sigmoid, 3x3 maximum, the strongest K, and every head's values there.

Follows CenterTrack's decoding step by step, ties included. All of it are tensor operations of fixed shape, so that a
`PeakNetwork` can be exported or compiled as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.network.heads import HEATMAPS, SparseHeads, gather_cells
from centertrack_ros.network.peaks import Peaks, from_arrays

# What each of COCO's 17 joints is in a mirror: nose, then left and right eyes, ears, shoulders, … swapped.
MIRRORED_JOINTS = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
# Heads whose mirrored values take part in the flip test; all others count from the image as it is.
FLIP_AVERAGED = ("wh", "dep", "dim", "amodel_offset", "hps")

Values = dict[str, Tensor]  # head name -> (B, N, C)
Reader = Callable[[Tensor], Values]  # flat cells (B, N) -> the heads' raw values there


def suppress_neighbours(heat: Tensor) -> Tensor:
    """Keep cells that no neighbour exceeds (equal neighbours all stay), 0 elsewhere; (B, C, h, w) scores in 0..1."""
    return heat * (F.max_pool2d(heat, 3, 1, 1) == heat).to(heat.dtype)


def strongest_per_channel(heat: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Scores and flat cells (B, C, K) of the strongest cells of every channel; K = count, or all cells if fewer."""
    flat = heat.flatten(2)
    return torch.topk(flat, _at_most(count, flat.shape[2]))


def _at_most(count: int, available: int) -> int:
    """`min`, but a plain number also where an exporter knows no more of `available` than that it suffices."""
    return count if available >= count else available


def strongest(heat: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, channels and flat cells (B, K) of the strongest cells over all channels."""
    scores, cells = strongest_per_channel(heat, count)
    per_channel = scores.shape[2]
    # Channel by channel first and then over channels, as the official code does: this decides which of equals stays.
    best, place = torch.topk(scores.flatten(1), _at_most(count, scores.shape[1] * per_channel))
    return best, torch.div(place, per_channel, rounding_mode="floor"), cells.flatten(1).gather(1, place)


def _columns_and_rows(cells: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """X and y of flat cells; without `%`, which the ONNX exporter does not know for a width that is not fixed."""
    rows = torch.div(cells, width, rounding_mode="floor")
    return cells - rows * width, rows


def metric_depth(raw: Tensor) -> Tensor:
    """The depth that a raw output of head 'dep' means."""
    return 1.0 / (_precise(raw).sigmoid() + 1e-6) - 1.0


def _precise(values: Tensor) -> Tensor:
    """16-bit values as float32: they rank too coarsely, and 1e-6 is nothing to them."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _mirrored(name: str, values: Tensor) -> Tensor:
    """Values (B, N, C) read in the mirrored image, as they would be in the image itself."""
    if name == "amodel_offset":
        return _turned(values)
    if name == "hps":
        return _turned(_ordered(values.unflatten(2, (-1, 2)), 2, MIRRORED_JOINTS)).flatten(2)
    return values


def _turned(places: Tensor) -> Tensor:
    """(…, 2) with x the other way. Without constants or lists of indices, which a CUDA graph cannot copy to the GPU."""
    return torch.cat([-places[..., :1], places[..., 1:]], dim=-1)


def _ordered(values: Tensor, dim: int, order: Sequence[int]) -> Tensor:
    return torch.stack([values.select(dim, place) for place in order], dim)


def _merge_flip(direct: Values, mirrored: Values) -> Values:
    return {
        name: (value + _mirrored(name, mirrored[name])) / 2 if name in FLIP_AVERAGED else value
        for name, value in direct.items()
    }


def _merge_flipped_heat(heat: Tensor, swap: tuple[int, ...] | None = None) -> Tensor:
    direct, mirrored = heat.chunk(2)
    mirrored = mirrored.flip(3)
    return (direct + (mirrored if swap is None else _ordered(mirrored, 1, swap))) / 2


def decode(
    heatmaps: Mapping[str, Tensor], reader: Reader, joint_offsets: Reader | None, count: int, mirror: Reader | None
) -> dict[str, Tensor]:
    """Peaks as tensors, for a batch.

    heatmaps       'hm' and, for pose models, 'hm_hp': scores in 0..1, (B, C, h, w)
    reader         reads the other heads' raw values; `mirror` reads them in the mirrored image (flip test), or None
    joint_offsets  reads the one head that refines joints; None: half a cell is added

    Returns scores, class_ids (B, K), cells (B, K, 2), 'value.<head>' (B, K, C) and for pose models
    joint_scores (B, J, K) and joint_points (B, J, K, 2).
    """
    heat = heatmaps["hm"]
    width = heat.shape[3]
    scores, class_ids, cells = strongest(suppress_neighbours(heat), count)
    values = _with_depth(reader(cells))
    x, y = _columns_and_rows(cells, width)
    if mirror is not None:
        values = _merge_flip(values, _with_depth(mirror(y * width + (width - 1 - x))))
    found = {"scores": scores, "class_ids": class_ids, "cells": torch.stack((x, y), -1)}
    found.update({f"value.{name}": value for name, value in values.items()})
    if "hm_hp" in heatmaps:
        found["joint_scores"], found["joint_points"] = _decode_joints(heatmaps["hm_hp"], joint_offsets, count)
    return found


def _with_depth(values: Values) -> Values:
    return {name: metric_depth(value) if name == "dep" else value for name, value in values.items()}


def _decode_joints(heat: Tensor, offsets: Reader | None, count: int) -> tuple[Tensor, Tensor]:
    batch, joints, _, width = heat.shape
    scores, cells = strongest_per_channel(suppress_neighbours(heat), count)
    points = torch.stack(_columns_and_rows(cells, width), -1).to(heat.dtype)
    if offsets is None:
        return scores, points + 0.5
    (read,) = offsets(cells.view(batch, -1)).values()
    return scores, points + read.view(batch, joints, -1, 2)


class PeakNetwork(nn.Module):
    """A network together with its decoding: images in, K peaks out.

    network    has `features` and `heads` as `network.base.TrackingNetwork`
    count      K
    flip_test  run the mirrored images too and average (twice the time), as the official option does
    dense      evaluate every head everywhere instead of at the peaks only; the same numbers, slower

    Takes its sparse heads' weights from the network when it is made: later training does not reach them.
    """

    def __init__(self, network: nn.Module, count: int = 100, flip_test: bool = False, dense: bool = False) -> None:
        super().__init__()
        self.network = network
        self.count = count
        self.flip_test = flip_test
        heads: Mapping[str, nn.Module] = network.heads  # type: ignore[assignment]
        self._heatmaps = [name for name in HEATMAPS if name in heads]
        self._read = [name for name in heads if name not in (*HEATMAPS, "hp_offset")]
        refine = next((name for name in ("hp_offset", "reg") if name in heads), None)
        self._refine = refine if "hm_hp" in heads else None
        self._sparse = None if dense else SparseHeads({name: heads[name] for name in self._read})
        self._sparse_refine = None
        if not dense and self._refine is not None:
            self._sparse_refine = SparseHeads({self._refine: heads[self._refine]})

    def forward(self, image: Tensor, previous: Tensor | None, prior: Tensor | None) -> dict[str, Tensor]:
        """Inputs as in `TrackingNetwork.features`; the result is that of `decode`."""
        inputs: list[Tensor | None] = [image, previous, prior]
        if self.flip_test:
            inputs = [None if x is None else torch.cat((x, x.flip(3))) for x in inputs]
        features = self.network.features(*inputs)  # type: ignore[operator]
        heads: Mapping[str, nn.Module] = self.network.heads  # type: ignore[assignment]
        heatmaps = {name: _precise(heads[name](features)).sigmoid() for name in self._heatmaps}
        direct, mirrored = features, None
        if self.flip_test:
            direct, mirrored = features.chunk(2)
            heatmaps = _merge_flipped_heatmaps(heatmaps)
        return decode(
            heatmaps,
            self._reader(direct, self._read, self._sparse),
            None if self._refine is None else self._reader(direct, [self._refine], self._sparse_refine),
            self.count,
            None if mirrored is None else self._reader(mirrored, self._read, self._sparse),
        )

    def _reader(self, features: Tensor, names: list[str], sparse: SparseHeads | None) -> Reader:
        if sparse is not None:
            return lambda cells: sparse(features, cells)
        heads: Mapping[str, nn.Module] = self.network.heads  # type: ignore[assignment]
        return lambda cells: {name: gather_cells(heads[name](features), cells) for name in names}


def _merge_flipped_heatmaps(heatmaps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    swaps = {"hm_hp": MIRRORED_JOINTS}
    return {name: _merge_flipped_heat(heat, swaps.get(name)) for name, heat in heatmaps.items()}


def extract_peaks(raw: Mapping[str, Tensor], count: int = 100, flip_test: bool = False) -> list[Peaks]:
    """Peaks of a network's raw dense output (`TrackingNetwork.forward`), one per image.

    raw  head name -> (B, C, h, w); with `flip_test` the second half of the batch belongs to the mirrored images
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
    return to_peaks(decode(heatmaps, _dense_reader(dense), offsets, count, mirror), grid)


def _dense_reader(maps: Mapping[str, Tensor]) -> Reader:
    return lambda cells: {name: gather_cells(value, cells) for name, value in maps.items()}


def to_peaks(found: Mapping[str, Any], grid: tuple[int, int]) -> list[Peaks]:
    """The result of `decode` as records, one per image; tensors on any device, or arrays from another runtime."""
    return from_arrays({name: _array(value) for name, value in found.items()}, grid)


def _array(value: Any) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        return np.asarray(value)
    return (value.detach().float() if value.is_floating_point() else value).cpu().numpy()
