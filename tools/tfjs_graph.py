# SPDX-License-Identifier: Apache-2.0
"""Reads TensorFlow.js graph models and finds the convolutions in them, without TensorFlow.

Formats: https://github.com/tensorflow/tfjs/blob/master/tfjs-converter (model.json: topology and weights manifest).
"""

from __future__ import annotations

import base64
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.fusion import fuse_conv_bn_weights

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import JsonValue, read_document
from centertrack_ros.typed_records import shown

_STORED_TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1", "uint16": "<u2", "bool": "u1"}
_CONVOLUTIONS = {"Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"}
_NORMS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}


class GraphError(ValueError):
    """The file is not the expected graph."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph.

    Attributes:
        name: Of the node.
        op: TensorFlow operation.
        inputs: Names of other nodes, without control edges and output numbers.
        attributes: As in the file.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def strings(self, key: str) -> tuple[str, ...]:
        """A list-of-strings attribute; absent: ()."""
        values = self.attributes.get(key, {}).get("list", {}).get("s", [])
        return tuple(base64.b64decode(value).decode() for value in values)

    def string(self, key: str) -> str:
        """A string attribute; absent: ''."""
        return base64.b64decode(self.attributes.get(key, {}).get("s", "")).decode()

    def integers(self, key: str) -> tuple[int, ...]:
        """A list-of-integers attribute; absent: ()."""
        return tuple(int(value) for value in self.attributes.get(key, {}).get("list", {}).get("i", []))


@dataclass(frozen=True)
class Graph:
    """A TensorFlow.js graph model.

    Attributes:
        path: The model's .json.
        nodes: Node by name.
        constants: Constant by name, float32 or integers.
        consumers: Node name -> nodes that read it.
    """

    path: Path
    nodes: dict[str, Node]
    constants: dict[str, NDArray[Any]]
    consumers: dict[str, list[Node]]

    def sole(self, op: str) -> Node:
        """The only node of this operation.

        Args:
            op: TensorFlow operation.

        Raises:
            GraphError: There is none, or several.
        """
        found = [node for node in self.nodes.values() if node.op == op]
        if len(found) != 1:
            raise GraphError(f"{self.path}: expected one {op} in the graph, found {len(found)}")
        return found[0]


def read_graph(json_path: str | Path) -> Graph:
    """Read a model's .json and the weight files of its manifest, which are beside it.

    Args:
        json_path: The model's .json.

    Returns:
        The graph.

    Raises:
        FileNotFoundError: A file is missing.
        GraphError: The file is no TensorFlow.js graph model, or a weight file has the wrong length.
    """
    path = Path(json_path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        model = read_document(path)
        if not isinstance(model.value, dict) or "modelTopology" not in model or "weightsManifest" not in model:
            raise GraphError(f"{path}: not a TensorFlow.js model: it has no 'modelTopology' and 'weightsManifest'")
        if "format" in model and model["format"].value != "graph-model":
            raise GraphError(
                f"{path}: a TensorFlow.js {shown(model['format'].value)}; only a 'graph-model' can be read"
            )
        nodes = {node.name: node for node in map(_node, model["modelTopology"]["node"].items())}
        constants: dict[str, NDArray[Any]] = {}
        for group in model["weightsManifest"].items():
            constants.update(_read_group(path, group))
    except DataError as error:
        raise GraphError(f"{error}; not a TensorFlow.js model, which is JSON, or damaged") from None
    consumers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes.values():
        for name in dict.fromkeys(node.inputs):
            consumers[name].append(node)
    return Graph(path, nodes, constants, dict(consumers))


def _node(raw: JsonValue) -> Node:
    names = [name.text() for name in raw["input"].items()] if "input" in raw else []
    inputs = tuple(name.split(":")[0] for name in names if not name.startswith("^"))
    return Node(raw["name"].text(), raw["op"].text(), inputs, raw["attr"].mapping() if "attr" in raw else {})


def _read_group(path: Path, group: JsonValue) -> dict[str, NDArray[Any]]:
    """The weights of one manifest group: its files joined, then cut in order."""
    paths = [name.text() for name in group["paths"].items()]
    data, files = b"".join(_read_shard(path, name) for name in paths), ", ".join(paths)
    weights: dict[str, NDArray[Any]] = {}
    offset = 0
    for entry in group["weights"].items():
        name, kind = entry["name"].text(), entry["dtype"].text()
        quantization = entry.get("quantization")
        stored_kind = kind if quantization is None or "dtype" not in quantization else quantization["dtype"].text()
        if stored_kind not in _STORED_TYPES:
            known = ", ".join(_STORED_TYPES)
            raise GraphError(f"{path}: weight {shown(name)} is stored as {shown(stored_kind)}, expected one of {known}")
        stored = np.dtype(_STORED_TYPES[stored_kind])
        shape = [side.integer(0) for side in entry["shape"].items()]
        count = math.prod(shape)
        if offset + count * stored.itemsize > len(data):
            raise GraphError(
                f"{path}: {files} is truncated: {len(data)} bytes, and weight {shown(name)} "
                f"ends at byte {shown(offset + count * stored.itemsize)}"
            )
        values = np.frombuffer(data, stored, count, offset).reshape(shape)
        offset += count * stored.itemsize
        weights[name] = _dequantized(values, kind, quantization)
    if offset != len(data):
        raise GraphError(f"{path}: {files} has {len(data)} bytes, its weights take {offset}")
    return weights


def _read_shard(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise GraphError(f"{path}: weight file {shown(name)} must lie beside the model, named without a folder")
    shard = path.with_name(name)
    if not os.path.isfile(shard):  # False also for a name that is too long
        raise FileNotFoundError(f"{path}: its weight file {shown(name)} is missing; it must lie beside the model")
    return shard.read_bytes()


def _dequantized(values: NDArray[Any], kind: str, quantization: JsonValue | None) -> NDArray[Any]:
    if quantization is not None and "scale" in quantization:  # affine uint8 or uint16
        return (values * quantization["scale"].number() + quantization["min"].number()).astype(np.float32)
    return values.astype(np.float32) if kind == "float32" else values


@dataclass(frozen=True)
class GraphConvolution:
    """A convolution of the graph together with its bias, BatchNorm and activation, in PyTorch's weight layout.

    Attributes:
        name: Of the node.
        weight: (out, in / groups, k, k), with the BatchNorm folded in.
        bias: (out,) or None.
        depthwise: Whether it is depthwise.
        stride: Px.
        padding: 'SAME' or 'VALID'.
        activation: 'relu', 'hard_swish' or 'none'.
        output: Name of the last node.
    """

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    depthwise: bool
    stride: int
    padding: str
    activation: str
    output: str


class GraphWalk:
    """Finds the convolutions of a graph by their inputs.

    Args:
        graph: The graph.
        sixth: The constant 1/6 that its hard swish must have.
    """

    def __init__(self, graph: Graph, sixth: float) -> None:
        self.graph = graph
        self.sixth = sixth

    def fed_by(self, source: str) -> list[GraphConvolution]:
        """Every convolution that reads the node `source`."""
        nodes = self.graph.consumers.get(source, ())
        return [self._convolution(node) for node in nodes if node.op in _CONVOLUTIONS and node.inputs[0] == source]

    def after(self, source: str, op: str) -> Node | None:
        """The node of operation `op` that reads `source`; None if there is not exactly one."""
        nodes = [node for node in self.graph.consumers.get(source, ()) if node.op == op]
        return nodes[0] if len(nodes) == 1 else None

    def constant(self, node: Node, position: int) -> NDArray[Any]:
        """The constant at an input of `node`. Raises GraphError if there is none."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        if name not in self.graph.constants:
            raise GraphError(f"{self.graph.path}: input {position} of {node.op} '{node.name}' is not a stored constant")
        return self.graph.constants[name]

    def scalar_beside(self, node: Node) -> float | None:
        """The scalar constant among a node's inputs, if there is one."""
        scalars = [self.graph.constants[name] for name in node.inputs if name in self.graph.constants]
        return float(scalars[0]) if len(scalars) == 1 and scalars[0].ndim == 0 else None

    def _convolution(self, node: Node) -> GraphConvolution:
        depthwise = "Depthwise" in node.op
        kernel = self.constant(node, 1)  # HWIO, depthwise HWCM
        if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or (depthwise and kernel.shape[3] != 1):
            raise self.unsupported(node, f"a kernel of shape {kernel.shape}")
        weight = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
        fused = node.strings("fused_ops")
        if set(fused) - {"BiasAdd", "Relu"}:
            raise self.unsupported(node, f"fused operations {fused}")
        strides = node.integers("strides")
        if set(node.integers("dilations")) - {1} or len(strides) != 4 or strides[1] != strides[2]:
            raise self.unsupported(node, f"strides {strides} or a dilation")
        bias = self.constant(node, 2) if "BiasAdd" in fused else None
        weight, bias, output = self._with_following_affine(weight, bias, node.name)
        activation, output = ("relu", output) if "Relu" in fused else self._activation(output)
        padding = node.string("padding")
        return GraphConvolution(node.name, weight, bias, depthwise, strides[1], padding, activation, output)

    def unsupported(self, node: Node, what: str) -> GraphError:
        """The error for a node that this module cannot read."""
        return GraphError(f"{self.graph.path}: {node.op} '{node.name}' has {what}, which is not supported")

    def _with_following_affine(
        self, weight: NDArray[Any], bias: NDArray[Any] | None, output: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, str]:
        """Folds a BatchNorm and a bias after the convolution into it."""
        while len(self.graph.consumers.get(output, ())) == 1:
            node = self.graph.consumers[output][0]
            if node.op == "BiasAdd":
                bias = self.constant(node, 1) + (0 if bias is None else bias)
            elif node.op in _NORMS:
                gamma, beta, mean, variance = (self.constant(node, position) for position in range(1, 5))
                epsilon = float(node.attributes.get("epsilon", {}).get("f", 1e-4))
                weight, bias = _fold_batchnorm(weight, bias, (gamma, beta, mean, variance), epsilon)
            else:
                break
            output = node.name
        return weight.astype(np.float32), None if bias is None else bias.astype(np.float32), output

    def _activation(self, output: str) -> tuple[str, str]:
        """('relu' | 'hard_swish' | 'none', node after it)."""
        relu = self.after(output, "Relu")
        if relu is not None and len(self.graph.consumers[output]) == 1:
            return "relu", relu.name
        gate = self.hard_gate(output)
        if gate is None:
            return "none", output
        for product in self.graph.consumers.get(gate.name, ()):  # (x / 6) * relu6(x + 3)
            others = [name for name in product.inputs if name != gate.name]
            scaled = self.graph.nodes.get(others[0]) if len(others) == 1 else None
            if product.op == "Mul" and scaled is not None and scaled.op == "Mul" and output in scaled.inputs:
                self.check_scale(scaled)
                return "hard_swish", product.name
        return "none", output

    def hard_gate(self, source: str) -> Node | None:
        """The Relu6 of relu6(source + 3), if that follows."""
        for shifted in self.graph.consumers.get(source, ()):
            if shifted.op in ("Add", "AddV2") and self.scalar_beside(shifted) == 3.0:
                return self.after(shifted.name, "Relu6")
        return None

    def check_scale(self, node: Node) -> None:
        """Raise GraphError unless `node` multiplies by the graph's 1/6."""
        scale = self.scalar_beside(node)
        if scale is None or abs(scale - self.sixth) > 1e-7:
            raise GraphError(f"{self.graph.path}: '{node.name}' multiplies by {scale}, expected {self.sixth}, its 1/6")


def _fold_batchnorm(
    weight: NDArray[Any], bias: NDArray[Any] | None, norm: tuple[NDArray[Any], ...], epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a convolution followed by a BatchNorm of (gamma, beta, mean, variance)."""
    gamma, beta, mean, variance = (torch.from_numpy(np.ascontiguousarray(value)) for value in norm)
    fused_weight, fused_bias = fuse_conv_bn_weights(
        torch.from_numpy(np.ascontiguousarray(weight)),
        None if bias is None else torch.from_numpy(np.ascontiguousarray(bias)),
        mean,
        variance,
        epsilon,
        gamma,
        beta,
    )
    return fused_weight.detach().numpy(), fused_bias.detach().numpy()
