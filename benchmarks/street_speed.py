#!/usr/bin/env python3
"""Annotated frames of the synthetic street per second, on one core; the issue asks for 60 at 512x288.

    benchmarks/street_speed.py [--frames N] [--size WxH] [--scenarios drive fixed] [--density F]

Everything counts that a user gets: traffic, the picture, the object image, boxes in 2D and 3D, ids, visibility. Not the
first frame, which makes meshes and textures. One line for each street, and the medians; another program on the machine
lowers them.
"""

from __future__ import annotations

import argparse
import os
from statistics import median
from time import perf_counter, process_time

import cv2

from centertrack_ros.synthetic import Street, StreetConfig


def measure(config: StreetConfig) -> tuple[float, float, float]:
    """Frames per s of the clock, frames per s of this process's own time, road users per frame."""
    frames = iter(Street(config))
    users = len(next(frames).tracks)
    start, own = perf_counter(), process_time()
    for frame in frames:
        users += len(frame.tracks)
    done = config.frames - 1
    return done / (perf_counter() - start), done / (process_time() - own), users / config.frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120, help="of each street")
    parser.add_argument("--streets", type=int, default=3, help="seeds of each scenario")
    parser.add_argument("--size", default="512x288", help="of the images, px")
    parser.add_argument("--scenarios", nargs="+", default=["drive", "fixed"])
    parser.add_argument("--density", type=float, default=1.0, help="factor on the number of road users")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for scenario in args.scenarios:
        told = []
        for seed in range(args.streets):
            config = StreetConfig(
                seed=seed, frames=args.frames, width=width, height=height, scenario=scenario, density=args.density
            )
            told.append(measure(config))
            clock, own, users = told[-1]
            print(
                f"{scenario} {seed}: {clock:.0f} frames/s ({own:.0f} by processor time), {users:.0f} road users in view"
            )
        clock, own, users = (median(column) for column in zip(*told, strict=True))
        print(f"{scenario}, {args.size}: median {clock:.0f} frames/s on one core ({own:.0f} by processor time)")


if __name__ == "__main__":
    main()
