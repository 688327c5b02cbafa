# SPDX-License-Identifier: Apache-2.0
"""Exports weights for this machine, checks the result, and caches it; runs as a separate process.

    python -m centertrack_ros.engine.export_process WEIGHTS [--variant bf16] [--flip-test] [--threads N] [--attached]

The last line on standard output is the folder. To trace a network takes a gigabyte of memory and can crash a process:
here only this process ends, and its memory is free again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from centertrack_ros.engine import export_cache, verification
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.registry import DEFAULT_ENGINE, EngineEntry, EngineOptions, exported_engines
from centertrack_ros.network.peaks import Peaks

VARIANTS = ("f32", "bf16")
_SMALL = (128, 160)  # (height, width) px of a quick check
_SIGNIFICANT = 0.95  # ratio of times: a gain within the noise is not worth a second compiled network
_NICENESS = 5  # other processes get three times as much of a CPU


def export_weights(
    weights: Path, flip_test: bool = False, variant: str = "f32", threads: int | None = None
) -> export_cache.CachedExport:
    """Export weights for this machine, check and measure every engine, and cache the result.

    Args:
        weights: The file.
        flip_test: Whether the export averages with the mirrored image.
        variant: 'f32' or 'bf16'.
        threads: CPU threads; None: as many as cores.

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
    key = export_cache.cache_key(weights, flip_test, variant)
    with export_cache.writing(weights, key) as folder:
        traced = export.trace(network, profile, flip_test=flip_test, shuffle=variant == "bf16")
        export.to_onnx(traced, folder / "model.onnx")
        reference = TorchEngine(network, profile, flip_test=flip_test, dense=True, fuse=False, threads=threads)
        size = (profile.input_height, profile.input_width)
        expected = _run_both(reference, size)
        options = EngineOptions(threads=threads)
        engines: dict[str, Engine] = {
            DEFAULT_ENGINE: TorchEngine(network, profile, flip_test=flip_test, threads=threads)
        }
        results: dict[str, dict[str, Any]] = {}
        for entry in exported_engines(variant):
            try:
                engine = _convert_and_open(entry, folder, options)
                predicted = _run_both(engine, size)
            except (ImportError, ValueError) as error:
                results[entry.name] = {"problem": " ".join(str(error).split())}
                continue
            agreement = verification.worst(
                [verification.compare(*pair) for pair in zip(expected, predicted, strict=True)]
            )
            assert entry.export is not None
            in_float32 = entry.export.variant == "f32"
            found = str(agreement) if in_float32 else agreement.describe_close()
            results[entry.name] = {"agreement": found}
            if not (agreement.exact if in_float32 else agreement.close):
                # A lower precision that is asked for by name is used all the same.
                results[entry.name]["problem" if in_float32 else "doubt"] = (
                    f"its output differs from the reference: {found}"
                )
                if in_float32:
                    continue
            engines[entry.name] = engine
        for name, ms in verification.measure_latency(engines, size).items():
            results.setdefault(name, {})["ms"] = round(ms, 2)
        for entry in exported_engines(variant):
            if entry.name in engines and entry.export is not None and entry.export.streams > 1:
                results[entry.name].update(_measure_streams(entry, engines[entry.name], folder, options, size))
        export_cache.write_manifest(folder, key, {"profile": profile.to_json(), "engines": results})
    cached, warnings = export_cache.find(weights, flip_test, variant)
    if cached is None:
        raise OSError("; ".join(warnings) or "the export vanished")
    export_cache.prune(cached)
    return cached


def _run_both(engine: Engine, size: tuple[int, int]) -> list[list[Peaks]]:
    """Peaks of a small batch and of one image of the model's nominal size."""
    return [verification.run_reference(engine, _SMALL, 2), verification.run_reference(engine, size, 1, seed=9)]


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
    parser.add_argument("--attached", action="store_true", help="run with low priority, and end with standard input")
    args = parser.parse_args()
    if args.attached:
        _attach()
    try:
        cached = export_weights(args.weights, args.flip_test, args.variant, args.threads)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(" ".join(str(error).split())[:400] or type(error).__name__, file=sys.stderr)
        return 1
    print(cached.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
