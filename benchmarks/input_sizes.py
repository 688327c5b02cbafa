# SPDX-License-Identifier: Apache-2.0
"""What a frame costs with an input of the image's own aspect, against the image fitted into a square of 512 px.

    python -m benchmarks.input_sizes [--budgets 196608,262144] [--engine NAME] [--threads N] [--rounds 15]

Tracks one image again and again: preparing it, the network, decoding and association. All inputs take turns; each
figure is the median of its rounds, each ratio that of the ratios round by round.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from time import perf_counter

import cv2
import numpy as np

from benchmarks.demo_clip import demo_frames
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import EngineAround
from centertrack_ros.evaluation.tables import table
from centertrack_ros.tracking.pipeline import Tracker

IMAGES = ((640, 480), (1280, 720), (1242, 375), (1600, 900), (720, 1280))  # width, height


def measure(trackers: dict[str, Tracker], image: np.ndarray, rounds: int) -> dict[str, np.ndarray]:
    """Way -> ms of each round, after two rounds in which engines prepare themselves."""
    times: dict[str, list[float]] = {name: [] for name in trackers}
    for _ in range(rounds + 2):
        for name, tracker in trackers.items():
            start = perf_counter()
            tracker.step(image)
            times[name].append((perf_counter() - start) * 1e3)
    return {name: np.array(values[2:]) for name, values in times.items()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budgets", default="196608,262144", help="px of the input, comma-separated")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(arguments)
    engine = load_engine(args.weights, engine=args.engine, threads=args.threads)
    profile = engine.profile
    ways = {"square of 512": replace(profile, input_height=512, input_width=512, resize="keep_aspect")}
    ways |= {f"budget {part}": profile.with_input_pixels(int(part)) for part in args.budgets.split(",")}
    photo = demo_frames(1)[0]
    lines = []
    for width, height in IMAGES:
        image = np.asarray(cv2.resize(photo, (width, height)), np.uint8)
        times = measure({n: Tracker(EngineAround(engine, p)) for n, p in ways.items()}, image, args.rounds)
        base = times["square of 512"]
        cells = [f"{width}x{height}"]
        for name, own in times.items():
            size = ways[name].place((height, width)).input_size
            cells.append(f"{size[1]}x{size[0]} {np.median(own):.1f} ms ({np.median(own / base):.2f})")
        lines.append(cells)
    print(f"{profile.name} by {engine.name}")
    print(table(["image", *ways], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
