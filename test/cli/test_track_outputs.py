# SPDX-License-Identifier: Apache-2.0
"""What `centertrack track` leaves behind: after signals, on full disks, of inputs of one name, of endless streams."""

from __future__ import annotations

import os
import signal
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.cli import track as track_verb
from centertrack_ros.cli._track_outputs import TrackOutputs
from centertrack_ros.cli.main import main
from centertrack_ros.cli.track import track
from centertrack_ros.datasets.mot import class_numbers
from centertrack_ros.io import sources
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.types import Frame
from support.environment import largest_file
from support.rectangles import RectangleEngine, Thing, paint, profile


def engine(**changes: object) -> RectangleEngine:
    return RectangleEngine(profile(**changes), priors=deque(maxlen=1), batches=deque(maxlen=1))


def scene(number: int) -> np.ndarray:
    """Two things that move, and one that is another one in every twentieth frame."""
    x = 20 + number % 100
    things = [Thing(1, (x, 20, x + 20, 60)), Thing(2, (x, 70, x + 30, 110), class_id=1)]
    return paint(
        [*things, Thing(3 + number // 20 % 50, (150, 10 + number // 20 % 2 * 80, 170, 30 + number // 20 % 2 * 80))]
    )


class EndlessSource:
    """A camera; `at` calls a function before a frame."""

    name, length, rate = "camera", None, 10.0

    def __init__(self, at: dict[int, object] | None = None) -> None:
        self.at = at or {}

    def __iter__(self) -> Iterator[Frame]:
        for index in range(1, 100_000):
            if index in self.at:
                self.at[index]()
            yield Frame(scene(index), index / 10, None, index=index)


@pytest.fixture
def small_world(monkeypatch):
    monkeypatch.setattr(track_verb, "load", lambda *_: engine())


def folder_of_images(folder: Path, count: int = 4) -> Path:
    folder.mkdir(parents=True)
    for index in range(1, count + 1):
        cv2.imwrite(str(folder / f"{index:06d}.png"), scene(index))
    return folder


def lines(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_every_signal_finishes_the_files(number, status, small_world, tmp_path, monkeypatch, capsys):
    def twice() -> None:  # as `timeout` does
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(sources, "open_source", lambda *_, **__: EndlessSource({8: twice}))
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, default)  # the tests themselves may run under nohup
    try:
        assert (
            main(["track", "0", "--frames", "200", "--save-txt", "--save-video", "--output", str(tmp_path)]) == status
        )
        assert signal.getsignal(number) is default
    finally:
        signal.signal(number, before)
    assert {line[0] for line in lines(tmp_path / "camera.txt")} == {str(index) for index in range(1, 8)}
    assert sum(1 for _ in sources.VideoSource(tmp_path / "camera.webm", lambda *_: None)) == 7
    assert "camera: 7 frames" in capsys.readouterr().out
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_hangup_that_is_ignored_stays_ignored(small_world, tmp_path, monkeypatch):
    """As under nohup."""
    source = EndlessSource({3: lambda: os.kill(os.getpid(), signal.SIGHUP)})
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: source)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["track", "0", "--frames", "6", "--save-txt", "--output", str(tmp_path)]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert lines(tmp_path / "camera.txt")[-1][0] == "6"


def test_a_text_is_on_the_disk_frame_by_frame(tmp_path):
    """Nothing can be lost by a process that is killed."""
    with TrackOutputs("it", ("car", "person"), tmp_path, text=True) as outputs:
        for frame, result in track(EndlessSource(), engine(), TrackerConfig(), 5):
            outputs.add(frame, result)
            assert lines(tmp_path / "it.txt")[-1][0] == str(frame.index)
            assert (tmp_path / "it.txt").read_text().endswith("\n")


def test_memory_does_not_grow_with_the_frames(tmp_path, capsys):
    sizes, count = {}, 1600
    with TrackOutputs("it", ("car", "person"), tmp_path, text=True) as outputs:
        tracemalloc.start()
        for frame, result in track(EndlessSource(), engine(), TrackerConfig(), count):
            outputs.add(frame, result)
            if frame.index in (1100, count):  # the times of the last 1000 frames are kept
                sizes[frame.index] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert sizes[count] - sizes[1100] < 30_000, sizes  # below 60 bytes a frame
    outputs.report("rectangles")
    tracks = {line[1] for line in lines(tmp_path / "it.txt")}
    assert (
        f"it: {count} frames, {len(tracks)} tracks, {len(lines(tmp_path / 'it.txt'))} boxes" in capsys.readouterr().out
    )


def test_a_full_disk_is_one_sentence_and_complete_frames_stay(small_world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: EndlessSource())
    with largest_file(2000):
        assert main(["track", "0", "--save-txt", "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"centertrack track: {tmp_path / 'camera.txt'}: ") and error.count("\n") == 1
    found = lines(tmp_path / "camera.txt")
    assert len(found) > 20 and {len(line) for line in found} == {10}
    frames = [line[0] for line in found]
    assert frames.count(frames[-1]) == frames.count("2")  # the last frame is whole


def test_inputs_of_one_name_get_files_of_their_own_and_a_command_can_be_repeated(small_world, tmp_path, caplog):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "own.txt").write_text("not ours")
    for _ in range(2):
        for name, count in (("A", 2), ("B", 4)):
            images = tmp_path / name / "img1"
            if not images.exists():
                folder_of_images(images, count)
            assert main(["track", str(images), "--save-txt", "--save-video", "--output", str(tmp_path / "out")]) == 0
    found = {path.name: lines(path)[-1][0] for path in (tmp_path / "out").glob("i*.txt")}
    assert found == {"img1.txt": "2", "img1_2.txt": "4"}
    assert "named img1; these are named img1_2" in caplog.text
    images = folder_of_images(tmp_path / "own")
    assert main(["track", str(images), "--save-txt", "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "own.txt").read_text() == "not ours" and (tmp_path / "out" / "own_2.txt").exists()


def test_a_file_in_the_place_of_the_folder_is_one_sentence(small_world, tmp_path, capsys):
    images = folder_of_images(tmp_path / "frames")
    (tmp_path / "out").write_text("")
    for output in (tmp_path / "out", tmp_path / "out" / "deeper"):
        assert main(["track", str(images), "--save-txt", "--output", str(output)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(tmp_path / "out") in error


def test_the_class_is_in_the_column_that_mot17_has_for_it(small_world, tmp_path, capsys):
    images = folder_of_images(tmp_path / "frames")
    assert main(["track", str(images), "--save-txt", "--output", str(tmp_path)]) == 0
    found = {(line[1], line[7]) for line in lines(tmp_path / "frames.txt")}
    assert {number for _, number in found} == {"1", "3"}  # a pedestrian, a car
    assert all(len(line) == 10 and 0 < float(line[6]) <= 1 for line in lines(tmp_path / "frames.txt"))
    assert "classes: car 8 boxes (class 3), person 4 boxes (class 1)" in capsys.readouterr().out


def test_classes_that_mot17_does_not_know_have_numbers_above_its_own():
    assert class_numbers(("person", "bicycle", "car", "motorcycle", "dog")) == (1, 4, 3, 5, 105)
    assert class_numbers(("Pedestrian", "Cyclist")) == (1, 102)
