# SPDX-License-Identifier: Apache-2.0
"""A replay answers each image under its own number and time, and a replay that fails leaves nothing in the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.io.rosbag import BagReader, BagWriter, message_types, time_message
from centertrack_ros.io.sources import BagSource
from centertrack_ros.io.stamps import nanoseconds
from support.environment import unmeasured_environment

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
OPTIONS = ["model.input_width:=160", "model.input_height:=128", "model.threads:=1"]
# Something is found in noise.
OPTIONS += ["tracker.track_threshold:=0.02", "tracker.new_threshold:=0.02", "tracker.birth:=threshold"]
OPTIONS += ["detector.classes:=[all]"]


def write(path: Path, stamps: list[int], broken: Mapping[int, str] = {}, topic: str = "/camera/image_raw") -> Path:
    """Images, a tenth of a second apart, with these stamps; `broken`: number from 1 -> its encoding."""
    types, rng = message_types().types, np.random.default_rng(8)
    scene = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (320, 240))
    with BagWriter(path) as writer:
        for index, stamp in enumerate(stamps):
            header = types["std_msgs/msg/Header"](stamp=time_message(stamp), frame_id="camera")
            data, encoding = np.roll(scene, 4 * index, axis=1).reshape(-1), broken.get(index + 1, "bgr8")
            image = types["sensor_msgs/msg/Image"](
                header=header, height=240, width=320, encoding=encoding, is_bigendian=0, step=960, data=data
            )
            writer.write(topic, image, times(index))
    return path


def times(index: int) -> int:
    return START + index * SECOND // 10


def replay(bag: Path, output: Path, *options: str) -> int:
    words = [word for option in OPTIONS for word in ("-p", option)]
    return main(["replay", str(bag), "--output", str(output), *words, *options])


def answers(bag: Path) -> list[int]:
    """The stamps of the results, ns."""
    with BagReader(bag) as reader:
        messages = reader.messages(["/centertrack/output/detections_2d"])
        return [nanoseconds(message.header.stamp) for _, message in messages]


def frames(text: Path) -> set[int]:
    return {int(row.split(",")[0]) for row in text.read_text().splitlines()}


@pytest.mark.parametrize("stamps", [[0] * 5, [0, times(1), 0, times(3), times(4)]])
def test_images_without_a_stamp_have_the_time_of_recording_everywhere(tmp_path, stamps, capsys):
    bag = write(tmp_path / "zero", stamps)
    assert replay(bag, tmp_path / "out", "--results", "mot") == 0
    assert "5 of 5 images processed" in capsys.readouterr().out
    expected = [times(index) for index in range(5)]
    assert answers(tmp_path / "out" / "zero") == expected
    assert frames(tmp_path / "out" / "zero.txt") == {1, 2, 3, 4, 5}
    assert [round(frame.stamp * 1e3) for frame in BagSource(bag)] == [time // 10**6 for time in expected]
    [tracks] = read_tracks(tmp_path / "out" / "zero").values()
    assert [int(frame.token) for frame in tracks] == expected


def test_equal_stamps_are_counted(tmp_path, capsys):
    assert replay(write(tmp_path / "bag", [START] * 4), tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "1 of 4 images processed" in said and "3 left out: its stamp is not after" in said


def test_an_image_that_is_left_out_keeps_its_number(tmp_path, capsys):
    stamps = [times(index) for index in range(6)]
    bag = write(tmp_path / "bag", stamps, {1: "32FC1", 4: "mono12"})
    assert replay(bag, tmp_path / "out", "--results", "mot", "--keep", "/camera/image_raw") == 0
    said = capsys.readouterr().out
    assert "4 of 6 images processed" in said and "32FC1" in said and "mono12" in said
    assert frames(tmp_path / "out" / "bag.txt") == {2, 3, 5, 6}
    [tracks] = read_tracks(tmp_path / "out" / "bag").values()  # its own images number them
    assert [frame.index for frame in tracks] == [1, 2, 4, 5] and tracks.length == 6
    assert [frame.index for frame in BagSource(bag)] == [2, 3, 5, 6]


def test_overtaken_images_keep_the_numbers_of_their_messages(tmp_path):
    stamps = [times(index) for index in (0, 2, 1, 3)]
    assert replay(write(tmp_path / "bag", stamps), tmp_path / "out", "--results", "mot") == 0
    assert frames(tmp_path / "out" / "bag.txt") == {1, 2, 4}


def test_nothing_that_decodes_is_an_error_and_leaves_nothing(tmp_path, capsys):
    bag = write(tmp_path / "bag", [times(0), times(1)], {1: "32FC1", 2: "32FC1"})
    assert replay(bag, tmp_path / "out", "--keep", "*") == 1
    said = capsys.readouterr().err
    assert "not one of its 2 images could be processed: 2 not an image: unknown image encoding '32FC1'" in said
    assert not (tmp_path / "out" / "bag").exists()
    assert main(["track", str(bag), "--output", str(tmp_path / "out"), "--save-txt"]) == 1
    assert "not one of 2 images can be decoded" in capsys.readouterr().err


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_topics_of_unknown_types_are_kept_as_they_are(tmp_path, storage):
    from rosbags.rosbag2 import StoragePlugin, Writer

    with BagReader(write(tmp_path / "one", [START])) as reader:
        [image] = reader.records()
    definitions = {"/told": "float64 x\n", "/untold": "# left out\n"}
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connection = writer.add_connection("/camera/image_raw", image.type, typestore=message_types())
        writer.write(connection, START, image.data)
        for number, (topic, text) in enumerate(definitions.items()):
            odd = writer.add_connection(topic, f"acme_msgs/msg/Thing{number}", msgdef=text, rihs01="RIHS01_0")
            writer.write(odd, START, bytes(range(16)))
    assert replay(tmp_path / "bag", tmp_path / "out", "--keep", "*") == 0
    with BagReader(tmp_path / "out" / "bag") as reader:
        assert {record.data for record in reader.records(definitions)} == {bytes(range(16))}
        assert {reader.topics[topic].type for topic in definitions} == {f"acme_msgs/msg/Thing{n}" for n in (0, 1)}
        assert "float64 x" in reader.definition("/told")
    assert replay(tmp_path / "out" / "bag", tmp_path / "again", "--keep", "/told", "/untold", "*") == 0


def test_results_of_an_earlier_replay_are_not_mixed_with_the_new_ones(tmp_path, capsys):
    assert replay(write(tmp_path / "bag", [times(0), times(1)]), tmp_path / "a", "--keep", "*") == 0
    capsys.readouterr()
    assert replay(tmp_path / "a" / "bag", tmp_path / "b", "--keep", "*") == 0
    assert "topics of earlier results are not copied" in capsys.readouterr().out
    assert answers(tmp_path / "b" / "bag") == [times(0), times(1)]
    assert replay(tmp_path / "a" / "bag", tmp_path / "c", "--keep", "/centertrack/output/detections_2d") == 1
    assert "cannot be kept" in capsys.readouterr().err and not (tmp_path / "c" / "bag").exists()


def test_a_full_disk_leaves_nothing_that_looks_complete(tmp_path):
    bag = write(tmp_path / "bag", [times(index) for index in range(8)])
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)); "
        "from centertrack_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [word for option in OPTIONS for word in ("-p", option)]
    command = [sys.executable, "-c", code, "replay", str(bag), "--output", str(tmp_path / "out"), *words, "--keep", "*"]
    done = subprocess.run(command, capture_output=True, text=True, env=unmeasured_environment())
    assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "bag").exists()
    assert replay(bag, tmp_path / "out") == 0  # nothing stands in the way


def test_other_kinds_of_images_are_named(tmp_path, capsys):
    bag = write(tmp_path / "bag", [START], topic="/depth/image_raw/compressedDepth")
    with BagReader(bag) as reader:
        [record] = reader.records()
    for kind, said in (
        ("sensor_msgs/msg/CompressedImage", "no images"),
        ("theora_image_transport/msg/Packet", "repub"),
    ):
        from rosbags.rosbag2 import StoragePlugin, Writer

        target = tmp_path / kind.rsplit("/", 1)[-1]
        with Writer(target, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
            odd = writer.add_connection(record.topic, kind, msgdef="uint8[] data\n", rihs01="RIHS01_0")
            writer.write(odd, START, record.data)
        assert main(["track", str(target)]) == 1 and said in capsys.readouterr().err
        assert replay(target, tmp_path / "out") == 1 and said in capsys.readouterr().err
