# SPDX-License-Identifier: Apache-2.0
"""Videos: the container's times, numbers that losses do not shift, any name, and a cause for what is no video."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.io import video_source
from centertrack_ros.io.sources import open_source
from centertrack_ros.io.video_source import VideoSource


def write_video(path: Path, count: int = 8, code: str = "mp4v", rate: float = 7.0) -> Path:
    """Frames whose grey value is 20 times their number from 0."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), rate, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def matroska(path: Path, times_ms: Sequence[int], told_rate: float = 0.0, duration_ms: float = 0.0) -> Path:
    """Motion JPEG in Matroska, as a browser or a screen recorder writes it: each frame at a time of its own."""

    def element(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content

    def number(name: str, value: int) -> bytes:
        return element(name, value.to_bytes(8, "big"))

    info = number("2AD7B1", 1_000_000) + element("4D80", b"t") + element("5741", b"t")
    if duration_ms:
        info += element("4489", struct.pack(">d", duration_ms))
    track = number("D7", 1) + number("73C5", 1) + number("83", 1) + element("86", b"V_MJPEG")
    if told_rate:
        track += number("23E383", round(1e9 / told_rate))
    track += element("E0", number("B0", 64) + number("BA", 48))
    clusters = b""
    for place, time_ms in enumerate(times_ms):
        picture = cv2.imencode(".jpg", np.full((48, 64, 3), 20 * place % 256, np.uint8))[1].tobytes()
        clusters += element("1F43B675", number("E7", time_ms) + element("A3", b"\x81\0\0\x80" + picture))
    header = element("1A45DFA3", element("4282", b"matroska") + number("4287", 4) + number("4285", 2))
    body = element("1549A966", info) + element("1654AE6B", element("AE", track)) + clusters
    path.write_bytes(header + element("18538067", body))
    return path


def levels(frames) -> list[int]:
    return [round(float(frame.image.mean()) / 20) for frame in frames]


@pytest.mark.parametrize(
    ("suffix", "code"), [(".avi", "MJPG"), (".mp4", "mp4v"), (".mov", "mp4v"), (".mkv", "VP80"), (".webm", "VP80")]
)
def test_an_even_video_has_exactly_even_times(tmp_path, suffix, code):
    source = open_source(write_video(tmp_path / f"v{suffix}", code=code))
    frames = list(source)
    assert source.length == 8 and source.rate == pytest.approx(7.0)
    assert [frame.index for frame in frames] == list(range(1, 9)) and levels(frames) == list(range(8))
    assert [frame.stamp for frame in frames] == [number / source.rate for number in range(8)]


def test_a_variable_rate_keeps_its_holes_and_a_told_rate_overrides_it(tmp_path, caplog):
    times = [0, 33, 67, 100, 900, 933, 1700, 1733]
    path = matroska(tmp_path / "v.mkv", times)
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(path))
    assert [frame.stamp for frame in frames] == pytest.approx([time / 1e3 for time in times], abs=1e-3)
    assert [frame.index for frame in frames] == list(range(1, 9))
    assert not caplog.records
    assert [frame.stamp for frame in open_source(path, rate=4.0)] == [number / 4 for number in range(8)]


@pytest.mark.parametrize("told", [1000.0, 500.0])
def test_a_rate_that_the_times_contradict_is_not_believed(tmp_path, caplog, told):
    """MediaRecorder tells 1000 frames/s, from which FFmpeg takes a number of frames as well."""
    times = [round(number * 1e3 / 30) for number in range(20)]
    source = open_source(matroska(tmp_path / "v.webm", times, told, duration_ms=668))
    with caplog.at_level(logging.WARNING):
        stamps = [frame.stamp for frame in source]
    assert source.rate == pytest.approx(30.0, rel=0.01) and source.length is None
    assert stamps == pytest.approx([time / 1e3 for time in times])
    assert not caplog.records


def test_times_that_go_back_still_rise_and_that_is_said(tmp_path, caplog):
    source = open_source(matroska(tmp_path / "v.mkv", [0, 100, 200, 50, 60, 300, 400], 10.0))
    with caplog.at_level(logging.WARNING):
        stamps = [frame.stamp for frame in source]
    assert len(stamps) == 7 and min(np.diff(stamps)) > 0
    assert sum("times go back" in record.message for record in caplog.records) == 1


def damaged(path: Path, start: bytes, which: int) -> Path:
    """Zeroes the picture whose data begin with `start` for the time number `which`, from 0."""
    raw = bytearray(path.read_bytes())
    places = [place for place in range(len(raw)) if raw.startswith(start, place)]
    raw[places[which] : places[which + 1] - 24] = bytes(places[which + 1] - 24 - places[which])
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("suffix", "code", "start"),
    [(".avi", "MJPG", b"\xff\xd8\xff"), (".mkv", "MJPG", b"\xff\xd8\xff"), (".mp4", "mp4v", b"\0\0\1\xb6")],
)
def test_a_damaged_frame_is_left_out_and_shifts_no_other(tmp_path, caplog, suffix, code, start):
    path = damaged(write_video(tmp_path / f"v{suffix}", code=code), start, 4)
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(path))
    assert [frame.index for frame in frames] == [1, 2, 3, 4, 6, 7, 8]
    assert [frame.stamp for frame in frames] == pytest.approx(
        [number / 7 for number in (0, 1, 2, 3, 5, 6, 7)], abs=1e-3
    )
    assert "frame 5 cannot be decoded; left out" in caplog.text and "1 of 8 frames left out" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "code", "words"), [(".avi", "MJPG", " of 8 frames"), (".mkv", "MJPG", "was cut short")]
)
def test_a_video_cut_short_says_so(tmp_path, caplog, suffix, code, words):
    path = write_video(tmp_path / f"v{suffix}", code=code)
    raw = path.read_bytes()
    places = [place for place in range(len(raw)) if raw.startswith(b"\xff\xd8\xff", place)]
    path.write_bytes(raw[: places[5] + 20])
    with caplog.at_level(logging.WARNING):
        assert len(list(open_source(path))) in (5, 6)
    assert words in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "2024-01-01T10:20:00.mp4", "file:x.mp4", "concat:a|b.mp4", "a%03d.mp4", "a%d.mp4", "7", "-x.mp4", "x #?.mp4",
        "no_suffix", "V.MP4", os.fsdecode(b"v\xfc.mp4"), "rtsp://x.mp4", "frame_001.avi",
    ],
)  # fmt: skip
def test_a_video_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / "plain.mp4", tmp_path / name)
    source = open_source(name)
    assert levels(source) == list(range(8)) and source.name == Path(name).stem


def test_a_pipe_is_read_once_from_its_start(tmp_path):
    path, pipe = matroska(tmp_path / "v.mkv", [0, 100, 200, 300], 10.0), tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()), daemon=True)
    thread.start()
    assert levels(open_source(pipe)) == [0, 1, 2, 3]
    thread.join(5)


class _Camera:
    """OpenCV's capture of a live camera: no times, no count."""

    def __init__(self) -> None:
        self.left = 3

    def get(self, _: int) -> float:
        return 0.0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.zeros((4, 4, 3), np.uint8)

    def release(self) -> None:
        pass

    def isOpened(self) -> bool:  # noqa: N802
        return True


def test_a_cameras_frames_have_the_times_at_which_they_came(monkeypatch, caplog):
    clock = iter([50.0, 100.0, 100.7, 101.1])
    monkeypatch.setattr(video_source, "opened", lambda _: _Camera())
    monkeypatch.setattr(video_source.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.WARNING):
        frames = list(VideoSource(0, lambda *_: None))
    assert [frame.stamp for frame in frames] == pytest.approx([0.0, 0.7, 1.1])
    assert [frame.index for frame in frames] == [1, 2, 3]
    assert "nothing tells its rate" in caplog.text


def test_an_endless_stream_takes_no_memory(monkeypatch):
    camera = _Camera()
    camera.left = 20_000
    monkeypatch.setattr(video_source, "opened", lambda _: camera)
    frames = iter(VideoSource("rtsp://x", lambda *_: None, 30.0))
    for _, _ in zip(range(1000), frames, strict=False):
        pass
    tracemalloc.start()
    try:
        assert sum(1 for _ in frames) > 18_000
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_a_streams_address_is_no_name_of_a_file(monkeypatch):
    monkeypatch.setattr(video_source, "opened", lambda _: _Camera())
    assert open_source("rtsp://user:secret@10.0.0.1:554/a/b?c=d").name == "stream_10.0.0.1_554_a_b_c_d"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"this is text\n", "a text file"),
        (bytes(100), "begins with zeros"),
        (b"#ROSBAG V2.0\n", "a ROS 1 bag; convert it"),
        (b"\x89MCAP0\r\n" + bytes(40), "an mcap recording; its name has to end in .mcap"),
        (b"SQLite format 3\0" + bytes(40), "an sqlite3 file"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "compressed by Zstandard"),
        (b"\x1f\x8b\x08" + bytes(40), "compressed by gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\0\0\0\x18ftypheic" + bytes(12), "a HEIF image; convert it"),
        (b"\0\0\0\x18ftypmp42" + bytes(12), "it was cut short"),
        (bytes(range(256)), "not a video that OpenCV can read"),
    ],
)
def test_what_is_no_video_is_called_by_its_name(tmp_path, content, words):
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"v\.mp4: ") as caught:
        open_source(tmp_path / "v.mp4")
    assert words in str(caught.value)


def test_a_link_that_leads_nowhere_is_called_so(tmp_path):
    (tmp_path / "v.mp4").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"v\.mp4: a link that leads nowhere"):
        open_source(tmp_path / "v.mp4")
