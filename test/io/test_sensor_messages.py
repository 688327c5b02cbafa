# SPDX-License-Identifier: Apache-2.0
"""Which message of a sensor a frame gets, in whose frame, and what is said when none fits."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.sensor_messages import SensorConfig, SensorMessages
from centertrack_ros.types import Frame, FrameHeader
from support.sensor_messages import cloud, image, stamped

CAMERA = Camera.from_focal(64, 48, 50.0)
QUICK = SensorConfig(tolerance_s=0.05, timeout_s=0.0)


def frame(stamp_ns: int) -> Frame:
    return Frame(np.zeros((48, 64, 3), np.uint8), stamp_ns * 1e-9, CAMERA, header=FrameHeader(stamp_ns, "camera"))


def depth(value: float, stamp_ns: int, frame_id: str = "camera", shape: tuple[int, int] = (48, 64)) -> Any:
    return stamped(image(np.full(shape, value, np.float32), "32FC1"), stamp_ns, frame_id)


def info(focal: float, width: int = 64, height: int = 48) -> Any:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    k = [focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1]
    return SimpleNamespace(width=width, height=height, k=k, p=[0] * 12, d=[], distortion_model="plumb_bob",
                           binning_x=0, binning_y=0, roi=roi)  # fmt: skip


def no_lookup(*_: FrameHeader) -> Transform:
    raise ValueError("nobody has published a frame 'lidar'")


def sensors() -> tuple[SensorMessages, list[str]]:
    said: list[str] = []
    return SensorMessages("/depth", "/points", said.append), said


def test_a_frame_gets_the_depth_of_its_stamp() -> None:
    messages, said = sensors()
    for index in range(5):
        messages.depth.add(depth(1.0 + index, 1_000_000_000 + index * 33_000_000))
    found = messages.attach(frame(1_066_000_000), QUICK, no_lookup)
    assert found.depth is not None and found.depth.depths[0, 0] == 3 and found.points is None
    assert messages.attach(frame(3_000_000_000), QUICK, no_lookup).depth is None
    assert not said


def test_points_are_moved_into_the_cameras_frame_and_serve_several_images() -> None:
    messages, said = sensors()
    messages.points.add(stamped(cloud(np.array([[5.0, 0, 0]])), 1_000_000_000, "lidar"))
    asked = []

    def lookup(target: FrameHeader, source: FrameHeader) -> Transform:
        asked.append((target.frame_id, source.frame_id, source.stamp_ns))
        return Transform(np.array([[0, -1.0, 0], [0, 0, -1], [1, 0, 0]]), np.array([0, 0.1, 0]))

    for stamp in (1_000_000_000, 1_033_000_000):
        found = messages.attach(frame(stamp), QUICK, lookup)
        assert found.points is not None
        np.testing.assert_allclose(found.points.points, [[0, 0.1, 5]], atol=1e-6)
    assert asked == [("camera", "lidar", 1_000_000_000)] * 2 and not said


def test_depth_of_another_camera_becomes_points_in_this_ones_frame() -> None:
    messages, said = sensors()
    messages.depth_calibration.update(info(30.0))
    messages.depth.add(depth(2.0, 1_000_000_000, "depth_camera"))
    moved = Transform(np.eye(3), np.array([0.1, 0, 0]))
    found = messages.attach(frame(1_000_000_000), QUICK, lambda *_: moved)
    assert found.depth is None and found.points is not None and not said
    assert (found.points.points[:, 2] == 2).all()
    assert abs(found.points.points[:, 0].mean() - 0.1) < 0.02


def test_each_problem_costs_its_own_message_only() -> None:
    messages, said = sensors()
    messages.depth.add(depth(2.0, 1_000_000_000, shape=(48, 48)))
    messages.points.add(stamped(cloud(np.ones((3, 3))), 1_000_000_000, "lidar"))
    found = messages.attach(frame(1_000_000_000), QUICK, no_lookup)
    assert found.depth is None and found.points is None
    assert any("/depth skipped" in text and "not of the same view" in text for text in said)
    assert any("/points not used, no transform: nobody has published" in text for text in said) and len(said) == 2
    messages.depth.add(depth(2.0, 1_100_000_000))
    assert messages.attach(frame(1_100_000_000), QUICK, no_lookup).depth is not None


def test_stamps_that_never_meet_are_told_and_cost_no_time() -> None:
    messages, said = sensors()
    messages.depth.add(depth(2.0, 50_000_000_000))
    start = time.monotonic()
    for index in range(30):
        assert messages.attach(frame(1_000_000_000 + index), SensorConfig(0.05, 0.02), no_lookup).depth is None
    assert time.monotonic() - start < 1.0
    assert said and "within 0.05 s" in said[0] and "+49.000 s off" in said[0]


def test_a_late_message_is_waited_for_but_not_where_none_comes_any_more() -> None:
    import threading

    messages, _ = sensors()
    messages.depth.add(depth(2.0, 900_000_000))
    timer = threading.Timer(0.05, lambda: messages.depth.add(depth(3.0, 1_000_000_000)))
    timer.start()
    found = messages.attach(frame(1_000_000_000), SensorConfig(0.05, 1.0), no_lookup)
    timer.join()
    assert found.depth is not None and found.depth.depths[0, 0] == 3
    silent, _ = sensors()
    start = time.monotonic()
    assert silent.attach(frame(1_000_000_000), SensorConfig(0.05, 1.0), no_lookup).depth is None
    assert time.monotonic() - start < 0.1
