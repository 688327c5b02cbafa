# SPDX-License-Identifier: Apache-2.0
"""People and cars in single real images with annotated boxes: KITTI, nuScenes and DGP, with COCO's class names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets import dgp, kitti
from centertrack_ros.datasets.nuscenes import read_sample_info
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from centertrack_ros.io.json_files import load_json
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import Tracks
from experiments import real_tracks
from experiments.overlap_errors import match_by_overlap, without_ignored

CLASSES = ("person", "car")
# Objects of all other classes are ignored.
NAMES = {"person": "person", "pedestrian": "person", "car": "car"}
DATA_SETS = ("kitti_tracking_mini", "kitti_object_000008", "nuscenes_sample_6cam", "dgp_ddad")
Counted = Callable[[AnnotatedFrame], NDArray[np.bool_]]
MIN_SCORE = 0.02  # of a detection that enters AP


@dataclass(frozen=True)
class DetectionCounts:
    """One class in one data set.

    Attributes:
        objects: Ground-truth objects.
        found: Those that were detected at the model's threshold.
        false: False positives at this threshold.
        ap50: AP at an IoU of 0.5.
    """

    objects: int
    found: int
    false: int
    ap50: float

    @property
    def recall(self) -> float:
        """Share of the ground-truth objects that were detected."""
        return self.found / max(self.objects, 1)

    @property
    def precision(self) -> float:
        """Share of the detections that are right."""
        return self.found / max(self.found + self.false, 1)


def read_images(
    data: Path, counted: Counted | None = None, names: Iterable[str] = DATA_SETS
) -> dict[str, list[VideoSequence]]:
    """Data set -> recordings with boxes of `CLASSES`; data sets that are not in the folder are left out.

    Args:
        data: The folder.
        counted: As in `people_and_cars`.
        names: Of the data sets.
    """
    readers: dict[str, Callable[[], Iterable[VideoSequence]]] = {
        "kitti_tracking_mini": lambda: [kitti.read_tracking(data / "kitti_tracking_mini" / "training", "0001")],
        "kitti_object_000008": lambda: [_read_object(data / "kitti_object_000008" / "000008_info.json")],
        "nuscenes_sample_6cam": lambda: read_sample_info(data / "nuscenes_sample_6cam" / "sample_info.json"),
        "mot17": lambda: real_tracks.read_mot17(data / "mot17" / "images"),
        "dgp_ddad": lambda: [one for scene in dgp.find_scenes(data / "dgp_ddad") for one in dgp.read_scene(scene)],
    }
    return {
        name: [people_and_cars(one, counted) for one in readers[name]()] for name in names if (data / name).is_dir()
    }


def _read_object(path: Path) -> VideoSequence:
    """The KITTI image of an info file; label -1 is DontCare."""
    sample = load_json(path)["data_list"][0]
    boxes = np.array([one["bbox"] for one in sample["instances"]], np.float64).reshape(-1, 4)
    labels = np.array([one["bbox_label"] for one in sample["instances"]], np.int64)
    is_object = labels >= 0
    tracks = tracks_of(np.arange(1, is_object.sum() + 1), labels[is_object], np.ones(is_object.sum()), boxes[is_object])
    frame = AnnotatedFrame(
        0, 0.0, tracks, ignore=boxes[~is_object], image=path.parent / sample["images"]["CAM2"]["img_path"]
    )
    return VideoSequence(path.stem, ("pedestrian", "cyclist", "car"), (frame,), 0, 1)


def people_and_cars(sequence: VideoSequence, counted: Counted | None = None) -> VideoSequence:
    """The images with objects of `CLASSES`; boxes of other classes are ignored, objects without a box left out.

    Args:
        sequence: The images.
        counted: Tells which objects of an image count; the boxes of the others are ignored. None: all count.
    """
    names = [NAMES.get(name.lower()) for name in sequence.classes]
    numbers = np.array([CLASSES.index(name) if name else -1 for name in names], np.int64)
    frames = []
    for frame in sequence:
        if frame.image is None:
            continue
        detections = frame.tracks.detections
        known = np.isfinite(detections.boxes).all(axis=1)
        kinds = numbers[detections.class_ids]
        if counted is not None:
            kinds = np.where(counted(frame), kinds, -1)
        chosen = frame.tracks.select(known & (kinds >= 0))
        renamed = replace(chosen.detections, class_ids=kinds[known & (kinds >= 0)])
        ignore = np.concatenate([frame.ignore.reshape(-1, 4), detections.boxes[known & (kinds < 0)]])
        frames.append(replace(frame, tracks=replace(chosen, detections=renamed), flags={}, ignore=ignore))
    return replace(sequence, classes=CLASSES, frames=tuple(frames))


def detector(engine: Any, **changes: Any) -> Callable[[NDArray[np.uint8]], Tracks]:
    """A function that gives the model's detections in an image by itself, down to low scores.

    Args:
        engine: The model.
        changes: Fields of the official `TrackerConfig`.
    """
    wanted = tuple(name for name in engine.profile.classes if name in NAMES)
    low = dict.fromkeys(("track_threshold", "out_threshold", "pre_threshold", "new_threshold"), MIN_SCORE)
    config = TrackerConfig.official(classes=wanted, lift="none", **low, **changes)
    return lambda image: Tracker(engine, config).step(image).tracks


def detect_in(frame: AnnotatedFrame, found: Tracks, classes: tuple[str, ...]) -> AnnotatedFrame:
    """The frame with detections instead of its objects; their classes are numbered as in `CLASSES`."""
    numbers = np.array([CLASSES.index(NAMES[name]) if name in NAMES else -1 for name in classes], np.int64)
    renamed = replace(found.detections, class_ids=numbers[found.detections.class_ids])
    return AnnotatedFrame(frame.index, frame.stamp, replace(found, detections=renamed))


def detect(sequence: VideoSequence, engine: Any) -> VideoSequence:
    """The model's detections in each image by itself.

    Raises:
        ValueError: An image cannot be read.
    """
    import cv2

    find, frames = detector(engine), []
    for frame in sequence:
        image = cv2.imread(str(frame.image))
        if image is None:
            raise ValueError(f"{frame.image} cannot be read")
        frames.append(detect_in(frame, find(np.asarray(image, np.uint8)), engine.profile.classes))
    return replace(sequence, frames=tuple(frames))


def coco_forms(pairs: list[SequencePair], kind: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results of one class in COCO's form; ignored boxes are crowds."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for pair in pairs:
        results_of = {frame.index: frame for frame in pair.results}
        for frame in pair.truth:
            image = len(images) + 1
            images.append({"id": image, "height": 1, "width": 1})
            true_boxes = frame.tracks.detections.boxes[frame.tracks.detections.class_ids == kind]
            for crowd, boxes in enumerate((true_boxes, frame.ignore)):
                for left, top, right, bottom in boxes.tolist():
                    box = [left, top, right - left, bottom - top]
                    annotations.append(
                        {
                            "id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": box,
                            "area": box[2] * box[3], "iscrowd": crowd,
                        }
                    )  # fmt: skip
            detections = results_of[frame.index].tracks.detections
            for row in np.flatnonzero(detections.class_ids == kind):
                left, top, right, bottom = detections.boxes[row].tolist()
                results.append(
                    {
                        "image_id": image, "category_id": 1, "bbox": [left, top, right - left, bottom - top],
                        "score": float(detections.scores[row]),
                    }
                )  # fmt: skip
    categories = [{"id": 1, "name": CLASSES[kind]}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}, results


def count_above(pairs: list[SequencePair], threshold: float) -> dict[str, tuple[int, int, int]]:
    """Class -> (ground-truth objects, detected ones, false positives) above a score, at an IoU of 0.5."""
    counts = {name: [0, 0, 0] for name in CLASSES}
    for pair in pairs:
        strong = tuple(one.select(one.tracks.detections.scores > threshold) for one in pair.results)
        kept = without_ignored(SequencePair(pair.truth, replace(pair.results, frames=strong)))
        results_of = {frame.index: frame for frame in kept.results}
        for frame in kept.truth:
            truth, detections = frame.tracks.detections, results_of[frame.index].tracks.detections
            matches = match_by_overlap(truth, detections)
            for number, name in enumerate(CLASSES):
                hits = sum(int(truth.class_ids[row]) == number for row, _ in matches)
                counts[name][0] += int((truth.class_ids == number).sum())
                counts[name][1] += hits
                counts[name][2] += int((detections.class_ids == number).sum()) - hits
    return {name: (objects, found, false) for name, (objects, found, false) in counts.items()}


def evaluate(
    images: Mapping[str, list[VideoSequence]],
    engine: Any,
    average_precision: Callable[[dict[str, Any], list[dict[str, Any]]], Mapping[str, float]],
) -> dict[str, dict[str, DetectionCounts]]:
    """Evaluates a model on single images.

    Args:
        images: Of `read_images`.
        engine: The model.
        average_precision: Scores COCO's ground truth and results; its 'ap50' is used.

    Returns:
        Data set -> class -> counts, for the classes that the data set has objects of.
    """
    threshold = engine.profile.thresholds.resolved().out
    figures: dict[str, dict[str, DetectionCounts]] = {}
    for name, recordings in images.items():
        pairs = [SequencePair(one, detect(one, engine)) for one in recordings]
        counts = count_above(pairs, threshold)
        figures[name] = {}
        for number, kind in enumerate(CLASSES):
            if counts[kind][0]:
                truth, results = coco_forms(pairs, number)
                ap50 = float(average_precision(truth, results)["ap50"]) if results else 0.0
                figures[name][kind] = DetectionCounts(*counts[kind], ap50)
    return figures
