#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the constants of motion 'fused' on ground truth.

    python -m experiments.motion_noise DATA [--weights W] [--engine E]

1. How the velocities of road users change on images (KITTI tracking, MOT17, PETS): `fused_motion.VELOCITY_NOISE` is
   right if it does not depend on the step, `FIRST_VELOCITY` is how fast they are.
2. How far the displacements and centres of a model are off (PETS and MOT17, which have images with identities), at
   every first to third frame: `ModelProfile.displacement_noise` and `fused_motion.CENTER_NOISE`.
3. How alike one person and two people look on PETS after so many s: the constants of `tracking.appearance`.

Spreads are robust: 95 of 100 values lie within 1.96 of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets import kitti, mot
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.evaluation.ablation import every_nth
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.tracking.appearance import appearances, covered_parts, distances
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.fused_motion import sizes_of
from centertrack_ros.tracking.pipeline import Tracker
from experiments import real_tracks

Floats = NDArray[np.float64]
STEPS_S = (0.033, 0.067, 0.1, 0.2, 0.3, 0.5, 1.0)


def spread(values: Floats) -> float:
    """The robust standard deviation of values around 0."""
    return float(np.percentile(np.abs(values), 95) / 1.96) if len(values) else float("nan")


def paths(sequence: VideoSequence) -> Iterator[tuple[NDArray[np.int64], Floats, Floats]]:
    """Of each object: frames (N,), centres (N, 2) px and sizes (N,) px."""
    rows: dict[int, list[tuple[int, Floats]]] = {}
    for frame in sequence:
        considered = frame.flags.get("considered", np.ones(len(frame.tracks), bool))
        for row in np.flatnonzero(considered):
            rows.setdefault(int(frame.tracks.ids[row]), []).append((frame.index, frame.tracks.detections.boxes[row]))
    for found in rows.values():
        boxes = np.array([box for _, box in found], np.float64)
        yield np.array([index for index, _ in found]), (boxes[:, :2] + boxes[:, 2:]) / 2, sizes_of(boxes)


def image_motion(sequences: Iterable[VideoSequence], rate: float, step_s: float) -> tuple[float, float, int]:
    """Strength of the velocity's random walk, velocity, both in sizes, and the number of objects' moments."""
    stride = max(1, round(step_s * rate))
    changes, velocities = [], []
    for sequence in sequences:
        for frames, centers, sizes in paths(sequence):
            row = {int(frame): index for index, frame in enumerate(frames)}
            for index, frame in enumerate(frames):
                before, after = row.get(int(frame) - stride), row.get(int(frame) + stride)
                if before is not None and after is not None:
                    changes.append((centers[after] - 2 * centers[index] + centers[before]) / sizes[index])
                    velocities.append((centers[after] - centers[index]) / sizes[index] * rate / stride)
    root = np.sqrt(2 / 3 * (stride / rate) ** 3)  # of a second difference of positions under a walk of strength 1
    return spread(np.ravel(changes)) / root, spread(np.ravel(velocities)), len(changes)


def detector_errors(sequences: Iterable[VideoSequence], engine: Engine) -> tuple[Floats, Floats, Floats]:
    """Errors of displacements (N, 2), lengths of the true ones (N,), px of the network's input; centres (N, 2), sizes.

    Detections are compared with the person that they overlap most, by an IoU of at least 0.5.
    """
    errors, lengths, centers = [], [], []
    person = engine.profile.classes.index("person")
    for sequence in sequences:
        tracker = Tracker(engine, TrackerConfig(classes=("person",), motion="none"))
        known: dict[int, Floats] = {}
        for frame in sequence:
            result = tracker.step(np.asarray(cv2.imread(str(frame.image)), np.uint8), None, frame.stamp)
            detections, truth = result.detections, frame.tracks
            assert detections is not None and (detections.class_ids == person).all()
            scale = float(np.hypot(*result.affine[0, :2]))
            overlaps = iou(truth.detections.boxes, detections.boxes) if len(truth) and len(detections) else None
            now = {}
            for row, (track_id, box) in enumerate(zip(truth.ids.tolist(), truth.detections.boxes, strict=True)):
                now[track_id] = (box[:2] + box[2:]) / 2.0
                if overlaps is None or overlaps[row].max() < 0.5:
                    continue
                column = int(overlaps[row].argmax())
                middle = (detections.boxes[column, :2] + detections.boxes[column, 2:]) / 2
                centers.append((middle - now[track_id]) / sizes_of(box[None])[0])
                if track_id in known:
                    moved = known[track_id] - now[track_id]
                    errors.append(scale * (detections.displacements[column] - moved))
                    lengths.append(scale * np.hypot(*moved))
            known = now
    return np.array(errors), np.array(lengths), np.array(centers)


def appearance_distances(sequence: VideoSequence, gap: int) -> tuple[Floats, Floats]:
    """Distances of the same person's and of different people's appearances, `gap` frames apart, where seen alone."""
    looks = {}
    for frame in sequence:
        image, boxes = np.asarray(cv2.imread(str(frame.image)), np.uint8), frame.tracks.detections.boxes
        alone = covered_parts(boxes) < 0.2
        looks[frame.index] = frame.tracks.ids[alone], appearances(image, boxes[alone])
    same, other = [np.zeros(0)], [np.zeros(0)]
    for index, (ids, first) in looks.items():
        if index + gap in looks:
            later_ids, later = looks[index + gap]
            found, equal = distances(first, later), ids[:, None] == later_ids[None, :]
            same.append(found[equal])
            other.append(found[~equal])
    return np.concatenate(same), np.concatenate(other)


def fit_noise(errors: Floats, lengths: Floats) -> tuple[float, float]:
    """The most likely (sigma, slope error) of normal errors (N, 2) px at displacements of lengths (N,) px."""
    sigmas, slopes = np.meshgrid(np.geomspace(0.5, 40, 60), np.linspace(0, 1, 41), indexing="ij")
    variances = sigmas[..., None] ** 2 + (slopes[..., None] * lengths) ** 2
    # Student's t of four degrees of freedom, scaled to the same variance in its core: outliers do not decide.
    likelihood = (2 * 0.5 * np.log(variances) + 3.0 * np.log1p(np.square(errors).sum(1) / variances / 4)).sum(-1)
    best = np.unravel_index(likelihood.argmin(), likelihood.shape)
    return float(sigmas[best]), float(slopes[best])


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with pets09_s2l1, mot17, kitti_tracking_labels")
    parser.add_argument("--weights", default="")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    walks: list[tuple[str, float, list[VideoSequence]]] = []
    for place in sorted((args.data / "kitti_tracking_labels").rglob("label_02")):
        walks.append(("KITTI", 10.0, [kitti.read_labels(path) for path in sorted(place.glob("*.txt"))]))
    for place in sorted((args.data / "mot17" / "annotations").glob("MOT17-*")):
        truth = mot.read_truth(place / "gt" / "gt.txt", place.name)
        walks.append((place.name, 14.0 if "-05" in place.name else 30.0, [truth]))
    print("ground truth: change of velocity (sizes/s per root of s) and velocity (sizes/s) at steps of so many s")
    for name, rate, sequences in walks:
        cells = [(step, image_motion(sequences, rate, step)) for step in STEPS_S if step * rate > 0.9]
        print(f"{name:<16}" + "  ".join(f"{step:g}: {walk:.2f} {speed:.2f}" for step, (walk, speed, _) in cells))
    engine = load_engine(args.weights, engine=args.engine)
    with TemporaryDirectory() as folder:
        recordings = {
            "PETS": [real_tracks.read_pets(args.data / "pets09_s2l1", Path(folder))],
            "MOT17": real_tracks.read_mot17(args.data / "mot17" / "images"),
        }
        for gap in (1, 3, 7, 15, 30):
            same, other = appearance_distances(recordings["PETS"][0], gap)
            texts = [f"{np.nanmedian(part):.3f} (log spread {np.nanstd(np.log(part)):.2f})" for part in (same, other)]
            print(f"appearance after {gap / 7:.2f} s: same person {texts[0]}, others {texts[1]}")
        everything = []
        for name, sequences in recordings.items():
            for every in (1, 2, 3):
                found = detector_errors([every_nth(one, every) for one in sequences], engine)
                everything.append(found)
                report(f"{name} 1/{every}", found)
    errors, lengths, centers = (np.concatenate(parts) for parts in zip(*everything, strict=True))
    report("all", (errors, lengths, centers))


def report(title: str, found: tuple[Floats, Floats, Floats]) -> None:
    """Prints one row of the errors of a model."""
    errors, lengths, centers = found
    sigma, slope = fit_noise(errors, lengths)
    print(
        f"{title:<10} {len(errors):4d} objects: displacement_noise [{sigma:.1f}, {slope:.2f}] "
        f"(all errors: {spread(np.ravel(errors)):.1f} px); centre {spread(np.ravel(centers)):.3f} sizes"
    )


if __name__ == "__main__":
    main()
