# SPDX-License-Identifier: Apache-2.0
"""Exported graphs whose heads are read at cells that a caller asks for.

An exported file reads the heads at its own peaks. The graph is changed in memory, when cells are asked for the first
time: one more input takes the places of the peaks' cells where it is not negative. The file stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

INPUT = "asked_cells"
_OUTPUT = "cells"
# The output 'cells' is a stack of x and y, and x is what remains of the flat cells: the way back to these.
_WAY = (("Concat",), ("Unsqueeze",), ("Sub", "Subtract"))


def openvino_graph(model: Any) -> Any:
    """A copy of an openvino.Model with the input `INPUT` (B, K) int64.

    Raises:
        ValueError: It is no graph of this version's `centertrack export`.
    """
    import openvino
    from openvino import opset13

    changed = model.clone()
    node = changed.output(_OUTPUT).get_node().input_value(0).get_node()
    for kinds in _WAY:
        if node.get_type_name() not in kinds:
            raise ValueError(_unknown(node.get_type_name()))
        source = node.input_value(0)
        node = source.get_node()
    readers = list(source.get_target_inputs())
    asked = opset13.parameter(source.get_partial_shape(), source.get_element_type(), name=INPUT)
    asked.output(0).set_names({INPUT})
    zero = opset13.constant(0, dtype=source.get_element_type())
    chosen = opset13.select(opset13.greater_equal(asked, zero), asked, source)
    for reader in readers:
        reader.replace_source_output(chosen.output(0))
    assert isinstance(changed, openvino.Model)
    changed.add_parameters([asked])
    changed.validate_nodes_and_infer_types()
    return changed


def onnx_graph(path: Path) -> bytes:
    """An ONNX file with the input `INPUT` (B, K) int64.

    Raises:
        ImportError: onnx is not installed.
        ValueError: It is no graph of this version's `centertrack export`.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError("detections of another detector need onnx beside onnxruntime: pip install onnx") from None
    model = onnx.load(str(path))
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    name = _OUTPUT
    for kinds in _WAY:
        node = makers.get(name)
        if node is None or node.op_type not in kinds:
            raise ValueError(_unknown("nothing" if node is None else node.op_type))
        name = node.input[0]
    for reader in graph.node:
        for index, read in enumerate(reader.input):
            if read == name:
                reader.input[index] = f"{INPUT}_chosen"
    shape = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim[:1]]
    count = next(one for one in graph.output if one.name == _OUTPUT).type.tensor_type.shape.dim[1].dim_value
    graph.input.append(onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.INT64, [*shape, count]))
    graph.initializer.append(onnx.helper.make_tensor(f"{INPUT}_zero", onnx.TensorProto.INT64, [], [0]))
    added = [
        onnx.helper.make_node("GreaterOrEqual", [INPUT, f"{INPUT}_zero"], [f"{INPUT}_there"]),
        onnx.helper.make_node("Where", [f"{INPUT}_there", INPUT, name], [f"{INPUT}_chosen"]),
    ]
    place = next(index for index, node in enumerate(graph.node) if name in node.output) + 1
    for offset, node in enumerate(added):
        graph.node.insert(place + offset, node)
    return bytes(model.SerializeToString())


def _unknown(found: str) -> str:
    return (
        "the network's heads cannot be read at detections of another detector: this exported file is not as "
        f"`centertrack export` writes it now ({found} before its cells); export it again"
    )
