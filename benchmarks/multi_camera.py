#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Id changes and duplicate objects in the merged view of six cameras, as objects move around a vehicle.

    python -m benchmarks.multi_camera [--seeds N] [--first-seed N] [--depth 0 0.1] [--scene roundabout street]
                                      [--motion-unknown] [--looks]

Cameras like nuScenes', unsynchronised, 12 Hz, on a vehicle that drives and turns. Detection is simulated: exact, or
with errors: depths by the stated fraction (half of the variance lasts for as long as a camera sees an object), centres
by 3 px, sizes by 5 %, headings by 9 degrees, and one frame in 20 missed. The lines of one scene are the same drives
with the same errors, scaled: they are no independent samples. In the roundabout, all ten objects go around the vehicle;
in the street, many of 46 objects stand in one line of sight; in the crowd, people stand closer to each other than
depths are known. With --looks, objects have colours and cameras gains.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: many tiny matrices
import numpy as np

from benchmarks import multi_camera_looks, multi_camera_rig

SCENES = {
    "roundabout": multi_camera_rig.roundabout,
    "street": multi_camera_rig.street,
    "crowd": multi_camera_looks.crowd,
}
COLUMNS = ("objects", "frames", "published", "handovers", "changes", "duplicates", "mixed", "missing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="drives for each line of the table (default: 5)")
    parser.add_argument("--first-seed", type=int, default=0, help="of the first drive (default: 0)")
    parser.add_argument("--depth", type=float, nargs="+", default=[0.0, 0.05, 0.1], help="relative noise of depths")
    parser.add_argument("--scene", nargs="+", choices=SCENES, default=["roundabout", "street"])
    parser.add_argument("--motion-unknown", action="store_true", help="no fixed frame: positions in the vehicle's")
    parser.add_argument("--looks", action="store_true", help="the cameras' trackers tell what objects look like")
    args = parser.parse_args(arguments)
    print(f"{'scene':<12}{'depth':>6}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'error m':>10}{'CPU s':>8}")
    for scene in args.scene:
        for depth in args.depth:
            start = process_time()
            noise = multi_camera_rig.Noise.of_depth(depth) if depth else multi_camera_rig.Noise()
            drives = [
                multi_camera_rig.run(
                    *SCENES[scene](seed),
                    noise,
                    seed,
                    motion_known=not args.motion_unknown,
                    looks=multi_camera_looks.SimulatedLooks(seed) if args.looks else None,
                )
                for seed in range(args.first_seed, args.first_seed + args.seeds)
            ]
            sums = [sum(getattr(counts, name) for counts in drives) for name in COLUMNS]
            error = np.mean(np.concatenate([counts.errors for counts in drives]))
            row = "".join(f"{value:>11}" for value in sums)
            print(f"{scene:<12}{depth:>6.0%}{row}{error:>10.2f}{process_time() - start:>8.0f}", flush=True)
    print(
        "changes: objects that got another id; duplicates: further boxes of an object in the same view; mixed: ids "
        "that went from one object to another;\nmissing: objects that a camera saw but the view did not have; "
        "handovers: changes of the camera whose box is shown"
    )


if __name__ == "__main__":
    main()
