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
        weights: A .safetensors file of this project or an official checkpoint, an exported file (.onnx or .xml) of
            `centertrack export`, or the name of an embedded model. None: the default model.
        engine: 'auto' or a name of `registry.ENGINES`. 'auto' is the fastest installed engine whose output equals the
            reference: on a CPU it exports the weights at the first start and caches the result beside them
            (`engine.export_cache`), on CUDA it is torch. If a named engine is not available, torch replaces it and the
            log says so in one line. Without torch OpenVINO runs the weights as they are (`engine.direct_engine`).
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
    if engines_for_file(path):
        return _open_exported_file(
            path, engine, replace(options, device="cuda" if device.startswith("cuda") else "cpu")
        )
    if not is_installed("torch"):
        return _open_without_torch(path, engine, replace(options, device=device))
    runs_weights = engine != AUTO and ENGINES[engine].export is None
    if not runs_weights and not dense and not _prefers_cuda(device):
        from centertrack_ros.engine.selection import NotExportedError

        try:
            exported = _select_exported(path, engine, options, build=not background)
        except NotExportedError:
            from centertrack_ros.engine.background import BackgroundEngine

            first = ENGINES[DEFAULT_ENGINE].open(path, options)
            return BackgroundEngine(first, lambda: _select_exported(path, engine, options))
        if exported is not None:
            return exported
    name = engine if runs_weights else DEFAULT_ENGINE
    return ENGINES[name].open(path, replace(options, device=_resolve_device(device)))


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
    default = next(iter(entries))
    if engine not in (AUTO, *entries):
        raise ValueError(f"{path} is run by {default}, got engine '{engine}'")
    if options.flip_test:
        raise ValueError(f"{path}: an exported file contains the flip test or not; choose it when you export")
    return entries[default if engine == AUTO else engine].open(path, options)


def _prefers_cuda(device: str) -> bool:
    """Whether the network runs on CUDA. Does not import torch on a machine without NVIDIA's driver: a faster start."""
    if device == "auto":
        if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvhost-gpu").exists():
            return False
        return is_installed("torch") and _resolve_device("auto").startswith("cuda")
    return device != "cpu"


def _resolve_device(name: str) -> str:
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
