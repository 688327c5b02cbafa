# SPDX-License-Identifier: Apache-2.0
"""The motion branch beside a detector that stays unchanged.

It reads the local correlation (cost volume) of the image and the previous image, and the prior heatmap, within a window
around every cell, at two to four scales. Attribute names are keys of the published weights.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from centertrack_ros.network.mobilenetv3_shapes import (
    FINE_SEARCH_RADIUS,
    INVERSE_TEMPERATURE,
    MATCH_TILES,
    MOTION_SCALE,
    SEARCH_RADIUS,
)

WIDTHS = (24, 32, 48)  # channels of the compared features at strides 4, 8, 16
CHANNELS = 32  # of the branch's output
FURTHER_STRIDES = (4, 32)  # additional strides at which the images can be compared
FINE_KEYS = 8  # stride 4 has many cells: few channels to compare


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
    """1x1 convolution and a block: combines features, correlation, prior heatmap and the coarser scale.

    The convolution reads [features, match, windows of the prior heatmap, coarser scale up-sampled]. Each part enters by
    itself: without their concatenation, windows become a 7x7 convolution, and the coarser scale is projected before it
    is up-sampled.
    """

    def __init__(self, channels_in: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, CHANNELS, 1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.Hardswish(),
            _Block(CHANNELS, CHANNELS),
        )

    def forward(  # type: ignore[override]
        self, features: Tensor, match: tuple[_Match, Tensor] | None, prior: Tensor, coarse: Tensor | None
    ) -> Tensor:
        """(B, C, h, w) -> (B, `CHANNELS`, h, w).

        Args:
            features: Of the image, (B, C, h, w).
            match: The matching and the softmax that it gave, or None.
            prior: The prior heatmap at this scale, (B, 1, h, w).
            coarse: Output of the coarser scale, (B, `CHANNELS`, h / 2, w / 2), or None.
        """
        size = 2 * SEARCH_RADIUS + 1
        widths = [features.shape[1], 0 if match is None else match[0].channels, size * size]
        weight, bias = self[0].weight, self[0].bias
        own, of_match, of_prior = weight[:, : sum(widths)].split(widths, dim=1)  # type: ignore[index]
        x = F.conv2d(features, own, bias)  # type: ignore[arg-type]
        if match is not None:
            x = x + F.conv2d(match[1], match[0].projected(of_match))
        x = x + F.conv2d(prior, of_prior.reshape(-1, 1, size, size), padding=SEARCH_RADIUS)
        if coarse is not None:
            x = x + _upsample(F.conv2d(coarse, weight[:, sum(widths) :]))  # type: ignore[index]
        for layer in list(self)[1:]:
            x = layer(x)
        return x


class _Match(nn.Module):
    """Matches each cell with the previous image, within a window: (B, C, h, w) twice -> (B, `channels`, h, w).

    The output is a softmax of the correlation over the window, and the mean offset under it, cells in x and y.

    Args:
        channels: C.
        tile: See `correlation`.
        search_radius: Cells of the window to each side.
        keys: Channels to compare, which also see the neighbouring cells; 0 compares all C channels of the cell alone.
    """

    def __init__(self, channels: int, tile: int, search_radius: int = SEARCH_RADIUS, keys: int = 0) -> None:
        super().__init__()
        neighbourhood = [nn.Conv2d(keys, keys, 5, padding=2, groups=keys, bias=False)] if keys else []
        keys = keys or channels
        # The batch norm removes the mean: a part that all cells have in common would make them all similar.
        self.key = nn.Sequential(
            nn.Conv2d(channels, keys, 1, bias=False), *neighbourhood, nn.BatchNorm2d(keys, affine=False)
        )
        self.sharpness = nn.Parameter(torch.tensor(INVERSE_TEMPERATURE))
        self.search_radius, self.channels, self.tile = search_radius, (2 * search_radius + 1) ** 2 + 2, tile
        steps = torch.arange(-search_radius, search_radius + 1, dtype=torch.float32)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("offsets", torch.stack([x.flatten(), y.flatten()])[:, :, None, None], persistent=False)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        weights = self.weights(now, before)
        return torch.cat([weights * INVERSE_TEMPERATURE, F.conv2d(weights, self.get_buffer("offsets"))], dim=1)

    def weights(self, now: Tensor, before: Tensor) -> Tensor:
        """The softmax alone, (B, window, h, w)."""
        scores = correlation(self.key(now), self.key(before), self.search_radius, self.tile) * self.sharpness
        return torch.softmax(scores, dim=1)

    def projected(self, weight: Tensor) -> Tensor:
        """A 1x1 convolution (O, `channels`, 1, 1) of the output as one of the softmax: (O, window, 1, 1)."""
        offsets = self.get_buffer("offsets").flatten(1)  # (2, window)
        window = weight[:, :-2].flatten(1) * INVERSE_TEMPERATURE + weight[:, -2:].flatten(1) @ offsets
        return window[:, :, None, None]


class MotionBranch(nn.Module):
    """Motion features for the added heads: (image, previous, prior) -> (B, `channels`, H/4, W/4).

    Images are (B, 3, H, W) in 0..255, the prior is (B, 1, H, W) in 0..1. A missing previous image is replaced by the
    image itself, a missing prior heatmap by zeros.

    Args:
        previous_image: Whether the branch uses the previous image.
        prior_heatmap: Whether the branch uses the prior heatmap.
        further: Strides of `FURTHER_STRIDES` at which the images are compared besides 8 and 16: 4 for small motions at
            high frame rates, 32 for large ones, up to 96 px. Their contribution is added, and is 0 until trained.

    Raises:
        ValueError: Another stride.
    """

    channels = CHANNELS

    def __init__(self, previous_image: bool = True, prior_heatmap: bool = True, further: Collection[int] = ()) -> None:
        super().__init__()
        if unknown := sorted(set(further) - set(FURTHER_STRIDES)):
            raise ValueError(f"motion_strides: expected some of {FURTHER_STRIDES}, got {unknown[0]}")
        self.previous_image, self.prior_heatmap = previous_image, prior_heatmap
        fine, middle, coarse = WIDTHS
        self.patches = nn.Sequential(nn.Conv2d(3, fine, 4, 4, bias=False), nn.BatchNorm2d(fine), nn.Hardswish())
        self.look8, self.match8 = _Block(fine, middle, 2), _Match(middle, MATCH_TILES["match8"])
        self.look16, self.match16 = _Block(middle, coarse, 2), _Match(coarse, MATCH_TILES["match16"])
        window = (2 * SEARCH_RADIUS + 1) ** 2
        self.mix16 = _Mix(coarse + 2 * window + 2)
        self.mix8 = _Mix(middle + 2 * window + 2 + CHANNELS)
        self.mix4 = _Mix(fine + window + CHANNELS)
        self.match4 = self.add4 = self.look32 = self.match32 = self.add32 = None
        if 4 in further:
            self.match4 = _Match(fine, MATCH_TILES["match4"], FINE_SEARCH_RADIUS, FINE_KEYS)
            self.add4 = _zero_projection(self.match4.channels)
        if 32 in further:
            self.look32, self.match32 = _Block(coarse, coarse, 2), _Match(coarse, MATCH_TILES["match32"])
            self.add32 = _zero_projection(coarse + self.match32.channels)

    def forward(self, image: Tensor, previous: Tensor | None, prior: Tensor | None) -> Tensor:
        """See the class."""
        if previous is None or not self.previous_image:
            previous = image
        if prior is None or not self.prior_heatmap:
            prior = torch.zeros_like(image[:, :1])
        now4, now8, now16 = self._pyramid(image)
        before4, before8, before16 = self._pyramid(previous)
        prior4 = F.avg_pool2d(prior, 4)
        prior8 = F.avg_pool2d(prior4, 2)
        prior16 = F.avg_pool2d(prior8, 2)
        x = self.mix16(now16, (self.match16, self.match16.weights(now16, before16)), prior16, None)
        if self.look32 is not None and self.match32 is not None and self.add32 is not None:
            now32 = self.look32(now16)
            x = x + _upsample(self.add32(torch.cat([now32, self.match32(now32, self.look32(before16))], dim=1)))
        x = self.mix8(now8, (self.match8, self.match8.weights(now8, before8)), prior8, x)
        x = self.mix4(now4, None, prior4, x)
        if self.match4 is not None and self.add4 is not None:
            x = x + self.add4(self.match4(now4, before4))
        return x

    def _pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 4, 8 and 16."""
        fine = self.patches(image * MOTION_SCALE)
        middle = self.look8(fine)
        return fine, middle, self.look16(middle)


def _zero_projection(channels: int) -> nn.Sequential:
    """Projects `channels` to the branch's own; its output is 0 until it is trained."""
    norm = nn.BatchNorm2d(CHANNELS)
    nn.init.zeros_(norm.weight)
    return nn.Sequential(nn.Conv2d(channels, CHANNELS, 1, bias=False), norm)


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def correlation(now: Tensor, before: Tensor, search_radius: int, tile: int = 1) -> Tensor:
    """Local correlation (cost volume): the cosine of each cell and the cells around it in the previous image.

    All cells of a tile are compared with all cells that one of them can reach, in one matrix product; their own windows
    are then read out of it.

    Args:
        now: (B, C, h, w) features of the image.
        before: (B, C, h, w) features of the previous image.
        search_radius: Cells of the window to each side.
        tile: Side of the tiles, cells; h and w are multiples. The most that a stride allows is 32 px.

    Returns:
        (B, (2 * search_radius + 1)², h, w), row by row from the top left; 0 outside the map.
    """
    batch, channels, height, width = now.shape
    reach, size = tile + 2 * search_radius, 2 * search_radius + 1
    tiles_y, tiles_x = height // tile, width // tile
    cells = _unit(now).permute(0, 2, 3, 1).reshape(batch, tiles_y, tile, tiles_x, tile, channels)
    cells = cells.transpose(2, 3).reshape(batch, tiles_y, tiles_x, tile * tile, channels)
    padded = F.pad(_unit(before), (search_radius,) * 4).permute(0, 2, 3, 1)
    # Row and column of every cell that a tile reaches, in the padded map.
    steps = torch.arange(reach, device=now.device)
    rows = (torch.arange(tiles_y, device=now.device) * tile)[:, None] + steps
    columns = (torch.arange(tiles_x, device=now.device) * tile)[:, None] + steps
    index = rows[:, None, :, None] * (width + 2 * search_radius) + columns[None, :, None, :]
    reached = padded.flatten(1, 2).index_select(1, index.flatten())
    reached = reached.view(batch, tiles_y, tiles_x, reach * reach, channels)
    products = (cells @ reached.transpose(3, 4)).flatten(3)
    own = _windows_of_tile(tile, size, reach).to(now.device)
    scores = products.index_select(3, own.flatten()).view(batch, tiles_y, tiles_x, tile, tile, size * size)
    return scores.permute(0, 5, 1, 3, 2, 4).reshape(batch, size * size, height, width)


def _windows_of_tile(tile: int, size: int, reach: int) -> Tensor:
    """Where the products of every cell of a tile with its own window are: (tile², size²), of tile² * reach²."""
    cell, window = torch.arange(tile), torch.arange(size)
    row = (cell[:, None, None, None] + window[:, None]) * reach
    column = cell[:, None, None] + window
    return (row + column).flatten(2).flatten(0, 1) + torch.arange(tile * tile)[:, None] * reach * reach


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + 1e-3)
