# SPDX-License-Identifier: Apache-2.0
"""Chooses the engine for some weights on this CPU: the fastest available one whose output equals the reference.

Equal means but for rounding: in float32, or in a precision that the profile of the weights states as verified.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from centertrack_ros.engine import export_cache, gpu
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.registry import (
    DEFAULT_ENGINE,
    ENGINES,
    EngineEntry,
    EngineOptions,
    exported_engines,
    is_installed,
    own_engine,
)
from centertrack_ros.network.profile import PrecisionCheck, stored_profile

_LOG = logging.getLogger(__name__)
_EXPORTERS = ("onnx", "onnxscript")
_EXPORT_TIMEOUT_S = 900.0
_BUILD_TIMEOUT_S = 3600.0  # of networks by TensorRT, on a small robot
_PRECISION_NAMES = {"f32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# Flags of CPUs that compute in a precision; others emulate it, slower than float32.
_PRECISION_FLAGS = {"bf16": {"avx512_bf16", "amx_bf16"}}


class EngineUnavailableError(RuntimeError):
    """A requested engine cannot run these weights here; the message says why."""


class NotExportedError(Exception):
    """There is no export yet; it could be made, but the caller did not allow it."""


def select_fastest(weights: Path, options: EngineOptions, build: bool = True) -> Engine | None:
    """Open the fastest exported engine that passed its check and is faster than torch.

    Args:
        weights: The file.
        options: How the engine runs.
        build: Whether to export if there is no export yet, which takes half a minute.

    Returns:
        The engine, or None, after one line in the log that says why there is none.

    Raises:
        NotExportedError: There is no export, and `build` is False.
    """
    available = [entry for entry in exported_engines("f32") if not entry.unavailable_reason()]
    if not available:
        _LOG.info("engine auto: torch, neither openvino nor onnxruntime is installed")
        return None
    checks = verified_precisions(weights)
    cached = None
    for variant in (*checks, "f32"):
        try:
            cached = find_or_export(weights, options, variant, build)
            break
        except EngineUnavailableError as error:
            _LOG.warning("engine auto: %s, because %s", "torch" if variant == "f32" else "float32", error)
    if cached is None:
        return None
    return _open_fastest(cached, options, checks, DEFAULT_ENGINE)


def _open_fastest(
    cached: export_cache.CachedExport, options: EngineOptions, checks: Mapping[str, PrecisionCheck], own: str
) -> Engine | None:
    """The fastest engine of an export that opens. None, after one line in the log: torch, by its engine `own`."""
    usable = _usable(cached, checks)
    for name in sorted(usable, key=usable.__getitem__):
        times = ", ".join(f"{other} {ms:.1f} ms" for other, ms in sorted(usable.items(), key=lambda i: i[1]))
        if name == own:
            _LOG.info("engine auto: %s, the fastest here (%s)", own, times)
            return None
        try:
            engine = _open(ENGINES[name], cached, options)
        except (ImportError, ValueError, RuntimeError, KeyError) as error:
            _LOG.warning("engine %s is not used: %s", name, _one_line(error))
            continue
        precision = describe_precision(name, checks)
        _LOG.info("engine auto: %s, the fastest here when it was exported (%s) and checked; %s", name, times, precision)
        return engine
    return None


def select_on_gpu(weights: Path, options: EngineOptions) -> Engine:
    """Open the engine that 'auto' takes on a GPU: the fastest of an export that `centertrack export --build-only` made.

    Without such an export it is torch by CUDA graphs, because what the others need to start takes minutes. Float16 is
    used for weights whose profile states it as verified, else float32.

    Args:
        weights: The file.
        options: How the engine runs; the device is a GPU.
    """
    checks = verified_precisions(weights, on_gpu=True)
    variant = "fp16" if checks else "f32"
    own = own_engine(variant, gpu=True)
    cached, warnings = export_cache.find(weights, options.flip_test, variant, _graphics(options))
    for warning in warnings:
        _LOG.warning("%s", warning)
    if cached is not None:
        engine = _open_fastest(cached, options, checks, own)
        if engine is not None:
            return engine
    elif any(not entry.unavailable_reason() for entry in exported_engines(variant, gpu=True)):
        _LOG.info("engine auto: %s; `centertrack export --build-only` tries other engines and keeps the fastest", own)
    return ENGINES[own].open(weights, options)


def _usable(cached: export_cache.CachedExport, checks: Mapping[str, PrecisionCheck]) -> dict[str, float]:
    """The engines that 'auto' may take -> ms."""
    usable = {}
    for name, result in cached.manifest["engines"].items():
        if "ms" not in result or "problem" in result:
            continue
        if (entry := ENGINES.get(name)) and (form := entry.export):
            if form.variant != "f32" and form.variant not in checks:
                continue
            if form.variant != "f32" and "doubt" in result:
                _LOG.warning("engine auto: not %s, although its precision is verified: %s", name, result["doubt"])
                continue
        usable[name] = result["ms"]
    return usable


def verified_precisions(weights: Path, on_gpu: bool = False) -> dict[str, PrecisionCheck]:
    """The precisions below float32 that 'auto' may use for these weights here, with what was measured.

    Args:
        weights: The file; only a profile in it can state them.
        on_gpu: On a GPU, which has float16, instead of on this CPU.
    """
    profile = stored_profile(weights)
    checks = {} if profile is None else profile.verified_precisions
    if on_gpu:
        return {precision: check for precision, check in checks.items() if precision == "fp16"}
    flags = set(export_cache.cpu()["flags"].split())
    return {
        precision: check
        for precision, check in checks.items()
        if flags & _PRECISION_FLAGS.get(precision, set())
        and any(not entry.unavailable_reason() for entry in exported_engines(precision) if _variant(entry) == precision)
    }


def _variant(entry: EngineEntry) -> str:
    return "f32" if entry.export is None else entry.export.variant


def describe_precision(name: str, checks: Mapping[str, PrecisionCheck]) -> str:
    """The precision in which an engine computes, as one clause.

    Args:
        name: Of the engine.
        checks: Of `verified_precisions`.
    """
    entry = ENGINES.get(name)
    variant = entry.export.variant if entry is not None and entry.export is not None else "f32"
    if name.startswith("torch") and name.endswith("-fp16"):
        variant = "fp16"
    if variant not in checks:
        return f"in {_PRECISION_NAMES[variant]}"
    exact = name.removesuffix(f"-{variant}")
    return (
        f"in {_PRECISION_NAMES[variant]}, which is verified for these weights: {checks[variant]}; "
        f"engine '{exact}' is float32"
    )


def select_by_name(name: str, weights: Path, options: EngineOptions, build: bool = True) -> Engine:
    """Open the exported engine of this name.

    Args:
        name: Key of `registry.ENGINES`, of an engine that runs exported files.
        weights: The file.
        options: How the engine runs.
        build: Whether to export if there is no export yet.

    Raises:
        EngineUnavailableError: It cannot run these weights here.
        NotExportedError: There is no export, and `build` is False.
    """
    entry = ENGINES[name]
    if reason := entry.unavailable_reason():
        raise EngineUnavailableError(reason)
    if entry.gpu and not options.device.startswith("cuda"):
        raise EngineUnavailableError(f"engine {name} runs on an NVIDIA GPU, and the device is '{options.device}'")
    assert entry.export is not None
    cached = None if entry.gpu else _kept_for_auto(name, weights, options)
    cached = cached or find_or_export(weights, options, entry.export.variant, build)
    result = cached.manifest["engines"].get(name, {})
    if "problem" in result:
        raise EngineUnavailableError(f"engine {name} cannot run {weights.name}: {result['problem']}")
    try:
        return _open(entry, cached, options)
    except (ImportError, ValueError, RuntimeError) as error:
        raise EngineUnavailableError(f"engine {name} cannot run {weights.name}: {_one_line(error)}") from None


def _kept_for_auto(name: str, weights: Path, options: EngineOptions) -> export_cache.CachedExport | None:
    """The export that 'auto' runs in a lower precision, if this engine was checked on it too."""
    for variant in verified_precisions(weights):
        cached, _ = export_cache.find(weights, options.flip_test, variant)
        if cached is not None and name in cached.manifest["engines"]:
            return cached
    return None


def _open(entry: EngineEntry, cached: export_cache.CachedExport, options: EngineOptions) -> Engine:
    assert entry.export is not None
    # What was built for a GPU is there already, and is used even if nothing can be added to it.
    compiled = cached.folder / "compiled" if entry.gpu or os.access(cached.folder, os.W_OK) else None
    streams = cached.manifest["engines"].get(entry.name, {}).get("streams", 1)
    return entry.open(cached.path(entry.export.file), replace(options, compiled=compiled, streams=streams))


def find_or_export(
    weights: Path, options: EngineOptions, variant: str, build: bool = True
) -> export_cache.CachedExport:
    """Find the export of these weights for this machine, or make it.

    Args:
        weights: The file.
        options: Flip test, threads and device matter; on a GPU the batch and the size for which to build, too.
        variant: 'f32', 'bf16' or 'fp16'.
        build: Whether to make it.

    Raises:
        EngineUnavailableError: There is none, and none can be made.
        CheckpointError: The weights are not usable.
        NotExportedError: There is none, it could be made, but `build` is False. Nothing is logged then.
    """
    graphics = _graphics(options)
    cached, warnings = export_cache.find(weights, options.flip_test, variant, graphics)
    missing = [name for name in _EXPORTERS if not is_installed(name)] if cached is None else []
    if cached is None and not missing and not build:
        raise NotExportedError  # the warnings come when it is exported again
    for warning in warnings:
        _LOG.warning("%s", warning)
    if cached is not None:
        return cached
    if missing:
        raise EngineUnavailableError(f"nothing is exported yet, and {' and '.join(missing)} for that is not installed")
    with _export_lock(weights):
        cached, _ = export_cache.find(
            weights, options.flip_test, variant, graphics
        )  # another process can have been faster
        return cached or _export(weights, options, variant)


def _export(weights: Path, options: EngineOptions, variant: str) -> export_cache.CachedExport:
    from centertrack_ros.network import checkpoints

    checkpoints.load(weights)  # unusable weights are an error of their own, not of the export
    graphics = _graphics(options)
    duration = "half a minute" if graphics is None else "minutes, if TensorRT is installed"
    _LOG.warning("exporting %s for this machine, once; this takes %s", weights.name, duration)
    command = [sys.executable, "-m", "centertrack_ros.engine.export_process", str(weights)]
    command += ["--variant", variant, "--attached"]
    command += ["--flip-test"] if options.flip_test else []
    command += ["--threads", str(options.threads)] if options.threads else []
    if graphics is not None:
        command += ["--device", options.device, "--batch", str(options.batch)]
        command += ["--size", *map(str, options.build_size)] if options.build_size else []
    timeout = _EXPORT_TIMEOUT_S if graphics is None else _BUILD_TIMEOUT_S
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    # The process ends when its standard input closes: together with this process, for whatever reason that ends.
    read_end, write_end = os.pipe()
    try:
        done = subprocess.run(command, stdin=read_end, capture_output=True, text=True, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired:
        raise EngineUnavailableError(f"the export of {weights.name} took longer than {timeout:.0f} s") from None
    finally:
        os.close(read_end)
        os.close(write_end)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        if done.returncode < 0:
            lines = [f"it was ended by signal {-done.returncode}"]  # the kernel's, when memory runs out
        raise EngineUnavailableError(
            f"the export of {weights.name} failed: {(lines or ['it did not say why'])[-1][:400]}"
        )
    cached, warnings = export_cache.find(weights, options.flip_test, variant, graphics)
    if cached is None:
        raise EngineUnavailableError("; ".join(warnings) or f"the export of {weights.name} was not cached")
    return cached


def _graphics(options: EngineOptions) -> dict[str, str] | None:
    """What an export for the options' GPU depends on; None: it is for the CPU."""
    return gpu.facts(options.device) if options.device.startswith("cuda") else None


@contextmanager
def _export_lock(weights: Path) -> Iterator[None]:
    """Lets one process at a time export the same weights; the others wait for it."""
    import fcntl

    with weights.open("rb") as file:  # a lock on the weights themselves leaves no file behind
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
