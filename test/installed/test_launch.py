# SPDX-License-Identifier: Apache-2.0
"""`ros2 launch` of the three launch files: every argument reaches the node, the player or RViz."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from centertrack_ros.ros import launch_arguments as tables
from support.ros_harness import Process, wait_until
from support.workspace import (
    PROFILES,
    Workspace,
    command_line,
    flat,
    is_running,
    parameters_of,
    pid_of_node,
    variables_of,
)

pytestmark = pytest.mark.packaging

ARGUMENTS = {
    "centertrack": (*tables.ONE_CAMERA, *tables.NODE, *tables.RVIZ),
    "surround": (*tables.SURROUND, *tables.NODE, *tables.RVIZ),
    "replay": (*tables.REPLAY, *tables.ONE_CAMERA, *tables.NODE, *tables.RVIZ),
}
CAMERAS = tables.NUSCENES_CAMERAS
# A value that is not the default for each argument of the node and of RViz.
NODE = {
    "name": "tracker",
    "namespace": "robot/front",
    "preset": "coco",
    "weights": "mobilenetv3-coco-track",
    "device": "cpu",
    "classes": "person, car",
    "input_pixels": "147456",
    "transport": "raw",
    "reliability": "reliable",
    "rectified": "true",
    "target_frame": "base_link",
    "fixed_frame": "odom",
    "tf_timeout_s": "0.25",
    "autostart": "false",
    "executor": "events",
    "use_sim_time": "true",
    "respawn": "true",
    "prefix": "nice -n 3",
    "dds_profile": "false",
    "log_level": "debug",
    "rviz": "true",
    "rviz_config": "/no/such.rviz",
    "rviz_frame": "map",
}
FULL_NAME = "/robot/front/tracker"
PLAYER = {
    "bag": "/no/such/bag",
    "rate": "2.0",
    "start_offset": "1.5",
    "clock_rate": "50",
    "loop": "false",
    "play_arguments": "--topics /front/image_raw",
    "end_with_bag": "true",
}
FROM_FILE = {"model.device": "auto", "tracker.max_age": 7, "output.publish_autoware": False}


def topics(file: str) -> dict[str, str]:
    """A new name for every topic that the launch file can rename."""
    return {a.name: f"/new/{a.name}" for a in ARGUMENTS[file] if a.topic}


def preset(workspace: Workspace, name: str) -> dict[str, Any]:
    """The parameters of an installed preset."""
    [content] = yaml.safe_load((workspace.share / "config" / f"{name}.yaml").read_text()).values()
    return flat(content["ros__parameters"])


def wait_for_node(workspace: Workspace, process: Process) -> None:
    """Waits until `ros2 node list` shows the node."""

    def listed() -> bool:
        return FULL_NAME in workspace.ros2("node", "list").out.split()

    assert wait_until(listed, 60.0, f"the node:\n{process.lines}")


def change(workspace: Workspace, process: Process, *transitions: str) -> None:
    """Takes the node through these transitions, as a lifecycle manager does."""
    for transition in transitions:
        answer = workspace.ros2("lifecycle", "set", FULL_NAME, transition)
        assert "Transitioning successful" in answer.text, "\n".join([answer.text, *process.lines])


def check_parameters(workspace: Workspace, arguments: dict[str, str], file: str) -> None:
    """The preset holds, over it the user's file, over that the arguments."""
    values = {a.name: a.default or "" for a in ARGUMENTS[file]} | arguments
    given = tables.parameters(values, ARGUMENTS[file])
    assert given["model.device"] == "cpu" and given["use_sim_time"] is True
    expected = preset(workspace, "coco") | FROM_FILE | given
    found = parameters_of(workspace, FULL_NAME)
    assert {name: found[name] for name in expected} == expected


def check_process(process: Process, pid: int, niceness: int) -> None:
    """What is neither a parameter nor a topic: the arguments log_level, prefix and dds_profile."""
    assert "robot.front.tracker:=debug" in command_line(pid)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(niceness + 3, 19)
    assert not set(PROFILES) & set(variables_of(pid))


def check_rviz(process: Process) -> None:
    """RViz has got its arguments, or a line says that it is not installed."""
    lines = wait_until(lambda: process.logged("rviz2"), 10.0, "a word about RViz")
    if "is not installed" in lines[0]:
        return
    pid = pid_of_node(process, "rviz2")
    if is_running(pid):  # without a display it ends at once
        assert command_line(pid)[1:5] == ["-d", NODE["rviz_config"], "-f", NODE["rviz_frame"]]


def topics_of(workspace: Workspace) -> set[str]:
    """The topics that the node publishes or subscribes to."""
    return set(re.findall(r"^\s+(/\S+): ", workspace.ros2("node", "info", FULL_NAME).text, re.MULTILINE))


@pytest.fixture
def parameter_file(workspace: Workspace, tmp_path: Path) -> str:
    """A parameter file as a user writes it."""
    FROM_FILE["output.publish_autoware"] = workspace.ros2("pkg", "prefix", "autoware_perception_msgs").code == 0
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": FROM_FILE}}))
    return str(path)


def without_autoware(names: Iterable[str]) -> set[str]:
    """The topics without those that need Autoware's messages, where these are not installed."""
    return {n for n in names if FROM_FILE["output.publish_autoware"] or not n.endswith("ed_objects")}


@pytest.mark.parametrize("file", sorted(ARGUMENTS))
def test_every_argument_is_explained(workspace: Workspace, file: str) -> None:
    answer = workspace.ros2("launch", "centertrack_ros", f"{file}.launch.py", "--show-args")
    assert answer.code == 0
    for argument in ARGUMENTS[file]:
        assert f"'{argument.name}':\n        {argument.text}" in answer.text
        assert argument.default is None or f"(default: '{argument.default}')" in answer.text


def test_every_argument_of_one_camera_arrives(workspace: Workspace, parameter_file: str) -> None:
    arguments = {
        **NODE,
        "engine": workspace.engine,
        **topics("centertrack"),
        "params_file": parameter_file,
        "image_compressed": "/new/jpeg",
        "detector_source": "both",
    }
    assert set(arguments) == {a.name for a in ARGUMENTS["centertrack"]}
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    with workspace.launched("centertrack", ready="process started", **arguments) as process:
        check_rviz(process)
        wait_for_node(workspace, process)
        check_process(process, pid_of_node(process, "nice"), niceness)
        check_parameters(workspace, arguments, "centertrack")
        change(workspace, process, "configure", "activate")
        late = {"image_compressed", "depth", "depth_camera_info", "points"}  # subscribed to when somebody publishes
        renamed = {topic for name, topic in topics("centertrack").items() if name not in late}
        assert without_autoware(renamed) <= topics_of(workspace)


def test_compressed_images_come_from_their_own_topic(workspace: Workspace) -> None:
    arguments = {"name": "tracker", "namespace": "/robot/front", "transport": "compressed", "engine": workspace.engine}
    with workspace.launched("centertrack", **arguments, image="/front/image", device="cpu") as process:
        found = wait_until(
            lambda: {t for t in topics_of(workspace) if t.startswith("/front")}, 10.0, "the node's subscriptions"
        )
        assert found == {"/front/image/compressed"}
        # In every process, for large images; a profile of the user's would stay.
        profiles = {variables_of(pid_of_node(process)).get(name) for name in PROFILES} - {None}
        assert profiles == {str(workspace.share / "config" / "fastdds.xml")}


def test_every_argument_of_several_cameras_arrives(workspace: Workspace, parameter_file: str) -> None:
    inputs = {f"{camera}_{kind}": f"/new/{camera}/{kind}" for camera in CAMERAS for kind in ("image", "camera_info")}
    more = {"cameras": ",".join([*CAMERAS, "roof"]), "image": "/{camera}/rect", "camera_info": "/{camera}/info"}
    arguments = {
        **NODE,
        "engine": workspace.engine,
        **topics("surround"),
        **more,
        **inputs,
        "params_file": parameter_file,
    }
    arguments["cross_camera_ids"] = "false"
    assert set(arguments) == {a.name for a in ARGUMENTS["surround"]}
    with workspace.launched("surround", ready="process started", **arguments) as process:
        check_rviz(process)
        wait_for_node(workspace, process)
        check_parameters(workspace, arguments, "surround")
        change(workspace, process, "configure", "activate")
        assert parameters_of(workspace, FULL_NAME)["cameras"] == [*CAMERAS, "roof"]
        expected = {*inputs.values(), "/roof/rect", "/roof/info", *topics("surround").values()}
        assert without_autoware(expected) <= topics_of(workspace)


def test_every_argument_of_a_replay_arrives(workspace: Workspace, parameter_file: str) -> None:
    """The player's command is logged; without such a bag it fails, and everything ends with it."""
    arguments = {
        **NODE,
        "engine": workspace.engine,
        **PLAYER,
        **topics("replay"),
        "params_file": parameter_file,
        "image_compressed": "/new/jpeg",
        "detector_source": "both",
    }
    arguments |= {"cameras": "front,rear", "cross_camera_ids": "false"}
    arguments |= {"image": "/{camera}/rect", "camera_info": "/{camera}/info"}
    assert set(arguments) == {a.name for a in ARGUMENTS["replay"]}
    with workspace.launched("replay", ready="process started", **arguments) as process:
        check_rviz(process)
        wait_for_node(workspace, process)
        check_parameters(workspace, arguments, "replay")
        change(workspace, process, "configure", "activate")
        line = process.wait_for_line("process details")
        expected = "ros2 bag play /no/such/bag --rate 2.0 --start-offset 1.5 --clock 50 --topics /front/image_raw"
        assert f"cmd='{expected}'" in line
        wait_until(lambda: not process.alive, 30.0, "the end with the player")


@pytest.mark.parametrize(
    ("file", "arguments", "words"),
    [
        ("centertrack", ["preset:=best"], "best"),
        ("centertrack", ["tf_timeout_s:=soon"], "tf_timeout_s:=soon should be a float"),
        ("centertrack", ["log_level:=loud"], "loud"),
        ("centertrack", ["params_file:=/no/such.yaml"], "params_file:=/no/such.yaml is not a file"),
        ("surround", ["cameras:=front,front"], "must be different names"),
        ("surround", ["image:=/camera/image_raw"], "must contain {camera}"),
        ("replay", [], "bag"),
    ],
)
def test_a_bad_argument_starts_nothing(workspace: Workspace, file: str, arguments: list[str], words: str) -> None:
    answer = workspace.ros2("launch", "centertrack_ros", f"{file}.launch.py", *arguments)
    assert answer.code != 0 and words in answer.text and "Traceback" not in answer.text
    assert "process started" not in answer.text


def test_a_node_that_was_killed_starts_again(workspace: Workspace) -> None:
    with workspace.launched("centertrack", respawn="true", engine=workspace.engine, device="cpu") as process:
        first, line = pid_of_node(process), len(process.lines)
        os.kill(first, signal.SIGKILL)
        process.wait_for_line("process started", line)
        process.wait_for_line("model ", line, timeout=60.0)
        assert pid_of_node(process) != first


INCLUDING = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace

def generate_launch_description():
    ours = IncludeLaunchDescription(
        PythonLaunchDescriptionSource({path!r}), launch_arguments={arguments!r}.items()
    )
    return LaunchDescription([GroupAction([PushRosNamespace("fleet"), ours])])
"""


def test_a_launch_file_of_the_user_includes_ours_in_its_namespace(workspace: Workspace, tmp_path: Path) -> None:
    ours = workspace.share / "launch" / "centertrack.launch.py"
    arguments = {"namespace": "robot", "log_level": "debug", "autostart": "false"}
    path = tmp_path / "fleet.launch.py"
    path.write_text(INCLUDING.format(path=str(ours), arguments=arguments))
    process = workspace.start("ros2", "launch", str(path))
    try:
        process.wait_for_line("process started", timeout=60.0)
        wait_until(lambda: "/fleet/robot/centertrack" in workspace.ros2("node", "list").out, 60.0, "the node")
        assert "fleet.robot.centertrack:=debug" in command_line(pid_of_node(process))
    finally:
        code, _ = process.end(signal.SIGINT, timeout=20.0)
    assert code == 0
