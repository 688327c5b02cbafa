# SPDX-License-Identifier: Apache-2.0
"""The surfaces of objects in what depth cameras and LiDARs measured: the foreground in each 2D box.

A box holds its object, what is behind it and, at times, what is before it. Depths of one object lie together: they are
a mode of the box's distribution. Of the strong modes, weighed by the depth that the object has by its size, the nearest
is the object. What a nearer object's box covers is left out where its depth is that object's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.array_table import ArrayTable
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_fit import EDGE_SIGMA_PX
from centertrack_ros.types import LIFT_DEPTH, LIFT_POINTS, DepthImage, Points

Array = NDArray[Any]
Mask = NDArray[np.bool_]

COLUMNS, ROWS = 16, 20  # samples of a depth image across and down a box
NEAREST, FARTHEST = 0.15, 1000.0  # m, what a sensor can measure
MOST_POINTS = 200_000  # in the view of one camera; of more, a part is taken
_MOST_SAMPLES = 400_000  # of all boxes of an image
_FEWEST_ROWS, _POINTS_PER_BOX = 4, COLUMNS * ROWS
# Parts of a box at its left, top, right and bottom that its object mostly does not fill; below is the ground.
_RIM = np.array([0.1, 0.12, 0.1, 0.18])
_BIN = 0.03  # of the logarithm of a depth
_BINS = int(np.ceil(np.log(FARTHEST / NEAREST) / _BIN)) + 1
_THICKNESS = 0.3  # of an object's span: what of it a mode holds
_NEAR_SHARE = 0.5  # of the strongest mode: what a nearer one needs
# Weight of a mode that is nearer than the object's size tells: its box may show only a part of it. It cannot be farther
# by more than some standard deviations: then it would be larger than any of its kind.
_UNEXPECTED, _MOST_SIGMAS = 0.25, 3.5
# Quantile of the foreground in a column: 3D boxes reach to the foremost parts, noise reaches farther. The few points in
# a column are at different places across it.
_QUANTILES = {LIFT_DEPTH: 0.35, LIFT_POINTS: 0.4}
_FEWEST, _LEAST_SHARE = {LIFT_DEPTH: 8, LIFT_POINTS: 2}, 0.08  # samples of a foreground, and part of all in the box
_MOST_PAIRS = 2000  # of boxes that cover each other
_EDGE_PART = 0.05  # of its height: standard deviation of a box's lower edge
_CLEARLY = 1.5  # standard deviations by which one of two objects must be nearer


@dataclass(frozen=True)
class Expected:
    """What is known of N objects before their depths are measured.

    Attributes:
        depths: (N,) m; NaN: unknown.
        sigmas: (N,) standard deviations of their logarithms.
        spans: (N,) m, how far apart in depth the visible parts of an object can be.
    """

    depths: Array
    sigmas: Array
    spans: Array


@dataclass(frozen=True)
class Surfaces(ArrayTable):
    """The surfaces of N objects as a sensor sees them.

    Attributes:
        depths: (N, COLUMNS) m, of the foreground in upright strips of a box; NaN: none.
        slopes: (N, COLUMNS) of the strips' rays: x / z.
        source: LIFT_DEPTH or LIFT_POINTS.
    """

    depths: Array
    slopes: Array
    source: int = LIFT_DEPTH

    @property
    def found(self) -> Mask:
        """(N,) whether a foreground was found."""
        return np.asarray(np.isfinite(self.depths).any(axis=1), bool)


@dataclass(frozen=True)
class _Samples:
    """Samples (N, S) of N boxes.

    Attributes:
        depths: m; inf: nothing was measured.
        columns: Which strip they are in.
        across: px, where they are.
        down: px.
    """

    depths: Array
    columns: Array
    across: Array
    down: Array


class SensorView:
    """What sensors measured of one camera's view at the time of one image."""

    def __init__(self, camera: Camera, depth: DepthImage | None = None, points: Points | None = None) -> None:
        """Takes what was measured.

        Args:
            camera: Of the image, in its px.
            depth: A depth image of the same view.
            points: Points in the camera's frame.
        """
        self._camera, self._depth, self._points = camera, depth, points

    def surfaces(self, boxes: NDArray[np.floating], expected: Expected, axes: Array | None = None) -> list[Surfaces]:
        """Finds the surfaces of the objects in boxes.

        Args:
            boxes: (N, 4) px of the image as it arrives.
            expected: What is known of the objects, in level axes.
            axes: (3, 3) rotation from the optical frame to level axes; None: the camera is level.

        Returns:
            The surfaces, for each sensor, in level axes.
        """
        inner = self._inner(np.asarray(boxes, np.float64))
        samples = {}
        if len(boxes) and self._depth is not None:
            samples[LIFT_DEPTH] = _image_samples(self._depth.depths, inner, self._camera)
        if len(boxes) and self._points is not None:
            samples[LIFT_POINTS] = _point_samples(_projected(self._points.points, self._camera, inner), inner)
        slopes = self._slopes(inner, axes)
        if axes is not None:
            samples = {source: self._levelled(found, axes) for source, found in samples.items()}
        return [
            Surfaces(_foreground(found, inner, expected, source), slopes, source) for source, found in samples.items()
        ]

    def _inner(self, boxes: Array) -> Array:
        """(N, 4) the parts of boxes that are in the image and away from their rims; at least a pixel."""
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        limits = np.tile([self._camera.width, self._camera.height], 2) - 1.0
        inner = np.clip(np.nan_to_num(boxes + sides * _RIM * [1, 1, -1, -1]), 0.0, limits)
        inner[:, 2:] = np.maximum(inner[:, 2:], inner[:, :2] + 1.0)
        return inner

    def _levelled(self, samples: _Samples, axes: Array) -> _Samples:
        """The samples with their depths along the ground. Distortion changes next to nothing in that."""
        (fx, fy), (cx, cy) = self._camera.focal, self._camera.projection[:2, 2]
        rows = axes[2, 0] * (samples.across - cx) / fx + axes[2, 1] * (samples.down - cy) / fy + axes[2, 2]
        return replace(samples, depths=samples.depths * np.maximum(rows, 0.05))

    def _slopes(self, inner: Array, axes: Array | None) -> Array:
        """(N, COLUMNS) x / z of the rays of the strips, half-way down the boxes."""
        across = inner[:, :1] + (inner[:, 2:3] - inner[:, :1]) * _middles(COLUMNS)
        down = np.broadcast_to((inner[:, 1:2] + inner[:, 3:]) / 2, across.shape)
        pixels = self._camera.undistort(np.stack([across, down], axis=-1).reshape(-1, 2))
        rays = (pixels - self._camera.projection[:2, 2]) / self._camera.focal
        if axes is not None:
            x, _, ahead = axes[:, :2] @ rays.T + axes[:, 2:]
            return (x / np.maximum(ahead, 0.05)).reshape(across.shape)
        return np.asarray(rays[:, 0]).reshape(across.shape)


def _middles(count: int) -> Array:
    return (np.arange(count) + 0.5) / count


def _image_samples(depths: Array, inner: Array, camera: Camera) -> _Samples:
    rows = int(np.clip(_MOST_SAMPLES // (len(inner) * COLUMNS), _FEWEST_ROWS, ROWS))
    height, width = depths.shape
    across = inner[:, :1] + (inner[:, 2:3] - inner[:, :1]) * _middles(COLUMNS)
    down = inner[:, 1:2] + (inner[:, 3:] - inner[:, 1:2]) * _middles(rows)
    x = np.minimum((across * (width / camera.width)).astype(np.intp), width - 1)
    y = np.minimum((down * (height / camera.height)).astype(np.intp), height - 1)
    values = depths[y[:, :, None], x[:, None, :]].astype(np.float64)
    values[~((values > NEAREST) & (values < FARTHEST))] = np.inf
    shape = (len(inner), rows, COLUMNS)
    flat = (len(inner), rows * COLUMNS)
    return _Samples(
        values.reshape(flat),
        np.broadcast_to(np.arange(COLUMNS), shape).reshape(flat),
        np.broadcast_to(across[:, None, :], shape).reshape(flat),
        np.broadcast_to(down[:, :, None], shape).reshape(flat),
    )


def _projected(points: Array, camera: Camera, boxes: Array) -> Array:
    """(3, P) float32: x and y, px, and depth, m, of the points in the rectangle around all boxes, by their columns."""
    focal, center = np.array(camera.focal, np.float32), camera.projection[:2, 2].astype(np.float32)
    first, last = boxes[:, :2].min(axis=0).astype(np.float32), boxes[:, 2:].max(axis=0).astype(np.float32)
    bent = camera.is_distorted
    if bent:
        # With room for distortion, which bends rays inwards; those beyond the image's corners would come back into it.
        size = np.array([camera.width, camera.height], np.float32)
        low, high = (-center / focal - 0.1) * 1.2, ((size - center) / focal + 0.1) * 1.2
    else:
        low, high = (first - center) / focal, (last - center) / focal
    x, z = points[:, 0], points[:, 2]
    with np.errstate(invalid="ignore", over="ignore"):
        between = x > low[0] * z  # what is behind the camera is not between both
        between &= x < high[0] * z
        x, y, z = np.ascontiguousarray(points.take(np.flatnonzero(between), axis=0).T)
        chosen = np.flatnonzero((y >= low[1] * z) & (y <= high[1] * z) & (z > NEAREST) & (z < FARTHEST))
    if len(chosen) > MOST_POINTS:
        chosen = chosen[:: -(-len(chosen) // MOST_POINTS)]
    depths = z[chosen]
    across = x[chosen] / depths * focal[0] + center[0]
    down = y[chosen] / depths * focal[1] + center[1]
    if bent:
        across, down = camera.distort(np.stack([across, down], axis=1)).astype(np.float32).T
        inside = (across >= first[0]) & (across <= last[0]) & (down >= first[1]) & (down <= last[1])
        across, down, depths = across[inside], down[inside], depths[inside]
    order = np.argsort(_whole(across), kind="stable")  # a radix sort
    return np.stack([across[order], down[order], depths[order]])


def _whole(pixels: Array) -> NDArray[np.uint16]:
    """Columns of an image; rounding may have left a pixel just outside of it."""
    return np.maximum(pixels, 0.0).astype(np.uint16)


def _point_samples(points: Array, inner: Array) -> _Samples:
    """The points (3, P) in each box; of more than `_POINTS_PER_BOX`, a part."""
    columns_of_points, down_of_points = _whole(points[0]), points[1]
    starts = np.searchsorted(columns_of_points, np.floor(inner[:, 0]).astype(np.uint16))
    ends = np.searchsorted(columns_of_points, np.ceil(inner[:, 2]).astype(np.uint16))
    most = int(np.clip(_MOST_SAMPLES // len(inner), _FEWEST_ROWS * COLUMNS, _POINTS_PER_BOX))
    chosen = []
    for start, end, (_, top, _, bottom) in zip(starts.tolist(), ends.tolist(), inner.tolist(), strict=True):
        every = (end - start) // (50 * most) + 1
        strip = down_of_points[start:end:every]
        rows = np.flatnonzero((strip >= top) & (strip <= bottom)) * every + start
        chosen.append(rows[:: -(-len(rows) // most)] if len(rows) > most else rows)
    counts = np.array([len(rows) for rows in chosen])
    size = max(int(counts.max()), 1)
    table = np.zeros((3, len(inner), size))
    table[2] = np.inf
    table[:, np.arange(size) < counts[:, None]] = points[:, np.concatenate(chosen)]
    across = (table[0] - inner[:, :1]) / (inner[:, 2:3] - inner[:, :1])
    columns = np.clip((across * COLUMNS).astype(np.intp), 0, COLUMNS - 1)
    return _Samples(table[2], columns, table[0], table[1])


def _foreground(samples: _Samples, inner: Array, expected: Expected, source: int) -> Array:
    """(N, COLUMNS) m, the depths of the objects' surfaces; NaN where there are none."""
    depths = samples.depths
    modes = _nearest_mode(depths, expected)
    hidden = _hidden(samples, inner, expected, modes)
    if hidden is not None:
        depths = np.where(hidden, np.inf, depths)
        rows = np.flatnonzero(hidden.any(axis=1))
        few = Expected(expected.depths[rows], expected.sigmas[rows], expected.spans[rows])
        modes[rows] = _nearest_mode(depths[rows], few)
    own = np.abs(depths - modes[:, None]) <= 0.6 * expected.spans[:, None] + 0.02 * modes[:, None]
    count, all_of_them = own.sum(axis=1), np.isfinite(samples.depths).sum(axis=1)
    own &= ((count >= _FEWEST[source]) & (count >= _LEAST_SHARE * all_of_them))[:, None]
    return _by_column(depths, samples.columns, own, _QUANTILES[source])


def _nearest_mode(depths: Array, expected: Expected) -> Array:
    """(N,) m, the middles of the nearest strong modes of depths (N, S); NaN where nothing was measured."""
    count = len(depths)
    if not count:
        return np.zeros(0)
    measured = np.isfinite(depths)
    rows, _ = np.nonzero(measured)
    bins = np.minimum((np.log(depths[measured] / NEAREST) / _BIN).astype(np.intp), _BINS - 1)
    histogram = np.bincount(rows * _BINS + bins, minlength=count * _BINS).reshape(count, _BINS)
    total = np.concatenate([np.zeros((count, 1)), histogram.cumsum(axis=1)], axis=1)
    starts = NEAREST * np.exp(_BIN * np.arange(_BINS))
    thickness = _THICKNESS * expected.spans[:, None]
    width = np.log1p(thickness / starts) / _BIN
    ends = np.minimum(np.arange(_BINS) + np.maximum(np.ceil(width), 1).astype(np.intp), _BINS)
    scores = np.take_along_axis(total, ends, axis=1) - total[:, :-1]
    sigma = expected.sigmas[:, None] + _BIN
    reach = expected.spans[:, None] / 2
    off = np.log(starts + reach) - np.log(np.maximum(expected.depths, NEAREST))[:, None]
    likely = np.exp(-0.5 * (off / (sigma + reach / np.maximum(expected.depths, reach[:, 0])[:, None])) ** 2)
    possible = off < _MOST_SIGMAS * sigma
    scores = scores * np.where(np.isfinite(likely), (_UNEXPECTED + likely) * possible, 1.0)
    # The window that begins first among the strong ones still ends within its mode: the strongest one there is it.
    strong = scores >= _NEAR_SHARE * scores.max(axis=1, keepdims=True)
    first = np.argmax(strong & (scores > 0), axis=1)
    after = np.arange(_BINS) - first[:, None]
    within = (after >= 0) & (after <= np.take_along_axis(ends, first[:, None], axis=1) - first[:, None])
    best = np.where(within, scores, -1.0).argmax(axis=1)
    low, high = starts[best], starts[np.minimum(ends[np.arange(count), best], _BINS - 1)]
    inside = (depths >= low[:, None]) & (depths <= high[:, None]) & (scores.max(axis=1, keepdims=True) > 0)
    number = inside.sum(axis=1)
    return np.where(number > 0, np.where(inside, depths, 0.0).sum(axis=1) / np.maximum(number, 1), np.nan)


def _hidden(samples: _Samples, inner: Array, expected: Expected, modes: Array) -> Mask | None:
    """(N, S) the samples in boxes of nearer objects that have those objects' depths; None: there are none.

    Which of two objects is nearer their own modes tell, or, where both are one, their sizes and where they stand if
    these differ clearly: what stands lower in the image is nearer.
    """
    low, high = inner[:, :2], inner[:, 2:]
    crossing = ((low[:, None] < high[None]) & (low[None] < high[:, None])).all(axis=-1)
    spans = expected.spans
    gap = modes[:, None] - modes[None]
    apart = gap > 0.6 * (spans[:, None] + spans[None])
    same = np.abs(gap) <= 0.6 * np.maximum(spans[:, None], spans[None])
    with np.errstate(invalid="ignore"):
        by_size = np.log(expected.depths[:, None] / expected.depths[None])
        by_size /= np.hypot(expected.sigmas[:, None], expected.sigmas[None])
    heights = (high - low)[:, 1] / (1 - _RIM[1] - _RIM[3])
    feet, sigmas = high[:, 1] + heights * _RIM[3], np.hypot(EDGE_SIGMA_PX, _EDGE_PART * heights)
    by_feet = (feet[None] - feet[:, None]) / np.hypot(sigmas[:, None], sigmas[None])
    clearly = np.maximum(by_size, (by_size + by_feet) / np.sqrt(2)) > _CLEARLY
    behind, before = np.nonzero(crossing & (apart | (same & clearly)))
    if not len(behind):
        return None
    behind, before = behind[:_MOST_PAIRS], before[:_MOST_PAIRS]
    across, down, depths = samples.across[behind], samples.down[behind], samples.depths[behind]
    sides = (high - low)[before]
    x1, y1 = (low[before] - sides * 0.15).T[..., None]
    x2, y2 = (high[before] + sides * 0.15).T[..., None]
    covered = (across >= x1) & (across <= x2) & (down >= y1) & (down <= y2)
    covered &= np.abs(depths - modes[before][:, None]) <= 0.6 * spans[before][:, None]
    hidden = np.zeros(samples.depths.shape, bool)
    np.logical_or.at(hidden, behind, covered)
    return hidden


def _by_column(depths: Array, columns: Array, own: Mask, quantile: float) -> Array:
    """(N, COLUMNS) a quantile of the own samples of each column; NaN where a column has next to none."""
    count = len(depths)
    rows, places = np.nonzero(own)
    keys = rows * COLUMNS + columns[rows, places]
    values = np.sort(keys * (2 * FARTHEST) + depths[rows, places])
    numbers = np.bincount(keys, minlength=count * COLUMNS)
    at = np.cumsum(numbers) - numbers + (quantile * numbers).astype(np.intp)
    found = np.full(count * COLUMNS, np.nan)
    filled = np.flatnonzero(numbers)
    found[filled] = values[at[filled]] - filled * (2 * FARTHEST)
    grid = numbers.reshape(count, COLUMNS)
    enough = (grid > 0) & (grid >= 0.15 * grid.max(axis=1, keepdims=True))
    return np.where(enough, found.reshape(count, COLUMNS), np.nan)


def covered_edges(boxes: NDArray[np.floating], surfaces: Sequence[Surfaces], spans: Array) -> Mask:
    """Finds the edges of boxes where a nearer object begins: there the object goes on behind that one.

    Args:
        boxes: (N, 4) px.
        surfaces: Of the objects, of each sensor.
        spans: (N,) m, see `Expected`.

    Returns:
        (N, 4) whether the left, top, right, bottom edge is covered.
    """
    depths = np.full(len(boxes), np.nan)
    for found in surfaces:
        rows = np.flatnonzero(found.found & np.isnan(depths))
        ordered = np.sort(found.depths[rows], axis=1)  # NaN last
        depths[rows] = ordered[np.arange(len(rows)), np.isfinite(ordered).sum(axis=1) // 2]
    behind = depths[:, None] - depths[None] > 0.3 * (spans[:, None] + spans[None])  # (of, by)
    covered = np.zeros((len(boxes), 4), bool)
    if not behind.any():
        return covered
    low, high = boxes[:, None, :2].astype(np.float64), boxes[:, None, 2:].astype(np.float64)
    other_low, other_high = boxes[None, :, :2], boxes[None, :, 2:]
    overlap = np.minimum(high, other_high) - np.maximum(low, other_low)
    beside = (overlap >= 0.5 * (high - low))[..., ::-1] & behind[..., None]  # along the edge, in x for top and bottom
    margin = 3.0 + 0.03 * (high - low)
    covered[:, :2] = (beside & (other_low < low - margin) & (other_high > low - margin)).any(axis=1)
    covered[:, 2:] = (beside & (other_high > high + margin) & (other_low < high + margin)).any(axis=1)
    return covered
