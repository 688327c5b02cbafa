"""Where frames are at which time: the buffer that stands in for tf2's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io import transform_buffer
from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer

SECOND = 10**9


def pose(x: float, yaw: float = 0.0) -> Transform:
    return Transform.from_quaternion([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)], [x, 2 * x, 0.5])


def vehicle() -> TransformBuffer:
    """A car that drives and turns evenly for two seconds, with two cameras on it."""
    buffer = TransformBuffer()
    for tenth in range(21):
        moving = pose(0.8 * tenth, 0.05 * tenth)
        assert buffer.insert("map", "base", SECOND + tenth * SECOND // 10, moving, static=False) == ""
    assert buffer.insert("base", "/mast", 0, pose(1.0, 0.7), static=True) == ""
    assert buffer.insert("mast", "front", 0, pose(0.2, -0.3), static=True) == ""
    assert buffer.insert("base", "rear", 0, pose(-2.0, 3.0), static=True) == ""
    return buffer


def close(one: Transform, other: Transform) -> bool:
    return np.allclose(one.rotation, other.rotation) and np.allclose(one.translation, other.translation)


@given(st.integers(0, 2 * SECOND))
def test_a_chain_is_followed_up_and_down_at_the_asked_time(after: int) -> None:
    buffer, stamp = vehicle(), SECOND + after
    tenths = after / SECOND * 10
    base = pose(0.8 * tenths, 0.05 * tenths)
    front, rear = pose(1.0, 0.7) @ pose(0.2, -0.3), pose(-2.0, 3.0)
    assert close(buffer.lookup("map", "base", stamp), base)
    assert close(buffer.lookup("map", "front", stamp), base @ front)
    assert close(buffer.lookup("/front", "map", stamp), (base @ front).inverse())
    assert close(buffer.lookup("rear", "front", stamp), rear.inverse() @ front)
    assert close(buffer.lookup("rear", "front", 0), rear.inverse() @ front)  # static: at any time
    assert close(buffer.lookup("base", "base", stamp), Transform.identity())


def test_what_is_not_known_says_why_and_whether_to_wait() -> None:
    buffer = vehicle()
    buffer.insert("moon", "crater", 0, pose(1.0), static=True)
    for target, source, stamp, words, soon in (
        ("map", "front", 4 * SECOND, "'base' in 'map' is 1.000 s behind the image", True),
        ("map", "front", SECOND // 2, "'base' in 'map' is 0.500 s after the image", False),
        ("map", "fornt", SECOND, "nobody has published a frame 'fornt'", False),
        ("map", "crater", SECOND, "'crater' and 'map' are not connected", False),
    ):
        with pytest.raises(LookupFailure, match=words) as failure:
            buffer.lookup(target, source, stamp)
        assert failure.value.soon == soon


def test_late_samples_are_sorted_in_and_equal_stamps_written_over() -> None:
    one, other = TransformBuffer(), TransformBuffer()
    stamps = [SECOND, 3 * SECOND, 2 * SECOND, 2 * SECOND]
    for i, stamp in enumerate(stamps):
        one.insert("map", "base", stamp, pose(i), static=False)
    for stamp, x in ((SECOND, 0), (2 * SECOND, 3), (3 * SECOND, 1)):
        other.insert("map", "base", stamp, pose(x), static=False)
    for stamp in range(SECOND, 3 * SECOND, SECOND // 7):
        assert close(one.lookup("map", "base", stamp), other.lookup("map", "base", stamp))


def test_ten_seconds_are_kept_and_time_that_was_set_back_begins_anew() -> None:
    buffer = TransformBuffer()
    for second in range(100, 131):
        buffer.insert("map", "base", second * SECOND, pose(second), static=False)
    buffer.lookup("map", "base", 120 * SECOND)
    with pytest.raises(LookupFailure, match="after the image"):
        buffer.lookup("map", "base", 119 * SECOND)
    buffer.insert("map", "base", 5 * SECOND, pose(5), static=False)
    assert close(buffer.lookup("map", "base", 5 * SECOND), pose(5))
    with pytest.raises(LookupFailure, match="behind"):
        buffer.lookup("map", "base", 125 * SECOND)


def test_wild_publishers_fill_no_memory_and_hang_nothing(monkeypatch) -> None:
    monkeypatch.setattr(transform_buffer, "MAX_FRAMES", 20)
    monkeypatch.setattr(transform_buffer, "MAX_SAMPLES", 50)
    buffer = TransformBuffer()
    for i in range(200):
        buffer.insert("map", "base", SECOND + i, pose(i), static=False)
    with pytest.raises(LookupFailure, match="after the image"):
        buffer.lookup("map", "base", SECOND + 149)
    problems = [buffer.insert("map", f"frame_{i}", 0, pose(i), static=True) for i in range(30)]
    assert problems.count("") == 19 and "more than 20 frames" in problems[-1]
    ring = TransformBuffer()
    for child, parent in (("a", "b"), ("b", "c"), ("c", "a")):  # a ring has no root
        ring.insert(parent, child, 0, pose(1.0), static=True)
    ring.insert("x", "y", 0, pose(1.0), static=True)
    ring.lookup("b", "a", 0)
    with pytest.raises(LookupFailure, match="not connected"):
        ring.lookup("x", "a", 0)
    for parent, child in (("map", "map"), ("", "base"), ("map", "/")):
        assert "two different frames" in ring.insert(parent, child, 0, pose(1.0), static=True)
