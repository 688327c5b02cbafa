# SPDX-License-Identifier: Apache-2.0
"""Stamps as numbers, what stands for a stamp of 0, and what the gaps between them tell."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.io.stamps import Loss, from_nanoseconds, nanoseconds, record_stamp, seconds, stamp_or_arrival


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


@pytest.mark.parametrize(
    ("stamp", "arrival", "expected"), [(0, 7, 7), (5, 7, 5), (-5, 7, -5), (0, 0, 0), (2**63 - 1, 7, 2**63 - 1)]
)
def test_only_a_stamp_of_0_is_none(stamp, arrival, expected):
    assert stamp_or_arrival(stamp, arrival) == expected


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_a_stamp_in_seconds_is_the_same_by_both_ways(sec, nanosec):
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    assert from_nanoseconds(nanoseconds(stamp)) == seconds(stamp)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_stamp_of_a_serialised_message_is_read_in_either_order(order):
    data = bytes([0, int(order == "<"), 0, 0]) + struct.pack(order + "iI", -2, 5)
    assert record_stamp(data, 9) == -2 * 10**9 + 5
    assert record_stamp(data[:4] + bytes(8), 9) == record_stamp(data[:9], 9) == 9
