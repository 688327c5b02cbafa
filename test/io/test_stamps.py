# SPDX-License-Identifier: Apache-2.0
"""What the stamps of a camera say: which frame is the next one, and how many images got lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.io.stamps import REORDER_S, Loss, StampRules

STAMPS = st.lists(st.floats(-1e9, 3e9, allow_nan=False) | st.integers(0, 40).map(lambda n: 1e9 + n * 0.05), max_size=20)


@given(STAMPS, st.floats(-2e9, 3e9))
def test_after_any_history_a_camera_in_order_is_accepted_again(history: list[float], start: float) -> None:
    """At most a late frame and a duplicate are rejected; all later frames are accepted."""
    rules = StampRules()
    for stamp in history:
        rules.refuse(stamp)
    rejected = [bool(rules.refuse(start + 0.05 * n)) for n in range(20)]
    assert sum(rejected) <= 2 and not any(rejected[5:])


@given(st.lists(st.floats(0.001, 1e6), min_size=2, max_size=20))
def test_a_growing_stamp_is_never_rejected(steps: list[float]) -> None:
    rules = StampRules()
    assert not any(rules.refuse(float(stamp)) for stamp in np.cumsum(steps))


def test_late_frames_and_duplicates_are_rejected_and_a_loop_is_accepted() -> None:
    rules = StampRules()
    assert not rules.refuse(10.0)
    assert "same" in rules.refuse(10.0)
    assert "100 ms older" in rules.refuse(9.9)
    assert not rules.refuse(10.1)
    assert not rules.refuse(10.1 - 2 * REORDER_S)  # time itself went back
    assert not rules.refuse(10.1 - 2 * REORDER_S + 0.05)


def loss_of(stamps: np.ndarray) -> Loss:
    loss = Loss()
    for stamp in stamps:
        loss.add(float(stamp))
    return loss


@given(st.integers(0, 10_000), st.floats(1.0, 60.0), st.floats(0.0, 0.6), st.floats(0.0, 0.05))
def test_the_lost_part_is_estimated_from_the_stamps(seed: int, rate: float, part: float, jitter: float) -> None:
    random = np.random.default_rng(seed)
    stamps = 1e9 + (np.arange(400) + random.uniform(-jitter, jitter, 400)) / rate
    kept = random.random(400) >= part
    if np.diff(stamps[kept]).max() < 2.0:
        lost = 1.0 - kept[np.flatnonzero(kept)[-60] :].mean()
        assert loss_of(stamps[kept]).part == pytest.approx(lost, abs=0.1)


def test_a_pause_a_jump_and_a_few_images_are_no_loss() -> None:
    assert loss_of(np.arange(15) * 0.5).part == 0.0
    steady = np.arange(30) * 0.1
    for break_ in (60.0, -60.0):
        assert loss_of(np.concatenate([steady, steady + break_])).part < 0.01
