# SPDX-License-Identifier: Apache-2.0
"""The poses of frames over time: the buffer that replaces tf2's where it is not installed."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

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
    assert buffer.insert("base", "/pole", 0, pose(1.0, 0.7), static=True) == ""
    assert buffer.insert("pole", "front", 0, pose(0.2, -0.3), static=True) == ""
    assert buffer.insert("base", "rear", 0, pose(-2.0, 3.0), static=True) == ""
    return buffer


def close(one: Transform, other: Transform) -> bool:
    return np.allclose(one.rotation, other.rotation) and np.allclose(one.translation, other.translation)


@given(st.integers(0, 2 * SECOND))
def test_a_chain_is_followed_up_and_down_at_the_requested_time(after: int) -> None:
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


def test_a_failed_lookup_says_why_and_whether_to_wait() -> None:
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


def test_late_samples_are_sorted_in_and_equal_stamps_replaced() -> None:
    one, other = TransformBuffer(), TransformBuffer()
    stamps = [SECOND, 3 * SECOND, 2 * SECOND, 2 * SECOND]
    for i, stamp in enumerate(stamps):
        one.insert("map", "base", stamp, pose(i), static=False)
    for stamp, x in ((SECOND, 0), (2 * SECOND, 3), (3 * SECOND, 1)):
        other.insert("map", "base", stamp, pose(x), static=False)
    for stamp in range(SECOND, 3 * SECOND, SECOND // 7):
        assert close(one.lookup("map", "base", stamp), other.lookup("map", "base", stamp))


def test_ten_seconds_are_kept_and_time_that_was_set_back_clears_them() -> None:
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


def test_faulty_publishers_fill_no_memory_and_hang_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
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


def message(*transforms: tuple[str, str, int, tuple[float, ...], tuple[float, ...]]) -> Any:
    """A TFMessage of (parent, child, stamp in ns, x y z, quaternion x y z w)."""
    return SimpleNamespace(
        transforms=[
            SimpleNamespace(
                header=SimpleNamespace(
                    frame_id=parent, stamp=SimpleNamespace(sec=stamp // SECOND, nanosec=stamp % SECOND)
                ),
                child_frame_id=child,
                transform=SimpleNamespace(
                    translation=SimpleNamespace(**dict(zip("xyz", move, strict=True))),
                    rotation=SimpleNamespace(**dict(zip("xyzw", turn, strict=True))),
                ),
            )
            for parent, child, stamp, move, turn in transforms
        ]
    )


UPRIGHT = (0.0, 0.0, 0.0, 1.0)


def test_a_message_is_inserted_but_for_its_invalid_transforms() -> None:
    buffer = TransformBuffer()
    problems = buffer.insert_message(
        message(
            ("map", "base", SECOND, (1.0, 2.0, 3.0), UPRIGHT),
            ("base", "broken", SECOND, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
            ("base", "lost", SECOND, (np.nan, 0.0, 0.0), UPRIGHT),
            ("base", "base", SECOND, (0.0, 0.0, 0.0), UPRIGHT),
        ),
        static=False,
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "transform of frame 'broken' ignored",
        "transform of frame 'lost' ignored",
        "transform ignored",
    ]
    assert buffer.lookup("map", "base", SECOND).translation.tolist() == [1.0, 2.0, 3.0]
    assert buffer.insert_message(message(("base", "camera", 0, (0.0, 0.0, 1.0), UPRIGHT)), static=True) == []
    assert buffer.lookup("map", "camera", SECOND).translation.tolist() == [1.0, 2.0, 4.0]


def test_a_buffer_without_a_cache_length_keeps_all() -> None:
    buffer = TransformBuffer(cache_ns=None)
    for second in (1, 1000, 500):
        buffer.insert("map", "base", second * SECOND, pose(second), static=False)
    for second in (1, 500, 1000):
        assert close(buffer.lookup("map", "base", second * SECOND), pose(second))


def test_within_the_tolerance_the_nearest_sample_holds() -> None:
    buffer = TransformBuffer(tolerance_ns=SECOND // 5)
    for second in (1, 2):
        buffer.insert("map", "base", second * SECOND, pose(second), static=False)
    assert close(buffer.lookup("map", "base", SECOND - SECOND // 5), pose(1))
    assert close(buffer.lookup("map", "base", 2 * SECOND + SECOND // 5), pose(2))
    for stamp in (SECOND - SECOND // 5 - 1, 2 * SECOND + SECOND // 5 + 1):
        with pytest.raises(LookupFailure):
            buffer.lookup("map", "base", stamp)


def test_a_waiting_lookup_wakes_when_its_transform_arrives() -> None:
    buffer, results = vehicle(), []

    def wait() -> None:
        results.append(buffer.wait_for("map", "front", 4 * SECOND, time.monotonic() + 60.0))

    thread = threading.Thread(target=wait)
    started = time.monotonic()
    thread.start()
    buffer.insert_message(message(("map", "other", 4 * SECOND, (0.0, 0.0, 0.0), UPRIGHT)), static=False)
    time.sleep(0.05)
    assert not results
    buffer.insert_message(message(("map", "base", 4 * SECOND, (9.0, 0.0, 0.0), UPRIGHT)), static=False)
    thread.join(30.0)
    assert time.monotonic() - started < 30.0
    front_in_base = pose(1.0, 0.7) @ pose(0.2, -0.3)
    expected = Transform(front_in_base.rotation, front_in_base.translation + [9.0, 0.0, 0.0])
    assert close(results[0], expected)


def test_waiting_ends_at_the_deadline_or_at_once_if_nothing_can_help() -> None:
    buffer, started = vehicle(), time.monotonic()
    with pytest.raises(LookupFailure, match="behind the image"):
        buffer.wait_for("map", "front", 4 * SECOND, started + 0.1)
    assert time.monotonic() - started >= 0.1
    for source, stamp in (("unknown", SECOND), ("front", SECOND // 2)):
        with pytest.raises(LookupFailure):
            buffer.wait_for("map", source, stamp, time.monotonic() + 3600.0)
    assert close(buffer.wait_for("rear", "base", SECOND, 0.0), pose(-2.0, 3.0).inverse())
