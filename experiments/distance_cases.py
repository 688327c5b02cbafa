# SPDX-License-Identifier: Apache-2.0
"""2D boxes with known 3D boxes: those of KITTI's labels, and those of a detector in annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets import dgp, kitti
from centertrack_ros.datasets.nuscenes import read_sample_info
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.engine.base import Engine
from centertrack_ros.geometry.boxes3d import projected_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_fit import cut_edges
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import Detections
from experiments.overlap_errors import match_by_overlap

Array = NDArray[Any]

CLASSES = ("car", "person", "cyclist")
NAMES = {"car": "car", "pedestrian": "person", "person": "person", "cyclist": "cyclist"}
MIN_DEPTH = 1.0  # m
# Sizes (height, width) px of KITTI's images; the labels do not tell which one a recording has.
_KITTI_SIZES = ((370, 1224), (374, 1238), (375, 1242), (376, 1241), (376, 1242))


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        boxes: N 2D boxes, of classes `CLASSES`.
        ids: (N,) of the objects.
        truth: Their 3D boxes.
        camera: Of the image.
        stamp: s.
    """

    boxes: Detections
    ids: Array
    truth: Detections
    camera: Camera
    stamp: float

    @property
    def cut(self) -> Array:
        """(N,) whether a box ends at the border of the image."""
        return np.asarray(cut_edges(self.boxes.boxes, self.camera).any(axis=1))


def label_recordings(folder: Path) -> Iterator[list[Case]]:
    """The images of each recording of KITTI's tracking labels, with the 2D boxes of the labels.

    Args:
        folder: That holds label_02 and calib/training.
    """
    for path in sorted((folder / "label_02").glob("*.txt")):
        sequence = kitti.read_labels(path)
        camera = kitti.read_calibration(folder / "calib" / "training" / path.name, _image_size(sequence))
        yield [_case(frame, sequence.classes, camera) for frame in sequence]


def _image_size(sequence: VideoSequence) -> tuple[int, int]:
    """The smallest (height, width) that holds all boxes."""
    corner = np.max([frame.tracks.detections.boxes.max(axis=0) for frame in sequence if len(frame.tracks)], axis=0)
    return next(size for size in _KITTI_SIZES if size[1] > corner[2] and size[0] > corner[3])


def _case(frame: AnnotatedFrame, names: Sequence[str], camera: Camera) -> Case:
    """The known objects of a frame with their own 2D boxes."""
    detections = frame.tracks.detections
    classes = _classes(detections, names)
    assert detections.locations is not None
    rows = np.flatnonzero((classes >= 0) & (detections.locations[:, 2] > MIN_DEPTH))
    truth = replace(detections.select(rows), class_ids=classes[rows])
    boxes = Detections.from_boxes(truth.boxes, class_ids=classes[rows])
    return Case(boxes, frame.tracks.ids[rows], truth, camera, frame.stamp)


def _classes(detections: Detections, names: Sequence[str]) -> Array:
    """(N,) index into `CLASSES`, -1 for others."""
    numbers = [CLASSES.index(NAMES[name.lower()]) if name.lower() in NAMES else -1 for name in names]
    return np.array(numbers, np.int64)[detections.class_ids]


def image_sets(data: Path) -> dict[str, list[VideoSequence]]:
    """Data set -> recordings with images and 3D boxes; data sets that are not in the folder are left out."""
    readers: Mapping[str, Callable[[], Iterable[VideoSequence]]] = {
        "kitti_tracking_mini": lambda: [kitti.read_tracking(data / "kitti_tracking_mini" / "training", "0001")],
        "nuscenes_sample_6cam": lambda: read_sample_info(data / "nuscenes_sample_6cam" / "sample_info.json"),
        "dgp_ddad": lambda: [one for scene in dgp.find_scenes(data / "dgp_ddad") for one in dgp.read_scene(scene)],
    }
    return {name: list(read()) for name, read in readers.items() if (data / name).is_dir()}


def detected(sequences: Iterable[VideoSequence], engine: Engine) -> list[Case]:
    """The objects that a model finds in each image by itself, with the model's boxes.

    The 2D boxes of the ground truth are those that the 3D boxes cover in the image.

    Raises:
        ValueError: An image cannot be read.
    """
    import cv2

    cases = []
    for sequence in sequences:
        for frame in sequence:
            if frame.image is None or frame.camera is None or frame.tracks.detections.locations is None:
                continue
            image = cv2.imread(str(frame.image))
            if image is None:
                raise ValueError(f"{frame.image} cannot be read")
            found = Tracker(engine, TrackerConfig(lift="none")).step(np.asarray(image, np.uint8)).tracks.detections
            camera = frame.camera.scaled_to(image.shape[1], image.shape[0])
            cases.append(_matched(frame, sequence.classes, found, engine.profile.classes, camera))
    return cases


def _matched(
    frame: AnnotatedFrame, names: Sequence[str], found: Detections, found_names: Sequence[str], camera: Camera
) -> Case:
    whole = _case(frame, names, camera)
    truth = whole.truth
    assert truth.dimensions is not None and truth.locations is not None and truth.rotations_y is not None
    truth = replace(truth, boxes=projected_boxes(truth.dimensions, truth.locations, truth.rotations_y, camera))
    visible = np.asarray(np.isfinite(truth.boxes).all(axis=1))
    truth, ids = truth.select(visible), whole.ids[visible]
    found = replace(found, class_ids=_classes(found, found_names))
    pairs = np.array(match_by_overlap(truth, found), np.int64).reshape(-1, 2)
    boxes = found.select(pairs[:, 1])
    return Case(boxes, ids[pairs[:, 0]], truth.select(pairs[:, 0]), camera, frame.stamp)


def box_bias(cases: Iterable[Case]) -> dict[str, tuple[float, float, float]]:
    """Class -> how large whole boxes are relative to the ground truth's: see `ModelProfile.box_bias`."""
    pairs = [(case.boxes.select(~case.cut), case.truth.select(~case.cut)) for case in cases]
    bias = {}
    for number, name in enumerate(CLASSES):
        ratios = np.concatenate(
            [
                _sides(boxes)[rows] / _sides(truth)[rows]
                for boxes, truth in pairs
                for rows in [truth.class_ids == number]
            ]
        )
        if len(ratios) >= 3:
            middle = np.median(ratios, axis=0)
            sigma = 1.48 * float(np.median(np.abs(ratios / middle - 1)))
            bias[name] = (round(float(middle[0]), 3), round(float(middle[1]), 3), round(sigma, 3))
    return bias


def _sides(detections: Detections) -> Array:
    return np.asarray(detections.boxes[:, 2:] - detections.boxes[:, :2], np.float64)
