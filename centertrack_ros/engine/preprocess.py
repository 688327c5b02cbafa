"""From a camera image to a network input: one affine warp and one table look-up per pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.network.profile import ModelProfile


def normalisation_table(profile: ModelProfile) -> NDArray[np.float32]:
    """(1, 256, 3) float32: what each of the 256 pixel values becomes, per channel in the profile's colour order."""
    mean, std = (np.asarray(values, np.float32).astype(np.float64) for values in (profile.mean, profile.std))
    values = np.arange(256, dtype=np.float64)[:, None] * profile.pixel_scale
    return ((values - mean) / std).astype(np.float32)[None]


def check_image(image: Any) -> None:
    """Raises ValueError unless `image` is a BGR image: uint8 (H, W, 3) with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"expected a BGR image as a uint8 array (height, width, 3), got {got}")
    if image.size == 0:
        raise ValueError(f"the image has no pixels: {image.shape[1]}x{image.shape[0]}")


def warp_and_normalise(
    image: NDArray[np.uint8],
    affine: NDArray[np.float64],
    size: tuple[int, int],
    table: NDArray[np.float32],
    color_order: str = "bgr",
) -> NDArray[np.float32]:
    """The network's input as (h, w, 3) float32 in `color_order`; `size` = (h, w).

    `affine` (2, 3) maps image px to input px; outside of the image the input is black before normalisation, as in the
    official code. `table` is `normalisation_table(profile)`. Raises ValueError for what is not a BGR image.
    """
    import cv2

    check_image(image)
    warped = cv2.warpAffine(image, np.asarray(affine, np.float64), (size[1], size[0]), flags=cv2.INTER_LINEAR)
    if color_order == "rgb":
        warped = cv2.cvtColor(warped, cv2.COLOR_BGR2RGB)
    return cv2.LUT(warped, table)  # type: ignore[return-value]


def warp_to_planes(
    image: NDArray[np.uint8],
    affine: NDArray[np.float64],
    size: tuple[int, int],
    table: NDArray[np.float32],
    color_order: str = "bgr",
) -> NDArray[np.float32]:
    """As `warp_and_normalise`, but one plane after the other: (3, h, w). Splitting bytes costs less than floats."""
    import cv2

    check_image(image)
    warped = cv2.warpAffine(image, np.asarray(affine, np.float64), (size[1], size[0]), flags=cv2.INTER_LINEAR)
    planes = cv2.split(warped)
    if color_order == "rgb":
        planes = planes[::-1]
    out = np.empty((3, *size), np.float32)
    for channel, plane in enumerate(planes):
        cv2.LUT(plane, np.ascontiguousarray(table[..., channel]), out[channel])
    return out
