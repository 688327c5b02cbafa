# SPDX-License-Identifier: Apache-2.0
"""How a detector's boxes differ from true ones, in width and height, by class and size.

    python -m experiments.box_noise DATA [--weights FILE] [--engine NAME]

DATA is the folder with coco, openimages_vehicles (of which the training part is left out), mot17 and pets09_s2l1;
missing ones are left out. Boxes that the image's border cuts, and those that others cover by a fifth, are not counted:
of these the truth is larger than what can be seen.

Bias is the median of the logarithm of a detected side over the true one; sigma its robust standard deviation about the
bias (1.48 times the median of the differences); rms the usual one, which outliers rule.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.evaluation.tables import table
from centertrack_ros.geometry.boxes2d import areas, intersections, sizes_of
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import Detections
from experiments import real_tracks
from experiments.overlap_errors import match_by_overlap

Array = NDArray[Any]

CLASSES = ("person", "car", "bicycle", "motorcycle", "bus", "truck")
_COCO_NUMBERS = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
_OPENIMAGES_NUMBERS = {1: "bus", 2: "car", 3: "motorcycle", 4: "truck"}
BORDER_PX, COVERED = 4.0, 0.2
SIZES = ((12, 32), (32, 64), (64, 128), (128, 256), (256, 2000))  # px, root of a true box's area
LEAST = 8  # objects of a figure


def labelled_images(
    paths: Iterable[Path], labels: Path, names: Mapping[int, str]
) -> Iterator[tuple[Array, Detections]]:
    """Images with their boxes of `CLASSES` from text files: number (see `names`), middle and size, relative."""
    import cv2

    for path in paths:
        image, file = cv2.imread(str(path)), labels / f"{path.stem}.txt"
        if image is None or not file.is_file():
            continue
        rows = np.array([line.split()[:5] for line in file.read_text().splitlines() if line], np.float64).reshape(-1, 5)
        rows = rows[np.array([int(row[0]) in names for row in rows], bool)]
        size = np.array([image.shape[1], image.shape[0]], np.float64)
        middles, halves = rows[:, 1:3] * size, rows[:, 3:5] * size / 2
        classes = np.array([CLASSES.index(names[int(number)]) for number in rows[:, 0]], np.int64)
        boxes = np.concatenate([middles - halves, middles + halves], axis=1).astype(np.float32)
        yield np.asarray(image), Detections.from_boxes(boxes, class_ids=classes)


def people_images(sequences: list[VideoSequence]) -> Iterator[tuple[Array, Detections]]:
    """The images of recordings of pedestrians, with their boxes."""
    import cv2

    for sequence in sequences:
        for frame in sequence:
            image, found = cv2.imread(str(frame.image)), frame.tracks.detections
            people = np.array([name == "pedestrian" for name in sequence.classes])[found.class_ids]
            boxes = found.boxes[people]
            yield np.asarray(image), Detections.from_boxes(boxes, class_ids=np.zeros(len(boxes), np.int64))


def side_errors(image: Array, truth: Detections, engine: Engine) -> Array:
    """(M, 4) class, size (px), logarithms of the ratios of widths and of heights, of whole objects."""
    found = Tracker(engine, TrackerConfig(lift="none")).step(image).tracks.detections
    numbers = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in engine.profile.classes], np.int64)
    shared = intersections(truth.boxes, truth.boxes) / np.maximum(areas(truth.boxes), 1e-6)[:, None]
    np.fill_diagonal(shared, 0.0)
    limits = np.array([image.shape[1], image.shape[0]]) - BORDER_PX
    whole = (truth.boxes[:, :2] > BORDER_PX).all(axis=1) & (truth.boxes[:, 2:] < limits).all(axis=1)
    whole &= shared.max(axis=1, initial=0.0) < COVERED
    found = Detections.from_boxes(found.boxes, found.scores, numbers[found.class_ids])
    pairs = [(row, column) for row, column in match_by_overlap(truth, found) if whole[row]]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    known, seen = truth.boxes[rows].astype(np.float64), found.boxes[columns].astype(np.float64)
    ratios = np.log((seen[:, 2:] - seen[:, :2]) / (known[:, 2:] - known[:, :2]))
    return np.column_stack([truth.class_ids[rows], sizes_of(known), ratios])


def spread_of(errors: Array) -> tuple[float, float, float]:
    """Bias, robust standard deviation and root mean square about the bias, of logarithms."""
    bias = float(np.median(errors))
    return bias, 1.48 * float(np.median(np.abs(errors - bias))), float(np.sqrt(np.mean((errors - bias) ** 2)))


def lines_of(name: str, errors: Array) -> list[list[str]]:
    """Rows of the table of one data set."""
    lines = []
    for number, kind in enumerate(CLASSES):
        for low, high in (*SIZES, (0, 10000)):
            chosen = errors[(errors[:, 0] == number) & (errors[:, 1] >= low) & (errors[:, 1] < high)]
            if len(chosen) >= LEAST:
                figures = [f"{100 * value:.1f}" for axis in (2, 3) for value in spread_of(chosen[:, axis])]
                lines.append([name, kind, f"{low}-{high} px" if low else "all", str(len(chosen)), *figures])
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args(arguments)
    engine = load_engine(args.weights, engine=args.engine)
    lines: list[list[str]] = []
    everything: list[Array] = []
    with tempfile.TemporaryDirectory() as folder:
        sets: dict[str, Iterator[tuple[Array, Detections]]] = {}
        if (args.data / "coco").is_dir():
            paths = sorted((args.data / "coco" / "images" / "val2017").glob("*.jpg"))
            sets["coco val"] = labelled_images(paths, args.data / "coco" / "labels" / "val2017", _COCO_NUMBERS)
        if (args.data / "openimages_vehicles").is_dir():
            folders = [args.data / "openimages_vehicles" / part for part in ("test", "valid")]
            sets["openimages"] = chain.from_iterable(
                labelled_images(sorted((one / "images").glob("*.jpg")), one / "labels", _OPENIMAGES_NUMBERS)
                for one in folders
            )
        if (args.data / "mot17" / "images").is_dir():
            sets["mot17"] = people_images(real_tracks.read_mot17(args.data / "mot17" / "images"))
        if (args.data / "pets09_s2l1").is_dir():
            sets["pets"] = people_images([real_tracks.read_pets(args.data / "pets09_s2l1", Path(folder) / "pets")])
        for name, images in sets.items():
            errors = np.concatenate([side_errors(image, truth, engine) for image, truth in images])
            lines += lines_of(name, errors)
            everything.append(errors)
    joined = ("bias", "sigma", "rms")
    heading = [
        "boxes",
        "class",
        "size",
        "objects",
        *(f"{axis} {one} %" for axis in ("width", "height") for one in joined),
    ]
    print(table(heading, lines + lines_of("all sets", np.concatenate(everything))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
