# SPDX-License-Identifier: Apache-2.0
"""Replay of recordings: the same every time, honest about what is missing, and nothing is lost when it breaks off."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.rosbag import BagReader, BagWriter
from centertrack_ros.replay.bag_replay import Replay, camera_names
from centertrack_ros.replay.compare import compare_bags
from centertrack_ros.replay.parameters import load_parameters, load_values
from centertrack_ros.ros.parameters import engine_of
from support.environment import unmeasured_environment
from support.live_comparison import ComparisonResult, PlaybackOptions, compare_with_live_node

SMALL = ["-p", "model.input_width:=160", "-p", "model.input_height:=128", "-p", "model.threads:=1"]
LOW = ["-p", "tracker.track_threshold:=0.02", "-p", "tracker.new_threshold:=0.02"]  # something is found in noise


def _recording(folder: Path, frames: int = 4, calibrated: bool = True) -> VideoSequence:
    rng = np.random.default_rng(8)
    folder.mkdir()
    scene = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (320, 240))
    made = []
    for index in range(frames):
        picture = np.roll(scene, 4 * index, axis=1)
        cv2.imwrite(str(folder / f"{index:06d}.png"), picture)
        camera = Camera.from_focal(320, 240, 250.0) if calibrated else None
        made.append(AnnotatedFrame(index, index / 10, empty_tracks(), image=folder / f"{index:06d}.png", camera=camera))
    return VideoSequence("scene", ("person",), tuple(made), 0, frames, 10.0, (240, 320))


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    write_bag(folder / "scene", {"front": _recording(folder / "pictures")})
    return folder / "scene"


def _replay(bag: Path, output: Path, *options: str) -> int:
    return main(["replay", str(bag), "--output", str(output), *SMALL, *LOW, *options])


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_two_replays_write_the_same_bytes(bag, tmp_path):
    for name in ("a", "b"):
        assert _replay(bag, tmp_path / name, "--keep", "*") == 0
    assert _bytes(tmp_path / "a" / "scene") == _bytes(tmp_path / "b" / "scene")


def test_two_replays_of_the_demo_clip_as_the_demo_plays_it_write_the_same_bytes(tmp_path):
    """The model at its full size, with the engine and the number of threads that it takes by itself."""
    clip, preset = (
        Path(__file__).parents[2] / "demo" / "pets09_s2l1",
        Path(__file__).parents[2] / "config" / "demo.yaml",
    )
    with BagReader(clip) as reader, BagWriter(tmp_path / "clip") as writer:
        for number, record in enumerate(reader.records()):
            if number > 16:
                break
            writer.add_topic(record.topic, record.type, source=reader)
            writer.write(record.topic, record.data, record.time_ns)
    for name in ("a", "b"):
        command = ["replay", str(tmp_path / "clip"), "--output", str(tmp_path / name), "--params-file", str(preset)]
        assert main(command) == 0
    assert _bytes(tmp_path / "a" / "clip") == _bytes(tmp_path / "b" / "clip")
    [found] = read_tracks(tmp_path / "a" / "clip").values()
    assert sum(len(frame.tracks) for frame in found) > 3


def test_autoware_knows_the_tracks_of_a_replay_by_the_same_uuids_each_time(bag, tmp_path):
    pytest.importorskip("autoware_perception_msgs.msg", reason="autoware_perception_msgs is not installed")
    for name in ("a", "b"):
        assert _replay(bag, tmp_path / name, "-p", "output.publish_autoware:=true") == 0
    assert _bytes(tmp_path / "a" / "scene") == _bytes(tmp_path / "b" / "scene")
    with BagReader(tmp_path / "a" / "scene") as reader:
        boxes, objects = (
            [m for _, m in reader.messages([f"/centertrack/output/{topic}"])]
            for topic in ("detections_3d", "tracked_objects")
        )
    assert [len(m.objects) for m in objects] == [len(m.detections) for m in boxes]
    pairs = [(d.id, bytes(o.object_id.uuid)) for b, m in zip(boxes, objects, strict=True)
             for d, o in zip(b.detections, m.objects, strict=True)]  # fmt: skip
    assert len({identity for identity, _ in pairs}) == len({number for _, number in pairs}) == len(set(pairs))


def test_every_image_is_answered_with_its_own_stamp_and_kept_topics_are_copied(bag, tmp_path):
    assert _replay(bag, tmp_path, "--keep", "/front/camera_info", "/tf_static") == 0
    with BagReader(bag) as reader:
        stamps = [m.header.stamp for _, m in reader.messages(["/front/camera_info"])]
    with BagReader(tmp_path / "scene") as reader:
        assert "/front/image_raw/compressed" not in reader.topics
        assert reader.topics["/front/camera_info"].count == 4 and reader.topics["/tf_static"].count == 1
        for topic in ("detections_3d", "detections_2d"):
            answers = [m for _, m in reader.messages([f"/centertrack/output/{topic}"])]
            assert [(m.header.stamp.sec, m.header.stamp.nanosec) for m in answers] == [
                (s.sec, s.nanosec) for s in stamps
            ]
            assert {m.header.frame_id for m in answers} == {"front_optical"}
        two = [m for _, m in reader.messages(["/centertrack/output/detections_2d"])]
        three = [m for _, m in reader.messages(["/centertrack/output/detections_3d"])]
    assert sum(len(m.detections) for m in two) > 0
    for flat, solid in zip(two, three, strict=True):
        assert {d.id for d in solid.detections} <= {d.id for d in flat.detections}


def test_result_files_say_what_the_bag_says(bag, tmp_path):
    assert _replay(bag, tmp_path, "--results", "mot") == 0
    [recording] = read_tracks(tmp_path / "scene", "/centertrack/output").values()
    rows = (tmp_path / "scene.txt").read_text().splitlines()
    assert len(rows) == sum(len(frame.tracks) for frame in recording) > 0
    assert {int(row.split(",")[0]) for row in rows} <= {1, 2, 3, 4}


def test_several_cameras_have_topics_of_their_own(tmp_path):
    left, right = _recording(tmp_path / "one"), _recording(tmp_path / "two")
    write_bag(tmp_path / "rig", {"left": left, "right": right})
    assert _replay(tmp_path / "rig", tmp_path / "out") == 0
    with BagReader(tmp_path / "out" / "rig") as reader:
        assert {f"/centertrack/output/{name}/detections_3d" for name in ("left", "right")} <= set(reader.topics)
        same = [[m for _, m in reader.messages([f"/centertrack/output/{n}/detections_2d"])] for n in ("left", "right")]
    for one, two in zip(*same, strict=True):  # equal pictures, and no track of one camera leaks into the other
        assert [(d.id, d.bbox.size_x) for d in one.detections] == [(d.id, d.bbox.size_x) for d in two.detections]


def test_detections_of_another_detector_are_tracked(bag, tmp_path, capsys):
    rows = "".join(f"{n},-1,{20 + 5 * n},30,40,60,0.9,-1,-1,-1\n" for n in range(1, 5))
    (tmp_path / "det.txt").write_text(rows)
    options = [
        "--detections",
        str(tmp_path / "det.txt"),
        "-p",
        "model.weights:=none",
        "-p",
        "detector.source:=external",
    ]
    assert _replay(bag, tmp_path / "out", *options) == 0
    [recording] = read_tracks(tmp_path / "out" / "scene", "/centertrack/output").values()
    assert [frame.tracks.detections.boxes[:, 0].tolist() for frame in recording] == [[25], [30], [35], [40]]
    assert len({frame.tracks.ids[0] for frame in recording}) == 1
    options[1:2] = ["/centertrack/output/detections_2d"]
    assert _replay(bag, tmp_path / "no", *options) == 1
    assert "no topic '/centertrack/output/detections_2d'; the bag has" in capsys.readouterr().err
    options[0:2] = ["--detections", str(tmp_path / "det.txt"), str(tmp_path / "det.txt")]
    assert _replay(bag, tmp_path / "two", *options) == 1
    assert "needs one file or topic of detections for each of 1 cameras, got 2" in capsys.readouterr().err
    assert _replay(bag, tmp_path / "only", *options[3:]) == 0  # the bag's only topic of detections
    assert "note: detections for /front/image_raw/compressed: /truth/front/" in capsys.readouterr().out


def test_names_of_cameras_come_from_their_topics():
    assert camera_names(["/usb/image_raw"]) == [""]
    assert camera_names(["/front/image_raw/compressed", "/rear/image_raw"]) == ["front", "rear"]
    assert camera_names(["/rig/left/image_rect_color", "/rig/right/image_rect_color"]) == ["rig_left", "rig_right"]


def test_without_camera_info_there_are_2d_results_and_a_note(tmp_path, capsys):
    write_bag(tmp_path / "scene", {"front": _recording(tmp_path / "pictures", calibrated=False)})
    assert _replay(tmp_path / "scene", tmp_path / "out") == 0
    assert "no sensor_msgs/msg/CameraInfo for '/front/image_raw/compressed'" in capsys.readouterr().out
    [recording] = read_tracks(tmp_path / "out" / "scene", "/centertrack/output").values()
    assert len(recording.frames) == 4
    assert all(frame.tracks.detections.locations is None for frame in recording)


def test_stamps_out_of_order_are_left_out_and_told(bag, tmp_path, capsys):
    with BagReader(bag) as reader:
        records = list(reader.records(["/front/image_raw/compressed"]))
    order = [0, 2, 1, 3, 3]  # overtaken on its way, and one twice
    with BagWriter(tmp_path / "mixed") as writer:
        for number, index in enumerate(order):
            record = records[index]
            writer.add_topic(record.topic, record.type)
            writer.write(record.topic, record.data, records[0].time_ns + number * 10**8)
    assert _replay(tmp_path / "mixed", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "3 of 5 images processed" in said and "2 left out: its stamp is not after" in said


def test_a_recording_that_breaks_off_leaves_a_readable_bag_of_what_was_done(tmp_path, capsys):
    write_bag(tmp_path / "scene", {"front": _recording(tmp_path / "pictures", frames=6)}, storage="sqlite3", raw=True)
    [file] = (tmp_path / "scene").glob("*.db3")
    data = bytearray(file.read_bytes())
    data[len(data) * 3 // 4 :] = bytes(len(data) - len(data) * 3 // 4)
    file.write_bytes(data)
    assert _replay(tmp_path / "scene", tmp_path / "out") == 1
    assert "scene" in capsys.readouterr().err
    mcap_folder = tmp_path / "whole"
    write_bag(mcap_folder, {"front": _recording(tmp_path / "more", frames=6)})
    [mcap] = mcap_folder.glob("*.mcap")
    (tmp_path / "cut.mcap").write_bytes(mcap.read_bytes()[: mcap.stat().st_size // 2])
    assert _replay(tmp_path / "cut.mcap", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "cut.mcap: not a readable rosbag2" in message and message.count("\n") == 1


def test_a_truncated_bag_among_others_costs_only_itself(bag, tmp_path, capsys):
    [mcap] = bag.glob("*.mcap")
    (tmp_path / "cut.mcap").write_bytes(mcap.read_bytes()[: mcap.stat().st_size // 2])
    shutil.copytree(bag, tmp_path / "last")
    bags = [str(bag), str(tmp_path / "cut.mcap"), str(tmp_path / "last")]
    assert main(["replay", *bags, "--output", str(tmp_path / "out"), *SMALL, *LOW]) == 1
    message = capsys.readouterr().err
    assert "cut.mcap: not a readable rosbag2" in message and message.count("\n") == 1
    found = compare_bags(tmp_path / "out" / "scene", tmp_path / "out" / "last")
    assert found.both == 4 and not found.different


def test_a_replay_that_is_killed_does_not_spoil_the_finished_ones(bag, tmp_path):
    """SIGKILL in the middle of the second bag: the first is whole, and the second can be done again elsewhere."""
    shutil.copytree(bag, tmp_path / "other")
    code = (
        "import os, signal, sys\n"
        "from centertrack_ros.replay import bag_replay\n"
        "process, done = bag_replay._Run.process, []\n"
        "def counted(self, *arguments):\n"
        "    done.append(1)\n"
        "    if len(done) == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    process(self, *arguments)\n"
        "bag_replay._Run.process = counted\n"
        "from centertrack_ros.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["replay", str(bag), str(tmp_path / "other"), "--output", str(tmp_path / "out"), *SMALL, *LOW]
    assert subprocess.run([sys.executable, "-c", code, *command], capture_output=True).returncode == -signal.SIGKILL
    assert _replay(bag, tmp_path / "again") == _replay(tmp_path / "other", tmp_path / "again") == 0
    assert _bytes(tmp_path / "out" / "scene") == _bytes(tmp_path / "again" / "scene")


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(bag, tmp_path):
    """A limit on the size of files, in a process of its own, fails as a full disk does: the second bag breaks off."""
    shutil.copytree(bag, tmp_path / "other")
    assert _replay(bag, tmp_path / "out") == 0
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        "from centertrack_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = ["replay", str(tmp_path / "other"), "--output", str(tmp_path / "out"), *SMALL, *LOW, "--keep", "*"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, env=unmeasured_environment()
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "File too large" in done.stderr
    assert read_tracks(tmp_path / "out" / "scene", "/centertrack/output")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--topics", "/none"], "no topic '/none'"),
        (["--topics", "/front/camera_info"], "expected an Image or CompressedImage"),
        (["--keep", "/none"], "no topic '/none'"),
        (["-p", "tracker.motion:=guess"], "tracker.motion must be one of"),
        (["-p", "tracker.rebirth:=long"], "tracker.rebirth must be a float"),
        (["-p", "tracker.none:=1"], "the node has no parameter 'tracker.none'"),
        (["-p", "tracker.rebirth"], "expected NAME:=VALUE"),
    ],
)
def test_wrong_options_are_named(bag, tmp_path, capsys, options, said):
    assert _replay(bag, tmp_path / "out", *options) == 1
    assert said in capsys.readouterr().err


def test_nothing_is_overwritten(bag, tmp_path, capsys):
    assert _replay(bag, tmp_path) == 0
    assert _replay(bag, tmp_path) == 1
    assert "exists already" in capsys.readouterr().err


def test_parameter_files_are_the_nodes(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    use_sim_time: true\n    tracker:\n      rebirth: 3\n"
        "    detector.classes: [person]\n"
    )
    values = load_values([file], ["tracker.min_hits:=2"])
    assert (values["tracker.rebirth"], values["tracker.min_hits"], values["detector.classes"]) == (3.0, 2, ["person"])
    for preset in sorted((Path(__file__).parents[2] / "config").glob("*.yaml")):
        assert load_values([preset])
    file.write_text("other:\n  ros__parameters:\n    a: 1\n")
    with pytest.raises(ValueError, match=r"p.yaml: no parameters of the node centertrack"):
        load_values([file])


@pytest.mark.slow
def test_a_real_recording_becomes_a_bag_results_and_scores(shared_data, tmp_path, capsys):
    """Dataset, bag, replay, result file, official scores, with the embedded model at its full size."""
    pytest.importorskip("trackeval")
    folder = shared_data / "mot17" / "images" / "MOT17-04-FRCNN"
    assert main(["bag", "from-mot", str(folder), str(tmp_path / "mot17")]) == 0
    preset = Path(__file__).parents[2] / "config" / "demo.yaml"
    out = str(tmp_path / "out")
    command = ["replay", str(tmp_path / "mot17"), "--output", out, "--results", "mot", "--params-file", str(preset)]
    assert main(command) == 0
    capsys.readouterr()
    truth = tmp_path / "truth" / "gt.txt"
    truth.parent.mkdir()
    rows = [row for row in (folder / "gt" / "gt.txt").read_text().splitlines() if int(row.split(",")[0]) <= 8]
    truth.write_text("\n".join(rows))
    assert main(["evaluate", "mot", "--results", f"{out}/mot17.txt", "--truth", str(truth), "--frames", "1-8"]) == 0
    combined = capsys.readouterr().out.splitlines()[-1].split()
    assert combined[0] == "COMBINED" and float(combined[1]) > 20
    assert main(["evaluate", "bag", "--results", f"{out}/mot17", "--truth", str(tmp_path / "mot17")]) == 0


def test_a_replay_becomes_a_nuscenes_result_in_the_world(shared_data, tmp_path, capsys):
    """Six cameras with poses in tf and the sample's name in the bag: results that the devkit takes for that sample."""
    pytest.importorskip("motmetrics")
    info, bag = shared_data / "nuscenes_sample_6cam" / "sample_info.json", tmp_path / "bag"
    assert main(["bag", "from-nuscenes", str(info), str(bag)]) == 0
    size = ["-p", "model.input_width:=320", "-p", "model.input_height:=192", "-p", "model.threads:=1"]
    assert main(["replay", str(bag), "--output", str(tmp_path), "--results", "nuscenes", *LOW, *size]) == 1
    assert "exists already" in capsys.readouterr().err  # the replay would lie where the bag is
    out = tmp_path / "out"
    assert main(["replay", str(bag), "--output", str(out), "--results", "nuscenes", *LOW, *size]) == 0
    [(token, boxes)] = json.loads((out / "bag.json").read_text())["results"].items()
    assert token == json.loads(info.read_text())["data_list"][0]["token"] and 0 < len(boxes) <= 500
    ego = np.array(json.loads(info.read_text())["data_list"][0]["ego2global"])[:3, 3]
    heights = [box["translation"][2] - ego[2] for box in boxes]
    assert -3 < np.median(heights) < 4  # beside the vehicle, not below the road or in the sky
    assert main(["evaluate", "nuscenes", "--results", str(out / "bag.json"), "--truth", str(info)]) == 0


def test_nuscenes_results_need_a_place_in_the_world(bag, tmp_path, capsys):
    assert _replay(bag, tmp_path, "--results", "nuscenes") == 1
    assert "need tf from map, world, odom, earth to 'front_optical'" in capsys.readouterr().err
    assert read_tracks(tmp_path / "scene", "/centertrack/output")  # what was finished stays


def _compare_live(bag: Path, output: Path, *assignments: str, **playback: Any) -> ComparisonResult:
    """Replays the bag into the folder, then plays it into a live node and compares the results."""
    values = [word for word in (*SMALL, *LOW, *assignments) if word != "-p"]
    parameters = load_parameters([], values)
    replay, target = Replay(engine_of(parameters), parameters), output / bag.name
    output.mkdir(parents=True, exist_ok=True)
    for _ in replay.run(bag, target, []):
        pass
    return compare_with_live_node(replay, bag, target, [], load_values([], values), PlaybackOptions(**playback))


@pytest.mark.slow
def test_a_live_node_gives_the_results_of_the_replay(bag, tmp_path):
    """One image after the other, the node publishes what the replay wrote, field by field; pass after pass, too."""
    result = _compare_live(bag, tmp_path, rate=5.0, lockstep=True)
    assert (result.published, result.difference.both, result.dropped) == (4, 4, 0) and result.is_equal
    result = _compare_live(bag, tmp_path / "loop", rate=5.0, lockstep=True, passes=2, clock=50.0)
    assert (result.published, result.difference.both, result.dropped) == (8, 8, 0) and result.is_equal
    assert _replay(bag, tmp_path / "other", "-p", "tracker.new_threshold:=0.9") == 0
    difference = compare_bags(tmp_path / "scene", tmp_path / "other" / "scene")
    assert difference.both == 4 and difference.different  # another threshold does make a difference


@pytest.mark.slow
def test_a_live_node_of_several_cameras_gives_the_same_results_with_stamps_out_of_order_too(tmp_path):
    left, right = _recording(tmp_path / "one"), _recording(tmp_path / "two", calibrated=False)
    write_bag(tmp_path / "rig", {"left": left, "right": right}, raw=True)
    with BagReader(tmp_path / "rig") as reader, BagWriter(tmp_path / "late") as writer:
        records = list(reader.records(["/left/camera_info", "/left/image_raw", "/right/image_raw"]))
        late = [record for record in records if record.topic == "/right/image_raw"][1:3]
        swap = {id(late[0]): late[1], id(late[1]): late[0]}  # one is overtaken by the next
        for record in records:
            writer.add_topic(record.topic, record.type)
            writer.write(record.topic, swap.get(id(record), record).data, record.time_ns)
    result = _compare_live(tmp_path / "late", tmp_path / "out", rate=5.0, lockstep=True)
    assert (result.published, result.difference.both, result.dropped) == (8, 7, 0) and result.is_equal


@pytest.mark.slow
def test_what_a_live_node_drops_is_left_out_of_the_comparison(tmp_path):
    """Thirty images at once are more than it can take; for those that it processed it gives a replay's results."""
    write_bag(tmp_path / "scene", {"front": _recording(tmp_path / "pictures", frames=30)})
    result = _compare_live(tmp_path / "scene", tmp_path / "out", "camera.reliability:=reliable", rate=1000.0)
    assert result.published == 30 and result.dropped > 0 and result.is_equal


def test_a_street_is_replayed_and_judged(tmp_path, capsys):
    """The truth that was copied along scores 100 against the street's own; what the model found has figures, too."""
    pytest.importorskip("panda3d", reason="the street needs Panda3D")
    assert main(["street", str(tmp_path / "streets"), "--format", "bag", "--frames", "6", "--size", "320x192"]) == 0
    street, out = tmp_path / "streets" / "train_000000", tmp_path / "out"
    truth = "/truth/cam_front/detections_"
    assert _replay(street, out, "-p", "model.engine:=torch", "--keep", f"{truth}2d", f"{truth}3d") == 0
    capsys.readouterr()
    for prefix, perfect in (("/truth", True), ("/centertrack/output", False)):
        options = ["--results-prefix", prefix, "--truth", str(street)]
        assert main(["evaluate", "bag", "--results", str(out / "train_000000"), *options]) == 0
        printed = capsys.readouterr().out
        mota = [float(line.split()[5]) for line in printed.splitlines() if line.startswith("COMBINED")]
        assert mota and all(score == 100.0 for score in mota) == perfect, printed
