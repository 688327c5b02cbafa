# SPDX-License-Identifier: Apache-2.0
"""How often standing and moving road users of the synthetic street are said to stand, to move, or neither.

    python -m experiments.motion_states [--streets N] [--frames N] [--seed N]

Boxes, tracks and sensors are those of `experiments.sensor_depth`; two of three streets are seen by a camera that
drives, the third by one beside a square.
Velocities over ground are those of tracks' paths alone, without a network's. Counted are the frames of road users that
were seen for at least a second; who stands is slower than 0.1 m/s, who moves is faster than 0.8 m/s.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.synthetic.actors import CLASSES
from centertrack_ros.synthetic.config import StreetConfig
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import (
    MOTION_MOVING,
    MOTION_STANDING,
    MOTION_UNKNOWN,
    BoxMemory,
    VelocityFilters,
)
from experiments.sensor_depth import jittered, measure

SLOW, FAST = 0.1, 0.8  # m/s
SEEN_S = 1.0
STATES = {"moving": MOTION_MOVING, "standing": MOTION_STANDING, "unknown": MOTION_UNKNOWN}


def observe(config: StreetConfig) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """For each frame and source, (M, 2): true speeds over ground, m/s, and motion states."""
    lifter, rng = SizePriorLifter(CLASSES), np.random.default_rng(config.seed)
    memories: dict[str, BoxMemory] = {}
    filters: dict[str, VelocityFilters] = {}
    for measured in measure(config):
        frame = measured.frame
        tracks, true = jittered(frame.tracks, rng), frame.tracks.detections
        assert true.velocities is not None
        scored = frame.clear(0.5, 12.0) & (frame.tracks.hits >= SEEN_S * config.rate)
        speeds = np.linalg.norm(true.velocities[scored], axis=1)
        for name, view in measured.views.items():
            lifted, memories[name] = lifter.lift_tracks(
                tracks, frame.camera, frame.stamp, memories.get(name, BoxMemory()), view=view
            )
            found, filters[name] = filter_velocities(
                filters.get(name, VelocityFilters()), lifted, Transform.from_matrix(frame.pose), frame.stamp
            )
            assert found.motion_states is not None
            yield name, np.stack([speeds, found.motion_states[scored]], axis=1)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streets", type=int, default=5)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=500, help="of the first street")
    args = parser.parse_args()
    found: dict[str, list[NDArray[np.float64]]] = {}
    for n in range(args.streets):
        scenario = ("drive", "drive", "fixed")[n % 3]
        for name, rows in observe(StreetConfig(args.seed + n, args.frames, look="test", scenario=scenario)):
            found.setdefault(f"{scenario}, {name}", []).append(rows)
    for name, parts in sorted(found.items()):
        speeds, states = np.concatenate(parts).T
        texts = []
        for kind, chosen in (("who stands", speeds < SLOW), ("who moves", speeds > FAST)):
            shares = ", ".join(
                f"{state} {np.mean(states[chosen] == value) if chosen.any() else np.nan:.1%}"
                for state, value in STATES.items()
            )
            texts.append(f"{kind} ({chosen.sum()}): {shares}")
        print(f"{name:<32} {'; '.join(texts)}")


if __name__ == "__main__":
    main()
