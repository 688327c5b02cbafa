# SPDX-License-Identifier: Apache-2.0
"""The table of engines: how each one is opened, what it needs, and which exported file it runs.

A new engine is one function with the decorator `register_engine`. An engine that runs exported files also states their
form, and then takes part in the export, the check against the reference and the choice of 'auto'. This module imports
neither torch nor a runtime: each function imports its engine when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.profile import ModelProfile

AUTO = "auto"
DEFAULT_ENGINE = "torch"  # runs every network on every machine


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs a network.

    Attributes:
        device: 'cpu', 'cuda', 'cuda:1', …
        flip_test: Average with the mirrored image; exported files contain this decision already.
        dense: Evaluate every head at every cell; exported files contain this decision already.
        threads: CPU threads; None: as many as cores.
        input_size: (width, height) px of the network input, with resize 'fixed'; None: as in the model's profile.
        input_pixels: Px of the network input in each image's own aspect (resize 'budget'); 0: as in the model's
            profile.
        compiled: Folder in which the runtime can cache compiled networks; None: no cache.
        streams: Images of a batch that are processed at once.
        build_size: (height, width) px for which an export for a GPU is built; None: as in the model's profile.
        batch: Images of the largest batch that TensorRT builds for; more are run in parts.
    """

    device: str = "cpu"
    flip_test: bool = False
    dense: bool = False
    threads: int | None = None
    input_size: tuple[int, int] | None = None
    input_pixels: int = 0
    compiled: Path | None = None
    streams: int = 1
    batch: int = 1
    build_size: tuple[int, int] | None = None

    def apply(self, profile: ModelProfile, only: tuple[int, int] | None = None, where: str = "") -> ModelProfile:
        """The model's profile with the requested input size.

        Args:
            profile: As stored with the weights.
            only: (width, height) px of the only input that a network exported for it takes; None: it takes any.
            where: Names the file in messages.

        Raises:
            ValueError: The input size is not a multiple of 32, the number of px is out of range, both are given, or
                the network does not take such an input.
        """
        if only is not None and (self.input_pixels or self.input_size not in (None, only)):
            raise ValueError(f"{where} takes an input of {only[0]}x{only[1]} px only: export it without --size")
        if self.input_size is not None and self.input_pixels:
            raise ValueError("state the input's size or its number of pixels, not both")
        if self.input_pixels:
            return profile.with_input_pixels(self.input_pixels)
        return profile if self.input_size is None else profile.with_input_size(*self.input_size)


DEFAULT_OPTIONS = EngineOptions()


@dataclass(frozen=True)
class ExportForm:
    """The exported file that an engine runs.

    Attributes:
        file: Its name in a folder of the export cache; the suffix identifies exported files that users name.
        variant: 'f32' (equal to the reference but for rounding), 'bf16' or 'fp16': the engine's precision, and the form
            of the graph that suits it.
        convert: Makes the file from the ONNX file: (ONNX path, path to write); None: it is the ONNX file.
        streams: Largest number of streams to measure for batches; 1: images run one after the other.
        built: Suffix of files for one GPU that it runs as well; '': there are none.
    """

    file: str
    variant: str = "f32"
    convert: Callable[[Path, Path], None] | None = None
    streams: int = 1
    built: str = ""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of files that users name; whether such a graph computes in float16 is its own matter."""
        return () if self.variant == "fp16" else tuple(filter(None, (Path(self.file).suffix, self.built)))


EngineFactory = Callable[[Path, EngineOptions], Engine]


@dataclass(frozen=True)
class EngineEntry:
    """One engine of the table.

    Attributes:
        name: As in `load_engine`.
        open: (weights or exported file, options) -> engine; raises ImportError or ValueError.
        package: Python package that must be installed; '': none but this package's own dependencies.
        export: The exported file that the engine runs; None: it runs the weights themselves.
        gpu: It runs on NVIDIA GPUs only.
        extra: Of this package (`pip install 'centertrack_ros[…]'`), which brings the Python package.
        provider: Of ONNX Runtime, by which the engine runs; '': another engine.
    """

    name: str
    open: EngineFactory
    package: str = ""
    export: ExportForm | None = None
    gpu: bool = False
    extra: str = ""
    provider: str = ""

    def unavailable_reason(self) -> str:
        """Why the engine cannot run on this machine, as one clause; '' if it can."""
        hint = f": pip install 'centertrack_ros[{self.extra}]'" if self.extra else ""
        if self.package and not is_installed(self.package):
            return f"engine {self.name} needs {self.package}, which is not installed{hint}"
        if self.provider and self.provider not in _providers():
            return f"engine {self.name} needs an onnxruntime with {self.provider}, which the installed one lacks{hint}"
        if self.gpu and not has_gpu():
            return f"engine {self.name} needs an NVIDIA GPU, and torch sees none here"
        return ""


ENGINES: dict[str, EngineEntry] = {}


def _providers() -> list[str]:
    """What the installed ONNX Runtime can run networks by; onnxruntime and onnxruntime-gpu are one Python package."""
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers())
    except Exception:  # a build for other libraries fails in many ways
        return []


def has_gpu() -> bool:
    """Whether torch sees an NVIDIA GPU."""
    import torch

    return torch.cuda.is_available()


def register_engine(
    name: str,
    package: str = "",
    export: ExportForm | None = None,
    gpu: bool = False,
    extra: str = "",
    provider: str = "",
) -> Callable[[EngineFactory], EngineFactory]:
    """Decorator: adds an engine to the table.

    Args:
        name: As in `load_engine`.
        package: See `EngineEntry`.
        export: See `EngineEntry`.
        gpu: See `EngineEntry`.
        extra: See `EngineEntry`.
        provider: See `EngineEntry`.

    Raises:
        ValueError: There is an engine of this name.
    """

    def register(factory: EngineFactory) -> EngineFactory:
        if name in ENGINES or name == AUTO:
            raise ValueError(f"engine '{name}' is registered already")
        ENGINES[name] = EngineEntry(name, factory, package, export, gpu, extra, provider)
        return factory

    return register


def engine_names() -> tuple[str, ...]:
    """All names that `load_engine` accepts."""
    return (AUTO, *ENGINES)


def exported_engines(variant: str, gpu: bool = False) -> list[EngineEntry]:
    """The engines that run an export of this variant, on CPUs or on GPUs.

    On a CPU those in float32 run the graph of a lower precision as well; a graph for float16 has float16 in it.

    Args:
        variant: 'f32', 'bf16' or 'fp16'.
        gpu: Those for GPUs instead of those for CPUs.
    """
    fitting = (variant,) if gpu else ("f32", variant)
    return [
        entry
        for entry in ENGINES.values()
        if entry.export is not None and entry.gpu == gpu and entry.export.variant in fitting
    ]


def own_engine(variant: str, gpu: bool) -> str:
    """The engine that runs the weights themselves in the precision of an export, which takes part in the choice.

    Args:
        variant: 'f32', 'bf16' or 'fp16'.
        gpu: On a GPU, where torch has float16.
    """
    return "torch-fp16" if gpu and variant == "fp16" else DEFAULT_ENGINE


def engines_for_file(path: Path) -> list[EngineEntry]:
    """The engines that run exported files with this suffix; the first one is the default of its kind of device."""
    return [entry for entry in ENGINES.values() if entry.export is not None and path.suffix in entry.export.suffixes]


def is_installed(package: str) -> bool:
    """Whether a Python package can be found, without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


@register_engine("torch")
def _torch(path: Path, options: EngineOptions) -> Engine:
    return _open_torch(path, options)


@register_engine("torch-compile")
def _torch_compile(path: Path, options: EngineOptions) -> Engine:
    return _open_torch(path, options, compiled=True)


@register_engine("torch-fp16")
def _torch_fp16(path: Path, options: EngineOptions) -> Engine:
    if options.dense:
        raise ValueError("engine torch-fp16 evaluates heads at the peaks only; engine torch can do it everywhere")
    return _open_torch(path, options, half=True)


def _open_torch(path: Path, options: EngineOptions, compiled: bool = False, half: bool = False) -> Engine:
    from centertrack_ros.engine.torch_engine import TorchEngine
    from centertrack_ros.network import checkpoints

    network, profile = checkpoints.load(path)
    profile = options.apply(profile)
    if half or (options.device.startswith("cuda") and not options.dense):
        from centertrack_ros.engine.cuda_engine import CudaEngine

        return CudaEngine(network, profile, options.device, options.flip_test, half, compiled=compiled)
    kind = TorchEngine
    if compiled:
        from centertrack_ros.engine.compiled_engine import CompiledEngine

        kind = CompiledEngine
    return kind(
        network, profile, options.device, flip_test=options.flip_test, dense=options.dense, threads=options.threads
    )


@register_engine("onnxruntime", package="onnxruntime", export=ExportForm("model.onnx"))
def _onnxruntime(path: Path, options: EngineOptions) -> Engine:
    from centertrack_ros.engine.onnx_engine import OnnxEngine

    return OnnxEngine(path, options)


def _to_openvino(onnx_path: Path, path: Path) -> None:
    from centertrack_ros.engine import export

    export.to_openvino(onnx_path, path)


@register_engine("openvino", package="openvino", export=ExportForm("model.xml", convert=_to_openvino, streams=2))
def _openvino(path: Path, options: EngineOptions) -> Engine:
    from centertrack_ros.engine.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(path, options)


@register_engine(
    "openvino-bf16",
    package="openvino",
    export=ExportForm("model.xml", variant="bf16", convert=_to_openvino, streams=2),
)
def _openvino_bf16(path: Path, options: EngineOptions) -> Engine:
    from centertrack_ros.engine.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(path, options, precision="bf16")


def _on_gpu(name: str, provider: str, extra: str, variant: str) -> None:
    """Adds an engine that runs by a provider of ONNX Runtime for GPUs."""

    @register_engine(
        name,
        package="onnxruntime",
        export=ExportForm("model.onnx", variant),
        gpu=True,
        extra=extra,
        provider=provider,
    )
    def _open(path: Path, options: EngineOptions) -> Engine:
        from centertrack_ros.engine.onnx_device_engine import OnnxDeviceEngine

        return OnnxDeviceEngine(path, options, name, provider)


def _tensorrt_engine(name: str, variant: str) -> None:
    """Adds an engine of TensorRT itself."""

    @register_engine(
        name,
        package="tensorrt",
        export=ExportForm("model.onnx", variant, built=".engine"),
        gpu=True,
        extra="tensorrt",
    )
    def _open(path: Path, options: EngineOptions) -> Engine:
        from centertrack_ros.engine.tensorrt_engine import TensorRtEngine

        return TensorRtEngine(path, options, name)


for _suffix, _variant in (("", "f32"), ("-fp16", "fp16")):
    _on_gpu(f"onnxruntime-cuda{_suffix}", "CUDAExecutionProvider", "onnx-gpu", _variant)
    _on_gpu(f"onnxruntime-tensorrt{_suffix}", "TensorrtExecutionProvider", "onnx-gpu", _variant)
    _tensorrt_engine(f"tensorrt{_suffix}", _variant)
