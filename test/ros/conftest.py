# SPDX-License-Identifier: Apache-2.0
"""What the ROS tests share."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from support.ros_harness import CameraClock, demo_frames, own_messages_built


@pytest.fixture(scope="session")
def frames() -> list[NDArray[np.uint8]]:
    """The first twelve images of the demo clip; nobody writes into them."""
    return demo_frames(12)


@pytest.fixture(scope="session")
def own_messages() -> bool:
    """Whether centertrack_ros.msg is installed: without it there are no TrackArray and no FrameTiming."""
    return own_messages_built()


@pytest.fixture
def clock(probe) -> CameraClock:
    """A later hour for every test: the gap ends the tracks of the test before."""
    probe.hour = getattr(probe, "hour", time.time()) + 3600.0
    return CameraClock(probe.hour)
