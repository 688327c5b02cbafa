# SPDX-License-Identifier: Apache-2.0
"""TensorRT plans: networks built for one GPU, one version of TensorRT, and one input size; and the files they are in.

A file is a line that names the format, a line of JSON with everything that the plan depends on ('facts'), and the plan.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from centertrack_ros.typed_records import shown

_MAGIC = b"centertrack-tensorrt-1\n"
_LONGEST_FACTS = 1 << 20  # bytes
_OLDEST = (10, 1)  # its ONNX parser takes DeformConv, by a plug-in that it brings
_NAMES = {"gpu": "GPU", "capability": "compute capability", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Plan:
    """A network that TensorRT has built.

    Attributes:
        facts: 'onnx' (hash of the file), 'size' ([h, w] px), 'batch' (the largest), 'profile' (of the model, JSON), and
            those of `machine`.
        content: What TensorRT deserializes.
    """

    facts: Mapping[str, Any]
    content: bytes


def runtime() -> Any:
    """Import tensorrt.

    Raises:
        ImportError: It is not installed, its libraries are missing, or it is too old.
    """
    hint = "pip install 'centertrack_ros[tensorrt]', on a machine with an NVIDIA GPU"
    try:
        import tensorrt  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":
            raise ImportError(f"TensorRT is incomplete ({error}): {hint}") from None
        raise ImportError(f"TensorRT is not installed: {hint}") from None
    except (ImportError, OSError, RuntimeError) as error:  # a library that it loads
        raise ImportError(f"TensorRT is incomplete ({' '.join(str(error).split())[:200]}): {hint}") from None
    check_version(tensorrt.__version__)
    return tensorrt


def check_version(version: str) -> None:
    """Raises ImportError for a TensorRT whose ONNX parser lacks DeformConv.

    Args:
        version: For instance '10.3.0'.
    """
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST:
        raise ImportError(f"TensorRT {version} is too old: its ONNX parser lacks DeformConv, which came with 10.1")


def machine(device: str = "cuda") -> dict[str, str]:
    """What a plan is built for: 'gpu' and 'capability' of the device, and the version of 'tensorrt'.

    Raises:
        ImportError: TensorRT is not installed.
        ValueError: There is no such GPU.
    """
    import torch

    version = runtime().__version__
    if not torch.cuda.is_available():
        raise ValueError("TensorRT needs an NVIDIA GPU, and torch sees none here")
    major, minor = torch.cuda.get_device_capability(device)
    return {"gpu": torch.cuda.get_device_name(device), "capability": f"{major}.{minor}", "tensorrt": version}


def file_name(facts: Mapping[str, Any]) -> str:
    """The name of a plan's file in a cache: a hash of all facts but the batch, and the batch.

    Args:
        facts: Of the plan.
    """
    rest = {key: value for key, value in facts.items() if key != "batch"}
    return f"{hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:20]}.b{facts['batch']}.engine"


def find(folder: Path, facts: Mapping[str, Any]) -> Plan | None:
    """The plan with these facts and the largest batch; None: there is none, or it is damaged.

    Args:
        folder: The cache.
        facts: The batch does not count.
    """
    stem = file_name({**facts, "batch": 0}).partition(".")[0]
    sizes = {}
    for path in folder.glob(f"{stem}.b*.engine"):
        if (number := path.name.split(".")[1][1:]).isdigit():
            sizes[int(number)] = path
    for batch in sorted(sizes, reverse=True):
        try:
            plan = read(sizes[batch])
        except (ValueError, OSError):
            continue
        if plan.facts == {**facts, "batch": batch}:
            return plan
    return None


def write(path: Path, plan: Plan) -> None:
    """Write a plan's file; it is complete or not there.

    Args:
        path: The file.
        plan: The plan.
    """
    facts = {**plan.facts, "digest": hashlib.sha256(plan.content).hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".plan.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + json.dumps(facts, sort_keys=True).encode() + b"\n" + plan.content)
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path) -> Plan:
    """Read a plan's file.

    Args:
        path: The file.

    Raises:
        ValueError: It is no such file, or damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path} is no TensorRT engine of `centertrack export`: export it again")
        line, content = file.readline(_LONGEST_FACTS), file.read()
    try:
        facts = json.loads(line)
        digest = facts.pop("digest")
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path}: its description is damaged: export it again") from None
    if digest != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path} is damaged or incomplete: export it again")
    return Plan(facts, content)


def check_fits(path: Path, facts: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """Raises ValueError if a plan was built for another GPU or another TensorRT.

    Args:
        path: Of the plan, for the message.
        facts: Of the plan.
        here: Of `machine`.
    """
    for key, value in here.items():
        if (built := facts.get(key)) != value:
            raise ValueError(
                f"{path} was built for {_NAMES[key]} {shown(built)}, here is {shown(value)}: export it again on this "
                "machine"
            )


def build(onnx_path: Path, size: tuple[int, int], batch: int) -> bytes:
    """Build a plan for this machine's current GPU; takes minutes.

    Float16 is where the graph has it. In float32 no TF32 is used, which has the 10 bits of float16.

    Args:
        onnx_path: A file of `export.to_onnx`.
        size: (height, width) px of the input.
        batch: Most images at once; fewer are taken too if the file takes any number.

    Returns:
        What TensorRT deserializes.

    Raises:
        ImportError: TensorRT is not installed.
        ValueError: It cannot build the network.
    """
    tensorrt = runtime()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    tensorrt.init_libnvinfer_plugins(logger, "")  # the deformable convolution is one
    try:
        builder = tensorrt.Builder(logger)
    except (TypeError, RuntimeError):  # of its bindings, which get nothing
        raise ValueError("TensorRT cannot start here: it sees no NVIDIA GPU, or the driver is too old") from None
    # Types are those of the graph, as in TensorRT 11 always; before, TensorRT chose them.
    typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(onnx_path.read_bytes()):
        reasons = [str(parser.get_error(index)) for index in range(parser.num_errors)] or ["it does not say why"]
        raise ValueError(f"TensorRT cannot read the network: {' '.join(reasons[0].split())[:300]}")
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    dynamic = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if any(length < 0 for length in tensor.shape):
            dynamic = True
            few, many = input_shapes(tuple(tensor.shape), size, batch)
            shapes.set_shape(tensor.name, few, many, many)
    if dynamic:
        config.add_optimization_profile(shapes)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise ValueError("TensorRT could not build the network; its messages are above")
    return bytes(built)


def input_shapes(
    shape: tuple[int, ...], size: tuple[int, int], batch: int
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """The smallest and the largest shape of an input, where a file takes any.

    Args:
        shape: Of the file's input (B, C, H, W); -1: any.
        size: (height, width) px.
        batch: Most images at once.
    """
    channels = shape[1]
    many = tuple(given if given > 0 else wanted for given, wanted in zip(shape, (batch, channels, *size), strict=True))
    few = (shape[0] if shape[0] > 0 else 1, *many[1:])
    return few, many  # type: ignore[return-value]
