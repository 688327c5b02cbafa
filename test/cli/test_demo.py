# SPDX-License-Identifier: Apache-2.0
"""The demo's processes: the player keeps time, the recorder loses nothing, each frame has its result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

import yaml

from centertrack_ros.cli._share_files import share_file
from centertrack_ros.cli._subprocess import Subprocess, SubprocessError, ros_environment
from centertrack_ros.cli.main import main
from centertrack_ros.datasets.mot import read_results
from centertrack_ros.engine.loading import load_engine
from centertrack_ros.io.rosbag import BagReader, BagWriter
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.ros.parameter_specs import BY_NAME
from centertrack_ros.ros.parameters import tracker_config
from centertrack_ros.tracking.config import TrackerConfig

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "demo" / "pets09_s2l1"
IMAGE, INFO = "/camera/image/compressed", "/camera/camera_info"
FRAMES = 16


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory) -> Path:
    """The clip's first frames as a bag."""
    path = tmp_path_factory.mktemp("clip") / "short"
    with BagReader(CLIP) as source, BagWriter(path) as writer:
        images = 0
        for record in source.records():
            images += record.topic == IMAGE
            if images > FRAMES:
                break
            writer.add_topic(record.topic, record.type, source=source)
            writer.write(record.topic, record.data, record.time_ns)
    return path


@pytest.fixture(autouse=True)
def own_domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def play_into_recorder(bag: Path, folder: Path, *options: str) -> tuple[list[dict], list[dict]]:
    """(what the player published, what the recorder got), images only; the recording is folder/'recording'."""
    published: list[dict] = []
    recorded: list[dict] = []
    environment = ros_environment(share_file("config/fastdds.xml"))
    # The recorder subscribes once somebody publishes, the player starts once somebody subscribes.
    topics = ["--topics", IMAGE, INFO, "--events"]
    recorder_call = ["-m", "centertrack_ros.ros.recorder", str(folder / "recording"), *topics]
    player_call = ["-m", "centertrack_ros.ros.player", str(bag), *topics, "--wait-for", IMAGE, INFO, *options]
    with Subprocess("recorder", recorder_call, folder / "recorder.log", environment, recorded.append) as recorder:
        with Subprocess("player", player_call, folder / "player.log", environment, published.append) as player:
            deadline = time.monotonic() + 60.0
            while player.code is None and time.monotonic() < deadline:
                recorder.check()
                time.sleep(0.05)
            assert player.end() == 0, player.lines
        time.sleep(0.5)
        assert recorder.end() == 0, recorder.lines
    images = [event for event in recorded if event["event"] == "recorded" and event["topic"] == IMAGE]
    return [event for event in published if event["event"] == "published"], images


def test_what_is_played_is_recorded_as_it_is_and_in_time(short_clip, tmp_path):
    published, recorded = play_into_recorder(short_clip, tmp_path, "--rate", "2")
    assert len(published) == FRAMES
    assert [event["stamp_ns"] for event in recorded] == [event["stamp_ns"] for event in published]
    with BagReader(short_clip) as source, BagReader(tmp_path / "recording") as copy:
        for topic in (IMAGE, INFO):
            for one, other in zip(source.records([topic]), copy.records([topic]), strict=True):
                # DDS pads a message to whole words.
                assert other.data[: len(one.data)] == one.data and not any(other.data[len(one.data) :])
    # Deadlines are absolute: single frames may be late on a loaded machine, but lateness never adds up.
    wall = np.array([event["wall_ns"] for event in published]) / 1e9
    due = np.array([event["stamp_ns"] for event in published]) / 1e9 / 2
    lateness = (wall - wall[0]) - (due - due[0])
    assert lateness[1:].min() > -0.2 and np.median(lateness) < 0.2


def test_a_loop_goes_back_in_time(short_clip, tmp_path):
    published, recorded = play_into_recorder(short_clip, tmp_path, "--rate", "8", "--loop", "2")
    stamps = [event["stamp_ns"] for event in published]
    assert len(stamps) == 2 * FRAMES and stamps[:FRAMES] == stamps[FRAMES:] == sorted(stamps[:FRAMES])
    assert [event["stamp_ns"] for event in recorded] == stamps


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        (
            "player",
            [str(CLIP), "--wait-for", IMAGE, "--timeout", "0.5"],
            "nobody subscribed to /camera/image/compressed",
        ),
        ("player", [str(CLIP), "--topics", "/rear"], "no topic '/rear'"),
        ("player", ["nowhere"], "no such bag"),
        ("recorder", ["bag", "--topics", "/silence", "--timeout", "0.5"], "nobody published /silence"),
    ],
)
def test_errors_of_player_and_recorder_are_one_sentence(module, arguments, words, tmp_path):
    command = [sys.executable, "-m", f"centertrack_ros.ros.{module}", *arguments]
    environment = {
        **ros_environment(None),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1 and words in ended.stderr and "Traceback" not in ended.stderr


def test_the_recorder_finishes_its_bag_at_sigterm(short_clip, tmp_path):
    environment = ros_environment(None)
    player_call = ["-m", "centertrack_ros.ros.player", str(short_clip), "--loop", "0", "--wait-for", IMAGE]
    recorder_call = ["-m", "centertrack_ros.ros.recorder", str(tmp_path / "bag"), "--topics", IMAGE, "--events"]
    events: list[dict] = []
    with Subprocess("player", player_call, tmp_path / "player.log", environment):
        recorder = Subprocess("recorder", recorder_call, tmp_path / "recorder.log", environment, events.append)
        deadline = time.monotonic() + 60.0
        while sum(event["event"] == "recorded" for event in events) < 3 and time.monotonic() < deadline:
            recorder.check()
            time.sleep(0.05)
        recorder.interrupt(signal.SIGTERM)
        assert recorder.end() == 0
    with BagReader(tmp_path / "bag") as reader:
        assert reader.topics[IMAGE].count >= 3


def test_a_subprocess_that_fails_is_named_with_its_error(tmp_path):
    code = "raise SystemExit('no paper in the printer')"

    def watch(helper: Subprocess) -> None:
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            helper.check()
            time.sleep(0.02)

    helper = Subprocess("helper", ["-c", code], tmp_path / "log", dict(os.environ))
    with helper, pytest.raises(SubprocessError, match=r"helper ended with code 1.*no paper in the printer"):
        watch(helper)


def test_the_demos_parameters_are_those_of_the_command_line():
    """Live and offline runs differ in nothing but the way that images come."""
    written = yaml.safe_load(share_file("config/demo.yaml").read_text())["/**"]["ros__parameters"]
    assert set(written) - {"use_sim_time"} <= set(BY_NAME)
    live = tracker_config({**{name: spec.default for name, spec in BY_NAME.items()}, **written})
    profile = load_engine("default", engine="torch").profile
    offline = TrackerConfig(
        classes=("person",), track_threshold=profile.thresholds.track, new_threshold=profile.thresholds.new
    )
    assert live.resolved(profile) == offline.resolved(profile)


@pytest.fixture(scope="module")
def demo_folder(short_clip, tmp_path_factory) -> Path:
    """A run of the demo, slowly, so that a loaded machine keeps up."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    assert main(["demo", "--bag", str(short_clip), "--output", str(folder), "--rate", "0.2"]) == 0
    return folder


def test_every_frame_has_exactly_one_result(demo_folder):
    figures = json.loads((demo_folder / "summary.json").read_text())
    assert (figures["frames_published"], figures["frames_answered"]) == (FRAMES, FRAMES)
    assert figures["frames_dropped"] == figures["frames_answered_twice"] == 0
    assert figures["latency_ms"]["max"] >= figures["network_ms"]["p50"] > 0


def test_the_three_people_keep_their_ids(demo_folder):
    found = read_results(demo_folder / "tracks.txt")
    assert [frame.index for frame in found] == list(range(1, FRAMES + 1))
    assert all({1, 2, 3} <= set(frame.tracks.ids.tolist()) for frame in found)


def test_live_and_offline_give_the_same_tracks(demo_folder, short_clip, tmp_path):
    assert main(["track", str(short_clip), "--classes", "person", "--save-txt", "--output", str(tmp_path)]) == 0
    live, offline = read_results(demo_folder / "tracks.txt"), read_results(tmp_path / "short.txt")
    for one, other in zip(live, offline, strict=True):
        order, other_order = np.argsort(one.tracks.ids), np.argsort(other.tracks.ids)
        assert np.array_equal(one.tracks.ids[order], other.tracks.ids[other_order])
        boxes = one.tracks.detections.boxes[order], other.tracks.detections.boxes[other_order]
        assert np.allclose(*boxes, atol=0.01)


def test_the_recording_holds_what_the_node_published(demo_folder):
    with BagReader(demo_folder / "recording") as reader:
        for name in ("detections_3d", "detections_2d", "markers"):
            assert reader.topics[f"/centertrack/output/{name}"].count == FRAMES
        boxes2d = {nanoseconds(m.header.stamp): m for _, m in reader.messages(["/centertrack/output/detections_2d"])}
        for _, message in reader.messages(["/centertrack/output/detections_3d"]):
            ids = [detection.id for detection in message.detections]
            assert ids == [detection.id for detection in boxes2d[nanoseconds(message.header.stamp)].detections]


def test_a_synthetic_drive_gets_boxes_from_the_models_own_heads(tmp_path, monkeypatch):
    pytest.importorskip("panda3d")
    from centertrack_ros.cli import demo

    monkeypatch.setattr(demo, "STREET_FRAMES", 8)
    assert main(["demo", "--street", "--output", str(tmp_path / "out"), "--rate", "0.2", "--no-video"]) == 0
    classes, depths = set(), []
    with BagReader(tmp_path / "out" / "recording") as reader:
        for _, message in reader.messages(["/centertrack/output/detections_3d"]):
            for detection in message.detections:
                classes.add(detection.results[0].hypothesis.class_id)
                depths.append(detection.bbox.center.position.z)
    assert classes <= {"car", "truck", "bus", "pedestrian", "cyclist"} and "car" in classes
    assert len(depths) > 8 and 2 < np.median(depths) < 60
    assert main(["demo", "--street", "--bag", str(CLIP)]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("sensor", "source"), [("depth", "depth image"), ("points", "points")])
def test_sensors_of_a_synthetic_drive_tell_its_distances(tmp_path, monkeypatch, capsys, sensor, source):
    pytest.importorskip("panda3d")
    from centertrack_ros.cli import demo

    monkeypatch.setattr(demo, "STREET_FRAMES", 14)
    options = ["--output", str(tmp_path / "out"), "--rate", "0.2", "--no-video"]
    assert main(["demo", "--street", f"--{sensor}", *options]) == 0
    figures = json.loads((tmp_path / "out" / "summary.json").read_text())["distances"]
    alone, sensed = figures["mean_relative_errors"].values()
    assert figures["objects"][-1] > 20 and sensed[-1] < 0.03 < alone[-1]
    seen = figures["boxes_by_source"]
    assert not seen or seen[source] > 0.9 * sum(seen.values())
    out = capsys.readouterr().out
    assert "mean error of the distance, %" in out and f"with {sensor}" in out


def test_sensors_are_those_of_the_synthetic_drive(capsys):
    assert main(["demo", "--depth"]) == 1
    assert "--depth and --points are for the synthetic drive: add --street" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_ends_the_demo_with_the_nodes_error(short_clip, tmp_path, capsys):
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    model.weights: /nowhere/model.safetensors\n")
    options = ["--params", str(params), "--output", str(tmp_path / "out")]
    assert main(["demo", "--bag", str(short_clip), *options]) == 1
    assert "/nowhere/model.safetensors" in capsys.readouterr().err
