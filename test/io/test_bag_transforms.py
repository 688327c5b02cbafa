# SPDX-License-Identifier: Apache-2.0
"""Cameras' poses in the world, from a bag's tf."""

import logging

import numpy as np
import pytest

pytest.importorskip("rosbags")

from centertrack_ros.datasets.bag_writer import START_NS, _tf, _transform
from centertrack_ros.io.bag_transforms import pose_in_world, read_transforms
from centertrack_ros.io.rosbag import BagWriter, message_types, time_message

SECOND = 1_000_000_000


def _pose(place: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """Turned about the vertical axis by `turn` rad."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:3, 3] = place
    return pose


def _write(folder, moves, static):
    types = message_types().types
    with BagWriter(folder) as writer:
        for topic, steps in (("/tf_static", static), ("/tf", moves)):
            for seconds, parent, child, pose in steps:
                time_ns = START_NS + round(seconds * SECOND)
                one = _transform(types, time_message(time_ns), parent, child, pose)
                writer.write(topic, _tf(types, [one]), time_ns)
    return read_transforms(folder, tolerance_ns=SECOND // 5)


def test_a_camera_on_a_moving_robot(tmp_path):
    """Two transforms a second apart; in between the robot is half way and has turned by half."""
    camera = _pose((0.5, 0.0, 1.2))
    moves = [
        (0.0, "odom", "base_link", _pose((0.0, 0.0, 0.0))),
        (1.0, "odom", "base_link", _pose((4.0, 0.0, 0.0), 0.4)),
    ]
    transforms = _write(tmp_path / "bag", moves, [(0.0, "base_link", "camera", camera)])
    for seconds, expected in ((0.0, _pose((0, 0, 0))), (0.5, _pose((2, 0, 0), 0.2)), (1.0, _pose((4, 0, 0), 0.4))):
        pose = pose_in_world(transforms, "camera", START_NS + round(seconds * SECOND))
        np.testing.assert_allclose(pose, expected @ camera, atol=1e-9)
    just_after = pose_in_world(transforms, "camera", START_NS + SECOND + SECOND // 6)  # within the tolerance
    np.testing.assert_allclose(just_after, _pose((4, 0, 0), 0.4) @ camera, atol=1e-9)
    assert pose_in_world(transforms, "camera", START_NS + 2 * SECOND) is None  # long after the last transform
    assert pose_in_world(transforms, "other", START_NS) is None


def test_a_chain_that_ends_on_the_robot_gives_no_pose_in_the_world(tmp_path):
    transforms = _write(tmp_path / "bag", [], [(0.0, "base_link", "camera", _pose((1.0, 0.0, 0.0)))])
    assert pose_in_world(transforms, "camera", START_NS) is None


def test_frames_that_go_in_a_circle_are_no_endless_loop(tmp_path):
    moves = [(0.0, "a", "b", np.eye(4)), (0.0, "b", "a", np.eye(4))]
    assert pose_in_world(_write(tmp_path / "bag", moves, []), "a", START_NS) is None


def test_a_long_bag_keeps_all_its_transforms(tmp_path):
    """Ten minutes, with the first transforms still there at the end."""
    moves = [(60.0 * i, "map", "base", _pose((float(i), 0.0, 0.0))) for i in range(11)]
    transforms = _write(tmp_path / "bag", moves, [])
    for minute in range(11):
        pose = pose_in_world(transforms, "base", START_NS + 60 * minute * SECOND)
        assert pose is not None
        assert pose[0, 3] == minute


def test_the_outermost_fixed_frame_that_is_known_at_the_time_is_the_world(tmp_path):
    moves = [
        (0.0, "map", "odom", _pose((10.0, 0.0, 0.0))),
        (0.0, "odom", "base", _pose((1.0, 0.0, 0.0))),
        (1.0, "odom", "base", _pose((2.0, 0.0, 0.0))),
    ]
    transforms = _write(tmp_path / "bag", moves, [])
    assert pose_in_world(transforms, "base", START_NS)[0, 3] == 11.0
    assert pose_in_world(transforms, "base", START_NS + SECOND)[0, 3] == 2.0


def test_an_invalid_transform_in_a_bag_is_left_out_with_a_warning(tmp_path, caplog):
    moves = [(0.0, "map", "base", np.eye(4)), (0.0, "base", "camera", _pose((np.nan, 0.0, 0.0)))]
    with caplog.at_level(logging.WARNING):
        transforms = _write(tmp_path / "bag", moves, [])
    np.testing.assert_array_equal(pose_in_world(transforms, "base", START_NS), np.eye(4))
    assert pose_in_world(transforms, "camera", START_NS) is None
    assert [r.message for r in caplog.records if "transform of frame 'camera' ignored" in r.message]
