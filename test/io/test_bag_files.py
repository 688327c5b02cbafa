# SPDX-License-Identifier: Apache-2.0
"""Bags as they lie on disks: unfinished, compressed, renamed, in parts. Read, or refused with the cure."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.file_kinds import MCAP
from centertrack_ros.io.mcap_records import zstandard
from centertrack_ros.io.rosbag import BagReader, BagWriter, bag_name, is_bag, message_types, time_message

CLOCK = "rosgraph_msgs/msg/Clock"


def write(path: Path, times: range = range(1, 6), storage: str = "mcap") -> Path:
    with BagWriter(path, storage) as writer:
        for time in times:
            writer.write("/clock", message_types().types[CLOCK](clock=time_message(time)), time)
    return path


def times(path: Path) -> list[int]:
    with BagReader(path) as reader:
        found = [record.time_ns for record, message in reader.messages(["/clock"]) if message.clock.nanosec]
        assert reader.topics["/clock"].count == len(found)
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def unmerged(folder: Path) -> Path:
    """A database whose recorder was killed: its messages lie in the -wal alone."""
    [file] = write(folder / "closed", storage="sqlite3").glob("*.db3")
    bag = folder / "open"
    bag.mkdir()
    shutil.copy(folder / "closed" / "metadata.yaml", bag)
    database = sqlite3.connect(folder / "live.db3", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    closed = sqlite3.connect(file)
    database.executescript("\n".join(closed.iterdump()).replace("BEGIN TRANSACTION;", "").replace("COMMIT;", ""))
    for end in ("", "-wal"):
        shutil.copy(folder / f"live.db3{end}", bag / f"closed.db3{end}")
    database.close()
    closed.close()
    return bag


def test_an_unmerged_wal_is_read_and_nothing_is_written_beside_it(tmp_path, caplog):
    bag = unmerged(tmp_path)
    before = tree(bag)
    assert before["closed.db3-wal"] and len(before["closed.db3"]) < 5000
    for path in (bag, bag / "closed.db3"):
        assert times(path) == [1, 2, 3, 4, 5]
    assert tree(bag) == before and "'closed.db3-wal' is merged in a copy" in caplog.text


def test_a_wal_that_was_left_behind_is_missed(tmp_path, caplog):
    bag = unmerged(tmp_path)
    (bag / "closed.db3-wal").unlink()
    with pytest.raises(DataError, match="not a readable rosbag2"):
        times(bag)
    shutil.copy(tmp_path / "closed" / "closed.db3", bag)
    with sqlite3.connect(bag / "closed.db3") as database:
        database.execute("DELETE FROM messages WHERE timestamp > 2")
    assert times(bag) == [1, 2] and "metadata.yaml counts 5 messages, the files hold 2" in caplog.text


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("name", ["a b", "run#3", "what?", "50%41", "ü", "a'b\"c", "file:x"])
def test_any_name_is_written_and_read_where_it_says(tmp_path, storage, name):
    for path in (tmp_path / name, tmp_path / name / "inside" / name):
        path.parent.mkdir(exist_ok=True)
        write(path, storage=storage)
        suffix = {"mcap": ".mcap", "sqlite3": ".db3"}[storage]
        assert {file.name for file in path.iterdir()} == {f"{name}{suffix}", "metadata.yaml"}
        assert times(path) == times(path / f"{name}{suffix}") == [1, 2, 3, 4, 5]
    assert {file.name for file in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_names_that_are_not_utf8_are_read_and_not_written(tmp_path, storage):
    name = os.fsdecode(b"caf\xe9")
    write(tmp_path / "plain", storage=storage).rename(tmp_path / name)
    assert times(tmp_path / name) == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="expected one in UTF-8"):
        BagWriter(tmp_path / os.fsdecode(b"na\xefve"), storage)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_compressed_files_are_read_with_and_without_metadata(tmp_path, storage):
    bag = write(tmp_path / "bag", storage=storage)
    [file] = [file for file in bag.iterdir() if file.suffix != ".yaml"]
    packed = bag / f"{file.name}.zstd"
    packed.write_bytes(zstandard().compress(file.read_bytes()))
    file.unlink()
    assert times(bag) == times(packed) == [1, 2, 3, 4, 5]  # metadata.yaml names the uncompressed file
    (bag / "metadata.yaml").unlink()
    assert is_bag(bag) and is_bag(packed) and times(bag) == [1, 2, 3, 4, 5]
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(9))
    with pytest.raises(DataError, match="not whole Zstandard data"):
        times(packed)


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_what_rosbag2_compresses_is_read_also_as_a_file_alone(tmp_path, mode, plugin):
    writer = Writer(tmp_path / "bag", version=8, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/clock", CLOCK, typestore=message_types())
        for time in (1, 2):
            message = message_types().types[CLOCK](clock=time_message(time))
            writer.write(connection, time, message_types().serialize_cdr(message, CLOCK))
    [file] = [file for file in (tmp_path / "bag").iterdir() if file.suffix != ".yaml"]
    assert times(tmp_path / "bag") == times(file) == [1, 2]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (b"", "metadata.yaml is left aside"),
        (b"{", "metadata.yaml is left aside"),
        (b"\x00\xff", "metadata.yaml is left aside"),
        (b"rosbag2_bagfile_information: 5", "metadata.yaml is left aside"),
        (b"rosbag2_bagfile_information: {relative_file_paths: {a: 1}}", "metadata.yaml is left aside"),
        (b"rosbag2_bagfile_information: {relative_file_paths: [7]}", "metadata.yaml is left aside"),
        (b"rosbag2_bagfile_information: {relative_file_paths: [old.mcap]}", "'old.mcap', which is not there"),
        (b"rosbag2_bagfile_information: {relative_file_paths: ['C:\\data\\bag.mcap'], message_count: x}", ""),
        (b"rosbag2_bagfile_information: {relative_file_paths: [bag.mcap], message_count: 9}", "the files hold 5"),
    ],
)
def test_metadata_that_is_wrong_does_not_hide_the_recording(tmp_path, caplog, metadata, said):
    bag = write(tmp_path / "bag")
    (bag / "metadata.yaml").write_bytes(metadata)
    assert times(bag) == [1, 2, 3, 4, 5]
    assert said in caplog.text and ("aside" in caplog.text) == ("aside" in said)


def test_metadata_may_begin_with_a_byte_order_mark(tmp_path, caplog):
    bag = write(tmp_path / "bag")
    (bag / "metadata.yaml").write_bytes(b"\xef\xbb\xbf" + (bag / "metadata.yaml").read_bytes())
    assert times(bag) == [1, 2, 3, 4, 5] and not caplog.text


def test_metadata_without_its_files_names_them(tmp_path):
    bag = write(tmp_path / "bag")
    (bag / "bag.mcap").unlink()
    with pytest.raises(DataError, match=r"metadata.yaml names 'bag.mcap', and there is no such file"):
        times(bag)


def test_a_folder_with_another_metadata_is_no_bag(tmp_path):
    (tmp_path / "metadata.yaml").write_text("camera: front\n")
    assert not is_bag(tmp_path)


def test_parts_are_one_recording_and_a_missing_one_is_told(tmp_path, caplog):
    bag = tmp_path / "drive"
    bag.mkdir()
    for number in (0, 1, 10):
        first = 10 * number + 1
        write(tmp_path / str(number), range(first, first + 2))
        shutil.copy(tmp_path / str(number) / f"{number}.mcap", bag / f"drive_{number}.mcap")
    assert times(bag) == [1, 2, 11, 12, 101, 102]
    (bag / "drive_1.mcap").write_bytes(b"")
    assert times(bag) == [1, 2, 101, 102] and "1 of 3 files left out" in caplog.text
    names = "[drive_0.mcap, drive_1.mcap, drive_10.mcap]"
    (bag / "drive_1.mcap").unlink()
    (bag / "metadata.yaml").write_text(f"rosbag2_bagfile_information: {{relative_file_paths: {names}}}")
    assert times(bag) == [1, 2, 101, 102] and "1 of 3 files are missing, the first is 'drive_1.mcap'" in caplog.text


def test_several_bags_are_not_mixed(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "many" / name)
    with pytest.raises(DataError, match=r"a folder with 2 bags \(a, b\); name one"):
        BagReader(tmp_path / "many")
    for name in ("a", "b"):
        shutil.copy(tmp_path / "many" / name / f"{name}.mcap", tmp_path)
    with pytest.raises(DataError, match=r"2 recordings \(a.mcap, b.mcap\) and no metadata.yaml"):
        times(tmp_path)
    (tmp_path / "b.mcap").rename(tmp_path / "._a.mcap")  # a Mac's shadow is no file
    assert times(tmp_path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.mcap", b"", "it is empty, 0 bytes"),
        ("x.db3", b"", "it is empty, 0 bytes"),
        ("x.db3", b"#ROSBAG V2.0\n", "rosbags-convert"),
        ("x.mcap", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("x.mcap", b"PK\x03\x04", "unpack it"),
        ("x.mcap", b"GIF89a", "neither mcap"),
        ("x.mcap", MCAP, "its header is not whole"),
        ("x.db3", b"SQLite format 3\0" + bytes(200), "not a readable rosbag2"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="x\\.") as error:
        times(tmp_path / name)
    assert said in str(error.value) and "reindex" not in str(error.value) and "\n" not in str(error.value)


def test_the_content_counts_not_the_suffix(tmp_path):
    shutil.copy(write(tmp_path / "a") / "a.mcap", tmp_path / "A.DB3")
    shutil.copy(write(tmp_path / "b", storage="sqlite3") / "b.db3", tmp_path / "B.MCAP")
    assert times(tmp_path / "A.DB3") == times(tmp_path / "B.MCAP") == [1, 2, 3, 4, 5]


def mcap(profile: str, channels: list[tuple[str, str, str]], end: bool = True) -> bytes:
    """A file without chunks: channels of (message encoding, definition's encoding, type), two messages each."""

    def record(code: int, content: bytes) -> bytes:
        return bytes([code]) + len(content).to_bytes(8, "little") + content

    def text(value: str) -> bytes:
        return len(value.encode()).to_bytes(4, "little") + value.encode()

    clock = message_types().serialize_cdr(message_types().types[CLOCK](clock=time_message(7)), CLOCK)
    definition, _ = message_types().generate_msgdef(CLOCK, ros_version=2)
    data = MCAP + record(0x01, text(profile) + text("test"))
    for number, (encoding, form, kind) in enumerate(channels, start=1):
        key = number.to_bytes(2, "little")
        data += record(0x03, key + text(kind) + text(form) + text(definition if form == "ros2msg" else "{}"))
        data += record(0x04, key + key + text(f"/{encoding}") + text(encoding) + text(""))
        for time in (2, 1):  # not in order
            data += record(0x05, key + bytes(4) + time.to_bytes(8, "little") * 2 + clock)
    footer = record(0x0F, bytes(4)) + record(0x02, bytes(20)) + MCAP
    return data + (footer if end else b"\x05")


@pytest.mark.parametrize("profile", ["ros2", "", "other"])
@pytest.mark.parametrize("end", [True, False])
def test_an_mcap_without_an_index_is_read_in_order(tmp_path, caplog, profile, end):
    (tmp_path / "x.mcap").write_bytes(mcap(profile, [("cdr", "ros2msg", CLOCK), ("json", "jsonschema", "Thing")], end))
    with BagReader(tmp_path / "x.mcap") as reader:
        assert [record.time_ns for record in reader.records()] == [1, 2]
        assert [message.clock.nanosec for _, message in reader.messages()] == [7, 7]
    assert "1 topics left out, whose messages are not ROS 2's (CDR) but json" in caplog.text
    assert ("its end is missing: the 2 messages that are whole are read" in caplog.text) is not end


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (("ros1", "ros1msg", "sensor_msgs/Image"), "ROS 1's; convert the .bag it was made of: rosbags-convert"),
        (("protobuf", "protobuf", "foxglove.CompressedImage"), "messages are protobuf, not ROS 2's"),
        (("json", "jsonschema", "foxglove.CompressedImage"), "messages are json, not ROS 2's"),
    ],
)
def test_other_messages_are_named(tmp_path, channel, said):
    for profile in ("ros1", "", "ros2"):
        (tmp_path / "x.mcap").write_bytes(mcap(profile, [channel]))
        with pytest.raises(DataError, match="not a readable rosbag2") as error:
            times(tmp_path / "x.mcap")
        assert said in str(error.value)
        (tmp_path / "x.mcap").unlink()


def test_results_are_named_after_the_recording(tmp_path):
    write(tmp_path / "drive.1")
    for file in ("a.mcap", "a.mcap.zstd", "a.db3.zstd"):
        (tmp_path / file).touch()
        assert bag_name(tmp_path / file) == "a"
    assert bag_name(tmp_path / "drive.1") == "drive.1"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_topic_of_two_types_gives_the_messages_of_one(tmp_path, caplog, storage):
    writer = Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin[storage.upper()])
    with writer:
        for kind, count in ((CLOCK, 2), ("std_msgs/msg/String", 1)):
            connection = writer.add_connection("/clock", kind, typestore=message_types())
            for time in range(1, count + 1):
                message = message_types().types[CLOCK](clock=time_message(time))
                writer.write(connection, time, message_types().serialize_cdr(message, CLOCK))
    assert times(tmp_path / "bag") == [1, 2] and "those of std_msgs/msg/String are left out" in caplog.text


def test_temporary_files_go_with_the_bag(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for number in range(4):
        file = write(tmp_path / str(number)) / f"{number}.mcap"
        (tmp_path / f"{number}.mcap.zstd").write_bytes(zstandard().compress(file.read_bytes()))
        assert times(tmp_path / f"{number}.mcap.zstd") == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "tmp").iterdir())) <= 2


def test_what_is_packed_is_said_of_the_file_that_packs_it(tmp_path):
    packed = tmp_path / "a.db3.zstd"
    packed.write_bytes(zstandard().compress(b"neither of them, but long enough"))
    with pytest.raises(
        DataError, match=r"a\.db3\.zstd: decompressed, not a readable rosbag2: it starts with"
    ) as caught:
        BagReader(packed).__enter__()
    assert str(caught.value).startswith(str(packed))
