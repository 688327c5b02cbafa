"""Makes the export of some weights for this machine, checks it, and keeps it; a process of its own.

    python -m centertrack_ros.engine.export_process WEIGHTS [--variant bf16] [--flip-test] [--threads N] [--attached]

The last line on standard output is the folder. Tracing a network takes a gigabyte and can end a process; here it ends
this one only, and what was needed for it is given back.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from centertrack_ros.engine import export_cache, verification
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.openvino_engine import STREAMS, OpenVinoEngine

VARIANTS = ("f32", "bf16")
OPENVINO = {"openvino", "openvino-bf16"}
_CLEARLY = 0.95  # of the time: what is not beyond noise is not worth a second compiled network
_NICENESS = 5  # a third of the time of what is in its way


def build(
    weights: Path, flip_test: bool = False, variant: str = "f32", threads: int | None = None
) -> export_cache.Entry:
    """The kept export of these weights with the manifest's 'engines': name -> ms, error, and why it is not to be used.

    Raises ValueError for unusable weights, OSError when nothing can be kept, ImportError without onnx and onnxscript.
    """
    import torch

    from centertrack_ros.engine import export
    from centertrack_ros.engine.torch_engine import TorchEngine
    from centertrack_ros.network import checkpoints

    torch.manual_seed(0)
    network, profile = checkpoints.load(weights)
    wanted = export_cache.facts(weights, flip_test, variant)
    with export_cache.writing(weights, wanted) as folder:
        traced = export.trace(network, profile, flip_test=flip_test, shuffle=variant == "bf16")
        export.to_onnx(traced, folder / "model.onnx")
        reference = TorchEngine(network, profile, flip_test=flip_test, dense=True, fuse=False, threads=threads)
        small, size = (128, 160), (profile.input_height, profile.input_width)
        expected = [verification.answers(reference, small, 2), verification.answers(reference, size, 1, seed=9)]
        engines: dict[str, Engine] = {"torch": TorchEngine(network, profile, flip_test=flip_test, threads=threads)}
        results: dict[str, dict[str, Any]] = {}
        for name, make in _makers(folder, variant, threads).items():
            try:
                engine = make()
                got = [verification.answers(engine, small, 2), verification.answers(engine, size, 1, seed=9)]
            except (ImportError, ValueError) as error:
                results[name] = {"problem": " ".join(str(error).split())}
                continue
            worst = min(
                (verification.compare(a, b) for a, b in zip(expected, got, strict=True)), key=lambda a: a.overlap
            )
            results[name] = {"agreement": str(worst)}
            if variant == "f32" and not worst.exact:
                results[name]["problem"] = f"its answer is not the reference's: {worst}"
                continue
            engines[name] = engine
        for name, ms in verification.milliseconds(engines, size).items():
            results.setdefault(name, {})["ms"] = round(ms, 2)
        for name in results.keys() & OPENVINO & engines.keys():
            results[name].update(_many(engines[name], _openvino(folder, threads, variant, STREAMS), size))
        export_cache.seal(folder, wanted, {"profile": profile.to_json(), "engines": results})
    entry, complaints = export_cache.find(weights, flip_test, variant)
    if entry is None:
        raise OSError("; ".join(complaints) or "the export vanished")
    export_cache.prune(entry)
    return entry


def _makers(folder: Path, variant: str, threads: int | None) -> dict[str, Callable[[], Engine]]:
    from centertrack_ros.engine import export
    from centertrack_ros.engine.onnx_engine import OnnxEngine

    def openvino() -> Engine:
        export.to_openvino(folder / "model.onnx", folder / "model.xml")
        return _openvino(folder, threads, variant)

    if variant != "f32":
        return {f"openvino-{variant}": openvino}
    return {"openvino": openvino, "onnxruntime": lambda: OnnxEngine(folder / "model.onnx", threads=threads)}


def _openvino(folder: Path, threads: int | None, variant: str, streams: int = 1) -> OpenVinoEngine:
    return OpenVinoEngine(folder / "model.xml", threads, variant, streams=streams)


def _many(in_turns: Engine, in_streams: Engine, size: tuple[int, int]) -> dict[str, Any]:
    """How several images are best run: ms of an image one after the other and in streams, and which it shall be."""
    ms = verification.milliseconds({"turns": in_turns, "streams": in_streams}, size, rounds=2, count=STREAMS)
    per_image = {name: round(value / STREAMS, 2) for name, value in ms.items()}
    return {"many_ms": per_image, "streams": STREAMS if ms["streams"] < _CLEARLY * ms["turns"] else 1}


def _attach() -> None:
    """From now on the process is in nobody's way, and ends, leaving nothing behind, when its standard input does."""
    os.nice(_NICENESS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("whoever wanted the export is gone"))

    def wait() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock a process that is forked meanwhile would wait for
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="f32")
    parser.add_argument("--flip-test", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--attached", action="store_true", help="give way to others, and end with standard input")
    args = parser.parse_args()
    if args.attached:
        _attach()
    try:
        entry = build(args.weights, args.flip_test, args.variant, args.threads)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(" ".join(str(error).split())[:400] or type(error).__name__, file=sys.stderr)
        return 1
    print(entry.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
