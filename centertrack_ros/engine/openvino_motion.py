# SPDX-License-Identifier: Apache-2.0
"""The motion branch (`network.correlation`) as operations of OpenVINO, for one input size."""

from __future__ import annotations

import numpy as np

from centertrack_ros.engine.openvino_ops import (
    Array,
    Node,
    Parameters,
    average_pool,
    concat,
    constant,
    convolve,
    gather,
    indices,
    ops,
    reshape,
    resize,
    shape,
    transpose,
)
from centertrack_ros.network.mobilenetv3_shapes import (
    FINE_SEARCH_RADIUS,
    INVERSE_TEMPERATURE,
    MATCH_TILES,
    MOTION_SCALE,
    SEARCH_RADIUS,
)


class MotionGraph:
    """Builds the branch.

    Args:
        parameters: Of the network.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def build(self, image: Node, previous: Node, prior: Node | None) -> Node:
        """The branch's output, (1, C, H / 4, W / 4).

        Args:
            image: (1, 3, H, W).
            previous: (1, 3, H, W).
            prior: (1, 1, H, W), or None for zeros.
        """
        now, before = self._pyramid(image), self._pyramid(previous)
        x = self._mix("mix16", now[2], self._weights("match16", now[2], before[2]), _pooled(prior, 16), None)
        if "motion.look32.0.weight" in self._parameters:
            now32 = self._block("look32", now[2], 2)
            match = self._match("match32", now32, self._block("look32", before[2], 2))
            x = ops.add(x, _doubled(self._projected("add32", concat([now32, match]))))
        x = self._mix("mix8", now[1], self._weights("match8", now[1], before[1]), _pooled(prior, 8), x)
        x = self._mix("mix4", now[0], None, _pooled(prior, 4), x)
        if "motion.match4.sharpness" in self._parameters:
            x = ops.add(x, self._projected("add4", self._match("match4", now[0], before[0])))
        return x

    def _pyramid(self, image: Node) -> tuple[Node, Node, Node]:
        weight, bias = self._parameters.convolution("motion.patches.0", "motion.patches.1")
        fine = ops.hswish(convolve(image, weight * np.float32(MOTION_SCALE), bias, stride=4, before=0))
        middle = self._block("look8", fine, 2)
        return fine, middle, self._block("look16", middle, 2)

    def _block(self, name: str, x: Node, stride: int = 1) -> Node:
        first = self._parameters.convolution(f"motion.{name}.0", f"motion.{name}.1")
        second = self._parameters.convolution(f"motion.{name}.2", f"motion.{name}.3")
        return ops.hswish(convolve(convolve(x, *first, stride=stride), *second))

    def _projected(self, name: str, x: Node) -> Node:
        return convolve(x, *self._parameters.convolution(f"motion.{name}.0", f"motion.{name}.1"))

    def _mix(self, name: str, features: Node, match: Node | None, prior: Node | None, coarse: Node | None) -> Node:
        """As `network.correlation._Mix`: every part enters its own convolution."""
        weight, bias = self._parameters.convolution(f"motion.{name}.0", f"motion.{name}.1")
        size = 2 * SEARCH_RADIUS + 1
        own = shape(features)[1]
        matched = 0 if match is None else size * size + 2
        x = convolve(features, weight[:, :own], bias)
        if match is not None:
            part = weight[:, own : own + matched, 0, 0]
            window = part[:, :-2] * INVERSE_TEMPERATURE + part[:, -2:] @ _offsets(SEARCH_RADIUS)
            x = ops.add(x, convolve(match, window[:, :, None, None].astype(np.float32)))
        first = own + matched
        if prior is not None:
            x = ops.add(x, convolve(prior, weight[:, first : first + size * size].reshape(-1, 1, size, size)))
        if coarse is not None:
            x = ops.add(x, _doubled(convolve(coarse, weight[:, first + size * size :])))
        return self._block(f"{name}.3", ops.hswish(x))

    def _match(self, name: str, now: Node, before: Node) -> Node:
        """As `network.correlation._Match.forward`."""
        weights = self._weights(name, now, before)
        offsets = _offsets(self._radius(name))[:, :, None, None]
        return concat([ops.multiply(weights, constant(INVERSE_TEMPERATURE)), convolve(weights, offsets)])

    @staticmethod
    def _radius(name: str) -> int:
        return FINE_SEARCH_RADIUS if name == "match4" else SEARCH_RADIUS

    def _weights(self, name: str, now: Node, before: Node) -> Node:
        scores = _correlation(self._key(name, now), self._key(name, before), self._radius(name), MATCH_TILES[name])
        return ops.softmax(ops.multiply(scores, constant(self._parameters[f"motion.{name}.sharpness"])), 1)

    def _key(self, name: str, x: Node) -> Node:
        prefix = f"motion.{name}.key"
        if f"{prefix}.1.weight" in self._parameters:  # it looks at the neighbourhood too
            x = convolve(x, *self._parameters.convolution(f"{prefix}.0"))
            return _unit(convolve(x, *self._parameters.convolution(f"{prefix}.1", f"{prefix}.2")))
        return _unit(convolve(x, *self._parameters.convolution(f"{prefix}.0", f"{prefix}.1")))


def _offsets(radius: int) -> Array:
    """Offsets in x and y of the cells of a window, (2, window)."""
    steps = np.arange(-radius, radius + 1, dtype=np.float32)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    return np.stack([x.ravel(), y.ravel()])


def _pooled(prior: Node | None, stride: int) -> Node | None:
    return None if prior is None else average_pool(prior, stride)


def _doubled(x: Node) -> Node:
    height, width = shape(x)[2:]
    return resize(x, 2 * height, 2 * width)


def _unit(x: Node) -> Node:
    squares = ops.reduce_sum(ops.multiply(x, x), indices([1]), True)
    return ops.divide(x, ops.sqrt(ops.add(squares, constant(1e-3))))


def _correlation(now: Node, before: Node, radius: int, tile: int) -> Node:
    """As `network.correlation.correlation`, of unit vectors: (1, window, h, w)."""
    _, channels, height, width = shape(now)
    reach, size = tile + 2 * radius, 2 * radius + 1
    tiles_y, tiles_x = height // tile, width // tile
    cells = reshape(transpose(now, 0, 2, 3, 1), tiles_y, tile, tiles_x, tile, channels)
    cells = reshape(transpose(cells, 0, 2, 1, 3, 4), tiles_y * tiles_x, tile * tile, channels)
    margin = indices([0, 0, radius, radius])
    padded = reshape(transpose(ops.pad(before, margin, margin, "constant"), 0, 2, 3, 1), -1, channels)
    steps = np.arange(reach)
    rows = (np.arange(tiles_y) * tile)[:, None] + steps
    columns = (np.arange(tiles_x) * tile)[:, None] + steps
    index = rows[:, None, :, None] * (width + 2 * radius) + columns[None, :, None, :]
    reached = reshape(gather(padded, indices(index.ravel())), tiles_y * tiles_x, reach * reach, channels)
    products = reshape(ops.matmul(cells, reached, False, True), tiles_y * tiles_x, -1)
    scores = gather(products, indices(_windows_of_tile(tile, size, reach)), 1)
    scores = reshape(scores, tiles_y, tiles_x, tile, tile, size * size)
    return reshape(transpose(scores, 4, 0, 2, 1, 3), 1, size * size, height, width)


def _windows_of_tile(tile: int, size: int, reach: int) -> Array:
    """Where the products of every cell of a tile with its own window are, among tile² * reach²; flat."""
    cell, window = np.arange(tile), np.arange(size)
    row = (cell[:, None, None, None] + window[:, None]) * reach
    column = cell[:, None, None] + window
    own = (row + column).reshape(tile * tile, size * size)
    return (own + np.arange(tile * tile)[:, None] * reach * reach).ravel()
