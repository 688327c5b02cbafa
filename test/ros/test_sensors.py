# SPDX-License-Identifier: Apache-2.0
"""Depth images and point clouds at the node: 3D boxes are where the sensor says, and each says what told it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.types import LIFT_DEPTH, LIFT_POINTS, LIFT_SIZE_PRIOR
from support.ros_harness import (
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    Process,
    TransformPublisher,
    camera_info_message,
    header,
    image_message,
    own_messages_built,
    start_node,
    stop_node,
    wait_until,
)

TRACKS = "output/tracks"
pytestmark = pytest.mark.skipif(not own_messages_built(), reason="the interfaces of centertrack_ros are not built")
PARAMETERS = (
    RELIABLE, TORCH, "model.input_width:=512", "model.input_height:=384", "diagnostics.waiting_s:=0.3",
    "depth.timeout_s:=0.3", "output.filter_boxes3d:=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def node_and_probe(ros) -> Iterator[tuple[Process, Probe]]:
    probe = Probe("sensed", outputs=(TRACKS,))
    node = start_node(*PARAMETERS, name="sensed")
    probe.wait_for_node()
    yield node, probe
    probe.close()
    stop_node(node)


def depth_message(depths: np.ndarray, stamp: tuple[int, int], encoding: str = "32FC1") -> Any:
    from sensor_msgs.msg import Image

    height, width = depths.shape
    data = depths.astype(np.float32 if encoding == "32FC1" else np.uint16)
    return Image(
        header=header(stamp), height=height, width=width, encoding=encoding, step=width * data.itemsize,
        data=data.tobytes(),
    )  # fmt: skip


def cloud_message(points: np.ndarray, stamp: tuple[int, int], frame_id: str, names: str = "xyz") -> Any:
    from sensor_msgs.msg import PointCloud2, PointField

    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(names)]
    return PointCloud2(
        header=header(stamp, frame_id), height=1, width=len(points), fields=fields, point_step=12,
        row_step=12 * len(points), data=points.astype(np.float32).tobytes(), is_dense=True,
    )  # fmt: skip


class Street:
    """Shows the node images of people, with what a sensor has measured of them."""

    def __init__(self, probe: Probe, frame: np.ndarray) -> None:
        self._probe, self._frame, self._clock = probe, frame, CameraClock()

    def lifts(self, publisher: Any = None, make: Any = None) -> dict[int, tuple[int, float]]:
        """Ids of the tracks of the next image -> what told their distance, and that, m."""
        stamp = self._clock.tick()
        self._probe.infos.publish(camera_info_message(768, 576))
        if publisher is not None:
            publisher.publish(make(stamp))
        self._probe.images.publish(image_message(self._frame, stamp))
        message = self._probe.wait_for_message(TRACKS, stamp)
        return {t.id: (t.lift, t.bbox_3d.center.position.z) for t in message.tracks if t.bbox_3d.size.x > 0}

    def wait_for(self, lift: int, publisher: Any = None, make: Any = None) -> list[float]:
        """The distances, m, as soon as all boxes have this source."""

        def distances() -> list[float] | None:
            found = self.lifts(publisher, make)
            return [z for _, z in found.values()] if found and all(one == lift for one, _ in found.values()) else None

        return wait_until(distances, 20.0, f"boxes by source {lift}")


def test_distances_are_those_of_the_depth_image_and_fall_back_without(node_and_probe, frames) -> None:
    from sensor_msgs.msg import Image

    node, probe = node_and_probe
    street = Street(probe, frames[0])
    by_size = street.wait_for(LIFT_SIZE_PRIOR)
    assert np.ptp(by_size) > 0.1
    publisher = probe.node.create_publisher(Image, "/sensed/input/depth", 5)
    try:
        flat = np.full((288, 384), 7000.0)
        distances = street.wait_for(LIFT_DEPTH, publisher, lambda stamp: depth_message(flat, stamp, "16UC1"))
        assert np.allclose(distances, 7.0, atol=0.4)  # the surface is nearer than the middle of a person
        # Depths of a wrong unit, of another view, and none at all: the next source, and a sentence.
        in_mm = flat.astype(np.float32)
        for make, sentence in (
            (lambda stamp: depth_message(in_mm, stamp), "look like mm; 32FC1 holds m"),
            (lambda stamp: depth_message(in_mm[:, :100] / 1000, stamp), "not of the same view"),
        ):
            assert np.allclose(street.wait_for(LIFT_SIZE_PRIOR, publisher, make), by_size, rtol=1e-4)
            node.wait_for_line(sentence)
        nothing = np.full((288, 384), np.nan)
        street.wait_for(LIFT_SIZE_PRIOR, publisher, lambda stamp: depth_message(nothing, stamp))
        again = street.wait_for(LIFT_DEPTH, publisher, lambda stamp: depth_message(flat / 1000, stamp))
        assert np.allclose(again, distances, atol=0.01)
        # Stamps that never meet.
        for _ in range(22):
            street.lifts(publisher, lambda stamp: depth_message(flat / 1000, (stamp[0] - 60, stamp[1])))
        node.wait_for_line("do the clocks agree?")
    finally:
        probe.node.destroy_publisher(publisher)
    assert np.allclose(street.wait_for(LIFT_SIZE_PRIOR), by_size, rtol=1e-4)


def test_points_of_a_lidar_are_taken_by_tf(node_and_probe, frames) -> None:
    from sensor_msgs.msg import PointCloud2

    node, probe = node_and_probe
    street = Street(probe, frames[0])
    # Forward, left, up: a wall 8 m before the LiDAR, which stands 1 m before the camera.
    left, up = np.meshgrid(np.linspace(-8, 8, 400), np.linspace(-6, 6, 100))
    wall = np.stack([np.full(left.size, 8.0), left.ravel(), up.ravel()], axis=1)
    publisher = probe.node.create_publisher(PointCloud2, "/sensed/input/points", 5)
    transforms = TransformPublisher(probe)
    rotation = np.array([[0, -1.0, 0], [0, 0, -1], [1, 0, 0]])
    try:
        without = cloud_message
        street.wait_for(LIFT_SIZE_PRIOR, publisher, lambda stamp: without(wall, stamp, "lidar"))

        def said() -> Any:
            street.lifts(publisher, lambda stamp: cloud_message(wall, stamp, "lidar"))
            return node.logged("not used, no transform: ")

        wait_until(said, 20.0, "the sentence on the transform")
        transforms.wait_for_node()
        transforms.publish("camera_optical", "lidar", Transform(rotation, np.array([0.0, 0.0, 1.0])))
        distances = street.wait_for(LIFT_POINTS, publisher, lambda stamp: cloud_message(wall, stamp, "lidar"))
        assert np.allclose(distances, 9.0, atol=0.4)
        street.wait_for(LIFT_SIZE_PRIOR, publisher, lambda stamp: cloud_message(wall, stamp, "lidar", names="xyi"))
        node.wait_for_line("has no field z; its fields are: x, y, i")
        street.wait_for(LIFT_POINTS, publisher, lambda stamp: cloud_message(wall, stamp, "lidar"))
    finally:
        probe.node.destroy_publisher(publisher)
        time.sleep(0.1)
