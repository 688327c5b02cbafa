# SPDX-License-Identifier: Apache-2.0
"""From the name of a weights file to an engine that runs it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.registry import (
    AUTO,
    DEFAULT_ENGINE,
    ENGINES,
    EngineOptions,
    engine_names,
    engines_for_file,
    is_installed,
    own_engine,
)
from centertrack_ros.network.registry import weights_path

_LOG = logging.getLogger(__name__)


def load_engine(
    weights: str | Path | None = None,
    engine: str = AUTO,
    device: str = "auto",
    flip_test: bool = False,
    dense: bool = False,
    threads: int | None = None,
    background: bool = False,
    input_size: tuple[int, int] | None = None,
    input_pixels: int = 0,
) -> Engine:
    """Load weights into an engine that is ready to run.

    Args:
        weights: A .safetensors file of this project or an official checkpoint, an exported file (.onnx, .xml,
            .engine) of `centertrack export`, or the name of an embedded model. None: the default model.
        engine: 'auto' or a name of `registry.ENGINES`. 'auto' is the fastest installed engine whose output equals the
            reference: on a CPU it exports the weights at the first start and caches the result beside them
            (`engine.export_cache`); on CUDA it is torch, or what `centertrack export --build-only` found to be faster.
            If a named engine is not available, torch replaces it and the log says so in one line.
            Without torch OpenVINO runs the weights as they are (`engine.direct_engine`).
        device: 'auto' (CUDA if there is one), 'cpu', 'cuda', 'cuda:1', …
        flip_test: Average with the mirrored image (twice the time).
        dense: Evaluate every head at every cell, by torch; the same numbers, slower.
        threads: CPU threads; None: as many as cores.
        background: Where the weights must be exported first, torch runs meanwhile and the call does not wait.
        input_size: (width, height) px of the network input, multiples of 32, with resize 'fixed'. None: as in the
            model's profile.
        input_pixels: Px of the network input, in each image's own aspect; 0: as in the model's profile.

    Returns:
        The engine. Its profile has the requested input size and does not change.

    Raises:
        CheckpointError: The weights are not usable (a ValueError).
        ValueError: The engine is unknown, the device is absent, the input size is not a multiple of 32, or the model
            cannot have this number of input px.
        FileNotFoundError: There is no such file.
    """
    if engine not in engine_names():
        raise ValueError(f"engine must be one of {', '.join(engine_names())}, got '{engine}'")
    path = weights_path(weights)
    options = EngineOptions(
        flip_test=flip_test, dense=dense, threads=threads, input_size=input_size, input_pixels=input_pixels
    )
    if not is_installed("torch") and not engines_for_file(path):
        return _open_without_torch(path, engine, replace(options, device=device))
    on_gpu = _prefers_cuda(device)
    options = replace(options, device=resolve_device(device) if on_gpu else "cpu")
    if engines_for_file(path):
        return _open_exported_file(path, engine, options)
    if engine != AUTO and ENGINES[engine].export is None:
        return ENGINES[engine].open(path, options)
    if not dense and (exported := _open_exported(path, engine, device, options, background)) is not None:
        return exported
    return ENGINES[DEFAULT_ENGINE].open(path, options)


def _open_exported(path: Path, engine: str, device: str, options: EngineOptions, background: bool) -> Engine | None:
    """An engine that runs an export of the weights, or what 'auto' takes; None: torch, and the log says why."""
    from centertrack_ros.engine.selection import NotExportedError, select_on_gpu

    on_gpu, own = options.device != "cpu", DEFAULT_ENGINE
    if engine == AUTO and on_gpu:
        return select_on_gpu(path, options)
    if engine != AUTO:
        entry = ENGINES[engine]
        if on_gpu and not entry.gpu:
            if device != "auto":
                _LOG.warning("engine %s runs on the CPU; torch on %s is used instead", engine, options.device)
                return None
            options = replace(options, device="cpu")
        assert entry.export is not None
        own = own_engine(entry.export.variant, entry.gpu and on_gpu)
    try:
        return _select_exported(path, engine, options, build=not background)
    except NotExportedError:
        from centertrack_ros.engine.background import BackgroundEngine

        first = ENGINES[own].open(path, options)
        return BackgroundEngine(first, lambda: _select_exported(path, engine, options))


def _open_without_torch(path: Path, engine: str, options: EngineOptions) -> Engine:
    from centertrack_ros.engine.direct_engine import open_without_torch

    opened = open_without_torch(path, options)
    if engine in (AUTO, "openvino"):
        _LOG.info("engine %s: openvino, in float32; torch, which the others need, is not installed", engine)
    else:
        _LOG.warning("engine %s needs torch, which is not installed; openvino is used instead", engine)
    return opened


def _select_exported(path: Path, engine: str, options: EngineOptions, build: bool = True) -> Engine | None:
    from centertrack_ros.engine import selection

    if engine == AUTO:
        return selection.select_fastest(path, options, build)
    try:
        return selection.select_by_name(engine, path, options, build)
    except selection.EngineUnavailableError as error:
        _LOG.warning("%s; torch is used instead", error)
        return None


def _open_exported_file(path: Path, engine: str, options: EngineOptions) -> Engine:
    entries = {entry.name: entry for entry in engines_for_file(path)}
    if engine not in (AUTO, *entries):
        raise ValueError(f"{path} is run by {' or '.join(entries)}, got engine '{engine}'")
    if options.flip_test:
        raise ValueError(f"{path}: an exported file contains the flip test or not; choose it when you export")
    for_gpu = [entry for entry in entries.values() if entry.gpu]
    for_cpu = [entry for entry in entries.values() if not entry.gpu]
    if engine == AUTO and for_cpu:
        for entry in for_gpu if options.device != "cpu" else []:
            try:
                if not entry.unavailable_reason():
                    return entry.open(path, options)
            except (ImportError, ValueError, RuntimeError) as error:
                _LOG.warning("engine %s is not used: %s", entry.name, " ".join(str(error).split())[:400])
        return for_cpu[0].open(path, replace(options, device="cpu"))
    entry = for_gpu[0] if engine == AUTO else entries[engine]
    if not entry.gpu:
        return entry.open(path, replace(options, device="cpu"))
    if reason := entry.unavailable_reason():
        raise ValueError(f"{path}: {reason}")
    if options.device == "cpu":
        raise ValueError(f"{path}: engine {entry.name} runs on an NVIDIA GPU, got device 'cpu'")
    return entry.open(path, options)


def _prefers_cuda(device: str) -> bool:
    """Whether the network runs on CUDA. Does not import torch on a machine without NVIDIA's driver: a faster start."""
    if device == "auto":
        if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvhost-gpu").exists():
            return False
        return is_installed("torch") and resolve_device("auto").startswith("cuda")
    return device != "cpu"


def resolve_device(name: str) -> str:
    """The device that a name stands for on this machine.

    Args:
        name: 'auto' (CUDA if there is one), 'cpu', 'cuda', 'cuda:1', …

    Raises:
        ValueError: There is no such device.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda[:number]', got '{name}'") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device '{name}' is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return name
