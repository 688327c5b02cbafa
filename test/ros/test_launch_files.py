# SPDX-License-Identifier: Apache-2.0
"""Launch files, RViz configurations and deployment files agree with the node, and are installed."""

from __future__ import annotations

import ast
import configparser
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from centertrack_ros.ros import launch_arguments

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = ("centertrack", "surround", "replay")
ARGUMENTS = {
    "centertrack": (*launch_arguments.ONE_CAMERA, *launch_arguments.NODE, *launch_arguments.RVIZ),
    "surround": (*launch_arguments.SURROUND, *launch_arguments.NODE, *launch_arguments.RVIZ),
    "replay": (*launch_arguments.REPLAY, *launch_arguments.ONE_CAMERA, *launch_arguments.NODE, *launch_arguments.RVIZ),
}


def values_of(name: str, **values: str) -> dict[str, str]:
    """The values of the arguments of a launch file: the defaults, with these in place of some."""
    return {a.name: a.default or "" for a in ARGUMENTS[name]} | values


def documented_topics() -> set[str]:
    """The topics in the table of docs/ros.md."""
    table = (ROOT / "docs" / "ros.md").read_text().split("## Topics")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if re.match(r"\| *(in|out) ", line)]
    return {topic for row in rows for topic in re.findall(r"`(~/[^`]+)`", row.split("|")[2])}


# Arguments and what they mean for the node


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_arguments_have_different_names_and_allowed_defaults(name: str) -> None:
    arguments = ARGUMENTS[name]
    assert len({a.name for a in arguments}) == len(arguments)
    for argument in arguments:
        assert argument.default is None or not argument.choices or argument.default in argument.choices


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_every_parameter_that_an_argument_sets_is_declared(name: str) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")
    from centertrack_ros.ros.parameter_specs import BY_NAME

    for argument in ARGUMENTS[name]:
        if argument.parameter and argument.parameter != "use_sim_time":  # that one is rclpy's own
            spec = BY_NAME[argument.parameter]
            assert isinstance(spec.default, argument.kind)
            if spec.choices:
                assert set(argument.choices) == {"", *spec.choices}


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_without_arguments_preset_and_topics_stay(name: str) -> None:
    assert launch_arguments.parameters(values_of(name), ARGUMENTS[name]) == {}
    if name != "surround":
        remapping = launch_arguments.topics(values_of(name), ARGUMENTS[name])
        assert all(topic == new for topic, new in remapping.items())


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_every_argument_for_a_topic_renames_it(name: str) -> None:
    for argument in ARGUMENTS[name]:
        if argument.topic:
            remapping = launch_arguments.topics(values_of(name, **{argument.name: "/new"}), ARGUMENTS[name])
            assert remapping[argument.topic] == "/new"


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_a_topic_of_3d_detections_switches_them_on(name: str) -> None:
    values = values_of(name, lidar_detections="/lidar/boxes")
    assert launch_arguments.parameters(values, ARGUMENTS[name])["surround.detections_3d"] is True
    assert launch_arguments.topics(values, ARGUMENTS[name])["~/input/detections_3d"] == "/lidar/boxes"


def test_arguments_have_the_parameters_types() -> None:
    values = values_of(
        "surround", device="0", rectified="true", tf_timeout_s="0.25", cross_camera_ids="false", input_pixels="393216"
    )
    assert launch_arguments.parameters(values, ARGUMENTS["surround"]) == {
        "model.device": "0",
        "camera.rectified": True,
        "output.tf_timeout_s": 0.25,
        "model.input_pixels": 393216,
        "surround.cross_camera_ids": False,
    }
    with pytest.raises(ValueError, match="tf_timeout_s:=soon should be a float"):
        launch_arguments.parameters(values_of("surround", tf_timeout_s="soon"), ARGUMENTS["surround"])


def test_a_parameter_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(ValueError, match=r"params_file:=.*mine\.yaml is not a file"):
        launch_arguments.own_parameters({"params_file": str(path)})
    path.touch()
    assert launch_arguments.own_parameters({"params_file": str(path)}) == str(path)
    assert launch_arguments.own_parameters({"params_file": ""}) == ""


def test_presets_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "config").glob("*.yaml")} - {"demo", "demo_street"}
    assert set(launch_arguments.PRESETS) == files


def test_topics_of_one_camera_are_documented_and_every_output_can_be_renamed() -> None:
    remapping = launch_arguments.topics(values_of("centertrack"), ARGUMENTS["centertrack"])
    assert {"~/input/image", "~/input/camera_info", "~/output/detections_3d"} <= set(remapping) <= documented_topics()
    outputs = {topic for topic in documented_topics() if topic.startswith("~/output/")}
    assert outputs <= set(remapping), "an output without an argument"


def test_the_compressed_topic_follows_the_image() -> None:
    values = values_of("centertrack", image="/front/image_rect")
    remapping = launch_arguments.topics(values, ARGUMENTS["centertrack"])
    assert remapping["~/input/image/compressed"] == "/front/image_rect/compressed"
    remapping = launch_arguments.topics({**values, "image_compressed": "/front/jpeg"}, ARGUMENTS["centertrack"])
    assert remapping["~/input/image/compressed"] == "/front/jpeg"


def test_each_of_several_cameras_has_its_topics() -> None:
    remapping = launch_arguments.topics(values_of("surround"), ARGUMENTS["surround"])
    for camera in launch_arguments.NUSCENES_CAMERAS:
        assert remapping[f"~/input/{camera}/image"] == f"/{camera}/image_raw"
        assert remapping[f"~/input/{camera}/image/compressed"] == f"/{camera}/image_raw/compressed"
        assert remapping[f"~/input/{camera}/camera_info"] == f"/{camera}/camera_info"
    # A camera with an irregular topic, for which the table has no argument.
    values = values_of("surround", cameras="front, rear", image="/{camera}/rect", rear_image="/reversing/rect")
    remapping = launch_arguments.topics(values, ARGUMENTS["surround"])
    assert remapping["~/input/front/image"] == "/front/rect"
    assert remapping["~/input/rear/image"] == "/reversing/rect"
    assert not any("CAM_FRONT" in topic for topic in remapping)


def test_replay_has_the_same_cameras() -> None:
    values = values_of("replay", cameras="nuscenes")
    assert launch_arguments.camera_names(values) == list(launch_arguments.NUSCENES_CAMERAS)
    inputs = {
        name: {t: n for t, n in launch_arguments.topics(values, ARGUMENTS[name]).items() if "/input/" in t}
        for name, values in (("replay", values), ("surround", values_of("surround")))
    }
    assert inputs["replay"] == inputs["surround"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"cameras": "a,b,a"}, "must be different names"),
        ({"cameras": " , "}, "must be different names"),
        ({"image": "/camera/image_raw"}, r"must contain \{camera\}"),
    ],
)
def test_a_bad_list_of_cameras_is_rejected_with_the_reason(values: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        launch_arguments.topics(values_of("surround", **values), ARGUMENTS["surround"])


@pytest.mark.parametrize(
    ("topic", "name", "namespace", "expected"),
    [
        ("~/output/markers", "centertrack", "", "/centertrack/output/markers"),
        ("~/output/markers", "tracker", "robot/front", "/robot/front/tracker/output/markers"),
        ("~/output/markers", "tracker", "/robot/", "/robot/tracker/output/markers"),
        ("markers", "tracker", "robot", "/robot/markers"),
        ("markers", "tracker", "", "/markers"),
        ("/markers", "tracker", "robot", "/markers"),
    ],
)
def test_names_are_expanded_as_by_rcl(topic: str, name: str, namespace: str, expected: str) -> None:
    assert launch_arguments.resolved(topic, name, namespace) == expected
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")
    from rclpy.expand_topic_name import expand_topic_name

    space = "/" + namespace.strip("/")
    assert expand_topic_name(topic, name, space) == expected
    assert rclpy


@pytest.mark.parametrize(
    ("pushed", "own", "expected"),
    [
        ("", "", ""),
        ("", "robot", "robot"),
        ("/fleet", "", "/fleet"),
        ("/fleet", "robot", "/fleet/robot"),
        ("/fleet", "/robot", "/robot"),
        ("/", "robot", "/robot"),
    ],
)
def test_a_launch_file_that_includes_ours_sets_the_namespace(pushed: str, own: str, expected: str) -> None:
    values = {"namespace": own, **({"ros_namespace": pushed} if pushed else {})}
    assert launch_arguments.full_namespace(values) == expected
    namespaces = pytest.importorskip("launch_ros.utilities.namespace_utils", reason="launch_ros is not installed")
    theirs = namespaces.prefix_namespace(pushed or None, own or None) or ""
    assert theirs.rstrip("/") == expected.rstrip("/")


def test_rviz_follows_a_node_of_another_name() -> None:
    remapping = launch_arguments.topics(values_of("centertrack", markers="/boxes"), ARGUMENTS["centertrack"])
    pairs = dict(launch_arguments.rviz_remappings(remapping, "tracker", "robot"))
    assert pairs["/centertrack/output/markers"] == "/boxes"
    assert pairs["/centertrack/debug/image"] == "/robot/tracker/debug/image"
    assert launch_arguments.rviz_remappings(
        launch_arguments.topics(values_of("centertrack"), ARGUMENTS["centertrack"]), "centertrack", ""
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "requested", "expected"),
    [
        ({"ROS_DISTRO": "humble"}, True, "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ({"ROS_DISTRO": "jazzy"}, True, "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ({"ROS_DISTRO": "kilted"}, True, "FASTDDS_DEFAULT_PROFILES_FILE"),
        ({}, True, "FASTDDS_DEFAULT_PROFILES_FILE"),
        ({"ROS_DISTRO": "kilted"}, False, ""),
        ({"ROS_DISTRO": "kilted", "FASTRTPS_DEFAULT_PROFILES_FILE": "/my.xml"}, True, ""),
    ],
)
def test_a_profile_of_the_user_has_priority(environment: dict[str, str], requested: bool, expected: str) -> None:
    assert launch_arguments.profile_variable(environment, requested) == expected


# The files themselves


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_a_launch_file_can_be_parsed(name: str) -> None:
    """Also where launch is not installed."""
    tree = ast.parse((ROOT / "launch" / f"{name}.launch.py").read_text())
    assert "generate_launch_description" in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_launch_declares_the_arguments(name: str) -> None:
    pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed (ROS 2 itself, no wheels)")
    module: dict[str, Any] = runpy.run_path(str(ROOT / "launch" / f"{name}.launch.py"))
    declared = module["generate_launch_description"]().get_launch_arguments()
    assert [a.name for a in declared] == [a.name for a in ARGUMENTS[name]]


def rviz_displays(config: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load(config.read_text())["Visualization Manager"]["Displays"]


RVIZ_FILES = sorted((ROOT / "config" / "rviz").glob("*.rviz"))


@pytest.mark.parametrize("config", RVIZ_FILES, ids=lambda path: path.stem)
def test_rviz_shows_topics_of_the_node(config: Path) -> None:
    """Those of a node with default names, from which the launch file remaps RViz."""
    name = {"centertrack": "centertrack", "surround": "surround"}[config.stem]
    remapping = launch_arguments.topics(values_of(name), ARGUMENTS[name])
    known = {launch_arguments.resolved(topic, "centertrack", "") for topic in remapping}
    shown = {display["Topic"]["Value"] for display in rviz_displays(config) if "Topic" in display}
    assert len(shown) >= 4
    assert shown <= known


@pytest.mark.parametrize("config", RVIZ_FILES, ids=lambda path: path.stem)
def test_rviz_shows_images_boxes_and_frames(config: Path) -> None:
    kinds = {display["Class"] for display in rviz_displays(config)}
    required = {"rviz_default_plugins/Image", "rviz_default_plugins/MarkerArray", "rviz_default_plugins/TF"}
    assert kinds >= required | {"vision_msgs_rviz_plugins/Detection3DArray"}
    names = [display["Name"] for display in rviz_displays(config)]
    assert len(set(names)) == len(names)


def test_the_service_uses_variables_of_its_environment_file() -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "centertrack.service")
    used = set(re.findall(r"\$\{?([A-Z_]+)", unit["Service"]["ExecStart"]))
    lines = (ROOT / "deploy" / "centertrack.environment").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert used <= set(values)
    assert unit["Service"]["KillSignal"] == "SIGINT"
    file, *arguments = values["CENTERTRACK_LAUNCH"].split()
    assert (ROOT / "launch" / file).is_file()
    known = {a.name for a in ARGUMENTS[file.split(".")[0]]}
    assert {argument.split(":=")[0] for argument in arguments} <= known


def test_the_image_is_built_from_files_that_exist() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists()
    entry = ROOT / "docker" / "entrypoint.sh"
    assert os.access(entry, os.X_OK)
    subprocess.run(["bash", "-n", entry], check=True)


def test_cmake_and_pip_install_the_same_folders() -> None:
    """colcon reads CMakeLists.txt, pip reads setup.py: both list what goes to share."""
    cmake = (ROOT / "CMakeLists.txt").read_text()
    by_cmake = set(re.search(r"foreach\(folder IN ITEMS ([a-z ]+)\)", cmake)[1].split())  # type: ignore[index]
    setup = (ROOT / "setup.py").read_text()
    by_pip = set(re.findall(r'\*share\("([a-z]+)"\)', setup))
    assert by_cmake == by_pip >= {"config", "demo", "deploy", "launch"}
    files_by_cmake = set(re.search(r"install\(FILES ([^)]*?) DESTINATION \"share", cmake)[1].split())  # type: ignore[index]
    files_by_pip = set(re.findall(r'"([A-Z]+)"', re.search(r'share/\{NAME\}", \[(.*?)\]', setup)[1]))  # type: ignore[index]
    assert files_by_cmake == files_by_pip


def test_pip_installs_every_file_of_the_folders() -> None:
    """The list in setup.py against the files in the folders."""
    code = (
        "import setuptools, runpy, json\n"
        "setuptools.setup = lambda **options: print(json.dumps(options['data_files']))\n"
        f"runpy.run_path({str(ROOT / 'setup.py')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {file for _, files in yaml.safe_load(done.stdout) for file in files}
    for folder in ("config", "deploy", "launch"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert str(file.relative_to(ROOT)) in listed


def test_package_xml_depends_on_what_the_launch_files_start() -> None:
    text = (ROOT / "package.xml").read_text()
    for package in ("launch", "launch_ros", "ament_index_python", "ros2bag", "rviz2", "vision_msgs_rviz_plugins"):
        assert f"<exec_depend>{package}</exec_depend>" in text
