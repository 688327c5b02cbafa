# SPDX-License-Identifier: Apache-2.0
"""`centertrack track`: any input in, a MOT file and a video out, and one sentence for each error."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.mot import read_results
from centertrack_ros.io.sources import open_source

CLIP = Path(__file__).parents[2] / "demo" / "pets09_s2l1"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """The clip's first frames as a folder."""
    folder = tmp_path_factory.mktemp("input") / "frames"
    folder.mkdir()
    for index, frame in zip(range(4), open_source(CLIP), strict=False):
        cv2.imwrite(str(folder / f"{index}.png"), frame.image)
    return folder


def track(*arguments: object) -> int:
    return main(["track", *map(str, arguments), "--threads", "1"])


def test_a_bag_gives_tracks_and_a_video(tmp_path, capsys):
    assert track(CLIP, "--frames", 6, "--classes", "person", "--save-txt", "--save-video", "--output", tmp_path) == 0
    found = read_results(tmp_path / "pets09_s2l1.txt")
    assert [frame.index for frame in found] == [1, 2, 3, 4, 5, 6]
    # Three people are in view, apart from each other: each keeps its id.
    assert {tuple(sorted(frame.tracks.ids.tolist())) for frame in found} == {(1, 2, 3)}
    video = open_source(tmp_path / "pets09_s2l1.webm")
    assert sum(1 for _ in video) == 6 and video.rate == pytest.approx(7.0, rel=0.02)
    printed = capsys.readouterr().out
    assert "6 frames, 3 tracks, 18 boxes" in printed and str(tmp_path / "pets09_s2l1.webm") in printed


def test_the_same_images_give_the_same_tracks_from_a_folder(images, tmp_path):
    for name in ("first", "second"):
        assert track(images, "--rate", 7, "--save-txt", "--output", tmp_path / name) == 0
    assert (tmp_path / "first" / "frames.txt").read_bytes() == (tmp_path / "second" / "frames.txt").read_bytes()
    assert len(read_results(tmp_path / "first" / "frames.txt").frames) == 4


def test_a_camera_makes_3d_boxes_and_they_are_drawn(images, tmp_path):
    for name, more in (("boxes2d", []), ("boxes3d", ["--camera", "1185,1194.6,324.2,282.6", "--draw-3d"])):
        assert track(images, "--frames", 1, "--save-video", "--output", tmp_path / name, *more) == 0
    boxes2d, boxes3d = (
        next(iter(open_source(tmp_path / name / "frames.webm"))).image for name in ("boxes2d", "boxes3d")
    )
    assert np.abs(boxes2d.astype(int) - boxes3d).max() > 60


def test_nothing_is_written_that_was_not_requested(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert track(images, "--frames", 1) == 0
    assert not list(tmp_path.iterdir()) and "--save-txt" in capsys.readouterr().out


def test_a_broken_image_is_left_out_and_the_rest_is_tracked(images, tmp_path):
    for file in images.iterdir():
        (tmp_path / file.name).write_bytes(b"" if file.name == "1.png" else file.read_bytes())
    assert track(tmp_path, "--save-txt", "--output", tmp_path / "out") == 0
    found = read_results(next((tmp_path / "out").glob("*.txt")))
    assert [frame.index for frame in found] == [1, 3, 4]  # of 0.png, 2.png and 3.png: its number is its own


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        ([CLIP, "--topic", "/rear"], "no topic '/rear'"),
        ([CLIP, "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        ([CLIP, "--classes", "unicorn"], "unicorn"),
        ([CLIP, "--frames", "0"], "--frames must be at least 1"),
        ([CLIP, "--new-threshold", "7"], "new_threshold must be between"),
    ],
)
def test_every_error_is_one_sentence(arguments, words, capsys):
    assert track(*arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error and error.startswith("centertrack track: ")


@pytest.mark.parametrize("option", [["--camera", "1,2,3"], ["--camera", "0,1,2,3"], ["--input-size", "100x100"]])
def test_malformed_options_say_what_was_expected(option, capsys):
    with pytest.raises(SystemExit) as stop:
        track(CLIP, *option)
    assert stop.value.code == 2 and option[1] in capsys.readouterr().err


DET = "".join(f"{frame},-1,{100 + 9 * frame},50,40,80,0.9,-1,-1,-1\n" for frame in range(1, 5))


@pytest.mark.parametrize("source", [["--weights", "none"], [], ["--detector-source", "both"]])
def test_detections_of_a_file_are_tracked_with_a_network_and_without(images, tmp_path, source):
    (tmp_path / "det.txt").write_text(DET)
    options = ["--rate", 7, "--save-txt", "--output", tmp_path, "--detections", tmp_path / "det.txt", *source]
    assert track(images, *options) == 0
    found = read_results(tmp_path / "frames.txt")
    given = [{tuple(box) for box in frame.tracks.detections.boxes.round(2).tolist()} for frame in found]
    assert all((100 + 9 * n, 50, 140 + 9 * n, 130) in boxes for n, boxes in enumerate(given, start=1))
    (number,) = {
        int(frame.tracks.ids[frame.tracks.detections.boxes[:, 0].round(2) == 100 + 9 * frame.index][0])
        for frame in found
    }
    assert number > 0 and all((len(boxes) > 1) == ("both" in source) for boxes in given)


def test_public_detections_only_let_tracks_begin(images, tmp_path):
    """The network's boxes, of people at whom the file points; nobody where it points at nothing."""
    for name, text in (("all", "1,-1,0,0,768,576,1\n"), ("none", "1,-1,0,0,9,9,1\n")):
        (tmp_path / f"{name}.txt").write_text(text)
        options = ["--detections", tmp_path / f"{name}.txt", "--detector-source", "public"]
        assert track(images, "--rate", 7, "--save-txt", "--output", tmp_path / name, *options) == 0
    assert not any(len(frame.tracks) for frame in read_results(tmp_path / "none" / "frames.txt").frames[1:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--detections", "nowhere.txt"], "nowhere.txt: no such file of detections"),
        (["--detector-source", "public"], "--detector-source public needs --detections"),
        (["--weights", "none"], "without a network (weights 'none') another detector must find the objects"),
    ],
)
def test_detections_that_are_not_there_are_one_sentence(images, capsys, arguments, words):
    assert track(images, *arguments) == 1
    assert words in capsys.readouterr().err
