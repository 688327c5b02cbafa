# SPDX-License-Identifier: Apache-2.0
"""replay.launch.py with the demo's bag: it is played when the node is active, and everything ends with it."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator

import pytest

from support.ros_harness import Probe, stamp_of, wait_until
from support.workspace import Workspace

pytestmark = pytest.mark.packaging

TOPICS = {"image": "/camera/image", "camera_info": "/camera/camera_info"}


@pytest.fixture
def arguments(workspace: Workspace) -> dict[str, str]:
    """Of the launch file; skips where `ros2 bag` is not installed."""
    if workspace.ros2("bag", "play", "--help").code:
        pytest.skip("ros2 bag is not installed")
    bag = workspace.share / "demo" / "pets09_s2l1"
    small = {"engine": workspace.engine, "device": "cpu", "input_pixels": "76800"}
    return {**TOPICS, **small, "bag": str(bag), "clock_rate": "0", "rviz": "false", "rate": "2.0"}  # it has /clock


@pytest.fixture
def probe(ros: None) -> Iterator[Probe]:
    probe = Probe(outputs=["output/detections_2d"])
    yield probe
    probe.close()


def test_the_bag_is_tracked_in_its_own_time_and_ends_everything(
    workspace: Workspace, arguments: dict[str, str], probe: Probe
) -> None:
    with workspace.launched("replay", **arguments) as all_:
        wait_until(lambda: not all_.alive, 60.0, "the end of the bag")
    results = probe.received["output/detections_2d"]
    seconds = [sec + nanosec * 1e-9 for sec, nanosec in map(stamp_of, results)]
    # 100 images at 7 Hz, shown at twice that rate; a busy machine may skip some, and none of the end.
    assert len(seconds) > 20 and seconds == sorted(set(seconds)) and seconds[-1] - seconds[0] > 10.0
    assert max(len(message.detections) for message in results) >= 3
    assert not all_.logged("use_sim_time") and not all_.logged("in the future"), "\n".join(all_.lines)


def test_a_looped_bag_resets_the_tracks_when_time_jumps_back(
    workspace: Workspace, arguments: dict[str, str], probe: Probe
) -> None:
    with workspace.launched("replay", **arguments, loop="true", start_offset="11.0") as all_:
        wait_until(lambda: jumps(probe) >= 2, 60.0, "the bag to begin again")
        assert all_.alive
        all_.send(signal.SIGINT)
        wait_until(lambda: not all_.alive, 20.0, "the end")
    first, again = passes(probe)[:2]
    assert first and again and not first & again, "a track went on over the jump"


def jumps(probe: Probe) -> int:
    """How often the stamps of results went back."""
    stamps = [stamp_of(message) for message in list(probe.received["output/detections_2d"])]
    return sum(after < before for before, after in itertools.pairwise(stamps))


def passes(probe: Probe) -> list[set[str]]:
    """The ids in each pass of the bag."""
    ids: list[set[str]] = [set()]
    last = (0, 0)
    for message in list(probe.received["output/detections_2d"]):
        if stamp_of(message) < last:
            ids.append(set())
        last = stamp_of(message)
        ids[-1] |= {detection.id for detection in message.detections}
    return ids
