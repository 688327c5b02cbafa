# SPDX-License-Identifier: Apache-2.0
"""The network in plain PyTorch, as the official code runs it: the baseline of this project's speeds.

Separate batch norms, maps in NCHW order, every head everywhere. In place of the official code's CUDA extension, the
deformable convolution is the fastest that plain PyTorch offers on a CPU: a `grid_sample` and a 1x1 convolution for each
of its nine taps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.geometry import gaussian
from centertrack_ros.network.deform_conv import DeformConv
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile


class GridSampleConv(nn.Module):
    """A deformable convolution by `grid_sample`, tap by tap; takes over the parameters of `DeformConv`.

    Nine small samples, each followed by its 1x1 convolution, stay in the cache: one large sample of all taps and a
    matrix product, which is the obvious way, takes a quarter longer for the whole network.
    """

    def __init__(self, layer: DeformConv) -> None:
        super().__init__()
        self.weight, self.bias, self.conv_offset_mask = layer.weight, layer.bias, layer.conv_offset_mask

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, H, W)."""
        height, width = x.shape[2:]
        first, second, mask = self.conv_offset_mask(x).chunk(3, 1)
        offset, mask = torch.cat((first, second), 1), mask.sigmoid()
        rows, columns = torch.arange(height, dtype=x.dtype)[:, None], torch.arange(width, dtype=x.dtype)
        out: Tensor | None = None
        for tap in range(9):
            y = offset[:, 2 * tap] + (tap // 3 - 1) + rows
            grid_x = offset[:, 2 * tap + 1] + (tap % 3 - 1) + columns
            grid = torch.stack((2 * grid_x / (width - 1) - 1, 2 * y / (height - 1) - 1), -1)
            sample = F.grid_sample(x, grid, align_corners=True) * mask[:, tap : tap + 1]
            weight = self.weight[:, :, tap // 3, tap % 3, None, None]
            part = F.conv2d(sample, weight, self.bias if tap == 0 else None)
            out = part if out is None else out.add_(part)
        assert out is not None
        return out


class ReferencePath:
    """An engine (`engine.base.Engine`) without any optimisation."""

    name = "reference"
    device = "cpu"

    def __init__(self, network: nn.Module, profile: ModelProfile) -> None:
        self.profile = profile
        self._network = copy.deepcopy(network).eval()
        for owner in list(self._network.modules()):
            for name, child in list(owner.named_children()):
                if isinstance(child, DeformConv):
                    setattr(owner, name, GridSampleConv(child))

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
        """The official pre-processing: a resize to the same size, a warp, normalisation in float64."""
        resized = cv2.resize(image, (image.shape[1], image.shape[0]))
        warped = cv2.warpAffine(resized, affine, (size[1], size[0]), flags=cv2.INTER_LINEAR)
        mean, std = (np.array(v, np.float32).reshape(1, 1, 3) for v in (self.profile.mean, self.profile.std))
        normal = ((warped / 255.0 - mean) / std).astype(np.float32)
        return torch.from_numpy(normal.transpose(2, 0, 1).reshape(1, 3, *size))

    @torch.inference_mode()
    def infer(
        self, images: Sequence[Tensor], previous: Sequence[Tensor], priors: Sequence[NDArray[np.int64]]
    ) -> list[Peaks]:
        """See `Engine.infer`."""
        size = (images[0].shape[-2], images[0].shape[-1])
        heat = torch.from_numpy(np.stack([gaussian.render(prior, size) for prior in priors]))[:, None]
        raw = self._network(torch.cat(list(images)), torch.cat(list(previous)), heat)
        return decode(raw, self.profile.max_detections)


def decode(raw: dict[str, Tensor], count: int) -> list[Peaks]:
    """Peaks of dense outputs, head by head."""
    scores = raw["hm"].sigmoid()
    scores = scores * (F.max_pool2d(scores, 3, 1, 1) == scores)
    batch, classes, height, width = scores.shape
    best, cells = scores.view(batch, classes, -1).topk(count)
    top, place = best.view(batch, -1).topk(count)
    class_ids = place // count
    cells = cells.view(batch, -1).gather(1, place)
    values: dict[str, Any] = {}
    for name, dense in raw.items():
        if name != "hm":
            if name == "dep":
                dense = 1.0 / (dense.sigmoid() + 1e-6) - 1.0
            flat = dense.permute(0, 2, 3, 1).reshape(batch, height * width, -1)
            values[name] = flat.gather(1, cells[..., None].expand(-1, -1, flat.shape[2])).numpy()
    points = torch.stack((cells % width, cells // width), -1).numpy()
    return [
        Peaks(
            top[i].numpy(),
            class_ids[i].numpy(),
            points[i],
            {name: value[i] for name, value in values.items()},
            (height, width),
        )
        for i in range(batch)
    ]
