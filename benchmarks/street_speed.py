#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Annotated frames of the synthetic street per second, on one core.

    python -m benchmarks.street_speed [--frames N] [--size WxH] [--scenarios drive fixed] [--density F]

Everything that a user gets counts: traffic, the image, the object image, boxes in 2D and 3D, ids, visibility. The first
frame, which makes meshes and textures, does not. One line for each street, and the medians; other load on the machine
lowers them.
"""

from __future__ import annotations

import argparse
import os
from statistics import median
from time import perf_counter, process_time

import cv2

from centertrack_ros.cli._arguments import image_size
from centertrack_ros.synthetic import Street, StreetConfig


def measure(config: StreetConfig) -> tuple[float, float, float]:
    """Frames per second of the wall clock, frames per second of processor time, road users per frame."""
    frames = iter(Street(config))
    users = len(next(frames).tracks)
    start, own = perf_counter(), process_time()
    for frame in frames:
        users += len(frame.tracks)
    done = config.frames - 1
    return done / (perf_counter() - start), done / (process_time() - own), users / config.frames


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120, help="of each street")
    parser.add_argument("--streets", type=int, default=3, help="seeds of each scenario")
    parser.add_argument("--size", type=image_size, default=(512, 288), metavar="WxH", help="of the images, px")
    parser.add_argument("--scenarios", nargs="+", default=["drive", "fixed"])
    parser.add_argument("--density", type=float, default=1.0, help="factor on the number of road users")
    args = parser.parse_args()
    width, height = args.size
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for scenario in args.scenarios:
        rows = []
        for seed in range(args.streets):
            config = StreetConfig(
                seed=seed, frames=args.frames, width=width, height=height, scenario=scenario, density=args.density
            )
            rows.append(measure(config))
            clock, own, users = rows[-1]
            print(
                f"{scenario} {seed}: {clock:.0f} frames/s ({own:.0f} by processor time), {users:.0f} road users in view"
            )
        clock, own, users = (median(column) for column in zip(*rows, strict=True))
        print(f"{scenario}, {width}x{height}: median {clock:.0f} frames/s on one core ({own:.0f} by processor time)")


if __name__ == "__main__":
    main()
