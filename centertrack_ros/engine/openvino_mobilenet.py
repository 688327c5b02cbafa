# SPDX-License-Identifier: Apache-2.0
"""The network `mobilenetv3_centernet` with its decoding as a graph of OpenVINO, for one input size and without torch.

The same layers as in `network.mobilenetv3`, with batch norms and constant factors merged into the convolutions as its
`fused` does; the peaks are those of `network.decode`, ties included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from centertrack_ros.engine import asked_cells
from centertrack_ros.engine.openvino_heads import HeadsGraph
from centertrack_ros.engine.openvino_motion import MotionGraph
from centertrack_ros.engine.openvino_ops import (
    Array,
    Node,
    Parameters,
    concat,
    constant,
    convolve,
    indices,
    ops,
    resize,
    runtime,
    shape,
)
from centertrack_ros.network.mobilenetv3_shapes import (
    ACTIVATION_SCALE,
    BLOCKS,
    LATERAL_EXPANSIONS,
    LATERAL_OUTPUT,
    BlockShape,
)
from centertrack_ros.network.profile import ModelProfile

_ACTIVATIONS = {"relu": "relu", "hard_swish": "hswish"}  # names of operations


def build_graph(
    state: Mapping[str, Array], profile: ModelProfile, size: tuple[int, ...], where: str, asked: int = 0
) -> Any:
    """Build the graph from images to peaks.

    Args:
        state: Parameter name -> float32 array, as in the file of weights.
        profile: Describes the network; its architecture is mobilenetv3_centernet.
        size: (height, width) px of the input, multiples of 32.
        where: Names the file in messages.
        asked: K: one more input, `asked_cells.INPUT`, takes the places of the peaks' cells; 0: there is none.

    Returns:
        An openvino.Model for one image, with inputs and outputs named as those of exported files.

    Raises:
        CheckpointError: Parameters are missing, or do not belong to the network.
    """
    openvino = runtime()
    parameters = Parameters(state, f"{where} does not fit {profile.architecture}")
    network = _Network(parameters, profile, size)
    outputs = network.outputs(asked)
    parameters.check_all_used()
    results = []
    for name, node in outputs.items():
        result = ops.result(node)
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    return openvino.Model(results, network.inputs, "centertrack")


class _Network:
    """Inputs, backbone, neck and features."""

    def __init__(self, parameters: Parameters, profile: ModelProfile, size: tuple[int, ...]) -> None:
        self.inputs: list[Node] = []
        self._parameters = parameters
        self._profile = profile
        self._size = size

    def outputs(self, asked: int) -> dict[str, Node]:
        """Output name -> node; see `build_graph`."""
        options = self._profile.head_options
        image = self._input("image", 3)
        with_motion = bool(options.get("motion"))
        x = self._layer("stem", image, stride=2, activation="hard_swish", gain=ACTIVATION_SCALE)
        stems = {"previous_image": ("previous_stem", 3), "prior_heatmap": ("prior_stem", 1)}
        extra = {}
        for name, (stem, channels) in stems.items():
            if not getattr(self._profile, name):
                continue
            if with_motion:
                extra[name] = self._input(name, channels)
            elif any(part.any() for part in self._folded(f"{stem}.layer") if part is not None):
                extra[name] = self._input(name, channels)
                x = ops.add(x, self._layer(f"{stem}.layer", extra[name], stride=2, activation="hard_swish"))
        parts = [self._backbone(x)]
        if with_motion:
            motion = MotionGraph(self._parameters)
            parts.append(motion.build(image, extra.get("previous_image", image), extra.get("prior_heatmap")))
        if options.get("coordinates"):
            parts.append(_coordinates(*shape(parts[0])[2:]))
        places = self._input(asked_cells.INPUT, asked, np.int64) if asked else None
        return HeadsGraph(self._parameters, self._profile).outputs(parts, places)

    def _input(self, name: str, channels: int, kind: type = np.float32) -> Node:
        size = self._size if kind is np.float32 else ()
        node = ops.parameter([1, channels, *size], kind, name)
        node.output(0).get_tensor().set_names({name})
        self.inputs.append(node)
        return node

    def _folded(self, prefix: str) -> tuple[Array, Array | None]:
        return self._parameters.convolution(f"{prefix}.conv", f"{prefix}.norm")

    def _layer(
        self, prefix: str, x: Node, stride: int = 1, activation: str = "none", scale: float = 1.0, gain: float = 1.0
    ) -> Node:
        """As `network.mobilenetv3.ConvLayer`; `scale` multiplies its input, `gain` its output."""
        weight, bias = self._folded(prefix)
        weight = weight if scale == 1.0 else weight * np.float32(scale)
        kernel = weight.shape[2]
        before = (kernel - 2) // 2 if stride == 2 else kernel // 2
        after = kernel - 2 - before if stride == 2 else before
        y = convolve(x, weight, bias, stride, before, after)
        if activation != "none":
            y = getattr(ops, _ACTIVATIONS[activation])(y)
        return y if gain == 1.0 else ops.multiply(y, constant(gain))

    def _backbone(self, x: Node) -> Node:
        laterals: list[Node] = []
        for index, block in enumerate(BLOCKS):
            x, expansion = self._block(f"blocks.{index}", x, block)
            if index in LATERAL_EXPANSIONS:
                laterals.append(expansion)
            if index == LATERAL_OUTPUT:
                laterals.append(x)
        return self._neck([*laterals, self._layer("last", x, activation="hard_swish")])

    def _block(self, prefix: str, x: Node, block: BlockShape) -> tuple[Node, Node]:
        """As `network.mobilenetv3.InvertedResidual`; factors of activations are in the weights after them."""
        scale = ACTIVATION_SCALE if block.activation == "hard_swish" else 1.0
        expansion = self._layer(f"{prefix}.expand", x, activation=block.activation) if block.expanded else x
        inner = self._layer(
            f"{prefix}.depthwise", expansion, block.stride, block.activation, scale if block.expanded else 1.0
        )
        gate = 1.0
        if block.squeezed:
            inner = self._squeeze(f"{prefix}.squeeze", inner, ops.hsigmoid, scale)
            gate = ACTIVATION_SCALE
        out = self._layer(f"{prefix}.project", inner, scale=scale * gate)
        if block.stride == 1 and shape(x)[1] == block.out:
            out = ops.add(out, x)
        return out, expansion

    def _squeeze(self, prefix: str, x: Node, gate: Any, scale: float = 1.0) -> Node:
        mean = ops.reduce_mean(x, indices([2, 3]), True)
        reduced = self._layer(f"{prefix}.reduce", mean, activation="relu", scale=scale)
        return ops.multiply(x, gate(self._layer(f"{prefix}.expand", reduced)))

    def _neck(self, maps: list[Node]) -> Node:
        """The map of features from those of strides 4, 8, 16 and 32."""
        stride4, stride8, stride16, x = maps
        scale = ACTIVATION_SCALE  # of the layer 'last'
        for name, up, lateral in (("16", "32", stride16), ("8", "16", stride8), ("4", "8", stride4)):
            reduced = self._layer(f"neck.lateral{name}.reduce", lateral, activation="relu")
            spread = self._separable(f"neck.lateral{name}.spread", reduced)
            narrow = self._separable(f"neck.up{up}.narrow", x, scale)
            wide = self._separable(f"neck.up{up}.wide", x, scale)
            x = ops.relu(concat([spread, _upsample_twice(ops.add(narrow, wide))]))
            scale = 1.0
        return self._squeeze("neck.attention", x, ops.sigmoid)

    def _separable(self, prefix: str, x: Node, scale: float = 1.0) -> Node:
        return self._layer(f"{prefix}.pointwise", self._layer(f"{prefix}.depthwise", x, scale=scale))


def _upsample_twice(x: Node) -> Node:
    """As `network.mobilenetv3.upsample_twice`."""
    height, width = shape(x)[2:]
    padded = ops.pad(x, indices([0, 0, 0, 0]), indices([0, 0, 1, 1]), "edge")
    larger = resize(padded, 2 * height + 1, 2 * width + 1, corners=True)
    start, stop, step = indices([0, 0]), indices([2 * height, 2 * width]), indices([1, 1])
    return ops.slice(larger, start, stop, step, indices([2, 3]))


def _coordinates(height: int, width: int) -> Node:
    """As `network.mobilenetv3.coordinates`."""
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / 32
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / 32
    return constant(np.stack(np.meshgrid(x, y))[None])
