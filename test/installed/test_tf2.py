# SPDX-License-Identifier: Apache-2.0
"""The package's buffer of transforms answers as tf2's does, where tf2_ros is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer, transform_from_message

pytestmark = pytest.mark.packaging

SECOND = 10**9
FRAMES = ("map", "odom", "base", "mast", "camera", "moon", "crater")
# (frame, its parent, whether it stands still in it); the moon is a tree of its own.
TREE = (("odom", "map", False), ("base", "odom", False), ("mast", "base", True), ("camera", "mast", True))
TREE += (("crater", "moon", False),)


def pose(random: np.random.Generator) -> Transform:
    turn = random.normal(size=4)
    return Transform.from_quaternion(turn / np.linalg.norm(turn), random.uniform(-20.0, 20.0, 3))


class Both:
    """The same transforms in tf2's buffer and in the package's."""

    def __init__(self) -> None:
        tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")
        self.tf2, self.theirs, self.ours = tf2_ros, tf2_ros.Buffer(), TransformBuffer()

    def insert(self, parent: str, child: str, stamp: int, placed: Transform, static: bool) -> None:
        from builtin_interfaces.msg import Time
        from geometry_msgs.msg import TransformStamped
        from tf2_msgs.msg import TFMessage

        message = TransformStamped(child_frame_id=child)
        message.header.frame_id, message.header.stamp = parent, Time(sec=stamp // SECOND, nanosec=stamp % SECOND)
        move, turn = message.transform.translation, message.transform.rotation
        move.x, move.y, move.z = placed.translation.tolist()
        turn.x, turn.y, turn.z, turn.w = placed.quaternion.tolist()
        assert self.ours.insert_message(TFMessage(transforms=[message]), static) == []
        (self.theirs.set_transform_static if static else self.theirs.set_transform)(message, "test")

    def look_up(self, target: str, source: str, stamp: int) -> tuple[Transform | None, Transform | None]:
        """What each of them finds; None for a failure."""
        from rclpy.time import Time

        try:
            found = self.theirs.lookup_transform_core(target, source, Time(nanoseconds=stamp))
            theirs = transform_from_message(found.transform)
        except self.tf2.TransformException:
            theirs = None
        try:
            return theirs, self.ours.lookup(target, source, stamp)
        except LookupFailure:
            return theirs, None


def same(one: Transform | None, other: Transform | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.allclose(one.rotation, other.rotation, atol=1e-9) and np.allclose(
        one.translation, other.translation, atol=1e-6
    )


@pytest.fixture
def drive(ros: None) -> Both:
    """Three seconds of a robot: moving frames at rates of their own, sent out of order, and static ones."""
    both, random = Both(), np.random.default_rng(4)
    for child, parent, static in TREE:
        period = 0 if static else int(random.integers(SECOND // 50, SECOND // 5))
        stamps = [0] if static else [100 * SECOND + number * period for number in range(3 * SECOND // period)]
        for stamp in random.permutation(stamps).tolist():
            both.insert(parent, child, int(stamp), pose(random), static)
    return both


def test_every_pair_of_frames_at_every_time(drive: Both) -> None:
    random = np.random.default_rng(5)
    found = failed = 0
    for number in range(2000):
        target, source = random.choice(FRAMES, 2)
        stamp = 0 if number % 50 == 0 else int(random.integers(99 * SECOND, 104 * SECOND))
        if stamp == 0 and {target, source} & {"map", "odom", "base", "mast", "camera"} and target != source:
            continue  # tf2 takes the newest time that all frames of the chain have, ours the newest of each
        theirs, ours = drive.look_up(str(target), str(source), stamp)
        assert same(theirs, ours), f"{source} in {target} at {stamp * 1e-9:.3f} s: {theirs}, {ours}"
        found, failed = found + (ours is not None), failed + (ours is None)
    assert found > 500 and failed > 100


@given(st.sets(st.integers(0, 9), min_size=1), st.integers(0, 30))
def test_what_is_older_than_ten_seconds_is_forgotten_by_both(thirds: set[int], asked: int) -> None:
    """tf2 forgets when the next transform comes: a last one follows at once."""
    both = Both()
    for second in sorted(3 * third for third in thirds):
        both.insert("map", "base", (100 + second) * SECOND, Transform.identity(), static=False)
    both.insert("map", "base", (100 + second) * SECOND + 1000, Transform.identity(), static=False)
    theirs, ours = both.look_up("map", "base", (100 + asked) * SECOND)
    assert same(theirs, ours)
