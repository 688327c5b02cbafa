#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the default costs: today's input and precision against the former ones, in turns; the last line is JSON.

    python -m benchmarks.default_speed [--size 640x480] [--rounds 12] [--node]

The former default was float32 on an input of 512 px on the image's longer side ('keep_aspect'). Rows are whole frames
of the embedded model, from the image to tracks; in each round every row runs once, so that other load on the machine
disturbs all alike, and ratios are medians of those within a round. `--node` measures the node, through DDS, as
`benchmarks.bench_node` does, with both defaults in turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.demo_clip import demo_frames
from centertrack_ros.cli._arguments import image_size
from centertrack_ros.geometry.affine import place

FORMER_SIDE = 512  # px
FORMER, TODAY, FLOAT = "former default", "default", "default in float32"
FRAMES = 6  # of each row in a round


def former_input(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) px of the former default's input for images of this (width, height)."""
    height, width = place((size[1], size[0]), (FORMER_SIDE, FORMER_SIDE), "keep_aspect").input_size
    return width, height


def tracking(size: tuple[int, int], threads: int | None) -> dict[str, Callable[[], float]]:
    """Row -> a function that tracks `FRAMES` frames and gives the median time of one, ms."""
    from centertrack_ros.engine import load_engine
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.tracking.pipeline import Tracker

    images = [np.asarray(image) for image in demo_frames(20, size)]
    engines = {
        FORMER: load_engine(engine="openvino", device="cpu", threads=threads, input_size=former_input(size)),
        TODAY: load_engine(device="cpu", threads=threads),
        FLOAT: load_engine(engine="openvino", device="cpu", threads=threads),
    }
    if engines[FORMER].name != "openvino":
        raise SystemExit("this benchmark needs OpenVINO")

    def row(engine: Any) -> Callable[[], float]:
        tracker, count = Tracker(engine, TrackerConfig()), 0

        def run() -> float:
            nonlocal count
            times = []
            for _ in range(FRAMES):
                start = perf_counter()
                tracker.step(images[count % len(images)], stamp=count / 30)
                times.append((perf_counter() - start) * 1e3)
                count += 1
            return float(np.median(times))

        return run

    print(", ".join(f"{name}: {engine.name}" for name, engine in engines.items()))
    return {name: row(engine) for name, engine in engines.items()}


def node(size: tuple[int, int], threads: int | None) -> dict[str, Callable[[], float]]:
    """As `tracking`, with the node's own working time."""
    from benchmarks import node_overhead
    from benchmarks.node_client import use_local_ros

    use_local_ros()
    width, height = former_input(size)
    former = ["model.engine:=openvino", f"model.input_width:={width}", f"model.input_height:={height}"]

    def row(parameters: list[str]) -> Callable[[], float]:
        def run() -> float:
            cameras, receiving = node_overhead.measure(60, size, 1, "raw", threads or 0, parameters)
            timings = cameras[0].timings[node_overhead.WARM_UP :]
            return float(np.median([timing.processing_ms for timing in timings])) + receiving

        return run

    return {FORMER: row(former), TODAY: row([])}


def compare(rows: dict[str, Callable[[], float]], rounds: int) -> dict[str, dict[str, float]]:
    """Row -> median ms, and the median of its time over the former default's in the same round."""
    for run in rows.values():
        run()  # compiles the network for this input
    times: dict[str, list[float]] = {name: [] for name in rows}
    for index in range(rounds):
        names: Sequence[str] = list(rows) if index % 2 else list(reversed(rows))
        for name in names:
            times[name].append(rows[name]())
    former = np.array(times[FORMER])
    return {
        name: {"ms": float(np.median(own)), "ratio": float(np.median(np.array(own) / former))}
        for name, own in times.items()
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=image_size, default=(640, 480), metavar="WxH", help="of the images, px")
    parser.add_argument("--rounds", type=int, help="default: 12, and 3 with --node")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--node", action="store_true", help="measure the node instead of the tracker")
    args = parser.parse_args()
    rows = (node if args.node else tracking)(args.size, args.threads)
    figures = compare(rows, args.rounds or (3 if args.node else 12))
    for name, one in figures.items():
        print(f"{name:20} {one['ms']:6.1f} ms a frame, {one['ratio']:.2f} of the former default's")
    print(json.dumps({"size": list(args.size), **figures}))


if __name__ == "__main__":
    main()
