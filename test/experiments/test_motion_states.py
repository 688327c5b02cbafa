# SPDX-License-Identifier: Apache-2.0
"""The states of a street's road users are counted with their true speeds."""

import numpy as np

from centertrack_ros.synthetic import StreetConfig
from centertrack_ros.types import MOTION_STANDING
from experiments.motion_states import FAST, observe


def test_by_a_depth_image_what_moves_fast_does_not_stand() -> None:
    config = StreetConfig(3, frames=9, rate=4.0, width=320, height=192, density=0.6, look="test")
    found: dict[str, list[np.ndarray]] = {}
    for name, rows in observe(config):
        found.setdefault(name, []).append(rows)
    assert {len(parts) for parts in found.values()} == {9}
    speeds, states = np.concatenate(found["depth image"]).T
    assert (speeds > FAST).sum() > 10
    assert (states[speeds > 3 * FAST] == MOTION_STANDING).mean() < 0.1
