# SPDX-License-Identifier: Apache-2.0
"""3D detections of a bag are fused with its camera's tracks in a replay, as the node does it."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from rclpy.serialization import serialize_message

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.box_messages import BOXES_TYPE
from centertrack_ros.io.rosbag import BagReader, BagWriter
from support.detection_messages import boxes_message

FRAMES = 4
TRACKED = ("-p", "model.weights:=none", "-p", "detector.source:=external", "-p", "output.target_frame:=map")
SIDE = (0.0, -15.0, 0.75)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of a standing camera at 10 Hz, with a car in view; a LiDAR sees it and another one aside, 50 ms later."""
    folder, made = tmp_path_factory.mktemp("boxes"), []
    camera = Camera.from_focal(320, 240, 384.0)
    for index in range(FRAMES):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), np.full((240, 320, 3), 90, np.uint8))
        pose = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]])
        frame = AnnotatedFrame(index, index / 10, empty_tracks(), image=path, camera=camera, pose=pose)
        made.append(frame)
    write_bag(folder / "plain", {"front": VideoSequence("v", ("car",), tuple(made), 0, FRAMES, 10.0, (240, 320))})
    seen = {"category_id": 3, "bbox": [131, 123, 58, 48], "score": 0.9}  # 3: car
    (folder / "det.json").write_text(json.dumps([{"image_id": n + 1, **seen} for n in range(FRAMES)]))
    with BagReader(folder / "plain") as reader, BagWriter(folder / "both") as writer:
        for topic in reader.topics.values():
            writer.add_topic(topic.name, topic.type, topic.qos, source=reader)
        for name in ("/lidar/boxes", "/radar/boxes"):
            writer.add_topic(name, BOXES_TYPE)
        for record, message in reader.messages():
            writer.write(record.topic, record.data, record.time_ns)
            if record.topic.startswith("/front/image_raw"):
                stamp = (message.header.stamp.sec, message.header.stamp.nanosec + 50_000_000)
                boxes = serialize_message(boxes_message(stamp, [(14.0, 0.0, 0.75), SIDE], frame="map"))
                for name in ("/lidar/boxes", "/radar/boxes"):
                    writer.write(name, boxes, record.time_ns + 60_000_000, BOXES_TYPE)
    return folder / "both"


def _replay(bag: Path, output: Path, *options: str) -> dict[str, list[Any]]:
    given = ("--detections", str(bag.parent / "det.json"), "--output", str(output))
    assert main(["replay", str(bag), *given, *TRACKED, *options]) == 0
    with BagReader(output / bag.name) as reader:
        found: dict[str, list[Any]] = {name: [] for name in reader.topics}
        for record, message in reader.messages():
            found[record.topic].append(message)
    return found


def test_one_camera_and_a_lidar_are_one_view(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _replay(bag, tmp_path, "--detections-3d", "/lidar/boxes")
    merged, camera = found["/centertrack/output/detections_3d"], found["/centertrack/output/camera/detections_3d"]
    assert len(camera) == FRAMES and len(merged) == 2 * FRAMES
    by_both, aside = ([one.id for one in merged[-1].detections if (one.bbox.center.position.x > 5) == ahead]
                      for ahead in (True, False))  # fmt: skip
    assert by_both == [one.id for one in camera[-1].detections] and len(aside) == 1 and aside != by_both
    assert [one.id for one in found["/centertrack/output/detections_2d"][-1].detections] == by_both
    assert "3D" not in capsys.readouterr().out  # nothing to complain of


def test_the_topic_must_be_clear(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        (("-p", "surround.detections_3d:=true"), "/lidar/boxes, /radar/boxes: name it with --detections-3d"),
        (("--detections-3d", "/front/image_raw/compressed"), "expected a vision_msgs/msg/Detection3DArray"),
    ):
        given = ("--detections", str(bag.parent / "det.json"), "--output", str(tmp_path))
        assert main(["replay", str(bag), *given, *TRACKED, *options]) != 0
        assert words in capsys.readouterr().err
