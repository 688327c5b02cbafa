"""How things moved, seen beside a detector that stays as it is: where the previous image looks like this one, and where
tracks were, within a window around every cell, at two to four scales.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (24, 32, 48)  # of what is compared, at strides 4, 8, 16
CHANNELS = 32  # of the answer
REACH = 3  # cells to each side that are looked at: 24 px at stride 8, 48 px at stride 16
SCALE = 1 / 128  # images come in 0..255
SHARPNESS = 8.0  # factor on cosines before the softmax, to begin with
FURTHER_STRIDES = (4, 32)  # where images may be compared besides
FINE_REACH, FINE_KEYS = 1, 8  # at stride 4, where cells are many: 4 px to each side, by so many channels


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


class _Mix(nn.Sequential):
    """1x1 and a block: from what was found in the windows to what it means."""

    def __init__(self, channels_in: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, CHANNELS, 1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.Hardswish(),
            _Block(CHANNELS, CHANNELS),
        )


class _Match(nn.Module):
    """Where each cell was, within its window: (B, C, h, w) now and before -> (B, `channels`, h, w).

    A softmax over the window of how alike the cells are, and the mean place under it, cells from here in x and y.
    `keys`: channels by which cells are compared, together with those around them; 0: as they are.
    """

    def __init__(self, channels: int, reach: int = REACH, keys: int = 0) -> None:
        super().__init__()
        around = [nn.Conv2d(keys, keys, 5, padding=2, groups=keys, bias=False)] if keys else []
        keys = keys or channels
        # Means are taken off: what all cells have in common would make them all alike.
        self.key = nn.Sequential(nn.Conv2d(channels, keys, 1, bias=False), *around, nn.BatchNorm2d(keys, affine=False))
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self.reach, self.channels = reach, (2 * reach + 1) ** 2 + 2
        steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("places", torch.stack([x.flatten(), y.flatten()])[:, :, None, None], persistent=False)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        shares = torch.softmax(_likeness(self.key(now), self.key(before), self.reach) * self.sharpness, dim=1)
        return torch.cat([shares * SHARPNESS, F.conv2d(shares, self.get_buffer("places"))], dim=1)


class MotionBranch(nn.Module):
    """(image, previous, prior) -> (B, `channels`, H/4, W/4).

    image, previous  (B, 3, H, W) in 0..255; prior (B, 1, H, W) in 0..1. A missing previous image is the image itself, a
    missing prior heatmap empty.

    further  strides of FURTHER_STRIDES at which the images are compared besides 8 and 16: 4 for small motions, such as
             those of high frame rates, 32 for large ones, up to 96 px. What they find is added, and 0 until trained
    Raises ValueError for another stride.
    """

    channels = CHANNELS

    def __init__(self, previous_image: bool = True, prior_heatmap: bool = True, further: Collection[int] = ()) -> None:
        super().__init__()
        if unknown := sorted(set(further) - set(FURTHER_STRIDES)):
            raise ValueError(f"motion_strides: expected some of {FURTHER_STRIDES}, got {unknown[0]}")
        self.previous_image, self.prior_heatmap = previous_image, prior_heatmap
        fine, middle, coarse = WIDTHS
        self.patches = nn.Sequential(nn.Conv2d(3, fine, 4, 4, bias=False), nn.BatchNorm2d(fine), nn.Hardswish())
        self.look8, self.match8 = _Block(fine, middle, 2), _Match(middle)
        self.look16, self.match16 = _Block(middle, coarse, 2), _Match(coarse)
        window = (2 * REACH + 1) ** 2
        self.mix16 = _Mix(coarse + 2 * window + 2)
        self.mix8 = _Mix(middle + 2 * window + 2 + CHANNELS)
        self.mix4 = _Mix(fine + window + CHANNELS)
        self.match4 = self.add4 = self.look32 = self.match32 = self.add32 = None
        if 4 in further:
            self.match4 = _Match(fine, FINE_REACH, FINE_KEYS)
            self.add4 = _told(self.match4.channels)
        if 32 in further:
            self.look32, self.match32 = _Block(coarse, coarse, 2), _Match(coarse)
            self.add32 = _told(coarse + self.match32.channels)

    def forward(self, image: Tensor, previous: Tensor | None, prior: Tensor | None) -> Tensor:
        if previous is None or not self.previous_image:
            previous = image
        if prior is None or not self.prior_heatmap:
            prior = torch.zeros_like(image[:, :1])
        now4, now8, now16 = self._look(image)
        before4, before8, before16 = self._look(previous)
        prior4 = F.avg_pool2d(prior, 4)
        prior8 = F.avg_pool2d(prior4, 2)
        prior16 = F.avg_pool2d(prior8, 2)
        x = self.mix16(torch.cat([now16, self.match16(now16, before16), _windows(prior16)], dim=1))
        if self.look32 is not None and self.match32 is not None and self.add32 is not None:
            now32 = self.look32(now16)
            x = x + _doubled(self.add32(torch.cat([now32, self.match32(now32, self.look32(before16))], dim=1)))
        x = self.mix8(torch.cat([now8, self.match8(now8, before8), _windows(prior8), _doubled(x)], dim=1))
        found = self.mix4(torch.cat([now4, _windows(prior4), _doubled(x)], dim=1))
        if self.match4 is not None and self.add4 is not None:
            found = found + self.add4(self.match4(now4, before4))
        return found

    def _look(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.patches(image * SCALE)
        middle = self.look8(fine)
        return fine, middle, self.look16(middle)


def _told(channels: int) -> nn.Sequential:
    """Of so many channels what is added to the branch's own; nothing until it is trained."""
    norm = nn.BatchNorm2d(CHANNELS)
    nn.init.zeros_(norm.weight)
    return nn.Sequential(nn.Conv2d(channels, CHANNELS, 1, bias=False), norm)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _windows(x: Tensor) -> Tensor:
    """(B, 1, h, w) -> (B, window, h, w): the values around every cell, 0 outside of the map."""
    size = 2 * REACH + 1
    picks = torch.eye(size * size, dtype=x.dtype, device=x.device).view(size * size, 1, size, size)
    return F.conv2d(x, picks, padding=REACH)


def _likeness(now: Tensor, before: Tensor, reach: int) -> Tensor:
    """(B, C, h, w) twice -> (B, window, h, w): the cosine of each cell now and the cells around it before."""
    height, width = now.shape[-2:]
    now, before = _unit(now), F.pad(_unit(before), (reach,) * 4)
    steps = range(2 * reach + 1)
    return torch.stack(
        [(now * before[:, :, y : y + height, x : x + width]).sum(dim=1) for y in steps for x in steps], dim=1
    )


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + 1e-3)
