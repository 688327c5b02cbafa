# SPDX-License-Identifier: Apache-2.0
"""`colcon build` makes a package that `ros2 pkg`, `ros2 interface` and `ros2 run` know; `colcon test` passes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from support.ros_harness import ROOT
from support.workspace import PACKAGE, Workspace

pytestmark = pytest.mark.packaging

INTERFACES = {
    f"{PACKAGE}/{path.parent.name}/{path.stem}" for kind in ("msg", "srv") for path in ROOT.glob(f"{kind}/*.*")
}


def test_the_package_is_found_in_the_workspace(workspace: Workspace) -> None:
    answer = workspace.ros2("pkg", "prefix", PACKAGE)
    assert (answer.code, answer.out) == (0, str(workspace.folder / "install" / PACKAGE))
    answer = workspace.ros2("pkg", "executables", PACKAGE)
    assert answer.out.splitlines() == [f"{PACKAGE} centertrack", f"{PACKAGE} centertrack_node"]
    answer = workspace.ros2("pkg", "xml", PACKAGE, "--tag", "version")
    assert answer.out == ElementTree.parse(ROOT / "package.xml").findtext("version")


def test_every_interface_is_installed(workspace: Workspace) -> None:
    assert len(INTERFACES) >= 4
    answer = workspace.ros2("interface", "package", PACKAGE)
    assert set(answer.out.split()) == INTERFACES
    answer = workspace.ros2("interface", "show", f"{PACKAGE}/msg/TrackArray")
    assert answer.code == 0 and "tracks" in answer.text


def test_ros2_run_starts_the_command(workspace: Workspace) -> None:
    answer = workspace.ros2("run", PACKAGE, "centertrack", "--help")
    assert answer.code == 0 and "usage: centertrack" in answer.text


def test_the_installed_package_is_the_one_that_runs(workspace: Workspace) -> None:
    code = "import centertrack_ros, centertrack_ros.msg as m; print(centertrack_ros.__file__, m.TrackArray.__name__)"
    where, message = workspace.run("python3", "-c", code).out.split()
    assert where.startswith(str(workspace.folder / "install" / PACKAGE)) and message == "TrackArray"


@pytest.mark.slow
def test_colcon_test_passes_the_launch_tests(workspace: Workspace) -> None:
    """With launch_testing: CMake registers them where launch_testing_ament_cmake is installed."""
    if workspace.ros2("pkg", "prefix", "launch_testing_ament_cmake").code:
        pytest.skip("launch_testing_ament_cmake is not installed")
    options = ["--packages-select", PACKAGE, "--event-handlers", "console_direct+", "--return-code-on-test-failure"]
    answer = workspace.run("colcon", "test", *options, "--ctest-args", "-R", "launch", timeout=400.0)
    assert answer.code == 0 and "100% tests passed, 0 tests failed out of 2" in answer.text, answer.text[-5000:]
