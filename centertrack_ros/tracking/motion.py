# SPDX-License-Identifier: Apache-2.0
"""Motion models instead of the network's displacement: a Kalman filter on each track, optical flow on the images.

The paper compares its learned displacement with these (arXiv 2004.01177, table 6). Both are OpenCV's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import areas
from centertrack_ros.types import Array, Detections, Tracks

# The filter of a track's centre: position px and velocity px/s in x and y. Its noise grows with the object's size, the
# square root of its box's area, since near objects move by more px.
_MEASUREMENT = 1 / 20  # standard deviation of a measured centre, sizes
_ACCELERATION = 4.0  # of the unknown acceleration, sizes/s²
_FIRST_VELOCITY = 3.0  # of the velocity of a track that was seen once, sizes/s

FLOW_LONGER_SIDE = 640  # px; flow is computed on images reduced to this


def _filter() -> cv2.KalmanFilter:
    kalman = cv2.KalmanFilter(4, 2, 0, cv2.CV_64F)
    kalman.measurementMatrix = np.eye(2, 4)
    return kalman


def _sizes(boxes: Array) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(areas(boxes).astype(np.float64), 1.0))


def kalman_begin(detections: Detections) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (N, 4), x, y px and px/s, and covariances (N, 4, 4) of tracks that begin with these detections."""
    sizes = _sizes(detections.boxes)
    means = np.concatenate([np.asarray(detections.centers, np.float64), np.zeros((len(sizes), 2))], axis=1)
    spread = np.stack([_MEASUREMENT * sizes] * 2 + [_FIRST_VELOCITY * sizes] * 2, axis=1) ** 2
    return means, spread[:, :, None] * np.eye(4)


def kalman_state(tracks: Tracks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The tracks' filters; those that have none begin at their last detection."""
    if tracks.kalman_means is None or tracks.kalman_covariances is None:
        return kalman_begin(tracks.detections)
    return tracks.kalman_means, tracks.kalman_covariances


def kalman_predict(tracks: Tracks, step: float) -> Tracks:
    """The tracks with their filters moved on by `step` s; boxes and centres stay."""
    means, covariances = kalman_state(tracks)
    kalman, sizes = _filter(), _sizes(tracks.detections.boxes)
    kalman.transitionMatrix = np.eye(4) + step * np.eye(4, k=2)
    gain = np.concatenate([np.full(2, step * step / 2), np.full(2, step)])
    noise = np.outer(gain, gain) * (np.eye(4) + np.eye(4, k=2) + np.eye(4, k=-2))
    moved, spread = np.empty_like(means), np.empty_like(covariances)
    for row in range(len(tracks)):
        kalman.statePost, kalman.errorCovPost = means[row, :, None].copy(), covariances[row].copy()
        kalman.processNoiseCov = noise * (_ACCELERATION * sizes[row]) ** 2
        moved[row] = kalman.predict()[:, 0]
        spread[row] = kalman.errorCovPre
    return replace(tracks, kalman_means=moved, kalman_covariances=spread)


def kalman_correct(predicted: Tracks, detections: Detections) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and covariances of filters that were moved on to this frame, after measuring the detections' centres."""
    means, covariances = kalman_state(predicted)
    kalman, sizes = _filter(), _sizes(detections.boxes)
    centers = np.asarray(detections.centers, np.float64)
    corrected, spread = np.empty_like(means), np.empty_like(covariances)
    for row in range(len(predicted)):
        kalman.statePre, kalman.errorCovPre = means[row, :, None].copy(), covariances[row].copy()
        kalman.measurementNoiseCov = np.eye(2) * (_MEASUREMENT * sizes[row]) ** 2
        corrected[row] = kalman.correct(centers[row, :, None].copy())[:, 0]
        spread[row] = kalman.errorCovPost
    return corrected, spread


def flow_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey, reduced copy of a BGR image (H, W, 3) that is kept for the next frame's flow."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    factor = FLOW_LONGER_SIDE / max(grey.shape)
    if factor >= 1:
        return grey
    return np.asarray(cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def flow_displacements(
    previous: NDArray[np.uint8], current: NDArray[np.uint8], boxes: Array, image_size: tuple[int, int]
) -> NDArray[np.float32]:
    """(N, 2) px of the original: where the middle of each box (N, 4) was in the previous image, minus where it is.

    previous, current  of `flow_image`;  image_size  (height, width) px of the original
    The median of dense inverse search flow over the middle half of the box, which is mostly the object itself.
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
