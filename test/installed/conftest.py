# SPDX-License-Identifier: Apache-2.0
"""What the tests of the installed package share: a workspace that is built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.workspace import Workspace, build_workspace


@pytest.fixture(scope="session", autouse=True)
def needs_ros2() -> None:
    """Skips everything here, in a moment and for one reason, where there is no ROS installation."""
    if shutil.which("ros2") is None or shutil.which("colcon") is None:
        pytest.skip("ros2 and colcon are not on the PATH: source a ROS 2 installation")


@pytest.fixture(scope="session")
def workspace(needs_ros2: None, ros: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The built workspace. CENTERTRACK_WORKSPACE names a folder that is kept, so that the next build is short."""
    kept = os.environ.get("CENTERTRACK_WORKSPACE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("workspace")
    built = build_workspace(folder)
    yield built
    built.ros2("daemon", "stop")
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
