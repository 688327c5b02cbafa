# SPDX-License-Identifier: Apache-2.0
"""3D boxes from 2D boxes alone, by the usual sizes of their classes: size, heading and distance in one fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking import heading
from centertrack_ros.tracking.box_fit import BoxFits, Edges, Sizes, edges_of, fit_boxes
from centertrack_ros.tracking.lifting import CENTER_SIGMA_PX
from centertrack_ros.tracking.size_prior import class_sizes
from centertrack_ros.types import Detections

Array = NDArray[Any]


class SizePriorLifter:
    """Lifts 2D detections of a model's classes to 3D boxes by the usual sizes of the classes."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._classes = class_sizes(class_names)
        self._road = np.log(heading.road_prior())

    def lift(self, detections: Detections, camera: Camera) -> Detections:
        """Lifts detections by their sizes in the image.

        Args:
            detections: 2D detections.
            camera: The camera of the image that the detections were made in.

        Returns:
            The detections with depths, dimensions, locations (bottom centres, m, optical frame), rotations_y (rad) and
            their variances (rad²), location covariances (m²), and with amodal centres (px). They are NaN for classes
            without a size prior. Without alphas: they would be the network's.
        """
        rows = np.flatnonzero(self._classes.known[detections.class_ids])
        chosen = detections.class_ids[rows]
        sizes = Sizes(self._classes.means[chosen], self._classes.covariances[chosen], self._classes.is_round[chosen])
        edges = edges_of(detections.boxes[rows], camera)
        grid = np.broadcast_to(heading.HEADINGS[: heading.HALF], (len(rows), heading.HALF))
        fits = fit_boxes(edges, sizes, grid)
        log_weights = np.where(sizes.is_round[:, None], 0.0, self._road) + np.tile(fits.log_likelihoods, 2)
        weights = heading.normalized(log_weights)
        headings, variances = heading.modes(weights)
        headings = np.where(sizes.is_round, heading.AXIS + _bearings(edges), headings)
        best = fit_boxes(edges, sizes, headings[:, None])
        return _with_boxes(detections, rows, camera, edges, fits, weights, best, headings, variances)


def _bearings(edges: Edges) -> Array:
    """(N,) rad, of the middles of boxes: 0 ahead, positive to the right."""
    return np.arctan((edges.slopes[:, 0] + edges.slopes[:, 2]) / 2)


def _with_boxes(
    detections: Detections,
    rows: NDArray[np.int64],
    camera: Camera,
    edges: Edges,
    fits: BoxFits,
    weights: Array,
    best: BoxFits,
    headings: Array,
    variances: Array,
) -> Detections:
    """The detections with the boxes `best` of `rows`; the covariances hold those of all headings by their weights."""
    count = len(detections)
    positions, states = best.positions[:, 0], best.states[:, 0]
    half = weights[:, : heading.HALF] + weights[:, heading.HALF :]
    covariances = position_covariances(fits, half, positions, camera)
    pixels = positions[:, :2] / positions[:, 2:] * camera.focal + camera.projection[:2, 2]
    middles = camera.unproject(pixels, positions[:, 2])
    bottoms = middles + np.array([0.0, 0.5, 0.0]) * states[:, 1, None]

    def column(values: Array, dtype: type = np.float32) -> NDArray[np.floating]:
        whole = np.full((count, *values.shape[1:]), np.nan, dtype)
        whole[rows] = values
        return whole

    return replace(
        detections,
        depths=column(positions[:, 2]),
        dimensions=column(states[:, 1:]),
        locations=column(bottoms),
        rotations_y=column(headings),
        heading_variances=column(variances, np.float64),
        location_covariances=column(covariances, np.float64),
        amodal_centers=column(camera.distort(pixels)),
        alphas=None,
    )


def position_covariances(fits: BoxFits, weights: Array, positions: Array, camera: Camera) -> Array:
    """(N, 3, 3) m² about `positions` (N, 3) of the fits under all headings, by their weights (N, H)."""
    differences = fits.positions - positions[:, None]
    covariances = (weights[..., None] * differences).swapaxes(1, 2) @ differences
    rays = positions / positions[:, 2:]
    along = (weights * fits.covariances[..., 0, 0]).sum(axis=1)
    covariances += along[:, None, None] * rays[:, :, None] * rays[:, None, :]
    across = (CENTER_SIGMA_PX * positions[:, 2] / camera.focal[0]) ** 2
    return covariances + across[:, None, None] * np.eye(3)
