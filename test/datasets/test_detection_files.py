# SPDX-License-Identifier: Apache-2.0
"""Detections that were made beforehand, in every format, each at its own frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.datasets.detection_files import DetectionFile, DetectionTopic, MatchedDetections, open_detections
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagWriter, message_types
from centertrack_ros.types import Frame, FrameHeader

IMAGE = np.zeros((10, 10, 3), np.uint8)
KITTI = "{frame} -1 {name} 0 0 -10 {x1} 20 {x2} 60 -1 -1 -1 -1000 -1000 -1000 -10 0.8\n"


def frame(index: int) -> Frame:
    return Frame(IMAGE, index / 10, index=index)


def boxes(found) -> list[list[float]]:
    return found.boxes.tolist()


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_mot_and_kitti_count_frames_as_their_benchmarks_do(tmp_path) -> None:
    mot = DetectionFile(written(tmp_path, "det.txt", "1,-1,10,20,30,40,0.9,-1,-1,-1\n3,-1,11,20,30,40,0.7,-1,-1,-1\n"))
    assert [boxes(mot.of(frame(n))) for n in (1, 2, 3)] == [[[10, 20, 40, 60]], [], [[11, 20, 41, 60]]]
    assert mot.of(frame(1)).class_names.tolist() == ["pedestrian"] and mot.of(frame(3)).scores[0] == np.float32(0.7)
    lines = KITTI.format(frame=0, name="Car", x1=10, x2=40) + KITTI.format(frame=2, name="Cyclist", x1=12, x2=42)
    path = written(tmp_path, "0001.txt", lines)
    for first_name in (None, 0, 1):  # a video, images 000000.png, …, which are counted from 1, images made of a video
        found = DetectionFile(path, first_name)
        assert [boxes(found.of(frame(n))) for n in (1, 2, 3)] == [[[10, 20, 40, 60]], [], [[12, 20, 42, 60]]]
        assert found.of(frame(3)).class_names.tolist() == ["Cyclist"] and found.extent == "of frames 1 to 3"
    later = DetectionFile(path, 2)  # images that begin with 000002.png
    assert boxes(later.of(frame(2))) == [[12, 20, 42, 60]]


def test_a_kitti_file_that_begins_later_is_of_the_images_of_its_numbers(tmp_path) -> None:
    path = written(tmp_path, "0001.txt", KITTI.format(frame=1, name="Car", x1=10, x2=40))
    assert boxes(DetectionFile(path, 1).of(frame(1))) == [[10, 20, 40, 60]]  # 000001.png
    for first_name in (None, 0):  # the second image of a video; 000001.png after 000000.png
        assert boxes(DetectionFile(path, first_name).of(frame(2))) == [[10, 20, 40, 60]]


def test_images_numbered_beyond_a_whole_file_belong_to_its_frames_by_their_order(tmp_path, caplog) -> None:
    kitti = written(tmp_path, "0001.txt", "".join(KITTI.format(frame=n, name="Car", x1=n, x2=40) for n in range(6)))
    found = DetectionFile(kitti, 301)
    assert [boxes(found.of(frame(301 + n)))[0][0] for n in range(6)] == list(range(6))
    assert "its last frame is 5, the first image is called 301" in caplog.text
    mot = DetectionFile(written(tmp_path, "det.txt", "1,-1,10,20,30,40,0.9\n"), 301)
    assert boxes(mot.of(frame(301))) == [[10, 20, 40, 60]]


def test_which_frame_comes_first_changes_nothing(tmp_path) -> None:
    path = written(tmp_path, "0001.txt", "".join(KITTI.format(frame=n, name="Car", x1=n, x2=40) for n in range(3)))
    found = DetectionFile(path, 0)
    assert boxes(found.of(frame(3))) == [[2, 20, 40, 60]]  # the first images could not be read
    assert boxes(found.of(frame(1))) == [[0, 20, 40, 60]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("det.txt", ""),
        ("det.txt", "\n \n"),
        ("det.json", "[]"),
        ("det.json", '{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [], "categories": []}'),
        ("0001.txt", KITTI.format(frame=0, name="DontCare", x1=10, x2=40)),
    ],
)
def test_a_file_without_detections_finds_nothing(tmp_path, name, text) -> None:
    found = MatchedDetections(DetectionFile(written(tmp_path, name, text)))
    assert not len(found.of(frame(1))) and not found.problem


def test_boxes_in_parts_of_the_sides_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="within one px"):
        DetectionFile(written(tmp_path, "det.txt", "1,-1,0.4,0.2,0.05,0.2,0.9\n"))


def test_numbers_that_never_meet_are_told(tmp_path) -> None:
    made = DetectionFile(written(tmp_path, "det.txt", "100,-1,10,20,30,40,0.9\n108,-1,10,20,30,40,0.9\n"))
    found = MatchedDetections(made)
    assert not found.problem  # nothing was asked for
    for number in (1, 2, 3):
        found.of(frame(number))
    assert found.problem == (
        "no image has detections: they are of frames 100 to 108, images from frame 1 at 0.100 s to frame 3 at 0.300 s"
    )
    found.of(frame(108))
    assert not found.problem


def test_coco_documents_and_lists_of_results(tmp_path) -> None:
    document = {
        "images": [{"id": 5, "file_name": "b/000002.jpg"}, {"id": 9, "file_name": "b/000001.jpg"}],
        "categories": [{"id": 3, "name": "forklift"}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}],
    }
    stills = DetectionFile(written(tmp_path, "stills.json", json.dumps(document)))
    assert boxes(stills.of(frame(2))) == [[1, 2, 4, 6]] and not len(stills.of(frame(1)))
    assert stills.of(frame(2)).class_names.tolist() == ["forklift"]
    for image, frame_id in zip(document["images"], (1, 2), strict=True):
        image |= {"video_id": 1, "frame_id": frame_id}
    video = DetectionFile(written(tmp_path, "video.json", json.dumps(document)))
    assert boxes(video.of(frame(1))) == [[1, 2, 4, 6]]
    results = [{"image_id": 4, "category_id": category, "bbox": [1, 2, 3, 4], "score": 0.5} for category in (1, 90, 95)]
    listed = DetectionFile(written(tmp_path, "results.json", json.dumps(results)))
    assert listed.of(frame(4)).class_names.tolist() == ["person", "toothbrush", "95"]


def test_scores_that_are_none_count_as_certain(tmp_path, caplog) -> None:
    found = DetectionFile(written(tmp_path, "det.txt", "1,-1,10,20,30,40,-3.5\n1,-1,50,20,30,40,87\n"))
    assert found.of(frame(1)).scores.tolist() == [1, 1]
    assert "det.txt: its scores are not in 0..1, every detection counts as certain" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("det.txt", "1,-1,10,x,30,40,0.9\n", "det.txt:1: "),
        ("0001.txt", "0 -1 Car 0\n", "0001.txt:1: 4 columns"),
        ("a.json", '[{"image_id": 1}]', "expected image_id, category_id, bbox and score"),
        ("a.json", '[{"image_id": "x", "category_id": 1, "bbox": [1, 2, 3, 4]}]', "the number of a frame"),
        ("a.json", '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, -3, 4]}]', "negative width or height"),
        ("a.json", "{}", "not a COCO document"),
    ],
)
def test_a_malformed_file_is_one_sentence(tmp_path, name, text, words) -> None:
    with pytest.raises(DataError) as error:
        DetectionFile(written(tmp_path, name, text))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(DataError, match="no such file of detections"):
        open_detections("nowhere.txt", None)


def detection_bag(folder: Path, stamps_ns: list[int]) -> Path:
    store = message_types()
    kinds = {name: store.types[f"vision_msgs/msg/{name}"] for name in (
        "Detection2DArray", "Detection2D", "ObjectHypothesisWithPose", "ObjectHypothesis", "BoundingBox2D", "Pose2D",
        "Point2D",
    )}  # fmt: skip
    other = {name: store.types[name] for name in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "geometry_msgs/msg/PoseWithCovariance",
        "geometry_msgs/msg/Pose", "geometry_msgs/msg/Point", "geometry_msgs/msg/Quaternion",
    )}  # fmt: skip
    with BagWriter(folder) as writer:
        writer.add_topic("/yolo", "vision_msgs/msg/Detection2DArray")
        for place, stamp in enumerate(stamps_ns):
            time = other["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9))
            header = other["std_msgs/msg/Header"](time, "camera")
            pose = other["geometry_msgs/msg/PoseWithCovariance"](
                other["geometry_msgs/msg/Pose"](
                    other["geometry_msgs/msg/Point"](0, 0, 0), other["geometry_msgs/msg/Quaternion"](0, 0, 0, 1)
                ),
                np.zeros(36),
            )
            results = [
                kinds["ObjectHypothesisWithPose"](kinds["ObjectHypothesis"](name, score), pose)
                for name, score in (("1", 0.2), ("2", 0.7))
            ]
            box = kinds["BoundingBox2D"](kinds["Pose2D"](kinds["Point2D"](50 + place, 40), np.pi / 2), 20, 10)
            message = kinds["Detection2DArray"](header, [kinds["Detection2D"](header, results, box, "7")])
            kind = "vision_msgs/msg/Detection2DArray"
            writer.write("/yolo", bytes(store.serialize_cdr(message, kind)), stamp + 50_000_000, kind)
    return folder


def test_messages_of_a_bag_belong_to_the_image_of_their_stamp(tmp_path) -> None:
    pytest.importorskip("vision_msgs.msg")
    bag = detection_bag(tmp_path / "bag", [10**9, 2 * 10**9])
    found = open_detections("/yolo", bag, {2: "car"})
    assert isinstance(found, DetectionTopic) and found.classes == ("car",)
    exact = found.of(Frame(IMAGE, 1.0, header=FrameHeader(10**9)))
    assert exact is not None and exact.class_names.tolist() == ["car"] and exact.scores[0] == np.float32(0.7)
    np.testing.assert_allclose(exact.boxes, [[45, 30, 55, 50]], atol=1e-4)  # turned by a right angle
    near = found.of(Frame(IMAGE, 2.0, header=FrameHeader(2 * 10**9 + 9_000_000)))
    assert near is not None and near.boxes[0, 0] > exact.boxes[0, 0]
    assert found.of(Frame(IMAGE, 1.5, header=FrameHeader(15 * 10**8))) is None
    with pytest.raises(DataError, match="no topic '/ssd'; the bag has /yolo"):
        open_detections("/ssd", bag)
