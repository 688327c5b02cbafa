# SPDX-License-Identifier: Apache-2.0
"""What a release is made of: archives that can be built again, within their size, with what their metadata promise."""

import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNWANTED = (".*", "build", "install", "log", "dist", "out", "*.egg-info", "__pycache__", "*.engines", "test")
BUILD = "from setuptools import build_meta as b; import sys; t = sys.argv[1]; b.build_sdist(t); b.build_wheel(t)"


def build(folder: Path, epoch: int) -> dict[str, bytes]:
    """File name -> content of the sdist and of the wheel, from a copy of the sources in this folder."""
    sources = copytree(ROOT, folder / "sources", ignore=ignore_patterns(*UNWANTED))
    for path in sources.rglob("*"):
        os.utime(path)  # a new clone: every file has another time
    target = folder / "target"
    target.mkdir()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONPATH": ""}
    command = [sys.executable, "-c", BUILD, str(target)]
    done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.name: path.read_bytes() for path in target.iterdir()}


@pytest.mark.packaging
@pytest.mark.slow
def test_sdist_and_wheel_are_the_same_bytes_when_built_again(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = build(tmp_path / "first", 1700000000), build(tmp_path / "second", 1700000000)
    assert {Path(name).suffix for name in first} == {".gz", ".whl"}
    assert first == second
    (wheel,) = (content for name, content in first.items() if name.endswith(".whl"))
    assert len(wheel) < 25e6
    archive = tmp_path / "first" / "target" / next(name for name in first if name.endswith(".gz"))
    with tarfile.open(archive) as file:
        names = {member.name.partition("/")[2] for member in file.getmembers()}
        assert {member.mtime for member in file.getmembers()} == {1700000000}
    assert {"pyproject.toml", "package.xml", "centertrack_ros/weights/mobilenetv3-coco-track.safetensors"} <= names
    pytest.importorskip("twine", reason="twine is not installed here: pip install twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, archive.parent.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_base_installation_names_a_runtime_and_no_torch() -> None:
    from benchmarks.footprint import requirements

    base = requirements(())
    assert "openvino" in base and "torch" not in base
    assert {"torch", "onnx", "onnxscript"} <= set(requirements(("torch",)))


# Looked up in rosdistro (commit 8468e88c, August 2026): keys of rosdep/python.yaml, and packages that are released in
# <distribution>/distribution.yaml of each of Humble, Jazzy, Kilted, Lyrical and Rolling.
ROSDEP_KEYS = {
    "python3-hypothesis",
    "python3-numpy",
    "python3-opencv",
    "python3-pil",
    "python3-pytest",
    "python3-scipy",
    "python3-tqdm",
    "python3-yaml",
}
ROS_PACKAGES = {
    "ament_cmake",
    "ament_cmake_pytest",
    "ament_cmake_python",
    "ament_index_python",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "launch",
    "launch_ros",
    "launch_testing",
    "launch_testing_ament_cmake",
    "launch_testing_ros",
    "lifecycle_msgs",
    "rclpy",
    "ros2bag",
    "ros2launch",
    "rosbag2_storage_mcap",
    "rosgraph_msgs",
    "rosidl_default_generators",
    "rosidl_default_runtime",
    "rviz2",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_ros",
    "vision_msgs",
    "vision_msgs_rviz_plugins",
    "visualization_msgs",
}


def test_every_key_of_the_manifest_is_one_that_rosdistro_has() -> None:
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    keys = {str(entry.text) for entry in manifest if re.search("depend$", entry.tag)}
    assert not keys - ROSDEP_KEYS - ROS_PACKAGES, "look them up in rosdistro, and add them to the list"


def test_the_extras_that_messages_name_exist() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extras = set(re.findall(r"^([\w-]+) = \[", text, re.MULTILINE))
    for path in (ROOT / "centertrack_ros").rglob("*.py"):
        for name in re.findall(r"centertrack_ros\[([\w-]+)\]", path.read_text(encoding="utf-8")):
            assert name in extras, f"{path.name} names the extra {name}"
