# SPDX-License-Identifier: Apache-2.0
"""Distance from a 2D box alone, by the usual size of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.lifting import ray_covariances
from centertrack_ros.types import Array, Detections


@dataclass(frozen=True)
class SizePrior:
    """Usual size of a class.

    Attributes:
        height: Mean, m.
        width: Mean, m.
        length: Mean, m.
        height_sigma: Relative standard deviation of the height.
        width_sigma: Relative standard deviation of the visible width.
    """

    height: float
    width: float
    length: float
    height_sigma: float
    width_sigma: float

    @property
    def visible_width(self) -> float:
        """Width across the view, m, averaged over all headings: the mean of |w cos| + |l sin|."""
        return 2 / np.pi * (self.width + self.length)


# (height, width, length), m, and the relative standard deviation of the height. That of the visible width comes mostly
# from the unknown heading and is computed from width and length below.
# Road users: means and standard deviations of the nuScenes v1.0 training annotations (Caesar et al. 2020) and of the
# KITTI tracking training labels (Geiger et al. 2012; cyclist, van, tram). 'car' lies between the two sets' means.
# Others: common makes and standards, as noted.
_SIZES: dict[str, tuple[float, float, float, float]] = {
    "person": (1.72, 0.66, 0.73, 0.09),
    "pedestrian": (1.76, 0.66, 0.73, 0.07),
    "cyclist": (1.73, 0.66, 1.75, 0.05),
    "rider": (1.73, 0.66, 1.75, 0.05),
    "bicycle": (1.28, 0.60, 1.70, 0.18),
    "motorcycle": (1.47, 0.77, 2.11, 0.17),
    "car": (1.60, 1.78, 4.25, 0.10),
    "van": (2.16, 1.86, 4.97, 0.15),
    "truck": (2.84, 2.51, 6.93, 0.25),
    "bus": (3.47, 2.94, 11.19, 0.12),
    "trailer": (3.87, 2.90, 12.28, 0.20),
    "construction_vehicle": (3.19, 2.85, 6.37, 0.30),
    "tram": (3.65, 2.67, 11.89, 0.05),
    "train": (3.80, 2.90, 20.0, 0.12),
    "traffic_cone": (1.07, 0.41, 0.41, 0.15),
    "barrier": (0.98, 2.53, 0.50, 0.15),
    "traffic light": (0.90, 0.35, 0.30, 0.25),  # three 200 or 300 mm lenses in one housing
    "stop sign": (0.75, 0.75, 0.05, 0.15),  # 750 mm, MUTCD R1-1 on conventional roads
    "fire hydrant": (0.75, 0.35, 0.35, 0.20),
    "dog": (0.55, 0.25, 0.80, 0.35),
    "horse": (1.60, 0.60, 2.40, 0.15),
    "cow": (1.45, 0.65, 2.40, 0.15),
    "sheep": (0.80, 0.40, 1.20, 0.20),
    "cat": (0.28, 0.16, 0.46, 0.25),
}


def _prior(height: float, width: float, length: float, height_sigma: float) -> SizePrior:
    """Adds the relative standard deviation of the visible width: over all headings, and of the object itself."""
    headings = np.linspace(0, np.pi, 181)
    seen = np.abs(width * np.cos(headings)) + np.abs(length * np.sin(headings))
    return SizePrior(height, width, length, height_sigma, float(np.hypot(seen.std() / seen.mean(), height_sigma)))


SIZE_PRIORS: dict[str, SizePrior] = {name: _prior(*sizes) for name, sizes in _SIZES.items()}

# px, standard deviation of an edge of a 2D box: it limits how well the distance of small boxes is known.
EDGE_SIGMA_PX = 2.0
# px from the border of the image within which an edge counts as cut off.
BORDER_PX = 2.0
# A cut-off box shows a part of the object, between a third and the whole, so that it seems farther: mean and standard
# deviation of the logarithm.
CUT_SHIFT, CUT_SIGMA = 0.4, 0.4
# Part of the mean half extent along the ray by which the visible outline is nearer than the middle of the object.
OUTLINE_SHIFT = 0.5


def prior_for(class_name: str) -> SizePrior | None:
    """Returns the size prior of a class by its name ('Car', 'traffic_cone', 'stop sign'…); None: it has none."""
    name = class_name.strip().lower()
    return SIZE_PRIORS.get(name) or SIZE_PRIORS.get(name.replace("_", " ")) or SIZE_PRIORS.get(name.replace(" ", "_"))


class SizePriorLifter:
    """Lifts 2D detections of a model's classes to 3D boxes by the usual sizes of the classes."""

    def __init__(self, class_names: Sequence[str]) -> None:
        priors = [prior_for(name) for name in class_names]
        self.known = np.array([prior is not None for prior in priors])
        # (C, 6): height, width, length, visible width, sigma of height, sigma of visible width
        self._table = np.array(
            [
                (p.height, p.width, p.length, p.visible_width, p.height_sigma, p.width_sigma) if p else (np.nan,) * 6
                for p in priors
            ]
        ).reshape(-1, 6)

    def lift(self, detections: Detections, camera: Camera) -> Detections:
        """Lifts detections by their sizes in the image.

        A box gives two distances: one from its height, one from its width; they are weighted by their variances. An
        edge at the image border gives only a lower bound of the size. The heading is not visible: rotations_y points
        along the viewing ray, which is a convention and not a measurement.

        Args:
            detections: 2D detections.
            camera: The camera of the image that the detections were made in.

        Returns:
            The detections with depths, dimensions, locations (bottom centres, m, optical frame), rotations_y (rad) and
            location covariances (m²), and with amodal centres (px). They are NaN for classes without a size prior.
            Without alphas: they would be the network's.
        """
        height, width, length, visible_width, height_sigma, width_sigma = self._table[detections.class_ids].T
        corners = camera.undistort(detections.boxes.reshape(-1, 2)).reshape(-1, 2, 2)
        size = np.maximum(corners[:, 1] - corners[:, 0], 1e-3)
        cut_x, cut_y = _cut_off(detections.boxes, camera)
        fx, fy = camera.focal
        nearer = OUTLINE_SHIFT * visible_width / 2  # over all headings, an object is as deep as it is wide
        by_height = (fy * height / size[:, 1] + nearer) * np.exp(-CUT_SHIFT * cut_y)
        by_width = (fx * visible_width / size[:, 0] + nearer) * np.exp(-CUT_SHIFT * cut_x)
        log_height_sigma = np.hypot(height_sigma, EDGE_SIGMA_PX / size[:, 1])
        log_width_sigma = np.hypot(width_sigma, EDGE_SIGMA_PX / size[:, 0])
        log_height_sigma = np.where(cut_y, np.hypot(log_height_sigma, CUT_SIGMA), log_height_sigma)
        log_width_sigma = np.where(cut_x, np.hypot(log_width_sigma, CUT_SIGMA), log_width_sigma)
        depths, sigmas = _fuse(by_height, log_height_sigma, by_width, log_width_sigma)
        pixels = _middles(corners, cut_y, fy * height / depths)
        middles = camera.unproject(pixels, depths)
        locations = middles + np.array([0.0, 0.5, 0.0]) * height[:, None]
        return replace(
            detections,
            depths=depths.astype(np.float32),
            dimensions=np.stack([height, width, length], axis=1).astype(np.float32),
            locations=locations.astype(np.float32),
            rotations_y=(np.arctan2(middles[:, 0], middles[:, 2]) - np.pi / 2).astype(np.float32),
            location_covariances=ray_covariances(middles, sigmas * depths, camera),
            amodal_centers=np.where(np.isfinite(depths)[:, None], camera.distort(pixels), np.nan).astype(np.float32),
            alphas=None,
        )


def _cut_off(boxes: Array, camera: Camera) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) whether a box (as seen, not undistorted) ends at the left or right border, and at the top or bottom one."""
    left, top, right, bottom = boxes.T
    cut_x = (left <= BORDER_PX) | (right >= camera.width - 1 - BORDER_PX)
    cut_y = (top <= BORDER_PX) | (bottom >= camera.height - 1 - BORDER_PX)
    return cut_x, cut_y


def _fuse(first: Array, first_sigma: Array, second: Array, second_sigma: Array) -> tuple[Array, Array]:
    """(N,) the combination of least variance of two distances, and its relative standard deviation.

    Both are combined in the logarithm, since their errors are relative. Where they contradict each other more than
    their standard deviations allow, the result's standard deviation is their disagreement.
    """
    one, two = 1 / first_sigma**2, 1 / second_sigma**2
    weight = one / (one + two)
    difference = np.log(first) - np.log(second)
    disagreement = np.abs(difference) * np.sqrt(weight * (1 - weight))
    return np.exp(np.log(second) + weight * difference), np.maximum(np.sqrt(1 / (one + two)), disagreement)


def _middles(corners: Array, cut_y: NDArray[np.bool_], full_heights: Array) -> Array:
    """(N, 2) px of the middle of the whole object: half an expected height below its top where the box is cut off."""
    middles = corners.mean(axis=1)
    below_top = corners[:, 0, 1] + full_heights / 2
    middles[:, 1] = np.where(cut_y & (corners[:, 0, 1] > BORDER_PX), below_top, middles[:, 1])
    return middles
