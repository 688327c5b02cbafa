#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cost of lower precision: an engine's boxes, depths and ids against those of float32, over whole recordings.

    python -m benchmarks.precision [RECORDING …] [--weights FILE] [--engine openvino-bf16] [--frames N]

RECORDING is a bag, a video, a folder of images or one of KITTI's raw recordings; the demo clip is always the first.
Both engines track every recording by themselves, as `centertrack track` does. In each frame the objects of both are
matched by class and overlap (an IoU of at least 0.5). An id switch is a match whose object was matched with another id
before, as a tracking metric counts it with float32 as the ground truth. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.demo_clip import DEMO_BAG
from centertrack_ros.types import Frame, FrameResult

MIN_IOU = 0.5


@dataclass
class Errors:
    """The differences between two engines' results for the same frames."""

    objects: int = 0  # of float32
    missing: int = 0  # of these, without a match
    further: int = 0  # of the other engine, without a match
    switches: int = 0
    ious: list[float] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)  # px: largest difference of a box's four edges
    scores: list[float] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)  # percent
    last_ids: dict[int, int] = field(default_factory=dict)  # id in float32 -> the other's

    def add(self, reference: FrameResult, other: FrameResult) -> None:
        """Adds the results of one frame."""
        from centertrack_ros.geometry.boxes2d import iou

        one, two = (result.tracks.select(result.tracks.hits > 0) for result in (reference, other))
        overlaps = iou(one.detections.boxes, two.detections.boxes).astype(np.float64)
        overlaps[one.detections.class_ids[:, None] != two.detections.class_ids[None, :]] = 0.0
        rows, columns = match_boxes(overlaps)
        self.objects += len(one)
        self.missing += len(one) - len(rows)
        self.further += len(two) - len(rows)
        self.ious += overlaps[rows, columns].tolist()
        first, second = one.detections, two.detections
        self.edges += np.abs(first.boxes[rows] - second.boxes[columns]).max(axis=1, initial=0.0).tolist()
        self.scores += np.abs(first.scores[rows] - second.scores[columns]).tolist()
        if first.depths is not None and second.depths is not None:
            relative = np.abs(second.depths[columns] / first.depths[rows] - 1)
            self.depths += (100 * relative[np.isfinite(relative)]).tolist()
        for id_one, id_two in zip(one.ids[rows].tolist(), two.ids[columns].tolist(), strict=True):
            self.switches += self.last_ids.get(id_one, id_two) != id_two
            self.last_ids[id_one] = id_two

    def summary(self) -> dict[str, float | None]:
        """Counts and percentages, medians, and the worst 5 % of each difference; None where nothing was matched."""
        figures: dict[str, float | None] = {
            "objects": self.objects,
            "missing_percent": 100 * self.missing / max(1, self.objects),
            "further_percent": 100 * self.further / max(1, self.objects),
            "id_switches": self.switches,
        }
        for name, values in (("iou", self.ious), ("edge_px", self.edges), ("score", self.scores)):
            worst = 5 if name == "iou" else 95
            figures[name] = float(np.median(values)) if values else None
            figures[f"{name}_worst"] = float(np.percentile(values, worst)) if values else None
        figures["depth_percent"] = float(np.median(self.depths)) if self.depths else None
        figures["depth_percent_worst"] = float(np.percentile(self.depths, 95)) if self.depths else None
        return figures


def match_boxes(overlaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the matches with the largest sum of overlaps, none below `MIN_IOU`."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.where(overlaps >= MIN_IOU, -overlaps, 0.0))
    good = overlaps[rows, columns] >= MIN_IOU
    return rows[good], columns[good]


def frames(recording: Path) -> Iterable[Any]:
    """The frames of a recording, with their cameras where it is calibrated."""
    import cv2

    from centertrack_ros.datasets import kitti
    from centertrack_ros.io.sources import open_source

    if not (recording / "image_02").is_dir():
        return open_source(recording)

    def of_kitti() -> Iterator[Frame]:
        for frame in kitti.read_raw(recording):
            image = cv2.imread(str(frame.image))
            assert image is not None
            yield Frame(np.asarray(image, np.uint8), frame.stamp, frame.camera)

    return of_kitti()


def compare(engines: Sequence[Any], recording: Path, count: int | None) -> dict[str, Any]:
    """The summary of `Errors` over the first `count` frames of a recording, with the number of frames."""
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.tracking.pipeline import Tracker

    config = TrackerConfig()
    one, two = (Tracker(engine, config) for engine in engines)
    errors, count_seen = Errors(), 0
    for frame in islice(frames(recording), count):
        errors.add(*(t.step(frame.image, frame.camera, frame.stamp) for t in (one, two)))
        count_seen += 1
    return {"recording": recording.name, "frames": count_seen, **errors.summary()}


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown."""
    lines = [
        "| recording | frames | objects | without a match: float32's, the other's | IoU, median (5 %) "
        "| worst edge px, median (95 %) | score (95 %) | depth, median (95 %) | id switches |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        depth = "no depth"
        if row["depth_percent"] is not None:
            depth = f"{row['depth_percent']:.2f} % ({row['depth_percent_worst']:.2f} %)"
        matched = "no matches | | "
        if row["iou"] is not None:
            matched = (
                f"{row['iou']:.3f} ({row['iou_worst']:.3f}) | {row['edge_px']:.2f} ({row['edge_px_worst']:.2f}) "
                f"| {row['score']:.4f} ({row['score_worst']:.4f})"
            )
        lines.append(
            f"| {row['recording']} | {row['frames']} | {row['objects']} "
            f"| {row['missing_percent']:.1f} %, {row['further_percent']:.1f} % | {matched} | {depth} "
            f"| {row['id_switches']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="*", metavar="RECORDING")
    parser.add_argument("--weights", help="checkpoint; the embedded model otherwise")
    parser.add_argument("--engine", default="openvino-bf16", help="the engine to compare")
    parser.add_argument("--reference", default="auto", help="the engine in float32")
    parser.add_argument("--frames", type=int, help="of each recording; default: all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    from centertrack_ros.engine import load_engine

    engines = [load_engine(args.weights, engine=name, threads=args.threads) for name in (args.reference, args.engine)]
    if args.engine != engines[1].name:
        raise SystemExit(f"{args.engine} is not available, {engines[1].name} would run instead")
    rows = [compare(engines, recording, args.frames) for recording in (DEMO_BAG, *args.recordings)]
    print(f"{engines[1].name} against {engines[0].name}, {engines[0].profile.name}:\n\n{show(rows)}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
