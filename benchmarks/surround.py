#!/usr/bin/env python3
"""How often ids change, and objects are published twice, as things pass around a vehicle with six cameras.

    benchmarks/surround.py [--seeds N] [--first-seed N] [--depth 0 0.1] [--scene roundabout street] [--motion-unknown]

Cameras like nuScenes', unsynchronised, 12 Hz, on a vehicle that drives and turns. Detection is simulated: exact, or
with depths that are off by the given part (half of the variance lasts for as long as a camera sees a thing), centres
by 3 px, sizes by 5 %, headings by 9 degrees, and one frame in 20 missed. The lines of one scene are the same drives
with the same errors, larger or smaller: they do not confirm each other. The roundabout has ten things that all go
around the vehicle, the street 46 of which many stand in one line of sight.
"""

# ruff: noqa: E402 - works in a checkout that is not installed
from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: many tiny matrices
ROOT = Path(__file__).resolve().parent.parent

import numpy as np

from support import multi_camera_rig

SCENES = {"roundabout": multi_camera_rig.roundabout, "street": multi_camera_rig.street}
COLUMNS = ("things", "frames", "published", "handovers", "changes", "duplicates", "mixed", "missing")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="drives for each line of the table (default: 5)")
    parser.add_argument("--first-seed", type=int, default=0, help="of the first drive (default: 0)")
    parser.add_argument("--depth", type=float, nargs="+", default=[0.0, 0.05, 0.1], help="relative noise of depths")
    parser.add_argument("--scene", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--motion-unknown", action="store_true", help="no fixed frame: positions in the vehicle's")
    args = parser.parse_args(arguments)
    print(f"{'scene':<12}{'depth':>6}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'error m':>10}{'CPU s':>8}")
    for scene in args.scene:
        for depth in args.depth:
            start = process_time()
            noise = multi_camera_rig.Noise.of_depth(depth) if depth else multi_camera_rig.Noise()
            drives = [
                multi_camera_rig.run(*SCENES[scene](seed), noise, seed, motion_known=not args.motion_unknown)
                for seed in range(args.first_seed, args.first_seed + args.seeds)
            ]
            sums = [sum(getattr(counts, name) for counts in drives) for name in COLUMNS]
            error = np.mean(np.concatenate([counts.errors for counts in drives]))
            row = "".join(f"{value:>11}" for value in sums)
            print(f"{scene:<12}{depth:>6.0%}{row}{error:>10.2f}{process_time() - start:>8.0f}", flush=True)
    print(
        "changes: ids that became others; duplicates: boxes of a thing that was already in the view; mixed: ids that "
        "went from one thing to another;\nmissing: things that a camera saw and the view had not; handovers: changes "
        "of the camera whose box is shown"
    )


if __name__ == "__main__":
    main()
