#!/usr/bin/env python3
"""One variant of the network in a process of its own, for `bench.py`: answers commands on its standard input.

    time N        N forward passes: their milliseconds
    answers FILE  the peaks of three scenes, pickled
    quit

The first line that it prints says what it is and what it took to load; every answer is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def peak_memory_mb() -> float:
    """The most memory that this process has held; getrusage's figure begins with that of its parent process."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return float(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(variant: str, weights: Path, threads: int) -> Any:
    """The engine of a variant; names are those of `load_engine`, and two that only benchmarks have."""
    from centertrack_ros.engine import load_engine

    if variant == "reference":
        import torch

        from benchmarks.reference_path import ReferencePath
        from centertrack_ros.network import checkpoints

        torch.set_num_threads(threads)
        return ReferencePath(*checkpoints.load(weights))
    if variant == "calibration":
        return Calibration(threads)
    if variant == "dense-onnxruntime":
        return load_engine(weights.with_name("dense.onnx"), threads=threads)
    engine = load_engine(weights, engine=variant, device="auto" if variant == "auto" else "cpu", threads=threads)
    if variant not in ("auto", engine.name):
        raise SystemExit(f"{variant} is not here, {engine.name} would run instead")
    return engine


class Calibration:
    """The machine's convolution peak: a 3x3 convolution of 256 channels, channels last, as fast as it gets."""

    name = "calibration"
    GFLOP = 2 * 256 * 256 * 9 * 56 * 100 / 1e9

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._x = torch.randn(1, 256, 56, 100).contiguous(memory_format=torch.channels_last)
        self._layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last)

    def __call__(self) -> None:
        import torch

        with torch.inference_mode():
            self._layer(self._x)


def passes(engine: Any, size: tuple[int, int], batch: int) -> Any:
    """A function that runs one batch of inputs that are prepared already."""
    if isinstance(engine, Calibration):
        return engine
    import numpy as np

    from centertrack_ros.engine.verification import make_test_image

    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    images = [engine.prepare(make_test_image(size, i), identity, size) for i in range(batch)]
    previous = [engine.prepare(make_test_image(size, 50 + i), identity, size) for i in range(batch)]
    prior = np.stack([np.arange(40, size[1] - 40, 40), np.full(len(range(40, size[1] - 40, 40)), size[0] // 2)], 1)
    priors = [np.column_stack([prior, np.full(len(prior), 8)]).astype(np.int64)] * batch
    return lambda: engine.infer(images, previous, priors)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("variant")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="448x800")
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    size = tuple(int(part) for part in args.size.split("x"))
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    start = time.perf_counter()
    engine = load(args.variant, args.weights, args.threads)
    run = passes(engine, size, args.batch)  # type: ignore[arg-type]
    run()
    first_s = time.perf_counter() - start
    run()
    print(json.dumps({"name": engine.name, "first_s": first_s}), flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "quit":
            return
        if command == "answers":
            from centertrack_ros.engine import verification

            found = [verification.run_reference(engine, size, 1, seed)[0] for seed in (1, 2, 3)]  # type: ignore[arg-type]
            Path(argument).write_bytes(pickle.dumps(found))
            print(json.dumps({}), flush=True)
            continue
        times = []
        for _ in range(int(argument)):
            begin = time.perf_counter()
            run()
            times.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps({"ms": times, "memory_mb": peak_memory_mb()}), flush=True)


if __name__ == "__main__":
    main()
