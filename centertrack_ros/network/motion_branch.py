"""How things moved, seen beside a detector that stays as it is: both images and the prior heatmap, at four scales."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 48, 80, 112)  # at strides 4, 8, 16, 32
SCALE = 1 / 128  # images come in 0..255


class _Block(nn.Sequential):
    """Depthwise 5x5 and 1x1, each with BatchNorm; hard swish after the second."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_in, 5, stride, 2, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.Hardswish(),
        )


class MotionBranch(nn.Module):
    """(image, previous, prior) -> (B, `channels`, H/4, W/4).

    image, previous  (B, 3, H, W) in 0..255; prior (B, 1, H, W) in 0..1. A missing previous image is the image itself, a
    missing prior heatmap empty.
    """

    channels = WIDTHS[0]

    def __init__(self, previous_image: bool = True, prior_heatmap: bool = True) -> None:
        super().__init__()
        self.previous_image, self.prior_heatmap = previous_image, prior_heatmap
        # Patches of 4x4: what moves by less than that is in their colours.
        self.patches = nn.Sequential(
            nn.Conv2d(7, WIDTHS[0], 4, 4, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.Hardswish()
        )
        self.first = _Block(WIDTHS[0], WIDTHS[0])
        steps = list(zip(WIDTHS, WIDTHS[1:], strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(_Block(fine, coarse, 2), _Block(coarse, coarse)) for fine, coarse in steps
        )
        self.up = nn.ModuleList(_Block(coarse, fine) for fine, coarse in steps)
        self.mix = nn.ModuleList(_Block(fine, fine) for fine, _ in steps)

    def forward(self, image: Tensor, previous: Tensor | None, prior: Tensor | None) -> Tensor:
        if previous is None or not self.previous_image:
            previous = image
        if prior is None or not self.prior_heatmap:
            prior = torch.zeros_like(image[:, :1])
        x = self.first(self.patches(torch.cat([image * SCALE, previous * SCALE, prior], dim=1)))
        maps = [x]
        for step in self.down:
            maps.append(step(maps[-1]))
        x = maps.pop()
        for widen, mix in zip(reversed(self.up), reversed(self.mix), strict=True):
            fine = maps.pop()
            x = mix(fine + F.interpolate(widen(x), scale_factor=2.0, mode="nearest"))
        return x
