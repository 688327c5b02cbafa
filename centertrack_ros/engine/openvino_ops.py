# SPDX-License-Identifier: Apache-2.0
"""Layers of a convolutional network as operations of OpenVINO, from the parameters of a file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from centertrack_ros.engine.openvino_engine import runtime
from centertrack_ros.network.weights_file import CheckpointError, listed

Node = Any  # of openvino, whose type is none for mypy
Array = NDArray[Any]
_EPSILON = 1e-5  # of a batch norm


class _Operations:
    """OpenVINO's operations by name; imports them when the first one is used."""

    def __getattr__(self, name: str) -> Any:
        runtime()
        from openvino import opset13

        return getattr(opset13, name)


ops = _Operations()


class Parameters:
    """The parameters of a network; remembers which ones were used.

    Args:
        state: Name -> array.
        where: Names the file and the network in messages.
    """

    def __init__(self, state: Mapping[str, Array], where: str) -> None:
        self._state = state
        self._where = where
        self._used: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._state

    def __getitem__(self, key: str) -> Array:
        if key not in self._state:
            raise CheckpointError(f"{self._where}: {key} is missing")
        self._used.add(key)
        return self._state[key]

    def _optional(self, key: str) -> Array | None:
        if key not in self._state:
            return None
        return self[key]

    def check_all_used(self) -> None:
        """Raises CheckpointError if the file has parameters that are not a part of the network."""
        rest = [key for key in self._state if key not in self._used and not key.endswith("num_batches_tracked")]
        if rest:
            raise CheckpointError(f"{self._where}: {listed([f'{key} is not a part of it' for key in rest], '; ')}")

    def convolution(self, conv: str, norm: str = "") -> tuple[Array, Array | None]:
        """Weight and bias of a convolution, with its batch norm folded into them where it has one.

        Args:
            conv: Prefix of the convolution.
            norm: Prefix of the batch norm; '', or one that is not in the file: none.
        """
        weight = self[f"{conv}.weight"]
        bias = self._optional(f"{conv}.bias")
        if not norm or f"{norm}.running_var" not in self:
            return weight, bias
        scale = 1.0 / np.sqrt(self[f"{norm}.running_var"] + _EPSILON)
        shift = -self[f"{norm}.running_mean"] if bias is None else bias - self[f"{norm}.running_mean"]
        gain, offset = self._optional(f"{norm}.weight"), self._optional(f"{norm}.bias")
        if gain is not None:
            scale = scale * gain
        bias = shift * scale if offset is None else shift * scale + offset
        return weight * scale[:, None, None, None], bias


def constant(values: ArrayLike, kind: type = np.float32) -> Node:
    """A constant of the graph."""
    return ops.constant(np.array(values, kind, order="C"))


def indices(values: ArrayLike) -> Node:
    """A constant of integers, for shapes and indices."""
    return constant(values, np.int64)


def shape(node: Node) -> list[int]:
    """The shape of a node's output, which is static."""
    return [int(size) for size in node.output(0).get_shape()]


def reshape(node: Node, *sizes: int) -> Node:
    """The same values in another shape."""
    return ops.reshape(node, indices(sizes), special_zero=False)


def transpose(node: Node, *axes: int) -> Node:
    """The axes in another order."""
    return ops.transpose(node, indices(axes))


def gather(node: Node, index: Node, axis: int = 0) -> Node:
    """Slices along an axis."""
    return ops.gather(node, index, indices(axis))


def convolve(
    x: Node,
    weight: Array,
    bias: Array | None = None,
    stride: int = 1,
    before: int | None = None,
    after: int | None = None,
) -> Node:
    """A convolution; depthwise or grouped where the weight has fewer input channels than `x`.

    Args:
        x: (1, Cin, H, W).
        weight: (Cout, Cin / groups, k, k).
        bias: (Cout,).
        stride: In both directions.
        before: Padding at the left and at the top; None: k // 2.
        after: Padding at the right and at the bottom; None: as `before`.
    """
    out, inner, kernel, _ = weight.shape
    before = kernel // 2 if before is None else before
    after = before if after is None else after
    arguments = ([stride] * 2, [before] * 2, [after] * 2, [1, 1])
    groups = shape(x)[1] // inner
    if groups == 1:
        y = ops.convolution(x, constant(weight), *arguments)
    else:
        grouped = weight.reshape(groups, out // groups, inner, kernel, kernel)
        y = ops.group_convolution(x, constant(grouped), *arguments)
    return y if bias is None else ops.add(y, constant(bias.reshape(1, -1, 1, 1)))


def linear(x: Node, weight: Array, bias: Array | None) -> Node:
    """(N, Cin) -> (N, Cout), with a weight (Cout, Cin, …)."""
    y = ops.matmul(x, constant(weight.reshape(len(weight), -1)), False, True)
    return y if bias is None else ops.add(y, constant(bias[None]))


def concat(nodes: list[Node], axis: int = 1) -> Node:
    """Joins along an axis."""
    return nodes[0] if len(nodes) == 1 else ops.concat(nodes, axis)


def average_pool(x: Node, kernel: int) -> Node:
    """The means of squares that do not overlap."""
    return ops.avg_pool(x, [kernel] * 2, [0, 0], [0, 0], [kernel] * 2, False)


def resize(x: Node, height: int, width: int, corners: bool = False) -> Node:
    """Resizes a map: to the nearest cell, or bilinearly with the corners aligned."""
    mode, where = ("linear_onnx", "align_corners") if corners else ("nearest", "asymmetric")
    return ops.interpolate(
        x, indices([height, width]), mode, "sizes", coordinate_transformation_mode=where, nearest_mode="floor",
        axes=indices([2, 3]),
    )  # fmt: skip


def top(values: Node, count: int, order: str = "none", mode: str = "max") -> tuple[Node, Node]:
    """The best of (N,): values and indices (int64); with order 'value' sorted."""
    found = ops.topk(values, indices(count), 0, mode, order, index_element_type="i64")
    return found.output(0), found.output(1)
