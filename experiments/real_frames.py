# SPDX-License-Identifier: Apache-2.0
"""A model on real frames that it was not trained on: ids, boxes and COCO's AP.

    python -m experiments.real_frames DATA [--weights FILE] [--start FILE]

DATA is the folder with pets09_s2l1, mot17, kitti_tracking_mini, kitti_object_000008, nuscenes_sample_6cam, dgp_ddad and
coco; missing ones are left out, with a line. The last line is JSON.

Tracking: the network's displacement against zero displacement, a Kalman filter and true displacements (those of a
perfect motion model), with two settings of the tracker (the paper's; this package's preset for the model,
whatever its motion), at full rate and every third frame.
Detections 'own': each row's prior heatmap is of its own tracks. 'same': all rows get those of 'displacement'.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks import coco_ap
from centertrack_ros.cli import _arguments
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.evaluation.tables import table
from centertrack_ros.network.registry import weights_path
from centertrack_ros.tracking.config import TrackerConfig
from experiments import image_boxes, real_tracks

ROOT = Path(__file__).resolve().parents[1]
START = ROOT / "centertrack_ros" / "weights" / "mobilenetv3-coco.safetensors"


def recordings(data: Path, folder: Path) -> dict[str, list[VideoSequence]]:
    """Name -> the recordings of the data sets that exist; PETS' images are written into `folder`."""
    sequences = {}
    if (data / "pets09_s2l1").is_dir():
        sequences["PETS 1-69"] = [real_tracks.read_pets(data / "pets09_s2l1", folder)]
    if (data / "mot17" / "images").is_dir():
        sequences["MOT17"] = real_tracks.read_mot17(data / "mot17" / "images")
    return sequences


def settings() -> dict[str, dict[str, Any]]:
    """Two settings of the tracker: the paper's, and the defaults of this package."""
    defaults = TrackerConfig()
    names = (field.name for field in fields(TrackerConfig) if field.name not in ("classes", "motion"))
    preset = {name: getattr(defaults, name) for name in names}
    return {"paper": {}, "preset": preset}


def show_tracks(rows: list[real_tracks.MotionRow]) -> None:
    """Prints the tracking figures and their conclusions."""
    heading = ["recordings, rate, settings, detections, motion", *real_tracks.FIGURES]
    lines = [
        [
            f"{row.data} 1/{row.every}, {row.settings}, {row.detections}, {row.motion}",
            *(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.figures.values()),
        ]
        for row in rows
    ]
    print(f"\n{table(heading, lines)}\n")
    print("\n".join(real_tracks.conclusions(rows)))


def show_boxes(title: str, boxes: dict[str, dict[str, image_boxes.DetectionCounts]]) -> None:
    """Prints the detection figures."""
    heading = [f"{title}: boxes at IoU 0.5", "objects", "recall", "precision", "AP50"]
    lines = [
        [f"{name}, {kind}", str(one.objects), f"{one.recall:.3f}", f"{one.precision:.3f}", f"{one.ap50:.3f}"]
        for name, classes in boxes.items()
        for kind, one in classes.items()
    ]
    print(f"\n{table(heading, lines)}")


def detection_ap(data: Path, weights: Path, classes: int) -> dict[str, float] | None:
    """COCO's AP on the first 64 images of val, 512x512 stretched; None for a model of other classes."""
    if classes != 80 or not (data / "coco" / "images" / "val2017").is_dir():
        return None
    return coco_ap.evaluate(*coco_ap.detect(list(coco_ap.read_samples(data / "coco", "val2017")), weights))


def evaluate(data: Path, weights: Path, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Evaluates one set of weights: prints the figures and returns them."""
    engine = load_engine(weights, engine=args.engine, threads=args.threads, input_size=args.input_size)
    print(f"\n{weights.name}: {engine.profile.name}, {engine.name}")
    rows = real_tracks.compare(recordings(data, folder), CachingEngine(engine), settings())
    show_tracks(rows)
    boxes = image_boxes.evaluate(image_boxes.read_images(data), engine, coco_ap.evaluate)
    show_boxes(engine.profile.name, boxes)
    precision = detection_ap(data, weights, len(engine.profile.classes))
    if precision:
        print(f"\nCOCO val, 512x512 stretched: {'  '.join(f'{k.upper()} {v:.3f}' for k, v in precision.items())}")
    return {
        "model": engine.profile.name,
        "engine": engine.name,
        "tracks": [asdict(row) for row in rows],
        "verdicts": real_tracks.conclusions(rows),
        "boxes": {
            name: {
                kind: {**asdict(one), "recall": one.recall, "precision": one.precision} for kind, one in kinds.items()
            }
            for name, kinds in boxes.items()
        },
        "coco": precision,
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--start", default=str(START), help="weights before the training; '': none")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--input-size", type=_arguments.network_size, metavar="WxH", help="network input, except for COCO's AP"
    )
    args = parser.parse_args(arguments)
    if not args.data.is_dir():
        raise SystemExit(f"no folder {args.data}")
    weights = weights_path(args.weights)
    names = ("pets09_s2l1", "mot17", "kitti_tracking_mini", "kitti_object_000008", "nuscenes_sample_6cam", "dgp_ddad")
    missing = [name for name in (*names, "coco") if not (args.data / name).is_dir()]
    for name in missing:
        print(f"left out: {name} is not in {args.data}")
    chosen = [weights]
    if args.start and Path(args.start).resolve() != weights.resolve():
        if Path(args.start).is_file():
            chosen.append(Path(args.start))
        else:
            print(f"left out: no starting weights at {args.start}")
    with tempfile.TemporaryDirectory() as folder:
        models = [evaluate(args.data, path, args, Path(folder)) for path in chosen]
    if len(models) == 2 and models[0]["coco"] and models[1]["coco"]:
        lost = models[1]["coco"]["ap"] - models[0]["coco"]["ap"]
        print(f"\nAP: {100 * lost:+.2f} points below the starting weights")
    print(json.dumps({"missing": missing, "models": models}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
