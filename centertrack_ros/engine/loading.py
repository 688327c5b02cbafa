"""From the name of a weights file to an engine that runs it."""

from __future__ import annotations

import logging
from pathlib import Path

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.registry import weights_path

ENGINES = ("auto", "torch", "torch-compile", "onnxruntime", "openvino", "openvino-bf16")
_EXPORTED_FILES = {".onnx": "onnxruntime", ".xml": "openvino"}
_LOG = logging.getLogger(__name__)


def load_engine(
    weights: str | Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    flip_test: bool = False,
    dense: bool = False,
    threads: int | None = None,
    background: bool = False,
) -> Engine:
    """An engine with these weights, ready to run.

    weights  a .safetensors file of this project or an official checkpoint, or an .onnx or .xml file that `centertrack
             export` wrote, or the name of an embedded model; None: the default one
    engine   one of `ENGINES`. 'auto' is the fastest that is installed and whose answers are those of the reference: on
             a CPU it exports the weights the first time and keeps the result beside them (`engine.cache`), on CUDA it
             is torch. One that is asked for by name and cannot be had is replaced by torch, with one line in the log
    device   'auto' (CUDA if there is one), 'cpu', 'cuda', 'cuda:1', …
    threads  CPU threads; None: as many as cores
    background  where the weights must be exported first, torch answers until that is done, which nobody waits for
    others   as in `TorchEngine`

    Raises CheckpointError (a ValueError) for unusable weights, ValueError for an unknown engine or an absent device,
    FileNotFoundError when there is no such file.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got '{engine}'")
    path = weights_path(weights)
    if path.suffix in _EXPORTED_FILES:
        return _load_exported(path, engine, device, flip_test, threads)
    if not engine.startswith("torch") and not dense and not _wants_cuda(device):
        from centertrack_ros.engine.selection import NotExported

        try:
            found = _load_kept(path, engine, flip_test, threads, build=not background)
        except NotExported:
            from centertrack_ros.engine.background import BackgroundEngine

            first = _load_torch(path, "torch", "cpu", flip_test, dense, threads)
            return BackgroundEngine(first, lambda: _load_kept(path, engine, flip_test, threads))
        if found is not None:
            return found
    return _load_torch(path, engine, device, flip_test, dense, threads)


def _load_kept(path: Path, engine: str, flip_test: bool, threads: int | None, build: bool = True) -> Engine | None:
    from centertrack_ros.engine import selection

    if engine == "auto":
        return selection.fastest(path, flip_test, threads, build)
    try:
        return selection.named(engine, path, flip_test, threads, build)
    except selection.EngineUnavailable as error:
        _LOG.warning("%s; torch is used instead", error)
        return None


def _load_torch(path: Path, engine: str, device: str, flip_test: bool, dense: bool, threads: int | None) -> Engine:
    from centertrack_ros.engine.torch_engine import TorchEngine
    from centertrack_ros.network import checkpoints

    network, profile = checkpoints.load(path)
    device = _device(device)
    if device.startswith("cuda") and not dense:
        from centertrack_ros.engine.cuda_engine import CudaEngine

        return CudaEngine(network, profile, device, flip_test=flip_test)
    if engine == "torch-compile":
        from centertrack_ros.engine.compiled_engine import CompiledEngine

        return CompiledEngine(network, profile, device, flip_test=flip_test, dense=dense, threads=threads)
    return TorchEngine(network, profile, device, flip_test=flip_test, dense=dense, threads=threads)


def _load_exported(path: Path, engine: str, device: str, flip_test: bool, threads: int | None) -> Engine:
    """The engine of an exported file, in which the flip test is settled already."""
    suits = _EXPORTED_FILES[path.suffix]
    if engine not in ("auto", suits, f"{suits}-bf16"):
        raise ValueError(f"{path} is run by {suits}, got engine '{engine}'")
    if flip_test:
        raise ValueError(f"{path}: whether an exported file does the flip test is settled when it is exported")
    if suits == "openvino":
        from centertrack_ros.engine.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(path, threads, "bf16" if engine == "openvino-bf16" else "f32")
    from centertrack_ros.engine.onnx_engine import OnnxEngine

    return OnnxEngine(path, "cuda" if device.startswith("cuda") else "cpu", threads)


def _wants_cuda(device: str) -> bool:
    """Whether torch must be asked; on a machine without NVIDIA's driver it need not be, and starting is faster."""
    if device == "auto":
        import importlib.util

        if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvhost-gpu").exists():
            return False
        return importlib.util.find_spec("torch") is not None and _device("auto").startswith("cuda")
    return device != "cpu"


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda[:number]', got '{name}'") from None
    if kind.type == "cuda" and (not torch.cuda.is_available() or (kind.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device '{name}' is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return name
