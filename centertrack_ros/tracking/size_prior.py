# SPDX-License-Identifier: Apache-2.0
"""The usual sizes of classes of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SizePrior:
    """Usual size of a class.

    Attributes:
        height: Mean, m.
        width: Mean, m.
        length: Mean, m.
        height_sigma: Relative standard deviation of the height.
        width_sigma: Relative standard deviation of the width.
        length_sigma: Relative standard deviation of the length.
        correlation: Of height, width and length with each other.
        is_round: Whether the object looks as wide from everywhere, and has no heading that its box could tell.
    """

    height: float
    width: float
    length: float
    height_sigma: float
    width_sigma: float
    length_sigma: float
    correlation: float = 0.5
    is_round: bool = False


# (height, width, length), m, and the relative standard deviation of the height; those of width and length follow below.
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


# Relative standard deviations of width and length where they are known better than by rule. A car's hold the
# differences between the sets' means too: Europe's cars are smaller than America's.
_SIDES: dict[str, tuple[float, float]] = {
    "person": (0.25, 0.25),
    "pedestrian": (0.25, 0.25),
    "cyclist": (0.20, 0.12),
    "rider": (0.20, 0.12),
    "car": (0.10, 0.11),
    "van": (0.10, 0.15),
    "bus": (0.08, 0.20),
    "truck": (0.12, 0.30),
}
# People swing arms and legs: their width does not tell their heading. Others look the same from everywhere.
_ROUND = {"person", "pedestrian", "traffic_cone", "fire hydrant"}


def _prior(name: str, height: float, width: float, length: float, height_sigma: float) -> SizePrior:
    width_sigma, length_sigma = _SIDES.get(name, (max(height_sigma, 0.12), max(height_sigma, 0.2)))
    return SizePrior(height, width, length, height_sigma, width_sigma, length_sigma, is_round=name in _ROUND)


SIZE_PRIORS: dict[str, SizePrior] = {name: _prior(name, *sizes) for name, sizes in _SIZES.items()}


def prior_for(class_name: str) -> SizePrior | None:
    """Returns the size prior of a class by its name ('Car', 'traffic_cone', 'stop sign'…); None: it has none."""
    name = class_name.strip().lower()
    return SIZE_PRIORS.get(name) or SIZE_PRIORS.get(name.replace("_", " ")) or SIZE_PRIORS.get(name.replace(" ", "_"))


@dataclass(frozen=True)
class ClassSizes:
    """The size priors of a model's C classes; NaN where a class has none.

    Attributes:
        known: (C,) whether a class has one.
        means: (C, 3) m: height, width, length.
        covariances: (C, 3, 3) m².
        is_round: (C,) whether an object looks as wide from everywhere.
    """

    known: NDArray[np.bool_]
    means: Array
    covariances: Array
    is_round: NDArray[np.bool_]


def class_sizes(class_names: Sequence[str]) -> ClassSizes:
    """Collects the size priors of classes, in their order."""
    priors = [prior_for(name) for name in class_names]
    means, covariances = np.full((len(priors), 3), np.nan), np.full((len(priors), 3, 3), np.nan)
    for row, prior in enumerate(priors):
        if prior is not None:
            means[row] = prior.height, prior.width, prior.length
            sigmas = means[row] * (prior.height_sigma, prior.width_sigma, prior.length_sigma)
            correlations = np.where(np.eye(3, dtype=bool), 1.0, prior.correlation)
            covariances[row] = correlations * np.outer(sigmas, sigmas)
    return ClassSizes(
        np.array([prior is not None for prior in priors], bool),
        means,
        covariances,
        np.array([prior is not None and prior.is_round for prior in priors], bool),
    )
