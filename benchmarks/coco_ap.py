# SPDX-License-Identifier: Apache-2.0
"""Detection AP of a model on a folder of images with YOLO-format boxes, by pycocotools.

    python -m benchmarks.coco_ap DIR [--weights FILE] [--size 512x512] [--resize stretch|keep_aspect|budget]
                                     [--peaks 60] [--engine NAME] [--json]

DIR holds `images/` and `labels/` with files of equal names; a label line is `class x y width height`, relative to the
image. A folder of several splits (`images/val2017`) is given with `--split val2017`. Crowd regions and masks are not in
this format: areas are those of the boxes, nothing is ignored. Every image is the first of its sequence.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.cli._arguments import image_size
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.geometry.affine import invert, place, transform
from centertrack_ros.network import checkpoints
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.registry import weights_path
from centertrack_ros.tracking.detections import boxes_on_grid

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Sample:
    """One image and its ground truth.

    Attributes:
        path: The image.
        truth: (N, 5) class, then x, y of the centre, width, height relative to the image.
    """

    path: Path
    truth: NDArray[np.float64]


def read_samples(folder: Path, split: str) -> Iterator[Sample]:
    """The images of a folder in the order of their names.

    Raises:
        SystemExit: There are none, or a label file is malformed.
    """
    images = sorted(path for path in (folder / "images" / split).glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise SystemExit(f"no images in {folder / 'images' / split}")
    for path in images:
        label = folder / "labels" / split / f"{path.stem}.txt"
        lines = label.read_text().splitlines() if label.is_file() else []
        rows = [[float(value) for value in line.split()] for line in lines if line.strip()]
        if any(len(row) != 5 for row in rows):
            raise SystemExit(f"{label}: expected lines of 'class x y width height'")
        yield Sample(path, np.array(rows, np.float64).reshape(-1, 5))


def fit(
    image: NDArray[np.uint8], size: tuple[int, int], resize: str
) -> tuple[NDArray[np.uint8], NDArray[np.float64], tuple[int, int], NDArray[np.float64]]:
    """How an image enters the network.

    Args:
        image: BGR uint8.
        size: (height, width) px of the network's input.
        resize: 'stretch', or a mode of `geometry.affine.place`.

    Returns:
        The image to prepare, the (2, 3) map from its px to input px, the input's (height, width) px, and the (2, 3) map
        from the original image's px to input px.
    """
    height, width = image.shape[:2]
    if resize != "stretch":
        placement = place((height, width), size, resize)
        return image, placement.to_input, placement.input_size, placement.to_input
    stretched = np.asarray(cv2.resize(image, (size[1], size[0])), np.uint8)
    return stretched, np.eye(2, 3), size, np.diag([size[1] / width, size[0] / height, 0.0])[:2]


def image_boxes(peaks: Peaks, to_input: NDArray[np.float64], down_ratio: int) -> NDArray[np.float64]:
    """Boxes (N, 4) of the peaks as left, top, right, bottom in image px."""
    corners = boxes_on_grid(peaks.cells, peaks.values).reshape(-1, 2, 2) * float(down_ratio)
    return np.asarray(transform(invert(to_input), corners), np.float64).reshape(-1, 4)


def coco_truth(samples: list[Sample], sizes: list[tuple[int, int]], classes: tuple[str, ...]) -> dict[str, Any]:
    """The ground truth in the form of COCO's JSON; category ids count from 1."""
    annotations: list[dict[str, Any]] = []
    for image_id, (sample, (height, width)) in enumerate(zip(samples, sizes, strict=True), 1):
        for class_id, x, y, box_width, box_height in sample.truth:
            box = [(x - box_width / 2) * width, (y - box_height / 2) * height, box_width * width, box_height * height]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": int(class_id) + 1,
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                }
            )  # fmt: skip
    return {
        "info": {},
        "images": [{"id": i, "height": size[0], "width": size[1]} for i, size in enumerate(sizes, 1)],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
    }


def evaluate(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """COCO's scores over all classes that occur.

    Returns:
        'ap' (IoU 0.5 to 0.95), 'ap50', 'ap75', and 'ar100', the recall with 100 detections an image.

    Raises:
        SystemExit: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO  # type: ignore[import-untyped,unused-ignore]
        from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise SystemExit("this benchmark needs pycocotools: pip install pycocotools") from None
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = {"ap": 0, "ap50": 1, "ap75": 2, "ar100": 8}
    return {name: float(evaluation.stats[index]) for name, index in names.items()}


def detect(
    samples: list[Sample],
    weights: str | Path | None = None,
    size: tuple[int, int] = (512, 512),
    resize: str = "stretch",
    peaks_per_image: int = 60,
    device: str = "cpu",
    engine: Engine | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs a model on images.

    Args:
        samples: The images.
        weights: A weights file or the name of a model; None: the embedded one.
        size: (height, width) px of the network's input.
        resize: 'stretch', or a mode of `geometry.affine.place`.
        peaks_per_image: Detections of each image.
        device: Of torch.
        engine: Runs the model instead of torch; `weights` and `device` do not matter then.

    Returns:
        Ground truth and detections in COCO's form.

    Raises:
        SystemExit: An image cannot be read.
    """
    if engine is None:
        network, profile = checkpoints.load(weights_path(weights))
        engine = TorchEngine(network, replace(profile, max_detections=peaks_per_image), device=device)
    profile = engine.profile
    sizes: list[tuple[int, int]] = []
    results: list[dict[str, Any]] = []
    for image_id, sample in enumerate(samples, 1):
        image = cv2.imread(str(sample.path))
        if image is None:
            raise SystemExit(f"{sample.path} is not a readable image")
        fitted, to_input, input_size, box_map = fit(np.asarray(image, np.uint8), size, resize)
        tensor = engine.prepare(fitted, to_input, input_size)
        (peaks,) = engine.infer([tensor], [tensor], [np.zeros((0, 3), np.int64)])
        sizes.append((image.shape[0], image.shape[1]))
        boxes = image_boxes(peaks, box_map, profile.down_ratio)
        for box, score, class_id in islice(zip(boxes, peaks.scores, peaks.class_ids, strict=True), peaks_per_image):
            results.append(
                {
                    "image_id": image_id, "category_id": int(class_id) + 1, "score": float(score),
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                }
            )  # fmt: skip
        if image_id % 8 == 0 and sys.stderr.isatty():
            print(f"\r{image_id}/{len(samples)} images", end="", file=sys.stderr, flush=True)
    return coco_truth(samples, sizes, profile.classes), results


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds images/ and labels/")
    parser.add_argument(
        "--split", default="", help="sub-folder of images/ and labels/; default: val2017 if there is one"
    )
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument(
        "--size", type=image_size, default=(512, 512), metavar="WxH", help="network input, px; budget: its area"
    )
    parser.add_argument("--resize", choices=("stretch", "keep_aspect", "budget", "fixed"), default="stretch")
    parser.add_argument("--peaks", type=int, default=60, help="detections per image")
    parser.add_argument("--engine", help="of `load_engine`; default: torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    args = parser.parse_args(arguments)
    if not args.split and (args.folder / "images" / "val2017").is_dir():
        args.split = "val2017"
    samples = list(read_samples(args.folder, args.split))
    size = (args.size[1], args.size[0])
    engine = None if args.engine is None else load_engine(args.weights, engine=args.engine, device=args.device)
    scores = evaluate(*detect(samples, args.weights, size, args.resize, args.peaks, args.device, engine))
    if args.json:
        print(json.dumps({"images": len(samples), **scores}))
    else:
        print(f"{len(samples)} images, {args.size[0]}x{args.size[1]} {args.resize}, {args.peaks} peaks")
        print("  ".join(f"{name.upper()} {value:.3f}" for name, value in scores.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
