# SPDX-License-Identifier: Apache-2.0
"""Motion models that replace the network's displacement: a Kalman filter for each track, optical flow on the images.

The paper compares its learned displacement with these (arXiv 2004.01177, table 6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import sizes_of
from centertrack_ros.tracking import kalman
from centertrack_ros.types import Array, Detections, Tracks

# The filter of a track's centre: position px and velocity px/s in x and y. Its noise grows with the object's size, the
# square root of its box's area, since near objects move by more px.
_MEASUREMENT_SIGMA = 1 / 20  # of a measured centre, sizes
_ACCELERATION_SIGMA = 4.0  # of the unknown acceleration, sizes/s²
_FIRST_VELOCITY_SIGMA = 3.0  # of the velocity of a track that was seen once, sizes/s

FLOW_LONGER_SIDE = 640  # px; flow is computed on images reduced to this


def initialize_filters(detections: Detections) -> kalman.Filters:
    """Starts a Kalman filter, x, y px and px/s, at rest at the centre of each of N detections.

    Returns:
        Means (N, 4) and covariances (N, 4, 4).
    """
    centers = np.asarray(detections.centers, np.float64)
    sizes = sizes_of(detections.boxes)
    return kalman.initialize(
        centers, _measurement_covariances(sizes), np.zeros_like(centers), _FIRST_VELOCITY_SIGMA * sizes
    )


def filters_of(tracks: Tracks) -> kalman.Filters:
    """Returns the tracks' filters; tracks without filters get those of their last detections."""
    if tracks.kalman_means is None or tracks.kalman_covariances is None:
        return initialize_filters(tracks.detections)
    return tracks.kalman_means, tracks.kalman_covariances


def predict_filters(tracks: Tracks, step: float) -> Tracks:
    """Predicts the tracks' filters to `step` s later; boxes and centres stay."""
    means, covariances = kalman.predict(
        *filters_of(tracks),
        step,
        _ACCELERATION_SIGMA * sizes_of(tracks.detections.boxes),
        kalman.unknown_acceleration,
    )
    return replace(tracks, kalman_means=means, kalman_covariances=covariances)


def correct_filters(predicted: Tracks, detections: Detections) -> kalman.Filters:
    """Corrects the filters of N tracks, predicted to this frame, by the centres of their N detections.

    Returns:
        Means (N, 4) and covariances (N, 4, 4).
    """
    centers = np.asarray(detections.centers, np.float64)
    return kalman.correct(*filters_of(predicted), centers, _measurement_covariances(sizes_of(detections.boxes)))


def _measurement_covariances(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 2) px² of centres of objects with sizes (N,) px."""
    return ((_MEASUREMENT_SIGMA * sizes) ** 2)[:, None, None] * np.eye(2)


def flow_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Makes the grey, reduced copy of a BGR image (H, W, 3) that is kept for the next frame's flow."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    factor = FLOW_LONGER_SIDE / max(grey.shape)
    if factor >= 1:
        return grey
    return np.asarray(cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def flow_displacements(
    previous: NDArray[np.uint8], current: NDArray[np.uint8], boxes: Array, image_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Measures how objects moved between two images, by dense inverse search flow (OpenCV's DIS).

    An object's displacement is the median of the flow over the middle half of its box, which is mostly the object.

    Args:
        previous: `flow_image` of the previous image.
        current: `flow_image` of this image.
        boxes: (N, 4) px of the original image.
        image_size: (height, width) px of the original image.

    Returns:
        (N, 2) px of the original image: where the middle of each box was in the previous image, minus where it is.
        Zeros where there is no flow: outside of the image, or if the two images differ in size.
    """
    if not len(boxes) or previous.shape != current.shape:
        return np.zeros((len(boxes), 2), np.float32)
    engine: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
    flow = engine.calc(current, previous, None)
    height, width = current.shape
    scale = np.array([image_size[1] / width, image_size[0] / height])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    quarter = (boxes[:, 2:] - boxes[:, :2]) / 4
    lows = np.floor((middle - quarter) / scale).astype(int)
    highs = np.ceil((middle + quarter) / scale).astype(int)
    result = np.zeros((len(boxes), 2), np.float32)
    for row, ((left, top), (right, bottom)) in enumerate(zip(lows, highs, strict=True)):
        part = flow[max(top, 0) : max(bottom, top + 1, 0), max(left, 0) : max(right, left + 1, 0)]
        if part.size:
            result[row] = np.median(part.reshape(-1, 2), axis=0) * scale
    return result
