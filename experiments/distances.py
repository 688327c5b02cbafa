# SPDX-License-Identifier: Apache-2.0
"""Distances and headings without a depth head, against true 3D boxes.

    python -m experiments.distances DATA [--weights FILE] [--engine NAME] [--height METRES]

DATA is the folder with kitti_tracking_labels, kitti_tracking_mini, nuscenes_sample_6cam and dgp_ddad; missing ones are
left out, with a line.

By the boxes of KITTI's labels, with their ids: 'mean size' (the size of the class, the width averaged over all
headings), 'one image' (heading, size and distance in one fit), 'tracked' (with what was seen before), 'tracked, height'
(with the camera's height over the ground, --height) and 'contact' (the ground alone, with a fixed horizon).
By a detector's boxes, each image by itself: as they are, and corrected by the box bias that the other sets have.

Each figure: median error of the depth in percent, of whole boxes and of those that the image's border cuts; the root
mean square of the error over its stated standard deviation (1 is honest); the median error of the heading, up to half
a turn and in full, degrees.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.evaluation.tables import table
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.lifters import detector_boxes
from centertrack_ros.types import BoxMemory, Detections
from experiments.distance_baseline import by_contact, by_mean_size
from experiments.distance_cases import CLASSES, Case, box_bias, detected, image_sets, label_recordings

Array = NDArray[Any]

KITTI_CAMERA_HEIGHT = 1.65  # m
RANGES = ((0, 5), (5, 10), (10, 20), (20, 30), (30, 50), (50, 100))
LEAST = 5  # objects of a figure


def tracked(lifter: SizePriorLifter, cases: Iterable[Case]) -> list[Detections]:
    """The boxes of a recording lifted as those of tracks."""
    memory, lifted = BoxMemory(), []
    for case in cases:
        boxes = case.boxes
        tracks = tracks_of(case.ids, boxes.class_ids, boxes.scores, boxes.boxes)
        tracks, memory = lifter.lift_tracks(tracks, case.camera, case.stamp, memory)
        lifted.append(tracks.detections)
    return lifted


def errors_of(cases: Sequence[Case], lifted: Sequence[Detections]) -> Array:
    """(M, 6) class, cut, true depth (m), relative error, error over its sigma, error of the heading (rad)."""
    rows = []
    for case, found in zip(cases, lifted, strict=True):
        truth = case.truth
        assert truth.locations is not None and found.locations is not None and found.location_covariances is not None
        depths, known = np.asarray(found.locations, np.float64)[:, 2], np.asarray(truth.locations, np.float64)[:, 2]
        turns = np.asarray(found.rotations_y, np.float64) - np.asarray(truth.rotations_y, np.float64)
        sigmas = np.sqrt(found.location_covariances[:, 2, 2])
        rows.append(
            np.column_stack([truth.class_ids, case.cut, known, depths / known - 1, (depths - known) / sigmas, turns])
        )
    return np.concatenate(rows)


def lines_of(name: str, errors: Array) -> list[list[str]]:
    """Rows of the table for one way to lift: whole and cut boxes of each class."""
    lines = []
    for number, kind in enumerate(CLASSES):
        for label, cut in (("whole", 0), ("cut", 1)):
            chosen = errors[(errors[:, 0] == number) & (errors[:, 1] == cut)]
            if len(chosen) < LEAST:
                continue
            line = [f"{kind}, {label}", name, str(len(chosen)), _percent(chosen), f"{_rms(chosen):.2f}"]
            for low, high in RANGES:
                part = chosen[(chosen[:, 2] >= low) & (chosen[:, 2] < high)]
                line.append(_percent(part) if len(part) >= LEAST else "")
            turns = np.degrees(chosen[:, 5])
            half, full = np.abs((turns + 90) % 180 - 90), np.abs((turns + 180) % 360 - 180)
            lines.append([*line, f"{np.median(half):.1f}", f"{np.median(full):.1f}"])
    return lines


def _percent(errors: Array) -> str:
    missing = np.isnan(errors[:, 3])
    median = np.median(np.where(missing, np.inf, np.abs(errors[:, 3])))
    return f"{100 * median:.1f}"


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors[:, 4] ** 2)))


def show(title: str, lines: list[list[str]]) -> None:
    """Prints a table, the ways to lift side by side for each class."""
    heading = [
        title,
        "by",
        "boxes",
        "error %",
        "rms",
        *(f"{low}-{high} m" for low, high in RANGES),
        "mod 180",
        "heading",
    ]
    order = {line[0]: None for line in lines}
    print(f"\n{table(heading, [line for name in order for line in lines if line[0] == name])}")


def by_labels(folder: Path, height: float) -> None:
    """Prints the errors by the boxes of KITTI's labels."""
    recordings = list(label_recordings(folder))
    cases = [case for recording in recordings for case in recording]
    single, ground = SizePriorLifter(CLASSES), SizePriorLifter(CLASSES, height)
    ways = {
        "mean size": [by_mean_size(CLASSES, case.boxes, case.camera) for case in cases],
        "one image": [single.lift(case.boxes, case.camera) for case in cases],
        "tracked": [one for recording in recordings for one in tracked(single, recording)],
        "tracked, height": [one for recording in recordings for one in tracked(ground, recording)],
        "contact": [by_contact(case.boxes, case.camera, height) for case in cases],
    }
    show("KITTI labels", [line for name, lifted in ways.items() for line in lines_of(name, errors_of(cases, lifted))])


def by_detector(data: Path, engine: Engine) -> None:
    """Prints the errors by a detector's boxes, and its box bias."""
    sets = {name: detected(sequences, engine) for name, sequences in image_sets(data).items()}
    everything = [case for cases in sets.values() for case in cases]
    stated = SizePriorLifter(CLASSES, box_bias=detector_boxes(engine.profile))
    joined: dict[str, list[Array]] = {}
    for name, cases in sets.items():
        others = box_bias(case for other, part in sets.items() if other != name for case in part)
        print(f"\nbox bias: of {name} {box_bias(cases)}; of the others {others}")
        corrected = SizePriorLifter(CLASSES, box_bias=others)
        ways = {
            "mean size": [by_mean_size(CLASSES, case.boxes, case.camera) for case in cases],
            "as they are": [SizePriorLifter(CLASSES).lift(case.boxes, case.camera) for case in cases],
            "bias of others": [corrected.lift(case.boxes, case.camera) for case in cases],
            "bias of profile": [stated.lift(case.boxes, case.camera) for case in cases],
        }
        errors = {way: errors_of(cases, lifted) for way, lifted in ways.items()}
        show(name, [line for way, one in errors.items() for line in lines_of(way, one)])
        for way, one in errors.items():
            joined.setdefault(way, []).append(one)
    show("all sets", [line for way, parts in joined.items() for line in lines_of(way, np.concatenate(parts))])
    print(f"\nbox bias of all sets: {box_bias(everything)}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--height", type=float, default=KITTI_CAMERA_HEIGHT, help="of the camera of the labels, m")
    args = parser.parse_args(arguments)
    if not args.data.is_dir():
        raise SystemExit(f"no folder {args.data}")
    if (args.data / "kitti_tracking_labels").is_dir():
        by_labels(args.data / "kitti_tracking_labels", args.height)
    else:
        print(f"left out: kitti_tracking_labels is not in {args.data}")
    for name in ("kitti_tracking_mini", "nuscenes_sample_6cam", "dgp_ddad"):
        if not (args.data / name).is_dir():
            print(f"left out: {name} is not in {args.data}")
    by_detector(args.data, load_engine(args.weights, engine=args.engine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
