# SPDX-License-Identifier: Apache-2.0
"""Network inputs that are made on the device: one upload of a camera's bytes, the warp, and the prior heatmap.

Everything is a torch operation of fixed shape, which a CUDA graph can record, and which runs on a CPU as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from centertrack_ros.engine.preprocess import check_image
from centertrack_ros.network.profile import ModelProfile


class DeviceImage:
    """A camera image on the device, and the network input that was made of it.

    Attributes:
        bytes: The image as it came: uint8 (H, W, 3), BGR.
        to_image: (2, 3) float32: input px -> image px.
        size: (height, width) of the network input, px.
        pixels: (1, 3, h, w): the network input, once it was made; None before.
    """

    def __init__(self, image: Tensor, to_image: Tensor, size: tuple[int, int]) -> None:
        self.bytes, self.to_image, self.size = image, to_image, size
        self.pixels: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the network input."""
        return (1, 3, *self.size)


def upload(
    image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int], device: torch.device
) -> DeviceImage:
    """Copy an image to the device, once; the copy does not wait for the device.

    Args:
        image: BGR uint8 (H, W, 3); it can be a view that is gone after the call.
        affine: (2, 3), image px -> input px.
        size: (height, width) of the network input, px.
        device: Where to.

    Raises:
        ValueError: `image` is not a BGR image, or the affine map has no inverse.
    """
    check_image(image)
    try:
        inverse = np.linalg.inv(np.vstack([np.asarray(affine, np.float64), [0.0, 0.0, 1.0]]))[:2]
    except np.linalg.LinAlgError:
        raise ValueError("the map from the image to the network input has no inverse") from None
    return DeviceImage(copied(image, device), copied(inverse.astype(np.float32), device), size)


def copied(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device; through pinned memory, from which CUDA copies while this thread goes on.

    Args:
        array: Of any type and shape.
        device: Where to.
    """
    on_gpu = device.type == "cuda"
    staged = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, pin_memory=on_gpu)
    staged.numpy()[...] = array
    return staged.to(device, non_blocking=on_gpu)


class Normalization:
    """Warps images on the device and normalizes them.

    Args:
        profile: Gives mean, std, pixel scale and the order of colours.
        device: Of the images.
    """

    def __init__(self, profile: ModelProfile, device: torch.device) -> None:
        self._mean, self._std = (
            torch.tensor([float(value) for value in values], dtype=torch.float32, device=device)
            for values in (profile.mean, profile.std)
        )
        self._scale = float(profile.pixel_scale)
        self._reversed = profile.color_order == "rgb"

    def __call__(self, image: Tensor, to_image: Tensor, size: tuple[int, int]) -> Tensor:
        """Make one network input.

        Args:
            image: uint8 (H, W, 3).
            to_image: (2, 3) float32, input px -> image px.
            size: (height, width) of the input, px.

        Returns:
            (1, 3, h, w) float32, channels last in memory.
        """
        warped = warp(image, to_image, size)
        if self._reversed:
            warped = warped.flip(2)
        return ((warped * self._scale - self._mean) / self._std).permute(2, 0, 1)[None]


def warp(image: Tensor, to_image: Tensor, size: tuple[int, int]) -> Tensor:
    """As `cv2.warpAffine` with bilinear interpolation and black outside, rounded to whole grey levels.

    OpenCV 4 rounds positions to 1/32 px, OpenCV 5 and this do not: at edges they differ by some grey levels.

    Args:
        image: uint8 (H, W, 3).
        to_image: (2, 3) float32, input px -> image px.
        size: (height, width) of the result, px.

    Returns:
        (h, w, 3) float32 with whole numbers in 0..255.
    """
    height, width = image.shape[:2]
    rows = torch.arange(size[0], device=image.device, dtype=torch.float32)[:, None]
    columns = torch.arange(size[1], device=image.device, dtype=torch.float32)[None]
    x, y = (line[0] * columns + line[1] * rows + line[2] for line in to_image)
    left, top = x.floor(), y.floor()
    flat = image.reshape(-1, 3)
    total = torch.zeros((size[0] * size[1], 3), device=image.device)
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            total = total + flat[index.flatten()] * (row_weight * weight * inside).reshape(-1, 1)
    return (total + 0.5).floor().view(*size, 3)


def prior_heatmaps(priors: Sequence[NDArray[np.integer]], size: tuple[int, int], device: torch.device) -> Tensor:
    """`geometry.gaussian.render` on the device: only the tracklets' numbers are copied to it.

    Args:
        priors: Per image (M, 3): x, y, radius of each Gaussian, px.
        size: (h, w) of the heatmaps.
        device: Where.

    Returns:
        (B, 1, h, w) float32.
    """
    table = np.concatenate(
        [np.insert(np.asarray(one, np.int64).reshape(-1, 3), 0, index, axis=1) for index, one in enumerate(priors)]
    )
    table = table[(table[:, 1] >= 0) & (table[:, 2] >= 0)]  # as officially: nothing is drawn from the left or above
    heat = torch.zeros(len(priors) * size[0] * size[1], device=device)
    sides = 2 * table[:, 3] + 1
    count = int((sides**2).sum())
    if count:
        starts = np.cumsum(sides**2) - sides**2
        rows = copied(np.column_stack([table, sides, starts, sides**2]), device)
        owner = torch.repeat_interleave(rows[:, 6], output_size=count)  # one entry for each px of each Gaussian
        image, x, y, radius, side, start = rows[owner, :6].unbind(1)
        place = torch.arange(count, device=device) - start
        dx, dy = place % side - radius, torch.div(place, side, rounding_mode="floor") - radius
        sigma = side.float() / 6
        value = torch.exp(-(dx * dx + dy * dy).float() / (2 * sigma * sigma))
        column, row = x + dx, y + dy
        inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
        cell = (image * size[0] + row.clamp(0, size[0] - 1)) * size[1] + column.clamp(0, size[1] - 1)
        heat.scatter_reduce_(0, cell, value * inside, "amax")
    return heat.view(len(priors), 1, *size)
