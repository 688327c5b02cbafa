# SPDX-License-Identifier: Apache-2.0
"""The registry reads each data set by its name and finds its sequences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.datasets import coco_video, kitti
from centertrack_ros.datasets.records import VideoSequence, frames_of, tracks_of
from centertrack_ros.datasets.registry import READERS, DatasetLocation, read_dataset
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagWriter, message_types, time_message

BOXES = np.array([[10.0, 20.0, 50.0, 80.0], [60.0, 20.0, 90.0, 80.0]])


def two_frames(class_name: str) -> VideoSequence:
    tracks = tracks_of(np.array([3, 4]), np.zeros(2, np.int64), np.ones(2), BOXES)
    return VideoSequence("0001", (class_name,), frames_of(np.array([0, 1]), tracks), 0, 2, None, (100, 200))


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((100, 200, 3), np.uint8))


def make_kitti(root: Path) -> DatasetLocation:
    (root / "label_02").mkdir()
    for name in ("0001", "0002"):
        lines = kitti.labels_text(two_frames("Car"), scores=False)
        (root / "label_02" / f"{name}.txt").write_text(lines)
    write_image(root / "image_02" / "0001" / "000000.png")
    return DatasetLocation(root, sequences=("0001",))


def make_mot(root: Path) -> DatasetLocation:
    (root / "train" / "0001" / "gt").mkdir(parents=True)
    (root / "train" / "0001" / "gt" / "gt.txt").write_text("1,3,10,20,40,60,1,1,1\n2,4,60,20,30,60,1,1,1\n")
    write_image(root / "train" / "0001" / "img1" / "000001.jpg")
    return DatasetLocation(root)


def make_coco_video(root: Path) -> DatasetLocation:
    coco_video.write_videos(root / "a.json", [two_frames("car")])
    return DatasetLocation(root / "a.json", rate=10.0)


def make_crowdhuman(root: Path) -> DatasetLocation:
    rows = [
        {"tag": "person", "fbox": [10, 20, 40, 60], "vbox": [10, 20, 40, 30]},
        {"tag": "mask", "fbox": [60, 20, 30, 60], "vbox": [60, 20, 30, 60]},
    ]
    (root / "a.odgt").write_text("".join(json.dumps({"ID": name, "gtboxes": rows}) + "\n" for name in ("x", "y")))
    write_image(root / "images" / "x.jpg")
    return DatasetLocation(root / "a.odgt", root / "images", box="vbox")


def make_bag(root: Path) -> DatasetLocation:
    types = message_types().types
    header = types["std_msgs/msg/Header"](stamp=time_message(5), frame_id="camera")
    with BagWriter(root / "bag") as writer:
        writer.write("/truth/detections_2d", types["vision_msgs/msg/Detection2DArray"](header, []), 5)
    return DatasetLocation(root / "bag", prefix="/truth")


@pytest.mark.parametrize(
    ("name", "make", "frames"),
    [
        ("kitti", make_kitti, {"0001": [(0, 1), (1, 1)]}),
        ("mot", make_mot, {"0001": [(1, 1), (2, 1)]}),
        ("coco_video", make_coco_video, {"0001": [(1, 1), (2, 1)]}),
        ("crowdhuman", make_crowdhuman, {"x": [(0, 1)], "y": [(0, 1)]}),
        ("bag", make_bag, {"all": [(0, 0)]}),
    ],
)
def test_a_data_set_is_read_by_its_name(
    tmp_path: Path, name: str, make: Callable[[Path], DatasetLocation], frames: dict[str, list[tuple[int, int]]]
) -> None:
    """Sequence -> (index, number of objects) of each frame, those without an image included."""
    sequences = read_dataset(name, make(tmp_path))
    assert {one.name: [(frame.index, len(frame.tracks)) for frame in one] for one in sequences} == frames


def test_crowdhumans_visible_boxes_and_crowds(tmp_path: Path) -> None:
    sequence = read_dataset("crowdhuman", make_crowdhuman(tmp_path))[0]
    (frame,) = sequence
    assert frame.tracks.detections.boxes.tolist() == [[10.0, 20.0, 50.0, 50.0]]
    assert frame.ignore.tolist() == [[60.0, 20.0, 90.0, 80.0]]
    assert frame.image == tmp_path / "images" / "x.jpg"
    (tmp_path / "a.odgt").write_text('{"ID": "x", "gtboxes": [{"tag": "person"}]}\n')
    with pytest.raises(DataError, match=r"odgt:1: .*fbox"):
        read_dataset("crowdhuman", DatasetLocation(tmp_path / "a.odgt"))


@pytest.mark.parametrize("name", READERS)
def test_an_empty_folder_is_no_data_set(tmp_path: Path, name: str) -> None:
    with pytest.raises((DataError, ImportError)):
        read_dataset(name, DatasetLocation(tmp_path))


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'waymo'; expected one of kitti, mot, nuscenes"):
        read_dataset("waymo", DatasetLocation(Path("anywhere")))
