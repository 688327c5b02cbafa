"""Every test run has a DDS domain of its own, on this machine only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for harness.py: these tests are not a package


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests across processes get two more tries, which pytest reports as reruns.

    Cameras send best effort, and that is what the node is tested with: an image that is sent while a machine is still
    busy with discovery may be lost, as on a robot, where the next image comes a moment later.
    """
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def nobody_outlives_the_test() -> Iterator[None]:
    """A test that fails leaves no node behind: one of the same name would answer in place of the next test's."""
    from harness import Process, remove_shared_memory_of_the_dead

    before = len(Process.started)
    yield
    for process in Process.started[before:]:
        if process.alive:
            process.end()
    del Process.started[before:]
    remove_shared_memory_of_the_dead()


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """rclpy, initialised once; skips, with the reason, where ROS 2 or the interfaces are missing."""
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")
    pytest.importorskip(
        "vision_msgs.msg", reason="vision_msgs is not installed (make builds it from compat/vision_msgs)"
    )
    os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 100 + 1)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    profile = str(HERE.parents[1] / "config" / "fastdds.xml")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):  # up to Jazzy, and from Kilted on
        os.environ.setdefault(name, profile)
    rclpy.init()
    yield
    rclpy.try_shutdown()
