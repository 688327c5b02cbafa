# SPDX-License-Identifier: Apache-2.0
"""How often people are found again by what they look like."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from centertrack_ros.network import checkpoints
from centertrack_ros.network.registry import weights_path
from experiments import reidentification
from experiments.reidentification import FeatureSampler, Looks, all_distances, comparisons, rank_1, right_pairs


def people(order: list[int], described: np.ndarray, lefts: list[float]) -> Looks:
    """People with these ids, whose looks are rows of `described`, 20 px wide."""
    boxes = np.array([[left, 0, left + 20, 60] for left in lefts], float)
    looks = described[np.array(order) - 1].astype(np.float32)
    return Looks(np.array(order), boxes, looks, looks)


def test_who_looks_the_same_is_found_again_wherever_he_went():
    frames = {1: people([1, 2, 3], np.eye(3), [0, 30, 60]), 6: people([3, 1, 2], np.eye(3), [0, 30, 60])}
    pairs = comparisons(frames, 5)
    for found in all_distances(pairs).values():
        assert rank_1(pairs, found) == (3, 3)
        assert right_pairs(pairs, found) == (3, 3)
    assert not comparisons(frames, 4)


def test_who_takes_another_ones_looks_is_lost():
    first = people([1, 2], np.eye(2), [0, 30])
    exchanged = people([1, 2], np.eye(2)[::-1], [0, 30])
    pairs = comparisons({1: first, 6: exchanged}, 5)
    found = [np.array([[1.0, 0.0], [0.0, 1.0]])]
    assert rank_1(pairs, found) == (0, 2) and right_pairs(pairs, found) == (0, 1)
    apart = comparisons({1: first, 6: people([1, 2], np.eye(2), [0, 900])}, 5)
    assert right_pairs(apart, found) == (0, 0), "only neighbours count"


@pytest.mark.parametrize("shift", [8, 13])
def test_features_move_with_what_is_in_the_box(shift):
    network, profile = checkpoints.load(weights_path(""))
    sampler = FeatureSampler(network.eval(), profile)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    image = cv2.resize(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    box = np.array([[200.0, 120, 280, 330]])
    moved = np.roll(image, shift, axis=1)
    before, there = sampler(image, box), sampler(moved, box + np.array([shift, 0, shift, 0]))
    elsewhere = sampler(moved, box + 3 * np.array([shift, 0, shift, 0]))
    assert before.shape == (1, 32 * np.prod(reidentification.GRID))
    assert 1 - (before @ there.T).item() < 0.4 * (1 - (before @ elsewhere.T).item())
