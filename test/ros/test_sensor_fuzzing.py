# SPDX-License-Identifier: Apache-2.0
"""Malformed depth images, points and detections over DDS: one sentence each, and the next good one is served.

`make fuzz` runs it with thousands of mutated messages more; CENTERTRACK_FUZZ_SEED=… selects other ones.
"""

from __future__ import annotations

import array
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from rclpy.serialization import serialize_message

from centertrack_ros.types import LIFT_DEPTH, LIFT_POINTS, LIFT_SIZE_PRIOR
from support import sensor_messages
from support.byte_mutations import cut, flip, grow
from support.ros_harness import (
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    Process,
    camera_info_message,
    header,
    image_message,
    own_messages_built,
    start_node,
    stop_node,
    wait_until,
)

SEED = int(os.environ.get("CENTERTRACK_FUZZ_SEED", "1"))
NAME, ANSWER_S = "measured", 10.0  # an image whose sensors fail has its result within this, on a loaded machine
QUIET_S = 0.12  # after which the node repeats a line
SENSORS = (
    RELIABLE, TORCH, "model.input_width:=256", "model.input_height:=192", "diagnostics.waiting_s:=0.1",
    "depth.timeout_s:=0.3", "output.filter_boxes3d:=false", "cameras:=[deep,lidar]",
)  # fmt: skip
DISTANCE = 7.0  # m, of the good depths and points
MM = np.full((144, 192), 1000 * DISTANCE)
Stamp = tuple[int, int]
needs_tracks = pytest.mark.skipif(not own_messages_built(), reason="the interfaces of centertrack_ros are not built")


def as_message(kind: Any, fields: Any, stamp: Stamp, frame_id: str = "camera_optical") -> Any:
    """A message of rclpy with the fields of one of `support.sensor_messages`."""
    values = dict(vars(fields))
    values["data"] = array.array("B", values["data"])
    if "fields" in values:
        from sensor_msgs.msg import PointField

        values["fields"] = [PointField(**vars(one)) for one in values["fields"]]
    for name in ("is_bigendian", "is_dense"):
        if name in values and "fields" in values:
            values[name] = bool(values[name])
    return kind(header=header(stamp, frame_id), **values)


def depth(values: np.ndarray = MM, encoding: str = "16UC1", **changes: Any) -> Any:
    message = sensor_messages.image(values.astype("f4" if encoding == "32FC1" else "u2"), encoding)
    return with_values(message, **changes)


def with_values(message: Any, **changes: Any) -> Any:
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def wall(**options: Any) -> Any:
    """Points of a wall before the camera, in its own frame."""
    right, down = np.meshgrid(np.linspace(-4, 4, 160), np.linspace(-3, 3, 80))
    return sensor_messages.cloud(np.stack([right, down, np.full(right.shape, DISTANCE)], -1).reshape(-1, 3), **options)


def changed_field(number: int, **changes: int) -> Any:
    """The wall, with what it says of one of its fields x, y, z changed."""
    message = wall()
    with_values(message.fields[1 + number], **changes)
    return message


# What is wrong with a depth image -> the message, and the node's sentence; '' where nothing was measured.
DEPTHS: dict[str, tuple[Callable[[], Any], str]] = {
    "another size": (lambda: depth(MM[:, :50]), "is not of the same view as an image of"),
    "mm as m": (lambda: depth(MM, "32FC1"), "look like mm; 32FC1 holds m"),
    "m as mm": (lambda: depth(MM / 1000), "look like m; it holds mm"),
    "not a number": (lambda: depth(MM * np.nan, "32FC1"), ""),
    "infinite": (lambda: depth(MM * np.inf, "32FC1"), ""),
    "negative": (lambda: depth(-MM / 1000, "32FC1"), ""),
    "nothing": (lambda: depth(MM * 0), ""),
    "wrong step": (lambda: depth(step=3), "has step 3 and"),
    "endless step": (lambda: depth(step=2**32 - 1), "has step 4294967295 and"),
    "zero size": (lambda: depth(width=0, height=0, step=0, data=b""), "0x0 16UC1 depth image has an impossible size"),
    "endless size": (lambda: depth(width=2**31, height=2**31), "has an impossible size"),
    "unknown encoding": (lambda: depth(encoding="rgb8"), "unknown depth encoding 'rgb8'; expected 16UC1"),
    "odd encoding": (lambda: depth(encoding="\x1b[31m" * 99), "unknown depth encoding '?[31m"),
    "cut short": (lambda: depth(data=b"\1\2\3"), "and 3 bytes of data; expected a step of"),
    "no data": (lambda: depth(data=b""), "and 0 bytes of data; expected a step of"),
}
POINTS: dict[str, tuple[Callable[[], Any], str]] = {
    "no fields": (lambda: with_values(wall(), fields=[]), "has no field x and no field y and no field z"),
    "one field missing": (lambda: with_values(wall(), fields=wall().fields[:3]), "has no field z; its fields are:"),
    "wrong offset": (lambda: changed_field(2, offset=13), "has field z at byte 13 of points of 16 bytes"),
    "endless offset": (lambda: changed_field(0, offset=2**32 - 1), "has field x at byte 4294967295"),
    "wrong datatype": (lambda: changed_field(1, datatype=99), "has field y of type 99; expected 1 to 8"),
    "no point_step": (lambda: with_values(wall(), point_step=0), "has field x at byte 4 of points of 0 bytes"),
    "large point_step": (lambda: with_values(wall(), point_step=4000), "has point_step 4000, row_step"),
    "wrong row_step": (lambda: with_values(wall(height=8), row_step=1), "row_step 1 and"),
    "cut short": (lambda: with_values(wall(), data=wall().data[:99]), "and 99 bytes of data; expected at least"),
    "endless": (lambda: with_values(wall(), width=2**31, height=2**31), "a cloud of 2147483648x2147483648 points has"),
    "empty": (lambda: with_values(wall(), width=0, row_step=0, data=b""), ""),
    "not a number": (lambda: with_values(wall(), data=np.full(len(wall().data) // 4, np.nan, "<f4").tobytes()), ""),
    "the other byte order": (lambda: with_values(wall(), is_bigendian=1), ""),
}


def logged(node: Process, start: int) -> list[str]:
    """The lines from number `start` on, without those on what the test itself sends late."""
    return [line for line in node.lines[start:] if "waiting for image on" not in line]


@dataclass
class Camera:
    """One camera of the node with a sensor: shows it images, each with a message of the sensor.

    Attributes:
        node: the node.
        probe: publishes and listens.
        publisher: of the sensor's messages.
        image: what is shown.
        lift: what tells distances when the sensor works.
        topic: of the results.
    """

    node: Process
    probe: Probe
    publisher: Any
    image: np.ndarray
    lift: int
    topic: str
    clock: CameraClock = field(default_factory=CameraClock)

    def show(self, message: Any = None, age: int = 0, frame_id: str = "camera_optical") -> dict[int, float]:
        """What told the distances of the objects of the next image, with those, m.

        Args:
            message: fields of the sensor's message, or its bytes; None: there is none.
            age: s by which its stamp is older than the image's.
            frame_id: of the sensor.
        """
        stamp = self.clock.tick()
        self.probe.infos.publish(camera_info_message(self.image.shape[1], self.image.shape[0]))
        if isinstance(message, bytes):
            self.publisher.publish(message)
        elif message is not None:
            self.publisher.publish(as_message(self.publisher.msg_type, message, (stamp[0] - age, stamp[1]), frame_id))
        self.probe.images.publish(image_message(self.image, stamp))
        found = self.probe.wait_for_message(self.topic, stamp, ANSWER_S).tracks
        assert all(math.isfinite(track.bbox_3d.center.position.z) for track in found)
        return {track.lift: track.bbox_3d.center.position.z for track in found if track.bbox_3d.size.x > 0}

    def is_served(self, good: Any) -> bool:
        """Whether the next good message tells all distances, and rightly."""
        found = self.show(good)
        return set(found) == {self.lift} and abs(found[self.lift] - DISTANCE) < 0.4

    def check(self, malformed: Any, sentence: str, good: Any, **options: Any) -> None:
        """Sends a malformed message and a good one, and asserts what follows.

        Args:
            malformed: the message.
            sentence: which the node logs; '': none.
            good: the next message.
            **options: of `show`.
        """
        time.sleep(QUIET_S)
        start = len(self.node.lines)
        assert set(self.show(malformed, **options)) == {LIFT_SIZE_PRIOR}
        if sentence:
            line = self.node.wait_for_line(sentence, start)
            assert len(line) < 700 and line.isprintable()
        assert self.is_served(good)
        assert len(lines := logged(self.node, start)) <= bool(sentence), lines


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(*SENSORS, name=NAME)
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def image(frames) -> np.ndarray:
    return cv2.resize(frames[0], (384, 288))


def camera_of(node: Process, name: str, kind: Any, topic: str, lift: int, image: np.ndarray) -> Camera:
    tracks = f"output/{name}/tracks"
    probe = Probe(NAME, name, outputs=(tracks,))
    publisher = probe.node.create_publisher(kind, f"/{NAME}/input/{name}/{topic}", 5)
    probe.wait_for_node()
    wait_until(publisher.get_subscription_count, 20.0, "the node to subscribe to the sensor")
    time.sleep(0.5)  # it subscribes with best effort
    return Camera(node, probe, publisher, image, lift, tracks)


@pytest.fixture(scope="module")
def deep(node, image) -> Iterator[Camera]:
    """A camera with depth images."""
    from sensor_msgs.msg import Image

    camera = camera_of(node, "deep", Image, "depth", LIFT_DEPTH, image)
    yield camera
    camera.probe.close()


@pytest.fixture(scope="module")
def lidar(node, image) -> Iterator[Camera]:
    """A camera with points."""
    from sensor_msgs.msg import PointCloud2

    camera = camera_of(node, "lidar", PointCloud2, "points", LIFT_POINTS, image)
    yield camera
    camera.probe.close()


@needs_tracks
@pytest.mark.best_effort("the node takes depth images with best effort")
def test_malformed_depth_images_cost_a_sentence_and_their_own_frame(deep) -> None:
    wait_until(lambda: deep.is_served(depth()), 20.0, "distances by depth")
    for make, sentence in DEPTHS.values():
        deep.check(make(), sentence, depth(MM / 1000, "32FC1"))
    start = len(deep.node.lines)
    for _ in range(21):
        assert set(deep.show(depth(), age=60)) == {LIFT_SIZE_PRIOR}
    deep.node.wait_for_line("s off; do the clocks agree?", start)
    assert deep.is_served(depth())


@needs_tracks
@pytest.mark.best_effort("the node takes points with best effort")
def test_malformed_points_cost_a_sentence_and_their_own_frame(lidar) -> None:
    wait_until(lambda: lidar.is_served(wall()), 20.0, "distances by points")
    for make, sentence in POINTS.values():
        lidar.check(make(), sentence, wall())
    lidar.check(wall(), "not used, no transform: ", wall(), frame_id="mars")
    assert lidar.is_served(wall(kind=">f4")) and lidar.is_served(wall(order="zyx", kind="<f8", padding=5))


@needs_tracks
@pytest.mark.best_effort("the node takes sensors with best effort")
@pytest.mark.parametrize("count", [pytest.param(40, id="quick"), pytest.param(600, id="long", marks=pytest.mark.slow)])
def test_mutated_messages_of_sensors_cost_their_own_frame_only(deep, lidar, count) -> None:
    bytewise, fieldwise = random.Random(SEED), np.random.default_rng(SEED)
    for number in range(count):
        camera, good = ((deep, depth), (lidar, wall))[number % 2]
        if bytewise.random() < 0.5:
            stamp = int(camera.clock.now), int(camera.clock.now % 1 * 1e9)
            data = bytearray(serialize_message(as_message(camera.publisher.msg_type, good(), stamp)))
            camera.show(bytes(bytewise.choice((flip, cut, grow))(data, bytewise, first=4)))
        else:
            camera.show(representable(sensor_messages.mutated(good(), fieldwise)))
        if number % 20 > 17:
            assert camera.is_served(good())
    assert not deep.node.logged("Traceback") and not deep.node.logged("a frame failed"), deep.node.lines[-20:]


def representable(message: Any) -> Any:
    """The message with its numbers cut to what ROS can send."""
    limits = {"is_bigendian": 2 if hasattr(message, "fields") else 2**8, "is_dense": 2}
    for name, value in vars(message).items():
        if isinstance(value, int):
            setattr(message, name, int(value) % limits.get(name, 2**32))
    return message


def boxes(*rows: tuple[float, ...], names: tuple[str, ...] = ("car",)) -> Callable[[Stamp], Any]:
    """Makes a Detection2DArray of (x, y of the middle, width, height, score)."""

    def make(stamp: Stamp) -> Any:
        from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

        message = Detection2DArray(header=header(stamp))
        for place, (x, y, width, height, score) in enumerate(rows):
            one, hypothesis = Detection2D(), ObjectHypothesisWithPose()
            one.bbox.center.position.x, one.bbox.center.position.y = x, y
            one.bbox.size_x, one.bbox.size_y = width, height
            hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = names[place % len(names)], score
            one.results = [hypothesis] if names[place % len(names)] != "none" else []
            message.detections.append(one)
        return message

    return make


GOOD = boxes((40.0, 60.0, 30.0, 60.0, 0.95), (90.0, 60.0, 30.0, 60.0, 0.95), (140.0, 60.0, 30.0, 60.0, 0.95))
CROWD = tuple((2.0 + i % 100 * 1.9, 2.0 + i // 100 * 1.4, 20.0, 20.0, 0.5) for i in range(10_000))
# What is wrong with detections -> the message, and the node's sentence.
DETECTIONS: dict[str, tuple[Callable[[Stamp], Any], str]] = {
    "outside the image": (boxes((-500.0, 60.0, 30.0, 60.0, 0.9), (9e5, 60.0, 30.0, 60.0, 0.9)), "2 outside the image"),
    "not a number": (boxes((math.nan, 60.0, 30.0, 60.0, 0.9)), "1 not finite"),
    "infinite": (boxes((40.0, 60.0, math.inf, 60.0, 0.9)), "1 not finite"),
    "score not a number": (boxes((40.0, 60.0, 30.0, 60.0, math.nan)), "1 not finite"),
    "score in percent": (boxes((40.0, 60.0, 30.0, 60.0, 87.0)), "1 scores of the other detector are not in 0..1"),
    "negative size": (boxes((40.0, 60.0, -30.0, 60.0, 0.9)), "1 without an area"),
    "no size": (boxes((40.0, 60.0, 0.0, 0.0, 0.9)), "1 without an area"),
    "ten thousand": (boxes(*CROWD), "weaker than the"),
    "empty class": (boxes((40.0, 60.0, 30.0, 60.0, 0.9), names=("",)), "'' of the other detector are no classes here"),
    "no class": (boxes((40.0, 60.0, 30.0, 60.0, 0.9), names=("none",)), "1 of 1 detections have no class and no score"),
    "odd class": (
        boxes((40.0, 60.0, 30.0, 60.0, 0.9), names=("\x1b[31m",)),
        "of the other detector are no classes here",
    ),
}


def test_malformed_detections_cost_a_sentence_and_their_own_boxes(ros, image) -> None:
    from vision_msgs.msg import Detection2DArray

    small = cv2.resize(image, (192, 144))
    parameters = (
        "model.weights:=none", "detector.source:=external", "detector.timeout_s:=0.5", "diagnostics.waiting_s:=0.1",
        "tracker.rebirth:=0.0", RELIABLE,
    )  # fmt: skip
    node = start_node(*parameters, name="found")
    probe, clock = Probe("found", outputs=["output/detections_2d"]), CameraClock()
    publisher = probe.node.create_publisher(Detection2DArray, "/found/input/detections", 10)
    wait_until(publisher.get_subscription_count, 20.0, "the node to subscribe to detections")
    probe.wait_for_node()

    def show(make: Callable[[Stamp], Any], age: int = 0) -> list[Any]:
        stamp = clock.tick()
        publisher.publish(make((stamp[0] - age, stamp[1])))
        probe.infos.publish(camera_info_message(192, 144))
        probe.images.publish(image_message(small, stamp))
        return probe.wait_for_message("output/detections_2d", stamp, ANSWER_S).detections

    def is_served() -> bool:
        """Whether the three good boxes are there; those of the frame before may be remembered beside them."""
        return sum(one.bbox.size_x == 30.0 and one.bbox.size_y == 60.0 for one in show(GOOD)) == 3

    assert is_served()
    for make, sentence in DETECTIONS.values():
        time.sleep(QUIET_S)
        start = len(node.lines)
        found = show(make)
        assert all(math.isfinite(value) for one in found for value in (one.bbox.size_x, one.bbox.center.position.x))
        assert len(node.wait_for_line(sentence, start)) < 700
        assert is_served(), sentence
        assert len(lines := logged(node, start)) <= 2, lines
    start = len(node.lines)
    assert not any(one.bbox.size_x == 30.0 for one in show(GOOD, age=60))
    node.wait_for_line("none came within 0.5 s (detector.timeout_s)", start)
    assert is_served()
    probe.close()
    stop_node(node)
