# SPDX-License-Identifier: Apache-2.0
"""How many people and cars a model finds, how many boxes are false, and what an image costs, for several input sizes.

    python -m experiments.recall DATA [--budgets 147456,262144,…] [--before] [--weights FILE] [--engine NAME]

DATA holds some of kitti_tracking_mini, nuscenes_sample_6cam, dgp_ddad and mot17. Counted are people and cars at least
40 px high in the image and hidden by at most half. Found: by a box of the class whose IoU is at least 0.5, or 0.25 in
nuScenes and DGP, whose boxes are drawn around projected 3D boxes, up to three times as large as what one sees. False:
other boxes at least 40 px high, except in what is not counted or not annotated. DGP leaves many cars without a box:
there the number of false boxes says little. Each image is seen by itself, so that the model's threshold for a new track
decides. 'At equal false boxes': at the lowest threshold with no more false boxes than the first row has at the model's.
All rows take turns image by image; 'time' is the median of their ratios to the first row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine, EngineAround
from centertrack_ros.evaluation.tables import table
from centertrack_ros.geometry.boxes2d import areas, intersections, iou
from centertrack_ros.types import Detections
from experiments.image_boxes import CLASSES, detect_in, detector, read_images

BUDGETS = (147456, 196608, 262144, 393216, 524288)
OVERLAPS = {"kitti_tracking_mini": 0.5, "mot17": 0.5, "nuscenes_sample_6cam": 0.25, "dgp_ddad": 0.25}
MIN_HEIGHT = 40.0  # px of the image
MOST_HIDDEN = 0.5  # share of a box; more: neither missed nor false
STEPS = np.arange(0.2, 0.95, 0.01)  # thresholds to choose from


@dataclass(frozen=True)
class Seen:
    """One image: its objects, what is neither missed nor false there, the detections, and the least IoU of a match."""

    objects: Detections
    ignored: NDArray[np.floating]
    found: Detections
    overlap: float


@dataclass(frozen=True)
class Counts:
    """Objects, found ones and false boxes of a class."""

    objects: int = 0
    found: int = 0
    false: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.objects + other.objects, self.found + other.found, self.false + other.false)


@dataclass
class Row:
    """What one input gives: data set -> its images, and their times in ms."""

    seen: dict[str, list[Seen]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    def counts(self, threshold: float, data_set: str = "") -> dict[str, Counts]:
        """Class -> its counts above a score, in one or all data sets."""
        chosen = [one for name, images in self.seen.items() if data_set in ("", name) for one in images]
        return {
            name: sum((count(one, kind, threshold) for one in chosen), Counts()) for kind, name in enumerate(CLASSES)
        }

    def false(self, threshold: float) -> int:
        """False boxes above a score in all data sets."""
        return sum(one.false for one in self.counts(threshold).values())


def counted(frame: AnnotatedFrame) -> NDArray[np.bool_]:
    """(N,): which objects of a frame must be found."""
    detections, flags = frame.tracks.detections, frame.flags
    chosen = np.asarray(detections.boxes[:, 3] - detections.boxes[:, 1] >= MIN_HEIGHT)
    if "occlusion" in flags:  # KITTI: 0 visible, 1 partly, 2 largely hidden, 3 unknown; truncation is a share
        return chosen & (flags["occlusion"] <= 1) & (flags["truncation"] <= MOST_HIDDEN)
    if "visibility" in flags:  # MOT
        return chosen & flags["considered"].astype(bool) & (flags["visibility"] >= 1 - MOST_HIDDEN)
    if "points" in flags:  # nuScenes counts only what the LiDAR or the radar has touched
        chosen &= flags["points"] > 0
    return chosen & (hidden(detections.boxes, detections.locations) <= MOST_HIDDEN)


def hidden(boxes: NDArray[np.floating], locations: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """(N,): the share of each box that boxes of nearer objects cover; 0 where distances are unknown."""
    if locations is None or not len(boxes):
        return np.zeros(len(boxes))
    distances = locations[:, 2]
    nearer = distances[None, :] < distances[:, None]
    places = (np.arange(32) + 0.5) / 32
    x = boxes[:, None, 0] + (boxes[:, None, 2] - boxes[:, None, 0]) * places
    y = boxes[:, None, 1] + (boxes[:, None, 3] - boxes[:, None, 1]) * places
    across = (x[:, None] >= boxes[None, :, None, 0]) & (x[:, None] < boxes[None, :, None, 2])  # (N, N, 32)
    down = (y[:, None] >= boxes[None, :, None, 1]) & (y[:, None] < boxes[None, :, None, 3])
    covered = (across[:, :, None, :] & down[:, :, :, None] & nearer[:, :, None, None]).any(axis=1)
    return np.asarray(covered.mean(axis=(1, 2)), np.float64)


def count(seen: Seen, kind: int, threshold: float) -> Counts:
    """The counts of one class in one image, with the detections above a score."""
    from scipy.optimize import linear_sum_assignment

    objects = seen.objects.boxes[seen.objects.class_ids == kind]
    found = seen.found.boxes[(seen.found.class_ids == kind) & (seen.found.scores > threshold)]
    overlaps = np.asarray(iou(objects, found), np.float64).reshape(len(objects), len(found))
    allowed = overlaps >= seen.overlap
    rows, columns = linear_sum_assignment(np.where(allowed, 1.0 - overlaps, 10.0))
    matched = columns[allowed[rows, columns]]
    others = np.delete(found, matched, axis=0)
    others = others[others[:, 3] - others[:, 1] >= MIN_HEIGHT]
    inside = intersections(others, seen.ignored) > 0.5 * areas(others)[:, None]
    excused = inside | (np.asarray(iou(others, seen.ignored)).reshape(inside.shape) >= seen.overlap)
    return Counts(len(objects), len(matched), int((~excused.any(axis=1)).sum()))


def measure(data: Path, ways: dict[str, EngineAround]) -> dict[str, Row]:
    """Way -> its detections and times; the ways take turns image by image."""
    import cv2

    rows = {name: Row() for name in ways}
    detectors = {name: detector(way, duplicate_iou=0.7) for name, way in ways.items()}
    for data_set, sequences in read_images(data, counted, OVERLAPS).items():
        for sequence in sequences:
            for number, frame in enumerate(sequence):
                image = np.asarray(cv2.imread(str(frame.image)), np.uint8)
                for name, find in detectors.items():
                    if not number:
                        find(image)  # an engine prepares itself for a new size
                    start = perf_counter()
                    found = detect_in(frame, find(image), ways[name].profile.classes).tracks.detections
                    rows[name].times.setdefault(data_set, []).append((perf_counter() - start) * 1e3)
                    seen = Seen(frame.tracks.detections, frame.ignore.reshape(-1, 4), found, OVERLAPS[data_set])
                    rows[name].seen.setdefault(data_set, []).append(seen)
    return rows


def equal_threshold(row: Row, most: int) -> float:
    """The lowest threshold with at most this number of false boxes."""
    return next((float(t) for t in STEPS if row.false(float(t)) <= most), float(STEPS[-1]))


def line_of(name: str, row: Row, first: Row, threshold: float) -> list[str]:
    """One line of the table."""
    cells = [name]
    for data_set in row.seen:
        shown = [
            f"{kind[0]} {one.found}/{one.objects}"
            for kind, one in row.counts(threshold, data_set).items()
            if one.objects
        ]
        false = sum(one.false for one in row.counts(threshold, data_set).values())
        cells.append(f"{' '.join(shown)} +{false}")
    cells.append(" ".join(f"{kind[0]} {one.found}/{one.objects}" for kind, one in row.counts(threshold).items()))
    cells.append(str(row.false(threshold)))
    equal = equal_threshold(row, first.false(threshold))
    cells.append(" ".join(f"{kind[0]} {one.found}" for kind, one in row.counts(equal).items()) + f" ({equal:.2f})")
    times = {k: (np.array(row.times[k]), np.array(first.times[k])) for k in row.times}
    cells += [f"{np.median(own):.0f} ms ({np.median(own / base):.2f})" for own, base in times.values()]
    return cells


def ways_of(engine: Engine, budgets: Sequence[int], before: bool) -> dict[str, EngineAround]:
    """Name -> the engine with each input."""
    profile = engine.profile
    ways = {"keep_aspect 512": replace(profile, resize="keep_aspect")} if before else {}
    ways |= {f"budget {pixels}": profile.with_input_pixels(pixels) for pixels in budgets}
    return {name: EngineAround(engine, one) for name, one in ways.items()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="px of the input, comma-separated")
    parser.add_argument("--before", action="store_true", help="first row: the input before there were budgets")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--threshold", type=float, help="score; default: the model's for a new track")
    args = parser.parse_args(arguments)
    if missing := [name for name in OVERLAPS if not (args.data / name).is_dir()]:
        print(f"left out: {', '.join(missing)} not in {args.data}")
    engine = load_engine(args.weights, engine=args.engine, threads=args.threads)
    budgets = [int(part) for part in args.budgets.split(",")]
    rows = measure(args.data, ways_of(engine, budgets, args.before))
    if not any(row.seen for row in rows.values()):
        raise SystemExit(f"none of {', '.join(OVERLAPS)} in {args.data}")
    first = next(iter(rows.values()))
    threshold = engine.profile.thresholds.resolved().new if args.threshold is None else args.threshold
    print(f"{engine.profile.name} by {engine.name}, score above {threshold:g}; p: person, c: car, +: false boxes")
    heading = ["input", *first.seen, "all", "false", "at equal false", *first.times]
    print(table(heading, [line_of(name, row, first, threshold) for name, row in rows.items()]))
    print(json.dumps({name: {k: vars(one) for k, one in row.counts(threshold).items()} for name, row in rows.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
