# SPDX-License-Identifier: Apache-2.0
"""Exports weights for this machine, checks the result, and caches it; runs as a separate process.

    python -m centertrack_ros.engine.export_process WEIGHTS [--variant bf16] [--flip-test] [--threads N] [--attached]
                                                    [--device cuda] [--batch N]

The last line on standard output is the folder. To trace a network takes a gigabyte of memory and can crash a process:
here only this process ends, and its memory is free again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from centertrack_ros.engine import export_cache, gpu, verification
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.registry import ENGINES, EngineEntry, EngineOptions, exported_engines, own_engine
from centertrack_ros.network.peaks import Peaks

VARIANTS = ("f32", "bf16", "fp16")
_SMALL = (128, 160)  # (height, width) px of a quick check
_SIGNIFICANT = 0.95  # ratio of times: a gain within the noise is not worth a second compiled network
_NICENESS = 5  # other processes get three times as much of a CPU


def export_weights(
    weights: Path,
    flip_test: bool = False,
    variant: str = "f32",
    threads: int | None = None,
    device: str = "cpu",
    batch: int = 1,
    size: tuple[int, int] | None = None,
) -> export_cache.CachedExport:
    """Export weights for this machine, check and measure every engine, and cache the result.

    Args:
        weights: The file.
        flip_test: Whether the export averages with the mirrored image.
        variant: 'f32', 'bf16' or 'fp16'.
        threads: CPU threads; None: as many as cores.
        device: 'cpu', or a GPU: for the engines that run there.
        batch: The largest batch for engines that are built for one.
        size: (height, width) px for which engines are built and measured; None: that of the model's profile.

    Returns:
        The cached export. The manifest's 'engines' holds per engine its time ('ms'), its 'agreement' with the
        reference, the 'problem' if it cannot be used, and the 'doubt' if 'auto' must not use it.

    Raises:
        ValueError: The weights are not usable.
        OSError: The export cannot be written.
        ImportError: onnx or onnxscript is not installed.
    """
    import torch

    from centertrack_ros.engine import export
    from centertrack_ros.engine.torch_engine import TorchEngine
    from centertrack_ros.network import checkpoints

    torch.manual_seed(0)
    network, profile = checkpoints.load(weights)
    on_gpu = device != "cpu"
    graphics = gpu.facts(device) if on_gpu else None
    key = export_cache.cache_key(weights, flip_test, variant, graphics)
    with export_cache.writing(weights, key) as folder:
        traced = export.trace(network, profile, flip_test=flip_test, shuffle=variant == "bf16", half=variant == "fp16")
        export.to_onnx(traced, folder / "model.onnx")
        reference = TorchEngine(network, profile, flip_test=flip_test, dense=True, fuse=False, threads=threads)
        size = size or (profile.input_height, profile.input_width)
        measured = partial(_run_batch, size=size, batch=batch) if on_gpu else partial(_run_both, size=size)
        expected = measured(reference)
        options = EngineOptions(device=device, threads=threads, batch=batch)
        if on_gpu:  # what is built for its sizes is kept with the export
            options = replace(options, compiled=folder / "compiled")
        first = own_engine(variant, on_gpu)
        own = replace(options, flip_test=flip_test)
        engines: dict[str, Engine] = {first: ENGINES[first].open(weights, own)}
        results: dict[str, dict[str, Any]] = {}
        if on_gpu:
            results[first] = _judge(expected, measured(engines[first]), variant == "f32")
        for entry in exported_engines(variant, on_gpu):
            engine, results[entry.name] = _try(entry, folder, options, measured, expected)
            if engine is not None:
                engines[entry.name] = engine
        for name, ms in verification.measure_latency(engines, size).items():
            results.setdefault(name, {})["ms"] = round(ms, 2)
        for entry in exported_engines(variant, on_gpu):
            if entry.name in engines and entry.export is not None and entry.export.streams > 1:
                results[entry.name].update(_measure_streams(entry, engines[entry.name], folder, options, size))
        export_cache.write_manifest(folder, key, {"profile": profile.to_json(), "engines": results})
    cached, warnings = export_cache.find(weights, flip_test, variant, graphics)
    if cached is None:
        raise OSError("; ".join(warnings) or "the export vanished")
    export_cache.prune(cached)
    return cached


def _run_both(engine: Engine, size: tuple[int, int]) -> list[list[Peaks]]:
    """Peaks of a small batch and of one image of the model's nominal size."""
    return [verification.run_reference(engine, _SMALL, 2), verification.run_reference(engine, size, 1, seed=9)]


def _run_batch(engine: Engine, size: tuple[int, int], batch: int) -> list[list[Peaks]]:
    """Peaks of one batch: TensorRT builds for each size, which takes minutes."""
    return [verification.run_reference(engine, size, batch, seed=9)]


def _try(
    entry: EngineEntry,
    folder: Path,
    options: EngineOptions,
    run: Callable[[Engine], list[list[Peaks]]],
    expected: list[list[Peaks]],
) -> tuple[Engine | None, dict[str, Any]]:
    """Opens an engine and compares its peaks; None if it cannot be used. A missing package is a problem like others."""
    assert entry.export is not None
    if entry.gpu and (reason := entry.unavailable_reason()):
        return None, {"problem": reason}
    try:
        engine = _convert_and_open(entry, folder, options)
        result = _judge(expected, run(engine), entry.export.variant == "f32")
    except (ImportError, ValueError, RuntimeError) as error:
        return None, {"problem": " ".join(str(error).split())}
    return (None if "problem" in result else engine), result


def _judge(expected: list[list[Peaks]], predicted: list[list[Peaks]], in_float32: bool) -> dict[str, Any]:
    """The 'agreement' of an engine with the reference, and the 'problem' or the 'doubt' if there is one."""
    agreement = verification.worst([verification.compare(*pair) for pair in zip(expected, predicted, strict=True)])
    found = str(agreement) if in_float32 else agreement.describe_close()
    if agreement.exact if in_float32 else agreement.close:
        return {"agreement": found}
    # A lower precision that is asked for by name is used all the same.
    return {
        "agreement": found,
        "problem" if in_float32 else "doubt": f"its output differs from the reference: {found}",
    }


def _convert_and_open(entry: EngineEntry, folder: Path, options: EngineOptions) -> Engine:
    assert entry.export is not None
    path = folder / entry.export.file
    if entry.export.convert is not None and not path.exists():
        entry.export.convert(folder / "model.onnx", path)
    return entry.open(path, options)


def _measure_streams(
    entry: EngineEntry, sequential: Engine, folder: Path, options: EngineOptions, size: tuple[int, int]
) -> dict[str, Any]:
    """The time of one image of a batch, ms, one after the other and in streams, and the better number of streams."""
    assert entry.export is not None
    streams = entry.export.streams
    parallel = entry.open(folder / entry.export.file, replace(options, streams=streams))
    ms = verification.measure_latency({"turns": sequential, "streams": parallel}, size, rounds=2, count=streams)
    per_image = {name: round(value / streams, 2) for name, value in ms.items()}
    return {"many_ms": per_image, "streams": streams if ms["streams"] < _SIGNIFICANT * ms["turns"] else 1}


def _attach() -> None:
    """Lowers the priority of this process, and ends it, without leftovers, when its standard input closes."""
    os.nice(_NICENESS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("the process that requested the export is gone"))

    def wait() -> None:
        while os.read(0, 1):  # not through sys.stdin: a forked process would wait for its lock
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="f32")
    parser.add_argument("--flip-test", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    parser.add_argument("--batch", type=int, default=1, help="largest batch for engines that are built for one")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="px for which engines are built")
    parser.add_argument("--attached", action="store_true", help="run with low priority, and end with standard input")
    args = parser.parse_args()
    if args.attached:
        _attach()
    try:
        size = None if args.size is None else (args.size[0], args.size[1])
        cached = export_weights(args.weights, args.flip_test, args.variant, args.threads, args.device, args.batch, size)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(" ".join(str(error).split())[:400] or type(error).__name__, file=sys.stderr)
        return 1
    print(cached.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
