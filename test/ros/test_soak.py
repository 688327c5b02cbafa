# SPDX-License-Identifier: Apache-2.0
"""Half a minute of `make soak`: a looped clip, and a driver that stops, resizes its images and jumps in time."""

from __future__ import annotations

import numpy as np
import pytest


def test_the_slope_ignores_the_start_and_single_peaks() -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")
    from support.soak import by_minute, slope_mb_per_minute

    times = np.arange(0.0, 300.0)
    growing = [(t, 500.0 + min(t, 120.0) + max(t - 120.0, 0.0) / 60.0 * 3.0) for t in times]
    assert slope_mb_per_minute(growing, 120.0) == pytest.approx(3.0)
    assert slope_mb_per_minute(growing[:150], 120.0) is None
    busy = [(t, size + 200.0 * (t == 290.0)) for t, size in growing]
    assert slope_mb_per_minute(busy, 120.0) == pytest.approx(3.0)
    assert by_minute([(t, 500.0) for t in times]) == [500.0] * 5


@pytest.mark.slow
def test_a_node_survives_a_looped_bag_and_a_faulty_driver(ros, capsys) -> None:
    from support.soak import run

    with capsys.disabled():
        print()
        assert not run(35.0, rate=5.0, parameters=("model.engine:=torch",))
