#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One variant of the network in a process of its own, for `benchmarks.bench`: takes commands on its standard input.

    time N      runs N forward passes; the reply has their times, ms
    peaks FILE  pickles the peaks of three test images into FILE
    quit

The first line of its output names the engine and states the time of the first pass; every reply is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_memory_mb() -> float:
    """The most memory that this process has held, MB; getrusage would start with the figure of its parent process."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return float(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(variant: str, weights: Path, threads: int) -> Any:
    """The engine of a variant: one of `load_engine`'s names, or one that only benchmarks have."""
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
        raise SystemExit(f"{variant} is not available, {engine.name} would run instead")
    return engine


class Calibration:
    """The machine's full speed: a 3x3 convolution of 256 channels in channels-last order."""

    name = "calibration"
    GFLOP = 2 * 256 * 256 * 9 * 56 * 100 / 1e9

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._x = torch.randn(1, 256, 56, 100).contiguous(memory_format=torch.channels_last)
        self._layer = torch.nn.Conv2d(256, 256, 3, padding=1)
        self._layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self) -> None:
        """Runs the convolution once."""
        import torch

        with torch.inference_mode():
            self._layer(self._x)


def prepare_pass(engine: Any, size: tuple[int, int], batch: int) -> Callable[[], Any]:
    """A function that runs one batch of inputs, which are prepared already."""
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
    """Loads the variant and serves commands until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variant")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="448x800")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true", help="of this process, in place of the wall clock")
    args = parser.parse_args()
    height, width = (int(part) for part in args.size.split("x"))
    size = (height, width)
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    start = time.perf_counter()
    engine = load(args.variant, args.weights, args.threads)
    run = prepare_pass(engine, size, args.batch)
    run()
    first_s = time.perf_counter() - start
    run()
    print(json.dumps({"name": engine.name, "first_s": first_s}), flush=True)
    clock = time.process_time if args.processor_time else time.perf_counter
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "quit":
            return
        if command == "peaks":
            from centertrack_ros.engine import verification

            peaks = [verification.run_reference(engine, size, 1, seed)[0] for seed in (1, 2, 3)]
            Path(argument).write_bytes(pickle.dumps(peaks))
            print(json.dumps({}), flush=True)
            continue
        times = []
        for _ in range(int(argument)):
            start = clock()
            run()
            times.append((clock() - start) * 1e3)
        print(json.dumps({"ms": times, "memory_mb": peak_memory_mb()}), flush=True)


if __name__ == "__main__":
    main()
