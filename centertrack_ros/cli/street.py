# SPDX-License-Identifier: Apache-2.0
"""`centertrack street`: render synthetic driving scenes with their ground truth."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from centertrack_ros.cli._arguments import SIZE, image_size

HELP = "render synthetic driving scenes with 2D and 3D ground truth (images and COCO-video JSON, or bags)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack street`."""
    from centertrack_ros.synthetic.config import LOOKS, RIGS, SCENARIOS

    parser.add_argument("output", type=Path, metavar="OUT", help="folder for images/ and annotations.json, or for bags")
    parser.add_argument("--format", choices=("coco", "bag"), default="coco", help="bag: a rosbag2 OUT/LOOK_SEED each")
    parser.add_argument("--seed", type=int, default=0, help="of the first sequence")
    parser.add_argument("--sequences", type=int, default=1, help="how many, with seeds from --seed on")
    parser.add_argument("--frames", type=int, default=40, help="time steps of each sequence")
    parser.add_argument("--rate", type=float, default=10.0, help="time steps per s")
    parser.add_argument(
        "--size", type=image_size, default="512x288", metavar=SIZE, help="of the images, px, for instance 800x450"
    )
    parser.add_argument("--rig", choices=tuple(RIGS), default="front", help="cameras on the vehicle")
    parser.add_argument(
        "--scenario", choices=SCENARIOS, default="drive", help="drive along, or watch a square from a pole"
    )
    parser.add_argument(
        "--look", choices=LOOKS, default="train", help="set of textures and shapes; the sets are disjoint"
    )
    parser.add_argument("--density", type=float, default=1.0, help="factor on the number of road users")
    parser.add_argument(
        "--exposure", type=float, default=0.0, metavar="S", help="motion blur: time that the shutter is open"
    )
    parser.add_argument("--depth", action="store_true", help="a depth camera, for bags")
    parser.add_argument("--points", action="store_true", help="a LiDAR above each camera, for bags")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that render, for images and JSON")
    parser.add_argument("--png", action="store_true", help="lossless images")


def run(args: argparse.Namespace) -> int:
    """Renders the streets."""
    from centertrack_ros.synthetic import StreetConfig
    from centertrack_ros.synthetic.coco_video import write_streets

    if args.sequences < 1:
        raise ValueError(f"--sequences must be at least 1, got {args.sequences}")
    if args.format == "bag" and args.jobs != 1:
        raise ValueError(f"--jobs is for images and JSON, bags are rendered by one process, got {args.jobs}")
    if args.format != "bag" and (args.depth or args.points):
        raise ValueError("--depth and --points are for bags: add --format bag")
    first = StreetConfig(
        seed=args.seed, frames=args.frames, rate=args.rate, width=args.size[0], height=args.size[1], rig=args.rig,
        scenario=args.scenario, look=args.look, density=args.density, exposure=args.exposure,
        depth=args.depth, points=args.points,
    )  # fmt: skip
    start, done = time.perf_counter(), 0

    def progress(frames: int) -> None:
        nonlocal done
        done = frames
        if sys.stderr.isatty():
            print(f"\r{frames} images", end="", file=sys.stderr, flush=True)

    configs = (replace(first, seed=args.seed + k) for k in range(args.sequences))
    suffix = ".png" if args.png else ".jpg"
    if args.format == "bag":
        from centertrack_ros.synthetic.bags import write_street_bags

        paths = write_street_bags(args.output, configs, suffix, progress=progress)
    else:
        paths = [write_streets(args.output, configs, suffix, progress, args.jobs)]
    print(f"{', '.join(map(str, paths))}: {done} images in {time.perf_counter() - start:.1f} s")
    return 0
