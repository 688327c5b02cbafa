# SPDX-License-Identifier: Apache-2.0
"""The commands of the fine-tuning guide, exactly as on the page, with a small bag."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from support.ros_harness import ROOT, Process, stop_node

pytest.importorskip("lightning", reason="training needs Lightning")
pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.mot import read_results
from centertrack_ros.io.rosbag import BagReader, BagWriter
from centertrack_ros.network import checkpoints

FRAMES = 7
ROS = {"ROS_DOMAIN_ID": str(os.getpid() % 100 + 1), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
# Options that keep each command small; the commands themselves stay as they are.
TORCH = ["-p", "model.threads:=1", "-p", "model.engine:=torch"]  # the faster engines export for half a minute
SMALL_RUN = ("steps=2", "validate_every=2", "batch=1", "workers=0", "threads=1")
SMALLER = {
    "pseudo-label": ["--threads", "1"],
    "train": [
        "--quiet",
        *(word for value in SMALL_RUN for word in ("--set", value)),
    ],
    "track": ["--threads", "1", "--engine", "torch"],
    "replay": TORCH,
}


def commands() -> list[list[str]]:
    """The lines of the shell blocks of the page."""
    page = (ROOT / "docs" / "finetuning.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with the bag `my_drive` and the recipes, as the page assumes."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "config" / "training", tmp_path / "config" / "training")
    images = 0
    with BagReader(ROOT / "demo" / "pets09_s2l1") as clip, BagWriter(tmp_path / "my_drive") as bag:
        for record in clip.records():
            images += record.type.endswith("CompressedImage")
            if images > FRAMES:
                break
            bag.add_topic(record.topic, record.type, clip.topics[record.topic].qos, clip)
            bag.write(record.topic, record.data, record.time_ns, record.type)
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_page_lead_from_a_bag_to_a_node_with_its_weights(place) -> None:
    page = commands()
    assert [command[:2] for command in page if command[0] == "ros2"] == [["ros2", "run"]]
    for command in page:
        if command[0] == "centertrack":
            assert main([*command[1:], *SMALLER[command[1]]]) == 0, " ".join(command)
    _, profile = checkpoints.load(place / "runs" / "my_drive" / "my_drive.safetensors")
    assert profile.name == "my_drive" and profile.head_options["motion"]
    assert checkpoints.load(place / "runs" / "my_stills" / "my_stills.safetensors")[1].name == "my_stills"
    assert read_results(place / "out" / "my_drive.txt").length == FRAMES
    assert len(read_tracks(place / "after" / "my_drive", "/centertrack/output")[""].frames) == FRAMES
    (run,) = (command for command in page if command[0] == "ros2")
    assert run[2:4] == ["centertrack_ros", "centertrack_node"]
    node = Process([sys.executable, str(ROOT / "bin" / "centertrack_node"), *run[4:], *TORCH], **ROS)
    try:
        assert "my_drive" in node.wait_for_line("model ", timeout=60)
    finally:
        stop_node(node)
