#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cost of tracking beside the network, on one core: ms for each stage at 10, 30 and 100 objects.

    python -m benchmarks.tracking_cost [--rounds N] [--stage WORDS]

Objects move by a few px between frames, a tenth of them is missed; classes are mixed. Each number is the median (and
the minimum) over the rounds; other load on the machine raises both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.affine import place
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.depth_decoding import depth_of
from centertrack_ros.io.point_decoding import points_of
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.tracking.appearance import appearances, covered_parts
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.detections import decode
from centertrack_ros.tracking.fused_motion import DisplacementNoise
from centertrack_ros.tracking.lifecycle import start_tracks, update
from centertrack_ros.tracking.lifting import lift_heads
from centertrack_ros.tracking.prior_heatmap import prior_points
from centertrack_ros.tracking.sensor_depth import SensorView
from centertrack_ros.types import BoxMemory, DepthImage, Detections, Points, Tracks

IMAGE = (900, 1600)
PLACEMENT = place(IMAGE, (448, 800))
CAMERA = Camera.from_focal(IMAGE[1], IMAGE[0], 1266.0)
COUNTS = (10, 30, 100)
CLASSES = ("car", "truck", "person", "bicycle")


def make_peaks(count: int, rng: np.random.Generator) -> Peaks:
    """Peaks of a 3D model on a crowded street."""
    height, width = PLACEMENT.grid_size
    sizes = {"reg": 2, "wh": 2, "tracking": 2, "dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2, "velocity": 3}
    values = {head: rng.normal(0, 1, (count, size)).astype(np.float32) for head, size in sizes.items()}
    values["wh"] = rng.uniform(3, 25, (count, 2)).astype(np.float32)
    values["dep"] = rng.uniform(5, 60, (count, 1)).astype(np.float32)
    values["dim"] = rng.uniform(1, 4, (count, 3)).astype(np.float32)
    cells = np.stack([rng.integers(0, width, count), rng.integers(0, height, count)], axis=1)
    scores = np.sort(rng.uniform(0.3, 1, count)).astype(np.float32)[::-1].copy()
    return Peaks(scores, rng.integers(0, len(CLASSES), count), cells, values, PLACEMENT.grid_size)


def next_frame(detections: Detections, rng: np.random.Generator) -> Detections:
    """The same objects a little later, nine in ten of them seen."""
    seen = detections.select(rng.random(len(detections)) < 0.9)
    shift = rng.normal(0, 4, seen.centers.shape).astype(np.float32)
    seen.centers[:] += shift
    seen.boxes[:] += np.tile(shift, 2)
    seen.displacements[:] = -shift
    return seen


def _with_appearances(image: NDArray[np.uint8], detections: Detections) -> Detections:
    return replace(
        detections,
        appearances=appearances(image, detections.boxes),
        visible_parts=1.0 - covered_parts(detections.boxes),
    )


def sensors(flat: Detections, rng: np.random.Generator) -> dict[str, Callable[[], object]]:
    """What a depth image of 1280x720 px in mm and a LiDAR's cloud of 120000 points add, from the messages on."""
    height, width = 720, 1280
    view = CAMERA.scaled_to(width, height)
    boxes = flat.boxes * np.tile([width / IMAGE[1], height / IMAGE[0]], 2).astype(np.float32)
    seen, lifter = replace(flat, boxes=boxes), SizePriorLifter(CLASSES)
    # Each object stands before a wall, at a distance of its own; of those that overlap the nearer one is seen.
    depths = np.full((height, width), 60_000, "<u2")
    for (x1, y1, x2, y2), far in zip(boxes.astype(int).clip(0), np.linspace(50_000, 4_000, len(boxes)), strict=True):
        depths[y1:y2, x1:x2] = far
    image = SimpleNamespace(
        encoding="16UC1", height=height, width=width, step=2 * width, is_bigendian=0, data=depths.tobytes()
    )
    turn, tilt = rng.uniform(-np.pi, np.pi, 120_000), rng.uniform(-0.4, 0.05, 120_000)
    cloud = np.stack([np.sin(turn), -tilt, np.cos(turn), turn], axis=1).astype("<f4") * rng.uniform(3, 80, (120_000, 1))
    fields = [SimpleNamespace(name=name, offset=4 * i, datatype=7, count=1) for i, name in enumerate("xyzi")]
    points = SimpleNamespace(
        height=1, width=len(cloud), fields=fields, point_step=16, row_step=16 * len(cloud), is_bigendian=0,
        data=cloud.astype("<f4").tobytes(),
    )  # fmt: skip
    decoded_depth, decoded_points = depth_of(image), points_of(points)

    def lift(depth: DepthImage | None = None, points: Points | None = None) -> None:
        lifter.lift(seen, view, view=SensorView(view, depth, points) if depth or points else None)

    return {
        "depth image decoded": lambda: depth_of(image),
        "points decoded": lambda: points_of(points),
        "lift by size, 1280x720": lift,
        "lift by depth image": lambda: lift(decoded_depth),
        "lift by points": lambda: lift(points=decoded_points),
        "lift by both": lambda: lift(decoded_depth, decoded_points),
    }


def measure(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and minimum time of a call, ms."""
    for _ in range(10):
        call()
    times = []
    for _ in range(rounds):
        start = perf_counter()
        call()
        times.append((perf_counter() - start) * 1e3)
    return float(np.median(times)), min(times)


def stages(count: int) -> dict[str, Callable[[], object]]:
    """Name -> a call of each stage with so many objects."""
    rng = np.random.default_rng(3)
    peaks = make_peaks(count, rng)
    detections = lift_heads(decode(peaks, PLACEMENT.from_grid, 0.1), CAMERA)
    flat = decode(
        Peaks(peaks.scores, peaks.class_ids, peaks.cells, {"wh": peaks.values["wh"]}, peaks.grid), PLACEMENT.from_grid
    )
    tracks: Tracks = start_tracks(detections, 1, 0.0)
    lifter = SizePriorLifter(CLASSES)
    later = next_frame(detections, rng)
    points = prior_points(tracks, PLACEMENT.to_input, PLACEMENT.input_size, 0.1)
    configs = {name: TrackerConfig.official(association=name, rebirth=1.0) for name in ("greedy", "hungarian")}
    image = rng.integers(0, 255, (*IMAGE, 3), dtype=np.uint8)
    fused = TrackerConfig(motion="fused", appearance="color", birth="evidence")
    noise, start = DisplacementNoise(6.0, 0.3), start_tracks(detections.select(np.zeros(0, np.int64)), 1, 0.0)
    known, _ = update(start, 1, _with_appearances(image, detections), 0.0, 0.1, 0.3, fused, noise=noise)
    seen = _with_appearances(image, later)
    boxed, memory = lifter.lift_tracks(start_tracks(flat, 1, 0.0), CAMERA, 0.0, BoxMemory())
    return {
        "decode + lift by heads": lambda: lift_heads(decode(peaks, PLACEMENT.from_grid, 0.1), CAMERA),
        "lift by size prior": lambda: lifter.lift(flat, CAMERA),
        "3D boxes of tracks": lambda: lifter.lift_tracks(boxed, CAMERA, 0.1, memory),
        "association, greedy": lambda: update(tracks, count + 1, later, 0.1, 0.1, 0.3, configs["greedy"]),
        "association, hungarian": lambda: update(tracks, count + 1, later, 0.1, 0.1, 0.3, configs["hungarian"]),
        "association, default": lambda: update(known, count + 1, seen, 0.1, 0.1, 0.3, fused, noise=noise),
        "appearances": lambda: appearances(image, later.boxes),
        "prior points": lambda: prior_points(tracks, PLACEMENT.to_input, PLACEMENT.input_size, 0.1),
        "prior heatmap drawn": lambda: gaussian.render(points, PLACEMENT.input_size),
        **sensors(flat, rng),
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--stage", default="", help="only stages whose names hold this")
    args = parser.parse_args()
    rounds = args.rounds
    rows = {count: stages(count) for count in COUNTS}
    print(f"{'ms: median (minimum)':<26}" + "".join(f"{f'{count} objects':>18}" for count in COUNTS))
    for name in (name for name in rows[COUNTS[0]] if args.stage in name):
        cells = [measure(rows[count][name], rounds) for count in rows]
        print(f"{name:<26}" + "".join(f"{f'{median:.3f} ({minimum:.3f})':>18}" for median, minimum in cells))


if __name__ == "__main__":
    main()
