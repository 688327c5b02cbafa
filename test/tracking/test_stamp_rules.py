# SPDX-License-Identifier: Apache-2.0
"""Which frame is the next one of its camera."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.tracking.stamp_rules import REORDER_S, StampRules

STAMPS = st.lists(st.floats(-1e9, 3e9, allow_nan=False) | st.integers(0, 40).map(lambda n: 1e9 + n * 0.05), max_size=20)


@given(STAMPS, st.floats(-2e9, 3e9))
def test_after_any_history_a_camera_in_order_is_accepted_again(history: list[float], start: float) -> None:
    """At most a late frame and a duplicate are rejected; all later frames are accepted."""
    rules = StampRules()
    for stamp in history:
        rules.rejection_reason(stamp)
    rejected = [bool(rules.rejection_reason(start + 0.05 * n)) for n in range(20)]
    assert sum(rejected) <= 2 and not any(rejected[5:])


@given(st.lists(st.floats(0.001, 1e6), min_size=2, max_size=20))
def test_a_growing_stamp_is_never_rejected(steps: list[float]) -> None:
    rules = StampRules()
    assert not any(rules.rejection_reason(float(stamp)) for stamp in np.cumsum(steps))


def test_late_frames_and_duplicates_are_rejected_and_a_loop_is_accepted() -> None:
    rules = StampRules()
    assert not rules.rejection_reason(10.0)
    assert "same" in rules.rejection_reason(10.0)
    assert "100 ms older" in rules.rejection_reason(9.9)
    assert not rules.rejection_reason(10.1)
    assert not rules.rejection_reason(10.1 - 2 * REORDER_S)  # time itself went back
    assert not rules.rejection_reason(10.1 - 2 * REORDER_S + 0.05)
