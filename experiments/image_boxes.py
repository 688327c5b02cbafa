"""People and cars in single real pictures with known boxes: KITTI, nuScenes and DGP, brought to COCO's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets import dgp, kitti
from centertrack_ros.datasets.nuscenes import read_sample_info
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.trackeval_metrics import Pair
from centertrack_ros.io.json_files import load_json
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from experiments.overlap_errors import pairs_by_overlap, without_ignored

CLASSES = ("person", "car")
# Everything else that a data set knows is neither asked for nor false.
NAMES = {"person": "person", "pedestrian": "person", "car": "car"}
LOWEST = 0.02  # score of the weakest detection that enters AP


@dataclass(frozen=True)
class Found:
    """One class in one data set: true objects, found ones, false alarms at the model's threshold, AP at IoU 0.5."""

    objects: int
    found: int
    false: int
    ap50: float

    @property
    def recall(self) -> float:
        return self.found / max(self.objects, 1)

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.false, 1)


def read_pictures(data: Path) -> dict[str, list[VideoSequence]]:
    """Data set -> recordings with boxes of `CLASSES`; those whose folder is not there are left out."""
    readers: dict[str, Callable[[], Iterable[VideoSequence]]] = {
        "kitti_tracking_mini": lambda: [kitti.read_tracking(data / "kitti_tracking_mini" / "training", "0001")],
        "kitti_object_000008": lambda: [_read_object(data / "kitti_object_000008" / "000008_info.json")],
        "nuscenes_sample_6cam": lambda: read_sample_info(data / "nuscenes_sample_6cam" / "sample_info.json"),
        "dgp_ddad": lambda: [one for scene in dgp.find_scenes(data / "dgp_ddad") for one in dgp.read_scene(scene)],
    }
    return {name: [people_and_cars(one) for one in read()] for name, read in readers.items() if (data / name).is_dir()}


def _read_object(path: Path) -> VideoSequence:
    """The KITTI picture of an info file; label -1 is DontCare."""
    sample = load_json(path)["data_list"][0]
    boxes = np.array([one["bbox"] for one in sample["instances"]], np.float64).reshape(-1, 4)
    labels = np.array([one["bbox_label"] for one in sample["instances"]], np.int64)
    cared = labels >= 0
    tracks = tracks_of(np.arange(1, cared.sum() + 1), labels[cared], np.ones(cared.sum()), boxes[cared])
    frame = AnnotatedFrame(
        0, 0.0, tracks, ignore=boxes[~cared], image=path.parent / sample["images"]["CAM2"]["img_path"]
    )
    return VideoSequence(path.stem, ("pedestrian", "cyclist", "car"), (frame,), 0, 1)


def people_and_cars(sequence: VideoSequence) -> VideoSequence:
    """The pictures with objects of `CLASSES`; boxes of other classes become ignored, unknown boxes are left out."""
    wanted = [NAMES.get(name.lower()) for name in sequence.classes]
    numbers = np.array([CLASSES.index(name) if name else -1 for name in wanted], np.int64)
    frames = []
    for frame in sequence:
        if frame.image is None:
            continue
        detections = frame.tracks.detections
        known = np.isfinite(detections.boxes).all(axis=1)
        kinds = numbers[detections.class_ids]
        chosen = frame.tracks.select(known & (kinds >= 0))
        renamed = replace(chosen.detections, class_ids=kinds[known & (kinds >= 0)])
        ignore = np.concatenate([frame.ignore.reshape(-1, 4), detections.boxes[known & (kinds < 0)]])
        frames.append(replace(frame, tracks=replace(chosen, detections=renamed), flags={}, ignore=ignore))
    return replace(sequence, classes=CLASSES, frames=tuple(frames))


def detect(sequence: VideoSequence, engine: Any) -> VideoSequence:
    """What the model sees in each picture by itself. Raises ValueError for a picture that cannot be read."""
    import cv2

    known = engine.profile.classes
    wanted = {name: NAMES[name] for name in known if name in NAMES}
    numbers = np.array([CLASSES.index(wanted[n]) if n in wanted else -1 for n in known], np.int64)
    low = dict.fromkeys(("track_threshold", "out_threshold", "pre_threshold", "new_threshold"), LOWEST)
    config = TrackerConfig.official(classes=tuple(wanted), lift="none", **low)  # type: ignore[arg-type]
    frames = []
    for frame in sequence:
        image = cv2.imread(str(frame.image))
        if image is None:
            raise ValueError(f"{frame.image} cannot be read")
        found = Tracker(engine, config).step(np.asarray(image, np.uint8)).tracks
        renamed = replace(found.detections, class_ids=numbers[found.detections.class_ids])
        frames.append(AnnotatedFrame(frame.index, frame.stamp, replace(found, detections=renamed)))
    return replace(sequence, frames=tuple(frames))


def coco_forms(pairs: list[Pair], kind: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truth and results of one class in COCO's form; ignored boxes are crowds."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for pair in pairs:
        answers = {frame.index: frame for frame in pair.results}
        for frame in pair.truth:
            image = len(images) + 1
            images.append({"id": image, "height": 1, "width": 1})
            said = frame.tracks.detections.boxes[frame.tracks.detections.class_ids == kind]
            for crowd, boxes in enumerate((said, frame.ignore)):
                for left, top, right, bottom in boxes.tolist():
                    box = [left, top, right - left, bottom - top]
                    annotations.append(
                        {
                            "id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": box,
                            "area": box[2] * box[3], "iscrowd": crowd,
                        }
                    )  # fmt: skip
            found = answers[frame.index].tracks.detections
            for row in np.flatnonzero(found.class_ids == kind):
                left, top, right, bottom = found.boxes[row].tolist()
                results.append(
                    {
                        "image_id": image, "category_id": 1, "bbox": [left, top, right - left, bottom - top],
                        "score": float(found.scores[row]),
                    }
                )  # fmt: skip
    categories = [{"id": 1, "name": CLASSES[kind]}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}, results


def found_above(pairs: list[Pair], threshold: float) -> dict[str, tuple[int, int, int]]:
    """Class -> (true objects, found, false alarms) of detections above the score, at an IoU of 0.5."""
    counts = {name: [0, 0, 0] for name in CLASSES}
    for pair in pairs:
        strong = tuple(one.select(one.tracks.detections.scores > threshold) for one in pair.results)
        kept = without_ignored(Pair(pair.truth, replace(pair.results, frames=strong)))
        answers = {frame.index: frame for frame in kept.results}
        for frame in kept.truth:
            said, found = frame.tracks.detections, answers[frame.index].tracks.detections
            matched = pairs_by_overlap(said, found)
            for number, name in enumerate(CLASSES):
                hits = sum(int(said.class_ids[row]) == number for row, _ in matched)
                counts[name][0] += int((said.class_ids == number).sum())
                counts[name][1] += hits
                counts[name][2] += int((found.class_ids == number).sum()) - hits
    return {name: (objects, found, false) for name, (objects, found, false) in counts.items()}


def judge(
    pictures: Mapping[str, list[VideoSequence]],
    engine: Any,
    average_precision: Callable[[dict[str, Any], list[dict[str, Any]]], Mapping[str, float]],
) -> dict[str, dict[str, Found]]:
    """Data set -> class -> what was found; `average_precision` of COCO's truth and results gives 'ap50'."""
    threshold = engine.profile.thresholds.resolved().out
    figures: dict[str, dict[str, Found]] = {}
    for name, recordings in pictures.items():
        pairs = [Pair(one, detect(one, engine)) for one in recordings]
        counts = found_above(pairs, threshold)
        figures[name] = {}
        for number, kind in enumerate(CLASSES):
            if counts[kind][0]:
                truth, results = coco_forms(pairs, number)
                ap50 = float(average_precision(truth, results)["ap50"]) if results else 0.0
                figures[name][kind] = Found(*counts[kind], ap50)
    return figures
