# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files with the outputs of known detectors. They find the red part of an image, or give fixed numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}


class GraphBuilder:
    """Collects the operations of a graph; each returns the name of its result."""

    def __init__(self, size: Sequence[int | str] = (64, 96), dtype: str = "float32", batch: bool = True) -> None:
        shape = [1, 3, *size] if batch else [3, *size]
        self.inputs = [helper.make_tensor_value_info("images", TYPES[dtype], shape)]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.image = "images"
        if dtype != "float32":
            self.image = self.op("Cast", "images", to=TensorProto.FLOAT)
        if not batch:
            self.image = self.op("Unsqueeze", self.image, self.constant(np.array([0])))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operation."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        """Adds a constant; Python's numbers become float32."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def red(self, channel: int, least: float, below: float) -> str:
        """(1, 1, h, w): 1 where the input's channel is above `least` and the opposite one below `below`."""
        planes = (self.constant(np.array([number])) for number in (channel, 2 - channel))
        first, last = (self.op("Gather", self.image, plane, axis=1) for plane in planes)
        both = self.op(
            "And", self.op("Greater", first, self.constant(least)), self.op("Less", last, self.constant(below))
        )
        return self.op("Cast", both, to=TensorProto.FLOAT)

    def red_box(self, channel: int, least: float, below: float) -> str:
        """(4,): x1, y1, x2, y2 of the red part, px of the input; (0, 0, w, h) where there is none."""
        mask, edges = self.red(channel, least, below), []
        for last in (0, 1):
            for axis in (3, 2):
                line = self.op("ReduceMax", mask, axes=[5 - axis], keepdims=1)
                edge = self.op("ArgMax", line, axis=axis, keepdims=0, select_last_index=last)
                edge = self.op("Reshape", self.op("Cast", edge, to=TensorProto.FLOAT), self.constant(np.array([1])))
                edges.append(self.op("Add", edge, self.constant(float(last))))
        return self.op("Concat", *edges, axis=0)

    def centred(self, box: str) -> str:
        """(4,): centre x, y, width, height of a box."""
        matrix = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
        return self.op("MatMul", box, self.constant(matrix))

    def fixed(self, values: NDArray[Any]) -> str:
        """A constant that hangs on the image, as every output does."""
        zero = self.op("Mul", self.op("ReduceMean", self.image, keepdims=0), self.constant(0.0))
        if values.dtype != np.float32:
            zero = self.op("Cast", zero, to=helper.np_dtype_to_tensor_dtype(values.dtype))
        return self.op("Add", self.constant(values), zero)

    def add_input(self, name: str, shape: Sequence[int], dtype: str = "int64") -> str:
        """Adds an input beside the image."""
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))
        return name

    def save(
        self, path: Path, outputs: Mapping[str, tuple[str, int]], metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Writes the file.

        Args:
            path: Of the file.
            outputs: Name -> result of an operation, and its type.
            metadata: Of the file.
        """
        nodes = [*self.nodes, *(helper.make_node("Identity", [value], [name]) for name, (value, _) in outputs.items())]
        infos = [helper.make_tensor_value_info(name, kind, None) for name, (_, kind) in outputs.items()]
        graph = helper.make_graph(nodes, "detector", self.inputs, infos, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, dict(metadata or {}))
        onnx.save(model, path)
        return path


def fixed_outputs(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    size: Sequence[int | str] = (64, 96),
    asks_size: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A file that gives these arrays for every image."""
    graph = GraphBuilder(size)
    outputs = {}
    for name, values in arrays.items():
        outputs[name] = (graph.fixed(values), helper.np_dtype_to_tensor_dtype(values.dtype))
    if asks_size:
        graph.add_input("orig_target_sizes", (1, 2))
    return graph.save(path, outputs, metadata)


def red_detector(path: Path, size: tuple[int | str, int | str], dtype: str = "float32") -> Path:
    """A file that gives the red part of an image end to end: score 0.9, class 1. Without a red part: score 0."""
    graph = GraphBuilder(size, dtype)
    score = graph.op("ReduceMax", graph.red(0, 0.98, 0.02), keepdims=0)
    score = graph.op("Mul", graph.op("Reshape", score, graph.constant(np.array([1]))), graph.constant([0.9]))
    row = graph.op("Concat", graph.red_box(0, 0.98, 0.02), score, graph.constant([1.0]), axis=0)
    table = graph.op("Reshape", row, graph.constant(np.array([1, 1, 6])))
    return graph.save(path, {"output0": (table, TensorProto.FLOAT)})
