# SPDX-License-Identifier: Apache-2.0
"""Tracks in bags: under the numbers of their images, at the time that stands for their stamp; or not written at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import write_image
from centertrack_ros.io.rosbag import BagReader, BagWriter, message_types, time_message

SECOND = 1_000_000_000


def detections(stamp: int, identity: str = "7"):
    types = message_types().types
    header = types["std_msgs/msg/Header"](stamp=time_message(stamp), frame_id="camera")
    center = types["vision_msgs/msg/Pose2D"](position=types["vision_msgs/msg/Point2D"](x=5.0, y=5.0), theta=0.0)
    box = types["vision_msgs/msg/BoundingBox2D"](center=center, size_x=4.0, size_y=4.0)
    pose = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=0.0, y=0.0, z=0.0),
        orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
    )
    result = types["vision_msgs/msg/ObjectHypothesisWithPose"](
        hypothesis=types["vision_msgs/msg/ObjectHypothesis"](class_id="person", score=1.0),
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
    )
    one = types["vision_msgs/msg/Detection2D"](header=header, results=[result], bbox=box, id=identity)
    return types["vision_msgs/msg/Detection2DArray"](header=header, detections=[one])


def image(stamp: int):
    types = message_types().types
    header = types["std_msgs/msg/Header"](stamp=time_message(stamp), frame_id="camera")
    return types["sensor_msgs/msg/CompressedImage"](header=header, format="jpeg", data=np.zeros(4, np.uint8))


def write(path: Path, images: list[int], results: list[int]) -> Path:
    with BagWriter(path) as writer:
        for number, stamp in enumerate(images, start=1):
            writer.write("/camera/image/compressed", image(stamp), number * SECOND)
        for stamp in results:
            writer.write("/centertrack/output/detections_2d", detections(stamp), stamp or 9 * SECOND)
    return path


@pytest.mark.parametrize(
    ("images", "results", "indices"),
    [
        ([1, 2, 3, 4], [2, 4], [1, 3]),  # two images without results
        ([1, 3, 2, 4], [1, 3, 4], [0, 1, 3]),  # one was overtaken
        ([1, 2, 2, 3], [1, 2, 3], [0, 1, 3]),  # one came twice
        ([5, 6, 1, 2], [5, 6, 1, 2], [0, 1, 2, 3]),  # the clock was set back
        ([], [4, 7], [0, 1]),  # without images: by their stamps
        ([1, 2, 4], [2, 3, 4], [1, 2, 3]),  # one result without an image: by all stamps
    ],
)
def test_a_frame_has_the_number_of_its_image(tmp_path, images, results, indices):
    [sequence] = read_tracks(write(tmp_path / "bag", images, results)).values()
    assert [frame.index for frame in sequence] == indices
    assert [int(frame.token) for frame in sequence] == results and sequence.length == indices[-1] + 1
    assert all(frame.tracks.ids.tolist() == [7] for frame in sequence)


def test_results_without_a_stamp_have_the_time_of_recording(tmp_path):
    [sequence] = read_tracks(write(tmp_path / "bag", [], [0])).values()
    assert [int(frame.token) for frame in sequence] == [9 * SECOND]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_data_set_that_breaks_off_leaves_no_bag(tmp_path, storage):
    write_image(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "2.png").write_bytes(b"no image")
    frames = [AnnotatedFrame(n, float(n), empty_tracks(), image=tmp_path / f"{n}.png") for n in (1, 2)]
    sequence = VideoSequence("scene", ("person",), tuple(frames), 1, 2)
    with pytest.raises(DataError, match=r"2\.png"):
        write_bag(tmp_path / "bag", {"front": sequence}, storage=storage, raw=True)
    assert not (tmp_path / "bag").exists()
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert write_bag(tmp_path / "bag", {"front": sequence}, storage=storage, raw=True) == 2
    with BagReader(tmp_path / "bag") as reader:
        assert reader.topics["/front/image_raw"].count == 2
