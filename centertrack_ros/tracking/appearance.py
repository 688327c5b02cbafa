# SPDX-License-Identifier: Apache-2.0
"""What objects look like: colour histograms, how alike two are, and how much that says about their identity.

An appearance is a vector of unit length: the square roots of the histograms of colour and lightness (CIELAB) in the
upper, middle and lower third of a box's inner columns. The dot product of two is their Bhattacharyya coefficient. The
functions know neither camera nor time, so that they also compare tracks of different cameras.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import areas, intersections
from centertrack_ros.types import Array

Floats = NDArray[np.float32]
METHODS = ("auto", "color", "none")

_PATCH = (12, 24)  # px, width and height that a box is reduced to
_SAMPLES = 2  # along each side, of the box for each px of the patch
_MARGIN = 0.2  # of the width, on each side: mostly background
_PARTS = 3
_COLOR_BINS, _LIGHTNESS_BINS = 8, 8  # per axis
_FINE = 2  # bins are counted so much finer, then weighted linearly: a small change of colour changes little
_COLOR_RANGE = 40  # of a* and b* around grey; what is beyond falls into the outer bins
SIZE = _PARTS * (_COLOR_BINS**2 + _LIGHTNESS_BINS)

# The distances 1 - dot of the same person after t s are log-normal around SAME_MEDIAN * sqrt(t), those of different
# people around OTHER_MEDIAN. Learnt on PETS 2009 (`python -m experiments.motion_noise`).
SAME_MEDIAN, SAME_SIGMA = 0.04, 0.8
OTHER_MEDIAN, OTHER_SIGMA = 0.19, 0.55
BOX_NOISE = 0.02  # distance that boxes of a detector add at any time
SURPRISE = 0.1  # how often an object that is seen whole looks like any other: light, a turn, a detector's error
MOST_EVIDENCE = 4.0
LEARNT_FROM = 0.8  # visible part of a box from which a track learns what it looks like
MEMORY_S = 1.0  # how fast it forgets


def _triangles(bins: int) -> Floats:
    """(fine, coarse) weights of a linear interpolation between the centres of the coarse bins."""
    places = (np.arange(bins * _FINE) + 0.5) / _FINE - 0.5
    weights = np.maximum(1 - np.abs(np.clip(places, 0, bins - 1)[:, None] - np.arange(bins)[None, :]), 0)
    return np.asarray(weights, np.float32)


_LIGHTNESS_WEIGHTS = _triangles(_LIGHTNESS_BINS)
_COLOR_WEIGHTS = _triangles(_COLOR_BINS)
_LIGHTNESS_LOOKUP = np.arange(256) * (_LIGHTNESS_BINS * _FINE) // 256
_COLOR_LOOKUP = np.clip(
    (np.arange(256) - 128 + _COLOR_RANGE) * (_COLOR_BINS * _FINE) // (2 * _COLOR_RANGE), 0, _COLOR_BINS * _FINE - 1
)


def prepare_appearances() -> None:
    """Lets OpenCV make its tables of CIELAB, so that the first image need not wait for them (a tenth of a second)."""
    cv2.cvtColor(np.zeros((1, 1, 3), np.uint8), cv2.COLOR_BGR2LAB)


def appearances(image: NDArray[np.uint8], boxes: Array) -> Floats:
    """Describes what is in the boxes.

    Args:
        image: BGR (H, W, 3).
        boxes: (N, 4) px.

    Returns:
        (N, SIZE) of unit length; zeros for a box of which nothing can be seen.
    """
    height, width = image.shape[:2]
    inner = np.asarray(boxes, np.float64).copy()
    inner[:, [0, 2]] += (inner[:, 2] - inner[:, 0])[:, None] * np.array([_MARGIN, -_MARGIN])
    corners = np.clip(np.nan_to_num(inner), 0, [width, height, width, height]).astype(int)
    usable = np.flatnonzero(((corners[:, 2:] - corners[:, :2]) >= (2, 4)).all(axis=1))
    result = np.zeros((len(boxes), SIZE), np.float32)
    if not len(usable):
        return result
    patches = np.stack(
        [
            cv2.resize(_thinned(image[top:bottom, left:right]), _PATCH, interpolation=cv2.INTER_AREA)
            for left, top, right, bottom in corners[usable].tolist()
        ]
    )
    lab = cv2.cvtColor(patches.reshape(-1, _PATCH[0], 3), cv2.COLOR_BGR2LAB).reshape(len(usable) * _PARTS, -1, 3)
    lightness = _counts(_LIGHTNESS_LOOKUP[lab[..., 0]], _LIGHTNESS_BINS * _FINE) @ _LIGHTNESS_WEIGHTS
    side = _COLOR_BINS * _FINE
    colors = _counts(_COLOR_LOOKUP[lab[..., 1]] * side + _COLOR_LOOKUP[lab[..., 2]], side * side)
    colors = colors.reshape(-1, side, side).transpose(0, 2, 1) @ _COLOR_WEIGHTS  # (parts, b*, a* coarse)
    colors = colors.transpose(0, 2, 1) @ _COLOR_WEIGHTS
    joined = np.concatenate([colors.reshape(len(colors), -1), lightness], axis=1).reshape(len(usable), -1)
    result[usable] = np.sqrt(joined / joined.sum(axis=1, keepdims=True))
    return result


def under_gain(looks: Floats, stops: Array) -> Floats:
    """What the objects would look like to a camera that exposes longer.

    A gain multiplies the light; L* + 16, a* and b* grow by its cube root, except near black. What runs over is in the
    outer bins.

    Args:
        looks: (N, SIZE) appearances.
        stops: (K,) gains as powers of 2.

    Returns:
        (N, K, SIZE) of unit length; unknown ones stay zeros.
    """
    factors = 2.0 ** (np.asarray(stops, np.float64) / 3)
    lightness = (np.arange(_LIGHTNESS_BINS) + 0.5) * 100 / _LIGHTNESS_BINS
    light = _moved(((lightness + 16) * factors[:, None] - 16) * _LIGHTNESS_BINS / 100)
    colors = ((np.arange(_COLOR_BINS) + 0.5) * 2 / _COLOR_BINS - 1) * _COLOR_RANGE
    color = _moved((colors * factors[:, None] / _COLOR_RANGE + 1) / 2 * _COLOR_BINS)
    counts = np.square(looks).reshape(len(looks), 1, _PARTS, _COLOR_BINS**2 + _LIGHTNESS_BINS)
    squares = counts[..., : _COLOR_BINS**2].reshape(len(looks), 1, _PARTS, _COLOR_BINS, _COLOR_BINS)
    squares = np.swapaxes(color, 1, 2)[:, None] @ squares @ color[:, None]
    light_counts = counts[..., None, _COLOR_BINS**2 :] @ light[:, None]
    joined = np.concatenate([squares.reshape(*squares.shape[:3], _COLOR_BINS**2), light_counts[..., 0, :]], axis=-1)
    return np.asarray(np.sqrt(joined.reshape(len(looks), len(factors), SIZE)), np.float32)


def _moved(places: NDArray[np.float64]) -> Floats:
    """(K, bins, bins) weights that move counts to these places (K, bins), in bins; linear between two centres."""
    bins = places.shape[1]
    clipped = np.clip(places - 0.5, 0, bins - 1)
    return np.asarray(np.maximum(1 - np.abs(clipped[..., None] - np.arange(bins)), 0), np.float32)


def _thinned(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every n-th row and column of a large patch: a few samples for each px of the reduced one are enough."""
    height, width = patch.shape[:2]
    return patch[:: max(1, height // (_SAMPLES * _PATCH[1])), :: max(1, width // (_SAMPLES * _PATCH[0]))]


def _counts(bins: NDArray[np.int64], count: int) -> Floats:
    """(P, count) histograms of bin numbers (P, K)."""
    offsets = np.arange(len(bins))[:, None] * count
    return np.bincount((bins + offsets).ravel(), minlength=len(bins) * count).reshape(-1, count).astype(np.float32)


def covered_parts(boxes: Array) -> NDArray[np.float64]:
    """How much of each box (N, 4) px the boxes in front of it hide: those that reach farther down.

    Returns:
        (N,) in 0..1, by the one that hides most.
    """
    boxes = np.asarray(boxes, np.float64)
    common = intersections(boxes, boxes) * (boxes[None, :, 3] > boxes[:, None, 3])
    return np.asarray(common.max(axis=1, initial=0.0) / np.maximum(areas(boxes), 1e-6))


def is_known(looks: Floats) -> NDArray[np.bool_]:
    """(N,) mask of the appearances (N, SIZE) that are not zeros."""
    return np.asarray(looks.any(axis=1))


def distances(first: Floats, second: Floats) -> NDArray[np.float64]:
    """(N, M) in 0..1 between appearances (N, SIZE) and (M, SIZE): 0 for equal ones; NaN where one is unknown."""
    known = is_known(first)[:, None] & is_known(second)[None, :]
    return np.where(known, np.clip(1.0 - first @ second.T, 0.0, 1.0), np.nan)


def evidence(
    distance: NDArray[np.float64], elapsed: Array, reliability: Array | float = 1.0, noise: float = BOX_NOISE
) -> NDArray[np.float64]:
    """The log likelihood ratio of "one object" over "two objects".

    Args:
        distance: (N, M) of `distances`.
        elapsed: s between the two looks, (N, M) or what broadcasts to it.
        reliability: In 0..1, of the looks, (N, M) or what broadcasts to it; an object that is half hidden looks like
            the one in front.
        noise: Distance that one object has from itself at any time.

    Returns:
        (N, M), in nats; 0 where an appearance is unknown.
    """
    seen = np.log(np.maximum(distance, 1e-4))
    median = np.log(np.hypot(SAME_MEDIAN * np.sqrt(np.maximum(elapsed, 0.0)), noise))
    same = -0.5 * (np.maximum(seen - median, 0) / SAME_SIGMA) ** 2 - math.log(SAME_SIGMA)
    other = -0.5 * (np.minimum(seen - math.log(OTHER_MEDIAN), 0) / OTHER_SIGMA) ** 2 - math.log(OTHER_SIGMA)
    ordinary = (1.0 - SURPRISE) * reliability
    ratio = ordinary * np.exp(np.clip(same - other, -30, MOST_EVIDENCE)) + 1.0 - ordinary
    return np.where(np.isnan(distance), 0.0, np.log(ratio))


def learning_weights(elapsed: Array) -> NDArray[np.float64]:
    """(N,) weights of new looks, `elapsed` (N,) s after those before."""
    return np.asarray(1.0 - np.exp(-np.nan_to_num(elapsed, nan=math.inf) / MEMORY_S))


def blend(old: Floats, new: Floats, weights: Array) -> Floats:
    """Moves appearances (N, SIZE) towards new ones by weights (N,) in 0..1; an unknown one is replaced."""
    part = np.where(is_known(old), weights, 1.0).astype(np.float32)[:, None]
    mixed = (1 - part) * old + part * new
    return np.asarray(mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9), np.float32)
