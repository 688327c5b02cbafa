# SPDX-License-Identifier: Apache-2.0
"""`centertrack export`: weights as a file for another runtime, checked against the reference."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli._arguments import SIZE, image_size, network_pixels, network_size

if TYPE_CHECKING:
    from centertrack_ros.engine.base import Engine
    from centertrack_ros.engine.export import InputShape
    from centertrack_ros.network.base import TrackingNetwork
    from centertrack_ros.network.profile import ModelProfile

HELP = "write weights as an ONNX, OpenVINO, torch.export or TensorRT file"
FORMATS = ("onnx", "openvino", "torch-export", "tensorrt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack export`."""
    parser.add_argument("weights", nargs="?", help="weights file; default: the embedded model")
    parser.add_argument("-o", "--output", type=Path, help="default: the model's name with the format's suffix, here")
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--batch", type=int, help="images at once; default: any number (TensorRT: at most 1)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size",
        type=network_size,
        metavar=SIZE,
        help="input size, px, for instance 800x448; default: any (TensorRT: that of the weights)",
    )
    size.add_argument(
        "--input-pixels",
        type=network_pixels,
        metavar="N",
        help="px of the input in the images' own aspect, for instance 262144 or 512x512; default: as the weights say",
    )
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored image: twice the time")
    parser.add_argument("--shuffle", action="store_true", help="up-sample by pixel shuffles: faster in bfloat16")
    parser.add_argument(
        "--precision",
        choices=("f32", "fp16"),
        help="of the file, default f32; with --build-only: as verified, else f32",
    )
    parser.add_argument(
        "--build-only",
        "--keep",
        action="store_true",
        help="write no file: make, check, measure and keep what engine 'auto' chooses from on this machine",
    )
    parser.add_argument("--device", default="auto", help="with --build-only: auto, cpu, cuda, cuda:1, …")
    parser.add_argument(
        "--image-size", type=image_size, metavar=SIZE, help="with --build-only on a GPU: of the camera, for TensorRT"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the file once it agrees with the reference."""
    from centertrack_ros.network.registry import weights_path

    weights = weights_path(args.weights)
    if args.build_only:
        return _build_only(args, weights)
    from centertrack_ros.engine import export
    from centertrack_ros.network import checkpoints

    if args.format == "tensorrt":
        from centertrack_ros.engine import tensorrt_plan

        tensorrt_plan.machine()  # says at once what is missing
    network, profile = checkpoints.load(weights)
    if args.input_pixels:
        profile = profile.with_input_pixels(args.input_pixels)
    shape = _shape(args, profile)
    target = args.output or Path(profile.name).with_suffix(export.SUFFIXES[args.format])
    if target.suffix != export.SUFFIXES[args.format]:
        raise ValueError(f"a file of format {args.format} ends in {export.SUFFIXES[args.format]}, got {target}")
    half = args.precision == "fp16"
    if half and args.format == "openvino":
        raise ValueError("OpenVINO chooses its precision itself: engine openvino-bf16")
    traced = export.trace(network, profile, shape, args.flip_test, args.shuffle, half=half)
    # Written and checked beside the target: a file under the final name is always complete.
    with tempfile.TemporaryDirectory(prefix=".export.", dir=target.resolve().parent) as folder:
        fresh = Path(folder) / target.name
        onnx_path = fresh if args.format == "onnx" else Path(folder) / "network.onnx"
        if args.format == "torch-export":
            export.to_torch_export(traced, fresh)
        else:
            export.to_onnx(traced, onnx_path)
        if args.format == "openvino":
            export.to_openvino(onnx_path, fresh)
        elif args.format == "tensorrt":
            assert shape.size is not None
            export.to_tensorrt(onnx_path, fresh, shape.size, args.batch or 1, traced.profile)
        print(_verify(args, network, profile, fresh, shape))
        for path in sorted(Path(folder).glob(f"{target.stem}.*")):
            os.replace(path, target.with_name(path.name))
    print(f"{target}: {args.format} of {profile.name}, {target.stat().st_size / 1e6:.1f} MB")
    return 0


def _build_only(args: argparse.Namespace, weights: Path) -> int:
    """Exports for this machine, and prints what every engine that 'auto' chooses from is like here."""
    from centertrack_ros.engine import selection
    from centertrack_ros.engine.loading import resolve_device
    from centertrack_ros.engine.registry import EngineOptions

    device = resolve_device(args.device)
    on_gpu = device.startswith("cuda")
    if args.precision == "fp16" and not on_gpu:
        raise ValueError("float16 is built for NVIDIA GPUs only, and there is none here")
    checks = selection.verified_precisions(weights, on_gpu)
    variant = args.precision or next(iter(checks), "f32")
    options = EngineOptions(device, args.flip_test, batch=args.batch or 1, build_size=_build_size(args, weights))
    try:
        entry = selection.find_or_export(weights, options, variant)
    except selection.EngineUnavailableError as error:
        raise ValueError(str(error)) from None
    for name, result in sorted(entry.manifest["engines"].items(), key=lambda item: item[1].get("ms", float("inf"))):
        parts = [f"{result['ms']:.1f} ms"] if "ms" in result else []
        parts += [result[key] for key in ("agreement", "problem", "doubt") if key in result]
        print(f"{name:14} {', '.join([*parts, selection.describe_precision(name, checks)])}")
    print(entry.folder)
    return 0


def _build_size(args: argparse.Namespace, weights: Path) -> tuple[int, int] | None:
    """(height, width) px of the network input for images of the camera; None: as the weights say."""
    if args.size:
        return (args.size[1], args.size[0])
    if args.image_size is None:
        return None
    from centertrack_ros.network import checkpoints

    _, profile = checkpoints.load(weights)
    if args.input_pixels:
        profile = profile.with_input_pixels(args.input_pixels)
    width, height = args.image_size
    return profile.place((height, width)).input_size


def _shape(args: argparse.Namespace, profile: ModelProfile) -> InputShape:
    from centertrack_ros.engine.export import InputShape

    size = (args.size[1], args.size[0]) if args.size else None  # height, width
    if args.batch is not None and args.batch < 1:
        raise ValueError(f"--batch must be at least 1, got {args.batch}")
    if args.format == "tensorrt":
        return InputShape(None, size or (profile.input_height, profile.input_width))
    return InputShape(args.batch, size)


def _verify(
    args: argparse.Namespace, network: TrackingNetwork, profile: ModelProfile, path: Path, shape: InputShape
) -> str:
    """One line on how the file agrees with the reference. Raises ValueError if it does not."""
    from centertrack_ros.engine import verification
    from centertrack_ros.engine.loading import load_engine
    from centertrack_ros.engine.torch_engine import TorchEngine

    if args.format == "torch-export":
        from centertrack_ros.engine.export import ExportedProgramEngine

        engine: Engine = ExportedProgramEngine(path)
    else:
        try:
            engine = load_engine(path, device="auto" if args.format == "tensorrt" else "cpu", threads=None)
        except ImportError as error:
            return f"not checked: {error}"
    reference = TorchEngine(network, profile, flip_test=args.flip_test, dense=True, fuse=False)
    sizes = [shape.size] if shape.size else [(128, 160), (profile.input_height, profile.input_width)]
    batch = args.batch or (1 if args.format == "tensorrt" else 2)
    found = [
        verification.compare(
            verification.run_reference(reference, size, batch), verification.run_reference(engine, size, batch)
        )
        for size in sizes
    ]
    half = args.precision == "fp16"
    if wrong := [agreement for agreement in found if not (agreement.close if half else agreement.exact)]:
        raise ValueError(f"the exported network does not agree with the reference: {wrong[0]}")
    if half:
        return f"checked against the reference: {found[-1].describe_close()}"
    return f"checked against the reference: {min(found, key=lambda agreement: -agreement.value_error)}"
