# SPDX-License-Identifier: Apache-2.0
"""The live node and the replay are one: byte for byte the same messages on every output topic.

Every bag is played through DDS in lockstep: the next image is published when the node has published the results of the
one before, so that nothing is dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from centertrack_ros.datasets.bag_writer import latched
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.rosbag import BagReader, BagWriter, message_types, time_message
from centertrack_ros.io.transform_buffer import transform_from_message
from centertrack_ros.replay.bag_replay import Replay, serialized
from centertrack_ros.replay.parameters import load_values
from centertrack_ros.ros.parameters import engine_of, node_parameters
from support.live_comparison import PlaybackOptions, compare_with_live_node

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000_000
# Something is found in noise, too.
LOW = ("tracker.track_threshold:=0.02", "tracker.new_threshold:=0.02", "model.threads:=1")
pytestmark = pytest.mark.slow


def messages(bag: Path) -> dict[str, list[bytes]]:
    """Topic -> its messages in order, without what rmw leaves in the gaps between fields."""
    store, found = message_types(), {}
    with BagReader(bag) as reader:
        for record in reader.records([name for name in reader.topics if name.startswith("/centertrack/output")]):
            message = store.deserialize_cdr(record.data, record.type)
            found.setdefault(record.topic, []).append(bytes(store.serialize_cdr(message, record.type)))
    return found


def assert_live_equals_replay(
    bag: Path, output: Path, *assignments: str, files: tuple[Path, ...] = ()
) -> dict[str, list[bytes]]:
    """Replays the bag, plays it into a live node, compares all bytes; returns the messages."""
    values = load_values(files, assignments)
    parameters = node_parameters(values)
    replay, target = Replay(engine_of(parameters), parameters), output / bag.name
    output.mkdir(parents=True, exist_ok=True)
    summary = list(replay.run(bag, target))[-1]
    result = compare_with_live_node(replay, bag, target, [], values, PlaybackOptions(lockstep=True))
    assert (result.published, result.dropped) == (summary.images, 0)
    replayed, live = messages(target), messages(output / f"{bag.name}-live" / "recording")
    assert {topic: len(of) for topic, of in live.items()} == {topic: len(of) for topic, of in replayed.items()}
    different = [topic for topic in replayed if live[topic] != replayed[topic]]
    assert not different
    return replayed


def vehicle_bag(street: Path, target: Path) -> list[str]:
    """The street's bag with the tf of a robot: map -> base_link at other times than the images, cameras fixed to it.

    Returns the image topics.
    """
    types = message_types().types
    with BagReader(street) as reader, BagWriter(target) as writer:
        poses: dict[tuple[int, str], Transform] = {}
        for _, message in reader.messages(["/tf"]):
            for stamped in message.transforms:
                stamp = stamped.header.stamp.sec * SECOND + stamped.header.stamp.nanosec
                poses[stamp, stamped.child_frame_id] = transform_from_message(stamped.transform)
        stamps = sorted({stamp for stamp, _ in poses})
        front = next(name for _, name in poses if "front_optical" in name)
        to_base = Transform(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]).T, np.zeros(3)).inverse()
        bases = [poses[stamp, front] @ to_base for stamp in stamps]

        def stamped(parent: str, child: str, stamp: int, pose: Transform) -> Any:
            q, t = pose.quaternion, pose.translation
            return types["geometry_msgs/msg/TransformStamped"](
                header=types["std_msgs/msg/Header"](stamp=time_message(stamp), frame_id=parent),
                child_frame_id=child,
                transform=types["geometry_msgs/msg/Transform"](
                    translation=types["geometry_msgs/msg/Vector3"](x=t[0], y=t[1], z=t[2]),
                    rotation=types["geometry_msgs/msg/Quaternion"](x=q[0], y=q[1], z=q[2], w=q[3]),
                ),
            )

        kind = "tf2_msgs/msg/TFMessage"
        fixed = [
            stamped("base_link", name, stamps[0], bases[0].inverse() @ pose)
            for (stamp, name), pose in poses.items()
            if stamp == stamps[0]
        ]
        begin = reader.start_ns - SECOND
        writer.add_topic("/tf_static", kind, (latched(),))
        writer.write("/tf_static", types[kind](transforms=fixed), begin, kind)
        for stamp, pose in zip(stamps, bases, strict=True):  # around each image's stamp, and before it is recorded
            for offset in (-20_000_000, 20_000_000):
                moved = types[kind](transforms=[stamped("map", "base_link", stamp + offset, pose)])
                writer.write("/tf", moved, stamp - 30_000_000, kind)
        images = []
        for record in reader.records([name for name in reader.topics if "/cam" in name and "truth" not in name]):
            writer.add_topic(record.topic, record.type, source=reader)
            writer.write(record.topic, record.data, record.time_ns)
            images += [record.topic] if record.type.endswith("Image") else []
    return sorted(set(images))


def test_six_cameras_on_a_moving_vehicle(tmp_path):
    """With tf, target frame and fixed frame: merged view, tracks, markers and velocities included."""
    pytest.importorskip("panda3d", reason="the street needs Panda3D")
    from centertrack_ros.cli.main import main

    street = [
        "street",
        str(tmp_path / "street"),
        "--format",
        "bag",
        "--rig",
        "six",
        "--frames",
        "5",
        "--size",
        "320x192",
    ]
    assert main(street) == 0
    [bag] = (tmp_path / "street").iterdir()
    vehicle_bag(bag, tmp_path / "vehicle")
    options = ("model.weights:=mobilenetv3-street-3d", "model.engine:=torch", "output.tf_timeout_s:=1.0")
    frames = ("output.target_frame:=base_link", "output.fixed_frame:=map", "tracker.new_threshold:=0.15")
    found = assert_live_equals_replay(tmp_path / "vehicle", tmp_path / "out", *options, *frames, "model.threads:=1")
    merged = [found[f"/centertrack/output/{topic}"] for topic in ("detections_3d", "tracks", "markers")]
    assert all(len(topic) >= 30 for topic in merged)
    store = message_types()
    views = [store.deserialize_cdr(data, "centertrack_ros/msg/TrackArray") for data in merged[1]]
    assert {view.header.frame_id for view in views} == {"base_link"}
    assert any(np.isfinite(track.velocity.x) for view in views for track in view.tracks)


def test_the_demo_clip(tmp_path):
    """With the demo's parameters; by torch, since engine 'auto' may change from one engine to another during a run.

    With one thread: tests before this one change torch's number of threads, and sums of floats depend on it.
    """
    clip, preset = ROOT / "demo" / "pets09_s2l1", ROOT / "config" / "demo.yaml"
    options = ("model.engine:=torch", "model.threads:=1")
    found = assert_live_equals_replay(clip, tmp_path / "out", *options, files=(preset,))
    assert len(found["/centertrack/output/detections_2d"]) == 100


def test_stamps_of_zero_gaps_and_a_jump_back(tmp_path):
    """An image without a stamp is one of the time of its arrival, which /clock gives to the node."""
    types, rng = message_types().types, np.random.default_rng(8)
    scene = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (320, 240))
    start = 1_000 * SECOND
    steps = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 3.0, 3.1, 3.2, 3.3, 3.4)  # s; a gap after 0.5
    stamps = {2: 0, 3: 0, 7: 0, 9: start + SECOND, 10: start + SECOND + SECOND // 10}  # without one; a jump back
    with BagWriter(tmp_path / "bag") as writer:
        for index, step in enumerate(steps):
            now = start + round(step * SECOND)
            image = np.roll(scene, 4 * index, axis=1)
            header = types["std_msgs/msg/Header"](stamp=time_message(stamps.get(index, now)), frame_id="camera")
            message = types["sensor_msgs/msg/Image"](
                header=header, height=240, width=320, encoding="bgr8", is_bigendian=0, step=960, data=image.reshape(-1)
            )
            clock = types["rosgraph_msgs/msg/Clock"](clock=time_message(now))
            writer.write("/clock", clock, now - 50_000_000, "rosgraph_msgs/msg/Clock")
            writer.write("/camera/image_raw", message, now, "sensor_msgs/msg/Image")
    size = ("model.input_width:=160", "model.input_height:=128")
    found = assert_live_equals_replay(tmp_path / "bag", tmp_path / "out", *LOW, *size)
    store = message_types()
    tracks = [
        store.deserialize_cdr(data, "centertrack_ros/msg/TrackArray") for data in found["/centertrack/output/tracks"]
    ]
    assert len(tracks) == len(steps)
    assert [bool(array.reset) for array in tracks] == [index in (6, 9) for index in range(len(steps))]
    assert "no image for" in tracks[6].reset_reason and "stamp went back" in tracks[9].reset_reason
    ids = [{track.id for track in array.tracks} for array in tracks]
    assert not set().union(*ids[:6]) & set().union(*ids[6:9])  # no id stands for two objects


def test_serialized_messages_are_the_same_every_time():
    from std_msgs.msg import Header

    assert serialized(Header(frame_id="a"), "std_msgs/msg/Header") == serialized(
        Header(frame_id="a"), "std_msgs/msg/Header"
    )
