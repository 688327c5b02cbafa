# SPDX-License-Identifier: Apache-2.0
"""What the stamps of a camera tell: how many images got lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.io.stamps import Loss


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
