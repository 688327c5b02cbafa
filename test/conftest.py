# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
# What runs ROS code: it needs ROS 2, and runs on both distributions.
ROS_PATHS = [
    ROOT / "test" / name
    for name in (
        "cli/test_demo.py",
        "cli/test_same_tracks.py",
        "io/test_camera_info.py",
        "io/test_image_decoding.py",
        "io/test_transform_buffer.py",
        "replay",
        "ros",
    )
]

_PASSED = pytest.StashKey[bool]()

# How long an example takes says nothing here: the first one pays for imports, and machines are shared. The same commit
# is always tried with the same examples; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "project"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The larger real data beside the checkout (or in CENTERTRACK_SHARED_DATA); skips, with the reason, without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CENTERTRACK_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}")
    return folder


def _uses_ros(item: pytest.Item) -> bool:
    return any(path in (item.path, *item.path.parents) for path in ROS_PATHS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what runs ROS code, and gives tests that are marked `best_effort` two more tries.

    Best-effort delivery may lose an image while a machine is still busy with discovery, as on a robot, where the next
    image comes a moment later. pytest reports the further tries as reruns.
    """
    for item in items:
        if _uses_ros(item):
            item.add_marker(pytest.mark.ros)
        if (marker := item.get_closest_marker("best_effort")) is not None:
            assert marker.args and isinstance(marker.args[0], str), f"{item.nodeid}: best_effort needs a reason"
            if config.pluginmanager.hasplugin("rerunfailures"):
                item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Answers before launch_testing's plugin, which every ROS installation loads.

    It would import the file to look for a launch test. A module that skips itself because a package is missing ends the
    whole collection then: `colcon test` would run nothing. Launch tests have a runner of their own (CMakeLists.txt).
    """
    return pytest.Module.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Empties the folder of a test that passed: models are exported into hundreds, 15 GB in a run of all tests.

    The folder itself stays, so that none gets the path of an earlier one, by which readers know their files.
    """
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.when == "call" and report.passed:
        item.stash[_PASSED] = True
    elif report.when == "teardown" and isinstance(folder, Path) and folder.is_dir() and item.stash.get(_PASSED, False):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    return report


@pytest.fixture(autouse=True)
def no_process_outlives_the_test() -> Iterator[None]:
    """A test that fails leaves no node behind: one of the same name would disturb the next test."""
    from support.ros_harness import Process, remove_shared_memory_of_the_dead

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
    profile = str(ROOT / "config" / "fastdds.xml")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):  # up to Jazzy, and from Kilted on
        os.environ.setdefault(name, profile)
    rclpy.init()
    yield
    rclpy.try_shutdown()
