"""Which engine runs some weights on this CPU: the fastest that is present and says what the reference says."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from centertrack_ros.engine import export_cache
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.onnx_engine import OnnxEngine
from centertrack_ros.engine.openvino_engine import OpenVinoEngine

_LOG = logging.getLogger(__name__)
# Engines that run an exported file: name -> variant of the export.
EXPORTED = {"openvino": "f32", "onnxruntime": "f32", "openvino-bf16": "bf16"}
_MODULES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "openvino-bf16": "openvino"}
_EXPORTERS = ("onnx", "onnxscript")
_BUILD_LIMIT_S = 900.0


class EngineUnavailable(RuntimeError):
    """An engine that was asked for by name, and cannot run these weights here; the message says why."""


class NotExported(Exception):
    """An export could be made, but is not there and was not to be made."""


def fastest(weights: Path, flip_test: bool, threads: int | None, build: bool = True) -> Engine | None:
    """The fastest exported engine that is checked and faster than torch; None, and one line that says why, if none is.

    Makes the export if there is none yet, which takes a while; without `build` raises NotExported instead.
    """
    present = [name for name in EXPORTED if EXPORTED[name] == "f32" and _is_installed(_MODULES[name])]
    if not present:
        _LOG.info("engine auto: torch, neither openvino nor onnxruntime is installed")
        return None
    try:
        entry = kept_or_built(weights, flip_test, "f32", threads, build)
    except EngineUnavailable as error:
        _LOG.warning("engine auto: torch, because %s", error)
        return None
    results = entry.manifest["engines"]
    usable = {name: result["ms"] for name, result in results.items() if "ms" in result and "problem" not in result}
    for name in sorted(usable, key=usable.__getitem__):
        others = ", ".join(f"{other} {ms:.1f} ms" for other, ms in sorted(usable.items(), key=lambda i: i[1]))
        if name == "torch":
            _LOG.info("engine auto: torch, the fastest here (%s)", others)
            return None
        try:
            engine = _open(name, entry, threads)
        except (ImportError, ValueError, RuntimeError) as error:
            _LOG.warning("engine %s is not used: %s", name, _one_line(error))
            continue
        _LOG.info("engine auto: %s, the fastest here when it was exported (%s) and checked", name, others)
        return engine
    return None


def named(name: str, weights: Path, flip_test: bool, threads: int | None, build: bool = True) -> Engine:
    """The engine of this name. Raises EngineUnavailable with one sentence when it cannot run these weights here.

    build  as in `fastest`
    """
    if not _is_installed(_MODULES[name]):
        raise EngineUnavailable(f"engine {name} needs {_MODULES[name]}, which is not installed")
    entry = kept_or_built(weights, flip_test, EXPORTED[name], threads, build)
    result = entry.manifest["engines"].get(name, {})
    if "problem" in result:
        raise EngineUnavailable(f"engine {name} cannot run {weights.name}: {result['problem']}")
    try:
        return _open(name, entry, threads)
    except (ImportError, ValueError, RuntimeError) as error:
        raise EngineUnavailable(f"engine {name} cannot run {weights.name}: {_one_line(error)}") from None


def _open(name: str, entry: export_cache.Entry, threads: int | None) -> Engine:
    if name == "onnxruntime":
        return OnnxEngine(entry.path("model.onnx"), threads=threads)
    compiled = entry.folder / "compiled"
    keep = compiled if os.access(entry.folder, os.W_OK) else None
    streams = entry.manifest["engines"].get(name, {}).get("streams", 1)
    return OpenVinoEngine(entry.path("model.xml"), threads, EXPORTED[name], keep, streams)


def kept_or_built(
    weights: Path, flip_test: bool, variant: str, threads: int | None, build: bool = True
) -> export_cache.Entry:
    """The export of these weights for this machine.

    Raises EngineUnavailable when there is none and none can be made, CheckpointError for unusable weights, and without
    `build` NotExported, silently, when one could be made.
    """
    entry, complaints = export_cache.find(weights, flip_test, variant)
    missing = [name for name in _EXPORTERS if not _is_installed(name)] if entry is None else []
    if entry is None and not missing and not build:
        raise NotExported  # what is wrong with what is kept is said when it is made again
    for complaint in complaints:
        _LOG.warning("%s", complaint)
    if entry is not None:
        return entry
    if missing:
        raise EngineUnavailable(f"nothing is exported yet, and {' and '.join(missing)} for that is not installed")
    with _one_builder(weights):
        entry, _ = export_cache.find(weights, flip_test, variant)  # another process may have been faster
        return entry or _build(weights, flip_test, variant, threads)


def _build(weights: Path, flip_test: bool, variant: str, threads: int | None) -> export_cache.Entry:
    from centertrack_ros.network import checkpoints

    checkpoints.load(weights)  # what is wrong with the weights is not for the export to say
    _LOG.warning("exporting %s for this machine, once; this takes half a minute", weights.name)
    command = [
        sys.executable,
        "-m",
        "centertrack_ros.engine.export_process",
        str(weights),
        "--variant",
        variant,
        "--attached",
    ]
    command += ["--flip-test"] if flip_test else []
    command += ["--threads", str(threads)] if threads else []
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    # The builder ends when its standard input does: with this process, however that ends.
    ours, kept_open = os.pipe()
    try:
        done = subprocess.run(
            command, stdin=ours, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, env=environment
        )
    except subprocess.TimeoutExpired:
        raise EngineUnavailable(f"the export of {weights.name} took longer than {_BUILD_LIMIT_S:.0f} s") from None
    finally:
        os.close(ours)
        os.close(kept_open)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        if done.returncode < 0:
            lines = [f"it was ended by signal {-done.returncode}"]  # the kernel's, when memory runs out
        raise EngineUnavailable(f"the export of {weights.name} failed: {(lines or ['it did not say why'])[-1][:400]}")
    entry, complaints = export_cache.find(weights, flip_test, variant)
    if entry is None:
        raise EngineUnavailable("; ".join(complaints) or f"the export of {weights.name} was not kept")
    return entry


@contextmanager
def _one_builder(weights: Path) -> Iterator[None]:
    """Lets one process at a time export the same weights; the others wait for it."""
    import fcntl

    with weights.open("rb") as file:  # a lock on the weights themselves leaves no file behind
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_installed(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
