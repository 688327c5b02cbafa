# SPDX-License-Identifier: Apache-2.0
"""The randomness of training: crop, mirror, colour, the previous frame's own crop, and noise in the prior heatmap.

Paper: sections 4.1 to 4.3; upstream: src/lib/dataset/generic_dataset.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.affine import centered_affine, transform
from centertrack_ros.geometry.gaussian import gaussian_radius

Array = NDArray[np.float64]
BORDER = 128  # px of the image that a crop's centre stays away from its edges, halved until that is possible
# Principal axes of ImageNet's colours (BGR order) and the standard deviations along them, for the lighting noise of
# AlexNet's paper, section 4.1.
LIGHT_DEVIATIONS = np.array([0.2141788, 0.01817699, 0.00341571], np.float32)
LIGHT_AXES = np.array(
    [
        [-0.58752847, -0.69563484, 0.41340352],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.56089297, 0.71832671, 0.41158938],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are varied; the defaults are those of the official COCO and nuScenes recipes.

    Attributes:
        flip: Probability of mirroring.
        crop: Crop at a random place and scale.
        scales: Smallest and largest crop, in image sizes.
        centred: Crops keep the image's middle, so that a place in the input always means the same direction of view.
        color: Brightness, contrast and saturation vary by +- this.
        lighting: Standard deviation along the principal colours.
        shift: Standard deviation of the previous frame's shift, in image sizes, cut at twice its value.
        scale: Standard deviation of the previous frame's scale, cut at its value.
        same_crop: The previous frame of a video has the crop of the current one; that of a static image never.
        heatmap_jitter: Prior heatmap: standard deviation of the peaks' places, in box sizes.
        lost: Prior heatmap: share of the peaks that are left out.
        false_peaks: Prior heatmap: share of the peaks that get a second one.
        max_frame_distance: The previous frame is less than this many frames away; 0: always the frame before.
        backwards: The previous frame lies in either direction, as in the official recipes; False: only in the past.
        mirrored_velocity: Velocities of mirrored images count, with -x; False (official): they are unknown.
    """

    flip: float = 0.5
    crop: bool = True
    scales: tuple[float, float] = (0.6, 1.3)
    centred: bool = False
    color: float = 0.4
    lighting: float = 0.1
    shift: float = 0.05
    scale: float = 0.05
    same_crop: bool = False
    heatmap_jitter: float = 0.05
    lost: float = 0.4
    false_peaks: float = 0.1
    max_frame_distance: int = 3
    backwards: bool = True
    mirrored_velocity: bool = False

    def __post_init__(self) -> None:
        for name in ("flip", "lost", "false_peaks"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation: {name} must be from 0 to 1, got {getattr(self, name)}")
        for name in ("color", "lighting", "shift", "scale", "heatmap_jitter"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"augmentation: {name} must be from 0 to below 1, got {getattr(self, name)}")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f"augmentation: scales must be two growing positive numbers, got {self.scales}")
        if self.max_frame_distance < 0:
            raise ValueError(f"augmentation: max_frame_distance must not be negative, got {self.max_frame_distance}")


# For validation: the previous frame is the one before, and nothing varies.
NO_AUGMENTATION = Augmentation(
    flip=0,
    crop=False,
    color=0,
    lighting=0,
    shift=0,
    scale=0,
    same_crop=True,
    heatmap_jitter=0,
    lost=0,
    false_peaks=0,
    max_frame_distance=0,
)


@dataclass(frozen=True)
class Crop:
    """A square part of an image.

    Attributes:
        center: x, y, px of the image.
        span: Side, px of the image.
        zoom: `span` in parts of the image's longer side.
        mirrored: Left and right are exchanged.
        width: Of the image, px.
    """

    center: tuple[float, float]
    span: float
    zoom: float
    mirrored: bool
    width: int

    def affine(self, target: tuple[int, int]) -> Array:
        """(2, 3) map from image px to a target of (height, width) px."""
        affine = centered_affine(self.center, self.span, target)
        if self.mirrored:
            affine = affine @ np.array([[-1.0, 0.0, self.width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return affine


def random_crop(rng: np.random.Generator, size: tuple[int, int], how: Augmentation) -> Crop:
    """A crop of an image of `size` (height, width) px."""
    height, width = size
    longer = float(max(height, width))
    mirrored = bool(rng.random() < how.flip)
    if not how.crop:
        return Crop((width / 2.0, height / 2.0), longer, 1.0, mirrored, width)
    steps = np.arange(how.scales[0], how.scales[1] + 0.05, 0.1)
    zoom = float(rng.choice(steps))
    if how.centred:
        return Crop((width / 2.0, height / 2.0), longer * zoom, zoom, mirrored, width)
    center = tuple(
        float(rng.integers(edge, length - edge))
        for edge, length in ((_border(width), width), (_border(height), height))
    )
    return Crop((center[0], center[1]), longer * zoom, zoom, mirrored, width)


def _border(length: int) -> int:
    border = BORDER
    while length - border <= border and border > 0:
        border //= 2
    return border


def jittered(rng: np.random.Generator, crop: Crop, how: Augmentation) -> Crop:
    """The crop of the previous frame: `crop` shifted and scaled a little."""
    move = np.clip(rng.standard_normal(2) * how.shift, -2 * how.shift, 2 * how.shift) * crop.span
    grow = 1.0 + float(np.clip(rng.standard_normal() * how.scale, -how.scale, how.scale))
    center = (crop.center[0] + float(move[0]), crop.center[1] + float(move[1]))
    return Crop(center, crop.span * grow, crop.zoom * grow, crop.mirrored, crop.width)


def vary_color(rng: np.random.Generator, image: NDArray[np.uint8], how: Augmentation) -> NDArray[np.uint8]:
    """A BGR image (H, W, 3) with other brightness, contrast, saturation (in random order) and lighting."""
    if not how.color and not how.lighting:
        return image
    # All steps are linear in the pixel's colour, so that they are one 3 x 4 matrix for the whole image.
    matrix = np.eye(3, 4, dtype=np.float32)
    weights = np.array([0.114, 0.587, 0.299], np.float32)
    mean = float(cv2.mean(image)[:3] @ weights)
    for kind in rng.permutation(3):
        share = np.float32(1.0 + rng.uniform(-how.color, how.color))
        if kind == 0:  # brightness
            matrix *= share
            mean *= float(share)
        elif kind == 1:  # contrast: towards the mean grey
            matrix *= share
            matrix[:, 3] += (1 - share) * mean
        else:  # saturation: towards each pixel's grey
            matrix = share * matrix + (1 - share) * (weights @ matrix)[None]
    matrix[:, 3] += (
        255 * LIGHT_AXES @ (LIGHT_DEVIATIONS * rng.normal(0, how.lighting, 3).astype(np.float32)) if how.lighting else 0
    )
    return np.asarray(cv2.transform(image, matrix), np.uint8)


@dataclass(frozen=True)
class Prior:
    """Peaks of a prior heatmap, and where displacements lead to.

    Attributes:
        peaks: (M, 3) x, y, radius in px of the input, for `geometry.gaussian.render`.
        centers: (N, 2) px of the input, the target of each of the N previous objects' displacements; NaN for objects
            outside the input.
    """

    peaks: NDArray[np.int64]
    centers: Array


def noisy_prior(rng: np.random.Generator, boxes: Array, size: tuple[int, int], how: Augmentation) -> Prior:
    """The noisy peaks of a prior heatmap.

    As in the official code the displacement leads to the true centre, except for a lost object, where it leads to the
    shifted one.

    Args:
        rng: Of the sample.
        boxes: (N, 4) of the previous frame's objects, px of the input.
        size: (height, width) of the input.
        how: Strength of the noise.
    """
    height, width = size
    clipped = np.asarray(boxes, np.float64).reshape(-1, 4).copy()
    clipped[:, 0::2] = clipped[:, 0::2].clip(0, width - 1)
    clipped[:, 1::2] = clipped[:, 1::2].clip(0, height - 1)
    extent = clipped[:, 2:] - clipped[:, :2]
    count = len(clipped)
    # Drawn for all objects, inside or not, so that one object's noise does not depend on the others.
    noise, false_noise = rng.standard_normal((count, 2)), rng.standard_normal((count, 2))
    lost, doubled = rng.random(count) < how.lost, rng.random(count) < how.false_peaks
    inside = (extent > 0).all(axis=1)
    true = (clipped[:, :2] + clipped[:, 2:]) / 2
    moved = true + noise * how.heatmap_jitter * extent
    false = true + false_noise * 0.05 * extent
    radii = np.zeros(count, int)
    if inside.any():
        radii[inside] = np.maximum(0, gaussian_radius(np.ceil(extent[inside, 1]), np.ceil(extent[inside, 0]))).astype(
            int
        )
    drawn = inside & ~lost
    peaks = np.concatenate(
        [
            np.column_stack([moved[drawn].astype(int), radii[drawn]]),
            np.column_stack([false[drawn & doubled].astype(int), radii[drawn & doubled]]),
        ]
    )
    peaks = peaks[(peaks[:, 0] >= 0) & (peaks[:, 1] >= 0) & (peaks[:, 0] < width) & (peaks[:, 1] < height)]
    centers = np.where(lost[:, None], moved, true)
    centers[~inside] = np.nan
    return Prior(peaks.astype(np.int64), centers)


def mapped_boxes(affine: Array, boxes: Array) -> Array:
    """Boxes (N, 4) through a map without rotation, corners in order even if it mirrors."""
    corners = transform(affine, np.asarray(boxes, np.float64).reshape(-1, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def mirrored_alpha(alphas: Array) -> Array:
    """Observation angles (N,) in [-pi, pi] as seen in the mirror."""
    return np.where(alphas > 0, np.pi - alphas, -np.pi - alphas)
