# SPDX-License-Identifier: Apache-2.0
"""Bags: what is written is read back the same; what is broken says so."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagReader, BagWriter, is_bag, message_types, time_message
from centertrack_ros.io.stamps import nanoseconds

STORAGES = ("mcap", "sqlite3")
CLIP = Path(__file__).parents[2] / "demo" / "pets09_s2l1"


def header(time_ns: int, frame_id: str = "camera"):
    return message_types().types["std_msgs/msg/Header"](stamp=time_message(time_ns), frame_id=frame_id)


def image_message(time_ns: int, pixels: np.ndarray):
    height, width = pixels.shape[:2]
    return message_types().types["sensor_msgs/msg/Image"](
        header=header(time_ns),
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.ravel(),
    )


def detection_array(time_ns: int, identities: list[str]):
    types = message_types().types
    point = types["vision_msgs/msg/Point2D"](x=3.5, y=4.5)
    pose = types["vision_msgs/msg/Pose2D"](position=point, theta=0.0)
    box = types["vision_msgs/msg/BoundingBox2D"](center=pose, size_x=10.0, size_y=20.0)
    build = types["vision_msgs/msg/Detection2D"]
    detections = [build(header=header(time_ns), results=[], bbox=box, id=identity) for identity in identities]
    return types["vision_msgs/msg/Detection2DArray"](header=header(time_ns), detections=detections)


@given(time_ns=st.integers(0, 2**31 * 10**9 - 1))
def test_a_time_survives_its_message(time_ns):
    assert nanoseconds(time_message(time_ns)) == time_ns


@settings(max_examples=15, deadline=None)
@given(
    storage=st.sampled_from(STORAGES),
    stamps=st.lists(st.integers(1, 10**18), min_size=1, max_size=5, unique=True).map(sorted),
    identities=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), max_size=4),
)
def test_what_is_written_is_read_back(tmp_path_factory, storage, stamps, identities):
    path = tmp_path_factory.mktemp("bag") / "bag"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    with BagWriter(path, storage) as writer:
        for time_ns in stamps:
            writer.write("/image", image_message(time_ns, pixels), time_ns)
            writer.write("/detections", detection_array(time_ns, identities), time_ns)
    with BagReader(path) as reader:
        assert {(topic.name, topic.type, topic.count) for topic in reader.topics.values()} == {
            ("/image", "sensor_msgs/msg/Image", len(stamps)),
            ("/detections", "vision_msgs/msg/Detection2DArray", len(stamps)),
        }
        assert (reader.start_ns, reader.end_ns) == (stamps[0], stamps[-1])
        images = list(reader.messages(["/image"]))
        assert [record.time_ns for record, _ in images] == stamps
        assert [nanoseconds(message.header.stamp) for _, message in images] == stamps
        assert all(np.array_equal(message.data.reshape(5, 7, 3), pixels) for _, message in images)
        for _, message in reader.messages(["/detections"]):
            assert [detection.id for detection in message.detections] == identities


def test_own_messages_are_known():
    assert {f"centertrack_ros/msg/{name}" for name in ("Track", "TrackArray", "FrameTiming")} <= set(
        message_types().types
    )


@pytest.mark.parametrize("storage", STORAGES)
def test_a_topic_can_be_copied_as_it_is(tmp_path, storage):
    with BagReader(CLIP) as source, BagWriter(tmp_path / "copy", storage) as writer:
        for record in source.records():
            writer.add_topic(record.topic, record.type, source=source)
            writer.write(record.topic, record.data, record.time_ns)
    with BagReader(CLIP) as source, BagReader(tmp_path / "copy") as copy:
        assert list(source.records(["/camera/image/compressed"])) == list(copy.records(["/camera/image/compressed"]))
        for topic in source.topics.values():
            assert (copy.topics[topic.name].type, copy.topics[topic.name].count) == (topic.type, topic.count)


def test_a_storage_file_alone_is_a_bag(tmp_path):
    file = tmp_path / "alone.mcap"
    file.write_bytes((CLIP / "pets09_s2l1.mcap").read_bytes())
    assert is_bag(file) and is_bag(tmp_path) and is_bag(CLIP) and not is_bag(CLIP.parent)
    for path in (file, tmp_path):
        with BagReader(path) as reader:
            assert reader.topics["/camera/image/compressed"].count == 100


def test_an_error_while_writing_keeps_what_was_written(tmp_path):
    def write_and_fail():
        with BagWriter(tmp_path / "bag") as writer:
            writer.write("/clock", message_types().types["rosgraph_msgs/msg/Clock"](clock=time_message(5)), 5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with BagReader(tmp_path / "bag") as reader:
        assert [record.time_ns for record in reader.records()] == [5]


@pytest.fixture(scope="module")
def clip_records():
    with BagReader(CLIP) as reader:
        return {(record.topic, record.time_ns): record.data for record in reader.records()}


@settings(max_examples=15, deadline=None)
@given(keep=st.integers(0, 5_000_000))
def test_a_truncated_bag_says_so_and_gives_what_is_whole(tmp_path_factory, clip_records, keep):
    file = tmp_path_factory.mktemp("bag") / "broken.mcap"
    file.write_bytes((CLIP / "pets09_s2l1.mcap").read_bytes()[:keep])
    if keep < 1_060_000:  # within the first chunk
        with pytest.raises(DataError, match=r"broken\.mcap: not a readable rosbag2"), BagReader(file):
            pass
        return
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("centertrack_ros").addHandler(handler)
    try:
        with BagReader(file) as reader:
            found = list(reader.records())
    finally:
        logging.getLogger("centertrack_ros").removeHandler(handler)
    assert 0 < len(found) < len(clip_records) and any(f"the {len(found)} messages that are whole" in s for s in said)
    assert [record.time_ns for record in found] == sorted(record.time_ns for record in found)
    assert all(clip_records[record.topic, record.time_ns] == record.data for record in found)


@settings(max_examples=15, deadline=None)
@given(place=st.integers(0, 5_000_000))
def test_damage_in_the_middle_is_a_sentence_or_bytes_for_the_image_decoder(tmp_path_factory, place):
    whole = bytearray((CLIP / "pets09_s2l1.mcap").read_bytes())
    whole[place : place + 300_000] = b"\xff" * 300_000
    file = tmp_path_factory.mktemp("bag") / "broken.mcap"
    file.write_bytes(whole)
    count, problem = 0, ""
    try:
        with BagReader(file) as reader:
            for _ in reader.messages():
                count += 1
    except DataError as error:
        problem = str(error)
    assert "broken.mcap" in problem if problem else count == 900


def test_what_is_not_a_bag_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such bag"):
        BagReader(tmp_path / "nowhere")
    with pytest.raises(DataError, match="not a rosbag2"):
        BagReader(tmp_path)
    (tmp_path / "old.bag").touch()
    with pytest.raises(DataError, match="rosbags-convert"):
        BagReader(tmp_path / "old.bag")
    (tmp_path / "empty.db3").touch()
    with pytest.raises(DataError, match="not a readable rosbag2"), BagReader(tmp_path / "empty.db3"):
        pass


def test_a_missing_topic_names_those_that_there_are():
    with BagReader(CLIP) as reader, pytest.raises(DataError, match=r"no topic '/image'.*/camera/image/compressed.*100"):
        reader.require("/image")


def test_unknown_types_and_existing_bags_are_refused(tmp_path):
    with BagWriter(tmp_path / "bag") as writer, pytest.raises(ValueError, match="acme_msgs/msg/Thing"):
        writer.write("/thing", b"", 0, "acme_msgs/msg/Thing")
    with pytest.raises(FileExistsError, match="exists already"):
        BagWriter(tmp_path / "bag")
    with pytest.raises(ValueError, match="storage"):
        BagWriter(tmp_path / "other", "rosbag1")


def test_the_clip_is_what_the_demo_promises():
    """100 frames at 7 Hz with a camera_info each, at most 6 MB, the clock never going back."""
    assert sum(file.stat().st_size for file in CLIP.iterdir()) <= 6_000_000
    with BagReader(CLIP) as reader:
        stamps = [nanoseconds(m.header.stamp) for _, m in reader.messages(["/camera/image/compressed"])]
        infos = [m for _, m in reader.messages(["/camera/camera_info"])]
        ticks = [nanoseconds(m.clock) for _, m in reader.messages(["/clock"])]
    assert len(stamps) == 100 and stamps == [nanoseconds(info.header.stamp) for info in infos]
    assert np.allclose(np.diff(stamps) / 1e9, 1 / 7, atol=1e-8)
    assert np.all(np.diff(ticks) > 0) and set(stamps) <= set(ticks)
    assert {(info.width, info.height, info.distortion_model) for info in infos} == {(768, 576, "plumb_bob")}


def test_a_rosbag2_folder_may_be_called_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "mine.bag") as writer:
        message = message_types().types["std_msgs/msg/String"](data="a")
        writer.write("/a", message, 1_000_000_000)
    with BagReader(tmp_path / "mine.bag") as reader:
        assert list(reader.topics) == ["/a"]


@pytest.mark.parametrize("line", ["float64 confidence", "string score", "float64[] score"])
def test_a_bag_with_another_version_of_a_message_names_the_field(tmp_path, line):
    """A bag's own definitions hold: vision_msgs had other fields before Humble."""
    from rosbags.rosbag2 import Writer

    kind, store = "vision_msgs/msg/Detection2DArray", message_types()
    definition, digest = store.generate_msgdef(kind, ros_version=2)[0], store.hash_rihs01(kind)
    assert definition.count("float64 score\n") == 1
    with Writer(tmp_path / "bag", version=8) as writer:
        changed = definition.replace("float64 score\n", f"{line}\n")
        connection = writer.add_connection("/detections_2d", kind, msgdef=changed, rihs01=digest)
        writer.write(connection, 5, bytes(store.serialize_cdr(detection_array(5, ["7"]), kind)))
    message = rf"another version of {kind}: its field 'detections\.results\.hypothesis\.score'"
    with BagReader(tmp_path / "bag") as reader, pytest.raises(DataError, match=message):
        list(reader.messages())
