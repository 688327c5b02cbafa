"""Cameras' places in the world, from a bag's tf."""

import numpy as np
import pytest

pytest.importorskip("rosbags")

from centertrack_ros.datasets.bag_writer import START_NS, _tf, _transform
from centertrack_ros.io.bag_poses import Poses
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
    return Poses(folder)


def test_a_camera_on_a_moving_robot(tmp_path):
    """Two transforms a second apart; in between the robot is half way and has turned by half."""
    camera = _pose((0.5, 0.0, 1.2))
    moves = [
        (0.0, "odom", "base_link", _pose((0.0, 0.0, 0.0))),
        (1.0, "odom", "base_link", _pose((4.0, 0.0, 0.0), 0.4)),
    ]
    poses = _write(tmp_path / "bag", moves, [(0.0, "base_link", "camera", camera)])
    for seconds, expected in ((0.0, _pose((0, 0, 0))), (0.5, _pose((2, 0, 0), 0.2)), (1.0, _pose((4, 0, 0), 0.4))):
        found = poses.world("camera", START_NS + round(seconds * SECOND))
        np.testing.assert_allclose(found, expected @ camera, atol=1e-9)
    assert poses.world("camera", START_NS + 2 * SECOND) is None  # long after the last transform
    assert poses.world("other", START_NS) is None


def test_a_chain_that_ends_on_the_robot_tells_no_place_in_the_world(tmp_path):
    poses = _write(tmp_path / "bag", [], [(0.0, "base_link", "camera", _pose((1.0, 0.0, 0.0)))])
    assert poses.world("camera", START_NS) is None


def test_frames_that_go_in_a_circle_are_no_endless_loop(tmp_path):
    moves = [(0.0, "a", "b", np.eye(4)), (0.0, "b", "a", np.eye(4))]
    assert _write(tmp_path / "bag", moves, []).world("a", START_NS) is None
