# SPDX-License-Identifier: Apache-2.0
"""Heatmap, peaks and the heads' values there as operations of OpenVINO; as `network.decode` and `network.heads`."""

from __future__ import annotations

import numpy as np

from centertrack_ros.engine.openvino_ops import (
    Array,
    Node,
    Parameters,
    concat,
    constant,
    convolve,
    gather,
    indices,
    linear,
    ops,
    reshape,
    shape,
    top,
    transpose,
)
from centertrack_ros.network.mobilenetv3_shapes import DETECTION_HEADS, FEATURE_CHANNELS
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.weights_file import CheckpointError


class HeadsGraph:
    """Builds what follows the feature map.

    Args:
        parameters: Of the network.
        profile: Heads, and the number of peaks.
    """

    def __init__(self, parameters: Parameters, profile: ModelProfile) -> None:
        self._parameters = parameters
        self._profile = profile

    def outputs(self, parts: list[Node], asked: Node | None = None) -> dict[str, Node]:
        """Output name, as of `network.decode.decode_peaks` -> node.

        Args:
            parts: Of the feature map, each (1, F, h, w).
            asked: (1, K) flat cells that take the places of the peaks' cells where they are not negative.
        """
        heat = ops.sigmoid(self._heatmap(parts))
        width = shape(heat)[3]
        scores, channels, cells = _peaks(_suppressed(heat), self._profile.max_detections)
        if asked is not None:
            places = reshape(asked, -1)
            cells = ops.select(ops.greater_equal(places, indices(0)), places, cells)
        rows = ops.divide(cells, indices(width))
        columns = ops.subtract(cells, ops.multiply(rows, indices(width)))
        count = shape(scores)[0]
        outputs = {
            "scores": reshape(scores, 1, count),
            "class_ids": reshape(channels, 1, count),
            "cells": reshape(concat([reshape(columns, count, 1), reshape(rows, count, 1)]), 1, count, 2),
        }
        patches: dict[int, Node] = {}
        for name in self._profile.heads:
            if name == "hm":
                continue
            kernel = 3 if name in DETECTION_HEADS else self._parameters[f"{name}.0.weight"].shape[2]
            if kernel not in patches:
                patches[kernel] = _patches(parts, columns, rows, kernel)
            value = self._value(name, patches[kernel])
            if name == "dep":
                value = ops.subtract(
                    ops.divide(constant(1.0), ops.add(ops.sigmoid(value), constant(1e-6))), constant(1.0)
                )
            outputs[f"value.{name}"] = reshape(value, 1, count, self._profile.heads[name])
        return outputs

    def _heatmap(self, parts: list[Node]) -> Node:
        x = convolve(parts[0], *self._parameters.convolution("hm.depthwise.conv"))
        x = convolve(x, *self._parameters.convolution("hm.pointwise.conv"))
        if "hm.correction.weight" in self._parameters:
            x = ops.add(x, convolve(concat(parts[1:]), *self._parameters.convolution("hm.correction")))
        return x

    def _value(self, name: str, patches: Node) -> Node:
        """The raw values of a head (K, C) from the patches (F, K, k²)."""
        if name in DETECTION_HEADS:
            return self._separable(name, patches)
        features, count, cells = shape(patches)
        weight, bias = self._parameters.convolution(f"{name}.0")
        if weight.shape[1] != features:
            raise CheckpointError(f"{name}.0.weight reads {weight.shape[1]} channels, expected {features}")
        flat = reshape(transpose(patches, 1, 0, 2), count, features * cells)
        x = linear(flat, weight, bias)
        layer = 2
        while f"{name}.{layer}.weight" in self._parameters:
            x = linear(ops.relu(x), *self._parameters.convolution(f"{name}.{layer}"))
            layer += 2
        return x

    def _separable(self, name: str, patches: Node) -> Node:
        cells = shape(patches)[2]
        read = gather(patches, indices(np.arange(FEATURE_CHANNELS)))
        depthwise, bias = self._parameters.convolution(f"{name}.depthwise.conv")
        weighted = ops.multiply(read, constant(depthwise.reshape(FEATURE_CHANNELS, 1, cells)))
        middle = transpose(ops.reduce_sum(weighted, indices([2]), False), 1, 0)
        if bias is not None:
            middle = ops.add(middle, constant(bias[None]))
        return linear(middle, *self._parameters.convolution(f"{name}.pointwise.conv"))


def _suppressed(heat: Node) -> Node:
    """As `network.decode.suppress_neighbours`."""
    pooled = ops.max_pool(heat, [1, 1], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    return ops.multiply(heat, ops.convert(ops.equal(pooled, heat), np.float32))


def _peaks(heat: Node, count: int) -> tuple[Node, Node, Node]:
    """The strongest cells over all channels: scores, channels and flat cells, each (K,), as `network.decode.top_k`."""
    _, channels, height, width = shape(heat)
    if channels * height >= count:
        rows = reshape(heat, channels * height, width)
        chosen = _first_best(ops.reduce_max(rows, indices([1]), False), count)
    else:  # fewer rows than peaks: all of them
        count = min(count, channels * height * width)
        rows = reshape(heat, channels * height, width)
        chosen = indices(np.arange(channels * height))
    values = reshape(gather(rows, chosen), -1)
    place = _first_best(values, count)
    best = gather(values, place)
    # Their number of better or equal and earlier ones is their place in the order.
    one, other = reshape(best, count, 1), reshape(best, 1, count)
    index = np.arange(count)
    earlier = ops.constant(index[None] < index[:, None])
    before = ops.logical_or(ops.greater(other, one), ops.logical_and(ops.equal(other, one), earlier))
    rank = ops.reduce_sum(ops.convert(before, np.float32), indices([1]), False)
    order = top(rank, count, "value", "min")[1]
    best, place = gather(best, order), gather(place, order)
    of_chosen = ops.divide(place, indices(width))
    row = gather(chosen, of_chosen)
    channel = ops.divide(row, indices(height))
    top_left = ops.multiply(ops.subtract(row, ops.multiply(channel, indices(height))), indices(width))
    column = ops.subtract(place, ops.multiply(of_chosen, indices(width)))
    return best, channel, ops.add(top_left, column)


def _first_best(values: Node, count: int) -> Node:
    """Indices (K,) of the K best of (N,), ascending; of equal values the first, whatever order TopK keeps."""
    length = shape(values)[0]
    least = ops.reduce_min(top(values, count)[0], indices([0]), True)
    earliness = (1 - np.arange(length) / length).astype(np.float32)  # in 0..1, all different
    better = ops.multiply(ops.convert(ops.greater(values, least), np.float32), constant(2.0))
    equal = ops.multiply(ops.convert(ops.equal(values, least), np.float32), constant(earliness))
    return top(top(ops.add(better, equal), count)[1], count, "value", "min")[0]


def _patches(parts: list[Node], columns: Node, rows: Node, kernel: int) -> Node:
    """The neighbourhoods of cells, (F, K, k²); the map is padded with 0."""
    height, width = shape(parts[0])[2:]
    count = shape(columns)[0]
    steps: Array = np.arange(kernel) - kernel // 2
    y = ops.add(reshape(rows, count, 1), indices(np.repeat(steps, kernel)[None]))
    x = ops.add(reshape(columns, count, 1), indices(np.tile(steps, kernel)[None]))
    inside = ops.logical_and(_within(y, height), _within(x, width))
    flat = ops.add(ops.multiply(ops.clamp(y, 0, height - 1), indices(width)), ops.clamp(x, 0, width - 1))
    index = reshape(flat, count * kernel * kernel)
    read = [gather(reshape(part, shape(part)[1], height * width), index, 1) for part in parts]
    mask = ops.convert(reshape(inside, 1, count * kernel * kernel), np.float32)
    joined = ops.multiply(concat(read, 0), mask)
    return reshape(joined, shape(joined)[0], count, kernel * kernel)


def _within(values: Node, size: int) -> Node:
    return ops.logical_and(ops.greater_equal(values, indices(0)), ops.less(values, indices(size)))
