# SPDX-License-Identifier: Apache-2.0
"""Signs of trouble without labels: each is counted when it happens, and none when tracks are as they should be."""

import numpy as np
import pytest

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.tracking.quality import QualityMonitor
from centertrack_ros.types import Tracks

CAR, TRUCK = 0, 1


def tracks(*objects: tuple, lost: tuple[int, ...] = ()) -> Tracks:
    """Objects as (id, x, class, yaw): boxes of 40 px in a row."""
    ids = np.array([one[0] for one in objects], np.int64)
    left = np.array([one[1] for one in objects], float)
    boxes = np.stack([left, np.full(len(left), 10.0), left + 40, np.full(len(left), 50.0)], axis=1).reshape(-1, 4)
    kinds = np.array([one[2] if len(one) > 2 else CAR for one in objects], np.int64)
    yaws = np.array([one[3] if len(one) > 3 else 0.0 for one in objects])
    found = tracks_of(ids, kinds, np.ones(len(ids)), boxes, rotations_y=yaws)
    found.hits[np.isin(ids, lost)] = 0
    return found


def watch(*frames: Tracks, step: float = 0.1, window: float = 60.0) -> dict[str, float]:
    monitor = QualityMonitor(window)
    for index, one in enumerate(frames):
        monitor.update(one, index * step, latency_ms=10.0 * (index + 1))
    return vars(monitor.figures())


EVENTS = ("ends", "gaps", "suspected_switches", "jumps", "yaw_flips", "class_changes")


def test_steady_tracks_show_no_sign_of_trouble() -> None:
    figures = watch(*(tracks((1, 5.0 * n), (2, 300 - 5.0 * n)) for n in range(20)))
    assert figures["births"] == 2 and figures["objects"] == 2 and figures["frames"] == 20
    assert not any(figures[name] for name in EVENTS)
    assert figures["seconds"] == pytest.approx(1.9)
    assert figures["latency_ms"] == pytest.approx(105) and 180 < figures["latency_p95_ms"] < 200


@pytest.mark.parametrize(
    ("event", "frames"),
    [
        ("ends", [tracks((1, 0)), tracks()]),
        ("gaps", [tracks((1, 0)), tracks((1, 0), lost=(1,)), tracks((1, 0))]),
        ("jumps", [tracks((1, 0)), tracks((1, 15))]),
        ("yaw_flips", [tracks((1, 0, CAR, 3.0)), tracks((1, 0, CAR, 0.5))]),
        ("class_changes", [tracks((1, 0, CAR)), tracks((1, 0, TRUCK))]),
    ],
)
def test_each_event_is_counted_once_and_no_other(event, frames) -> None:
    figures = watch(*frames)
    assert {name: figures[name] for name in EVENTS if figures[name]} == {event: 1}


def test_a_new_id_in_the_place_of_a_lost_one_is_a_suspected_switch_for_a_second() -> None:
    lost = tracks((1, 0), lost=(1,))
    assert watch(tracks((1, 0)), lost, tracks((1, 0), (2, 5), lost=(1,)))["suspected_switches"] == 1
    assert watch(tracks((1, 0)), tracks(), tracks((2, 5)))["suspected_switches"] == 1
    assert watch(tracks((1, 0)), lost, tracks((1, 0), (2, 200), lost=(1,)))["suspected_switches"] == 0
    assert watch(tracks((1, 0)), lost, tracks((1, 0), (2, 5), lost=(1,)), step=0.8)["suspected_switches"] == 0
    assert watch(tracks((1, 0)), tracks((1, 0), (2, 5)))["suspected_switches"] == 0  # both are seen


def test_a_turn_across_pi_is_no_flip_and_slow_frames_allow_longer_ways() -> None:
    figures = watch(tracks((1, 0, CAR, 3.1)), tracks((1, 0, CAR, -3.1)))
    assert figures["yaw_flips"] == 0
    assert watch(tracks((1, 0)), tracks((1, 30)), step=0.5)["jumps"] == 0


def test_a_reset_and_a_jump_back_in_time_begin_anew() -> None:
    monitor = QualityMonitor()
    monitor.update(tracks((7, 0)), 5.0)
    monitor.update(tracks((1, 0)), 5.1, reset="requested")
    assert vars(monitor.figures())["births"] == 2 and not monitor.figures().suspected_switches
    monitor.update(tracks((1, 200)), 1.0)
    assert monitor.figures().frames == 1 and not monitor.figures().jumps


def test_only_the_window_counts() -> None:
    frames = [tracks((n + 1, 0)) for n in range(30)]
    figures = watch(*frames, step=0.125, window=1.0)
    assert figures["frames"] == figures["births"] == 9
    assert np.isnan(QualityMonitor().figures().latency_ms)
