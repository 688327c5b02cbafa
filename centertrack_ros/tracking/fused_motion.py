# SPDX-License-Identifier: Apache-2.0
"""Motion 'fused': the network's displacement and a track's constant velocity, combined by their covariances.

A track's filter holds its centre and velocity at the previous image. A detection measures two things at once: where
the object is (the centre z) and how it got there (the displacement d, from this image back to the previous one). With
the true centres x0 and x1 at the two images,

    z = x1 + noise of the detector,    d = x0 - x1 + noise of the displacement head,

and x0, x1 and the velocity are jointly normal by the filter. Both measurements together tell how well the detection
fits the track (`pair_terms`), and correct the filter (`correct`). The axes x and y are independent: covariances are
kept for each axis on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import sizes_of
from centertrack_ros.tracking import kalman
from centertrack_ros.tracking.kalman import Filters
from centertrack_ros.types import Array, Detections

Floats = NDArray[np.float64]

# Motion on images, in sizes (the square root of a box's area), which make near and far objects alike. Measured on the
# ground truth of KITTI tracking, MOT17 and PETS at steps of 0.03 to 3 s (`python -m experiments.motion_noise`): the
# velocity is a random walk, whose strength does not depend on the step.
VELOCITY_NOISE = 1.2  # sizes/s per root of s, how much the velocity changes
FIRST_VELOCITY = 2.0  # sizes/s, standard deviation of the velocity of an object that was seen once
CENTER_NOISE = 0.07  # sizes, standard deviation of a detection's centre
LEAST_VARIANCE = 0.01  # px², of a displacement: none is exact
ROUNDING = 1e-6  # px² and px²/s², the least variances of a filter
LONGEST_STEP = 60.0  # s; after more an object may be anywhere, and covariances would lose all their digits


@dataclass(frozen=True)
class DisplacementNoise:
    """How far the network's displacements are off: sqrt(sigma² + (slope_error * length)²) on each axis.

    Attributes:
        sigma: px of the image, of an object at rest; inf: the displacement says nothing.
        slope_error: Part of the displacement's length.
    """

    sigma: float = math.inf
    slope_error: float = 0.0

    def variances(self, displacements: Array) -> Floats:
        """Returns (N,) px² for displacements (N, 2) px."""
        squares = np.square(displacements, dtype=np.float64).sum(axis=1)
        return np.asarray(np.maximum(self.sigma**2 + self.slope_error**2 * squares, LEAST_VARIANCE))


@dataclass(frozen=True)
class PairTerms:
    """How well N detections fit M tracks; each (N, M).

    Attributes:
        squares: Squared Mahalanobis distance of the detection from where the track is expected, by the filter and the
            detection's displacement together.
        log_determinants: Of the covariance of that distance, px⁴: what a wide expectation costs.
        disagreements: Squared Mahalanobis distance of the displacement from the track's expected motion.
        distances: px², of the detection from where the track is expected.
    """

    squares: Floats
    log_determinants: Floats
    disagreements: Floats
    distances: Floats


@dataclass(frozen=True)
class _Moved:
    """Filters of M tracks at both images: on each axis, the moments of x1, u = x0 - x1 and the velocity v.

    Means (M, 2); variances and covariances (M,), the same for both axes.
    """

    x1: Floats
    u: Floats
    v: Floats
    x1_x1: Floats
    x1_u: Floats
    u_u: Floats
    v_x1: Floats
    v_u: Floats
    v_v: Floats


def _moved(filters: Filters, sizes: Floats, step: float) -> _Moved:
    means, covariances = filters
    step = min(step, LONGEST_STEP)
    a, b, c = covariances[:, 0, 0], covariances[:, 0, 2], covariances[:, 2, 2]
    strength = (VELOCITY_NOISE * sizes) ** 2
    position, mixed, velocity = strength * step**3 / 3, strength * step**2 / 2, strength * step
    shift = means[:, 2:] * step
    return _Moved(
        x1=means[:, :2] + shift,
        u=-shift,
        v=means[:, 2:],
        x1_x1=a + 2 * b * step + c * step**2 + position,
        x1_u=-(b * step + c * step**2 + position),
        u_u=c * step**2 + position,
        v_x1=b + c * step + mixed,
        v_u=-(c * step + mixed),
        v_v=c + velocity,
    )


def predict(filters: Filters, sizes: Floats, step: float) -> Filters:
    """Predicts the filters of N objects of these sizes (N,) px to `step` s later."""
    return kalman.predict(*filters, min(step, LONGEST_STEP), VELOCITY_NOISE * sizes)


def pair_terms(
    filters: Filters, sizes: Floats, step: float, detections: Detections, noise: DisplacementNoise
) -> PairTerms:
    """Compares every detection with every track.

    Args:
        filters: Of M tracks, at the previous image.
        sizes: (M,) px of the tracks.
        step: s since the previous image.
        detections: N detections of this image.
        noise: Of their displacements.

    Returns:
        The terms of the N detections and M tracks.
    """
    moved = _moved(filters, sizes, step)
    centers, shifts = (np.asarray(part, np.float64) for part in (detections.centers, detections.displacements))
    u_noise = noise.variances(shifts)[:, None]
    from_center = centers[:, None, :] - moved.x1[None, :, :]
    from_motion = shifts[:, None, :] - moved.u[None, :, :]
    motion_variances = moved.u_u[None, :] + u_noise
    gains = moved.x1_u[None, :] / motion_variances  # what the displacement tells about the centre
    differences = from_center - gains[:, :, None] * from_motion
    left = np.maximum(moved.x1_x1[None, :] - gains * moved.x1_u[None, :], 0.0)  # rounding, after very long steps
    variances = left + _center_variances(detections)[:, None]
    distances = np.square(differences).sum(axis=2)
    return PairTerms(
        squares=distances / variances,
        log_determinants=2 * np.log(variances),
        disagreements=np.square(from_motion).sum(axis=2) / motion_variances,
        distances=distances,
    )


def initialize(detections: Detections, step: float, noise: DisplacementNoise) -> Filters:
    """Starts a filter for each of N detections, with the velocity that its displacement tells.

    Args:
        detections: N detections.
        step: s since the previous image; 0: there is none, displacements say nothing.
        noise: Of their displacements.

    Returns:
        Means (N, 4) and covariances (N, 4, 4).
    """
    centers = np.asarray(detections.centers, np.float64)
    prior = (FIRST_VELOCITY * sizes_of(detections.boxes)) ** 2
    weights = prior * step**2 / (prior * step**2 + noise.variances(detections.displacements))
    measured = -np.asarray(detections.displacements, np.float64) / (step or 1.0)
    means = np.concatenate([centers, weights[:, None] * measured], axis=1)
    return means, _covariances(_center_variances(detections), np.zeros(len(centers)), (1 - weights) * prior)


def correct(filters: Filters, sizes: Floats, step: float, detections: Detections, noise: DisplacementNoise) -> Filters:
    """Corrects the filters of N tracks by their detections' centres and displacements.

    Args:
        filters: At the previous image.
        sizes: (N,) px of the tracks.
        step: s since the previous image.
        detections: One for each track.
        noise: Of their displacements.

    Returns:
        Means (N, 4) and covariances (N, 4, 4) at this image.
    """
    moved = _moved(filters, sizes, step)
    x_noise, u_noise = _center_variances(detections), noise.variances(detections.displacements)
    s_xx, s_xu, s_uu = moved.x1_x1 + x_noise, moved.x1_u, moved.u_u + u_noise
    # With a displacement that says nothing, S has an infinite entry: scale its row by u_noise's inverse.
    scale = 1 / s_uu
    determinant = np.maximum(s_xx - s_xu**2 * scale, x_noise)
    x_gain_z = (moved.x1_x1 - moved.x1_u * s_xu * scale) / determinant
    x_gain_d = (moved.x1_u * s_xx - moved.x1_x1 * s_xu) * scale / determinant
    v_gain_z = (moved.v_x1 - moved.v_u * s_xu * scale) / determinant
    v_gain_d = (moved.v_u * s_xx - moved.v_x1 * s_xu) * scale / determinant
    from_center = np.asarray(detections.centers, np.float64) - moved.x1
    from_motion = np.asarray(detections.displacements, np.float64) - moved.u
    x = moved.x1 + x_gain_z[:, None] * from_center + x_gain_d[:, None] * from_motion
    v = moved.v + v_gain_z[:, None] * from_center + v_gain_d[:, None] * from_motion
    return np.concatenate([x, v], axis=1), _covariances(
        moved.x1_x1 - x_gain_z * moved.x1_x1 - x_gain_d * moved.x1_u,
        moved.v_x1 - v_gain_z * moved.x1_x1 - v_gain_d * moved.x1_u,
        moved.v_v - v_gain_z * moved.v_x1 - v_gain_d * moved.v_u,
    )


def _center_variances(detections: Detections) -> Floats:
    return (CENTER_NOISE * sizes_of(detections.boxes)) ** 2


def _covariances(positions: Floats, mixed: Floats, velocities: Floats) -> Floats:
    """(N, 4, 4) of x, y and their velocities from the variances and covariance (N,) that both axes share."""
    # Rounding may leave less than nothing where much was unknown and nearly all of it was measured.
    positions, velocities = np.maximum(positions, ROUNDING), np.maximum(velocities, ROUNDING)
    mixed = np.clip(mixed, -(limit := np.sqrt(positions * velocities)), limit)
    result = np.zeros((len(positions), 4, 4))
    for axis in (0, 1):
        result[:, axis, axis] = positions
        result[:, axis, axis + 2] = result[:, axis + 2, axis] = mixed
        result[:, axis + 2, axis + 2] = velocities
    return result
