# SPDX-License-Identifier: Apache-2.0
"""3D boxes by the depth, size and rotation heads of the network, and by what sensors measured where they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_fit import BoxFits, Supports, edges_of
from centertrack_ros.tracking.lifting import lift_heads
from centertrack_ros.tracking.sensor_depth import Expected, SensorView
from centertrack_ros.tracking.size_prior import class_sizes
from centertrack_ros.tracking.surface_fit import fills_of, with_surfaces
from centertrack_ros.types import LIFT_HEADS, Detections

_SIZE_SIGMA = 0.08  # of the dimension head, relative


class HeadsLifter:
    """Lifts detections by the heads."""

    def __init__(self, class_names: Sequence[str], depth_sigma: float) -> None:
        """`depth_sigma` is the relative standard deviation of the depth head."""
        self._sigma, self._fills = depth_sigma, fills_of(class_names)
        self._is_round = class_sizes(class_names).is_round

    def __call__(self, detections: Detections, camera: Camera) -> Detections:
        """See `lift_heads`."""
        return lift_heads(detections, camera, self._sigma)

    def lift_sensed(self, detections: Detections, camera: Camera, view: SensorView) -> Detections:
        """See `lift_heads`; distances and sizes are corrected by the surfaces that sensors see.

        Args:
            detections: N detections with depths, dimensions and alphas.
            camera: The camera of the image that the detections were made in.
            view: What sensors measured at that time.

        Returns:
            The detections, with `lifts` as well.
        """
        lifted = self(detections, camera)
        assert lifted.depths is not None and lifted.dimensions is not None and lifted.rotations_y is not None
        assert lifted.locations is not None and lifted.location_covariances is not None
        depths, sizes = lifted.depths.astype(np.float64), lifted.dimensions.astype(np.float64)
        usable = np.isfinite(depths) & (depths > 0.2) & np.isfinite(sizes).all(axis=1) & (sizes > 0.05).all(axis=1)
        rows = np.flatnonzero(usable & np.isfinite(lifted.rotations_y))
        classes = lifted.class_ids[rows]
        sigma = max(self._sigma, 0.02)
        expected = Expected(depths[rows], np.full(len(rows), sigma), np.hypot(sizes[rows, 1], sizes[rows, 2]))
        edges = edges_of(lifted.boxes[rows], camera, np.ones((len(rows), 2)), np.full(len(rows), 0.03))
        fits = _fits_of(depths[rows], sizes[rows], lifted.locations[rows].astype(np.float64), sigma)
        headings = lifted.rotations_y[rows, None].astype(np.float64)
        surfaces = view.surfaces(lifted.boxes[rows], expected)
        fits, noise, lifts = with_surfaces(
            fits, edges, headings, self._is_round[classes], self._fills.select(classes), surfaces, LIFT_HEADS
        )
        seen = np.isfinite(noise)
        sigmas = np.full(len(detections), self._sigma)
        chosen = rows[seen]
        depths[chosen], sizes[chosen] = fits.states[seen, 0, 0], fits.states[seen, 0, 1:]
        sigmas[chosen] = np.sqrt(fits.covariances[seen, 0, 0, 0]) / depths[chosen]
        corrected = replace(detections, depths=depths.astype(np.float32), dimensions=sizes.astype(np.float32))
        sources = np.full(len(detections), LIFT_HEADS, np.float32)
        sources[rows] = lifts
        return replace(lift_heads(corrected, camera, sigmas), lifts=sources)


def _fits_of(
    depths: NDArray[np.float64], sizes: NDArray[np.float64], locations: NDArray[np.float64], sigma: float
) -> BoxFits:
    """(N, 1) what the heads tell, as fits to be corrected."""
    count = len(depths)
    states = np.concatenate([depths[:, None], sizes], axis=1)
    covariances = np.zeros((count, 1, 4, 4))
    covariances[:, 0, np.arange(4), np.arange(4)] = (states * [sigma, _SIZE_SIGMA, _SIZE_SIGMA, _SIZE_SIGMA]) ** 2
    nothing = np.zeros((count, 1, 2))
    positions = locations - np.array([0.0, 0.5, 0.0]) * sizes[:, :1]
    ones = np.ones((count, 1))
    return BoxFits(
        states[:, None], covariances, ones - 1, positions[:, None], ones, Supports(nothing, nothing, nothing)
    )
