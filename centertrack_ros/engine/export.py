# SPDX-License-Identifier: Apache-2.0
"""Networks with their decoding as files for other runtimes: ONNX, OpenVINO, torch.export, TensorRT.

A file holds everything from normalized images to the K strongest peaks and the head values there. Its inputs are
'image' and, if the network has these stems, 'previous_image' and 'prior_heatmap'; its outputs have the names of
`network.decode.decode_peaks`. The model's profile is in the file's metadata.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from centertrack_ros.engine.array_engine import INPUTS, ArrayEngine
from centertrack_ros.engine.export_cache import content_hash
from centertrack_ros.engine.onnx_engine import PROFILE_KEY
from centertrack_ros.engine.openvino_engine import OUTPUT_KEYS, PROFILE_KEYS, runtime
from centertrack_ros.geometry.affine import LARGEST_INPUT, STRIDE
from centertrack_ros.network import deform_conv
from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.decode import PeakNetwork
from centertrack_ros.network.profile import ModelProfile

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "tensorrt": ".engine"}
_OUTPUTS_KEY = "outputs"
_FLOAT, _FLOAT16 = 1, 10  # onnx.TensorProto
OPSET = 20  # DeformConv came with 19
_MAX_CELLS = LARGEST_INPUT // STRIDE  # largest side of a dynamic input, in units of 32 px
_MAX_BATCH = 64


@dataclass(frozen=True)
class InputShape:
    """The input shape of an exported file.

    Attributes:
        batch: Images per batch; None: any number.
        size: (height, width) px; None: any multiples of 32.
    """

    batch: int | None = None
    size: tuple[int, int] | None = None


class _TupleOutput(nn.Module):
    """A PeakNetwork whose outputs are a tuple; calls `report_names` with their names when it runs."""

    def __init__(self, network: PeakNetwork, report_names: Callable[[list[str]], None], in_half: bool) -> None:
        super().__init__()
        self.in_half = in_half
        self.network = network
        self.report_names = report_names  # a function: torch.export undoes changes of attributes during tracing

    def forward(self, image: Tensor, previous_image: Tensor | None, prior_heatmap: Tensor | None) -> tuple[Tensor, ...]:
        inputs = [image, previous_image, prior_heatmap]
        if self.in_half:
            inputs = [None if tensor is None else tensor.to(torch.float16) for tensor in inputs]
        outputs = self.network(*inputs)
        self.report_names(list(outputs))
        return tuple(value.float() if value.is_floating_point() else value for value in outputs.values())


@dataclass(frozen=True)
class Traced:
    """A network as a graph of torch operators.

    Attributes:
        program: A torch.export.ExportedProgram.
        outputs: Names of its outputs.
        profile: Of the model.
        half: Whether the network computes in float16.
    """

    program: Any
    outputs: list[str]
    profile: ModelProfile
    half: bool = False


def trace(
    network: TrackingNetwork,
    profile: ModelProfile,
    shape: InputShape = InputShape(),
    flip_test: bool = False,
    shuffle: bool = False,
    dense: bool = False,
    half: bool = False,
) -> Traced:
    """Trace the fused network with its decoding and sparse heads, on the CPU; its inputs and outputs are float32.

    Args:
        network: The network.
        profile: Of the model.
        shape: Of the input images.
        flip_test: Average with the mirrored image.
        shuffle: Replace transposed convolutions by convolutions and pixel shuffles: much faster in OpenVINO with
            bfloat16.
        dense: Evaluate every head at every cell, for comparison.
        half: Compute in float16, except coordinates, scores and depths.

    Returns:
        The graph. For a fixed size its profile says that images are fitted into it.

    Raises:
        ValueError: The input size is not a multiple of 32.
    """
    fused = network.fused().cpu()
    if shuffle:
        shuffle_upsampling(fused)
    if half:
        fused = fused.half()
    names: list[list[str]] = []
    peaks = _TupleOutput(PeakNetwork(fused, profile.max_detections, flip_test, dense), names.append, half).eval()
    height, width = shape.size or (128, 160)
    if height % 32 or width % 32:
        raise ValueError(f"the input size must be multiples of 32, got {height}x{width}")
    batch = shape.batch or 2
    examples = tuple(
        torch.zeros(batch, channels, height, width) if present else None
        for channels, present in ((3, True), (3, profile.previous_image), (1, profile.prior_heatmap))
    )
    dynamic: dict[int, Any] = {}
    if shape.batch is None:
        dynamic[0] = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    if shape.size is None:
        for axis, name in ((2, "rows"), (3, "columns")):
            dynamic[axis] = 32 * torch.export.Dim(name, min=2, max=_MAX_CELLS)
    shapes = tuple(None if example is None else dynamic for example in examples)
    with torch.no_grad(), _quiet():
        program = torch.export.export(peaks, examples, dynamic_shapes=shapes, strict=False)
    if shape.size is not None:
        profile = profile.with_input_size(width, height)
    return Traced(program, names[-1], profile, half)


def to_onnx(traced: Traced, path: Path) -> None:
    """Write an .onnx file.

    Args:
        traced: The graph.
        path: The file to write.

    Raises:
        ImportError: onnx or onnxscript is not installed.
    """
    import onnx

    with torch.no_grad(), _quiet():
        exported = torch.onnx.export(
            traced.program,
            (),
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table={
                torch.ops.centertrack.deform_conv2d.default: _deform_conv_translation(traced.half)
            },
            input_names=_inputs(traced.profile),
            output_names=traced.outputs,
            external_data=False,
        )
    assert exported is not None
    model = exported.model_proto
    used = {name for node in model.graph.node for name in node.input}
    for unused in [node for node in model.graph.input if node.name not in used]:
        model.graph.input.remove(unused)  # its stem is untrained and adds nothing
    onnx.helper.set_model_props(model, {PROFILE_KEY: traced.profile.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _inputs(profile: ModelProfile) -> list[str]:
    present = (True, profile.previous_image, profile.prior_heatmap)
    return [name for name, there in zip(INPUTS, present, strict=True) if there]


def _deform_conv_translation(half: bool) -> Any:
    """To the ONNX operator; in float32 always, because float16 is too coarse for the coordinates of its samples."""
    from onnxscript import opset20

    assert deform_conv.operator is not None  # its import defines torch.ops.centertrack

    def translate(
        x: Any, offset: Any, mask: Any, weight: Any, bias: Any, stride: int, padding: int, dilation: int
    ) -> Any:
        inputs: tuple[Any, ...] = (x, weight, offset, bias, mask)
        if half:
            inputs = tuple(opset20.Cast(value, to=_FLOAT) for value in inputs)
        result = opset20.DeformConv(*inputs, strides=[stride] * 2, pads=[padding] * 4, dilations=[dilation] * 2)
        return opset20.Cast(result, to=_FLOAT16) if half else result

    return translate


def to_openvino(onnx_path: Path, path: Path) -> None:
    """Write an .xml file and its .bin from an .onnx file.

    Args:
        onnx_path: A file of `to_onnx`.
        path: The .xml file to write.

    Raises:
        ImportError: openvino is not installed.
    """
    import onnx

    openvino = runtime()
    from openvino.frontend.onnx import ConversionExtension

    core = openvino.Core()
    core.add_extension(ConversionExtension("DeformConv", _openvino_deform_conv))
    model = core.read_model(onnx_path)
    written = onnx.load(onnx_path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in written.metadata_props}
    model.set_rt_info(metadata[PROFILE_KEY], PROFILE_KEYS)
    model.set_rt_info(",".join(output.name for output in written.graph.output), OUTPUT_KEYS)
    openvino.save_model(model, path, compress_to_fp16=False)


def _openvino_deform_conv(context: Any) -> Any:
    """Translates DeformConv, which OpenVINO has but its ONNX reader does not know."""
    from openvino import opset8, opset13

    x, weight, offset, bias, mask = (context.get_input(i) for i in range(5))
    pads = [int(value) for value in context.get_attribute("pads")]
    convolved = opset8.deformable_convolution(
        x,
        offset,
        weight,
        [int(value) for value in context.get_attribute("strides")],
        pads[:2],
        pads[2:],
        [int(value) for value in context.get_attribute("dilations")],
        mask=mask,
        bilinear_interpolation_pad=True,
    )
    shaped = opset13.unsqueeze(bias, opset13.constant([0, 2, 3], dtype="int64"))
    return opset13.add(convolved, shaped).outputs()


def to_torch_export(traced: Traced, path: Path) -> None:
    """Write a .pt2 file for `torch.export.load`, with the profile and the output names as extra files in it.

    Args:
        traced: The graph.
        path: The file to write.
    """
    torch.export.save(
        traced.program,
        path,
        extra_files={PROFILE_KEY: traced.profile.to_json(), _OUTPUTS_KEY: ",".join(traced.outputs)},
    )


def to_tensorrt(onnx_path: Path, path: Path, size: tuple[int, int], batch: int, profile: ModelProfile) -> None:
    """Build a TensorRT engine for this machine's GPU: the engine 'tensorrt' runs it on this GPU and version only.

    Args:
        onnx_path: A file of `to_onnx` for this size.
        path: The file to write.
        size: (height, width) px of the input.
        batch: Most images at once.
        profile: Of the model.

    Raises:
        ImportError: tensorrt is not installed.
        ValueError: The engine cannot be built.
    """
    from centertrack_ros.engine import tensorrt_plan

    facts = {
        "onnx": content_hash(onnx_path),
        "size": list(size),
        "batch": batch,
        "profile": profile.to_json(),
        **tensorrt_plan.machine(),
    }
    tensorrt_plan.write(path, tensorrt_plan.Plan(facts, tensorrt_plan.build(onnx_path, size, batch)))


class _Shuffle(nn.Module):
    """A depthwise transposed convolution of kernel 2 f, stride f and padding f / 2, as a convolution and a shuffle."""

    def __init__(self, up: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.factor = factor = up.stride[0]
        kernel = up.weight.detach()[:, 0]  # (C, 2 f, 2 f)
        channels = kernel.shape[0]
        weight = torch.zeros(channels, factor, factor, 3, 3)
        # Output f y + r depends on inputs y - 1, y, y + 1, each through one element of the kernel or none.
        for r in range(factor):
            for row in (-1, 0, 1):
                for c in range(factor):
                    for column in (-1, 0, 1):
                        i, j = r + factor // 2 - factor * row, c + factor // 2 - factor * column
                        if 0 <= i < 2 * factor and 0 <= j < 2 * factor:
                            weight[:, r, c, row + 1, column + 1] = kernel[:, i, j]
        self.register_buffer("weight", weight.view(channels * factor * factor, 1, 3, 3))
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, f H, f W)."""
        return F.pixel_shuffle(F.conv2d(x, self.get_buffer("weight"), padding=1, groups=self.channels), self.factor)


def shuffle_upsampling(network: nn.Module) -> None:
    """Replace transposed convolutions by a convolution and a pixel shuffle where that is possible, in place.

    Args:
        network: Changed in place.
    """
    for owner in list(network.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and _can_shuffle(child):
                setattr(owner, name, _Shuffle(child))


def _can_shuffle(up: nn.ConvTranspose2d) -> bool:
    factor = up.stride[0]
    depthwise = up.groups == up.in_channels == up.out_channels and up.bias is None
    square = up.stride == (factor, factor) and up.kernel_size == (2 * factor, 2 * factor)
    plain = up.padding == (factor // 2, factor // 2) and not any(up.output_padding) and up.dilation == (1, 1)
    return depthwise and square and plain and factor % 2 == 0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the exporter's progress lines and its warnings about torch's own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class ExportedProgramEngine(ArrayEngine):
    """Runs a .pt2 file of `to_torch_export`, by torch on the CPU.

    Args:
        path: The file.
    """

    name = "torch-export"

    def __init__(self, path: Path) -> None:
        extra = {PROFILE_KEY: "", _OUTPUTS_KEY: ""}
        program = torch.export.load(path, extra_files=extra)
        self._program = program.module()
        self._outputs = extra[_OUTPUTS_KEY].split(",")
        profile = ModelProfile.from_json(extra[PROFILE_KEY])
        super().__init__(profile, _inputs(profile))

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        inputs = [torch.from_numpy(feeds[name]) if name in feeds else None for name in INPUTS]
        with torch.no_grad():
            outputs = self._program(*inputs)
        return {name: value.numpy() for name, value in zip(self._outputs, outputs, strict=True)}
