# SPDX-License-Identifier: Apache-2.0
"""Depth images of a bag tell distances in a replay, although recorded after the images."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.rosbag import BagReader, BagWriter, message_types
from centertrack_ros.types import LIFT_DEPTH, LIFT_SIZE_PRIOR
from support.ros_harness import demo_frames, own_messages_built

pytestmark = pytest.mark.skipif(not own_messages_built(), reason="the interfaces of centertrack_ros are not built")
SMALL = [
    "-p",
    "model.input_width:=512",
    "-p",
    "model.input_height:=384",
    "-p",
    "model.threads:=1",
    "-p",
    "model.engine:=torch",
]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of people, 7 m before a sensor; what that sends is recorded 30 ms later."""
    folder = tmp_path_factory.mktemp("sensed")
    picture, made = demo_frames(1)[0], []
    height, width = picture.shape[:2]
    for index in range(2):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), picture)
        camera = Camera.from_focal(width, height, 1.2 * width)
        made.append(AnnotatedFrame(index, index / 10, empty_tracks(), image=path, camera=camera))
    write_bag(folder / "plain", {"front": VideoSequence("v", ("person",), tuple(made), 0, 2, 10.0, (height, width))})
    kinds = message_types().types
    with BagReader(folder / "plain") as reader, BagWriter(folder / "sensed") as writer:
        for topic in reader.topics.values():
            writer.add_topic(topic.name, topic.type, topic.qos, source=reader)
        for name in ("/front/depth", "/other/depth"):
            writer.add_topic(name, "sensor_msgs/msg/Image")
        for record, message in reader.messages():
            writer.write(record.topic, record.data, record.time_ns)
            if not record.topic.startswith("/front/image_raw"):
                continue
            for name, distance in (("/front/depth", 7000), ("/other/depth", 9000)):
                data = np.full((height // 2, width // 2), distance, np.uint16)
                depth = kinds["sensor_msgs/msg/Image"](
                    message.header, *data.shape, "16UC1", 0, data.shape[1] * 2, data.view(np.uint8).reshape(-1)
                )
                writer.write(name, depth, record.time_ns + 30_000_000, "sensor_msgs/msg/Image")
    return folder / "sensed"


def lifted(bag: Path, output: Path, *options: str) -> list[Any]:
    """The tracks of all images."""
    assert main(["replay", str(bag), "--output", str(output), *SMALL, *options]) == 0
    with BagReader(output / bag.name) as reader:
        topic = next(name for name in reader.topics if name.endswith("/tracks"))
        return [
            track for _, message in reader.messages([topic]) for track in message.tracks if track.bbox_3d.size.x > 0
        ]


def test_depth_beside_the_images_is_taken(bag: Path, tmp_path: Path) -> None:
    tracks = lifted(bag, tmp_path)
    assert len(tracks) > 2 and all(track.lift == LIFT_DEPTH for track in tracks)
    assert all(abs(track.bbox_3d.center.position.z - 7.1) < 0.3 for track in tracks)


def test_another_topic_is_taken_by_name(bag: Path, tmp_path: Path) -> None:
    tracks = lifted(bag, tmp_path, "--depth", "/other/depth")
    assert all(abs(track.bbox_3d.center.position.z - 9.1) < 0.3 for track in tracks)


def test_sensors_can_be_ignored(bag: Path, tmp_path: Path) -> None:
    assert all(track.lift == LIFT_SIZE_PRIOR for track in lifted(bag, tmp_path, "-p", "depth.sensors:=false"))


def test_a_topic_that_is_no_depth_is_refused(bag: Path, tmp_path: Path) -> None:
    assert main(["replay", str(bag), "--output", str(tmp_path), *SMALL, "--points", "/front/depth"]) != 0
