# SPDX-License-Identifier: Apache-2.0
"""Folders of images and animated images: numbers and times come from the source, and what is lost is said."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import frame_numbers
from centertrack_ros.io.sources import open_source


def gray(value: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def fill(folder: Path, names: Iterable[str]) -> Path:
    """Writes grey images; the grey value is the place in `names`."""
    folder.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, gray(value))[1].tobytes())
    return folder


def numbers(names: Iterable[str]) -> list[int] | None:
    return frame_numbers([Path(name) for name in names])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["000008.jpg", "000009.jpg", "000011.jpg"], [8, 9, 11]),
        (["000000.jpg", "000001.jpg"], [1, 2]),  # MOTChallenge counts from 1
        (["cam2_1_rgb8.png", "cam2_7_rgb8.png"], [1, 7]),
        (["2024-01-01_0001.png", "2024-01-02_0002.png"], [1, 2]),
        (["1.jpg", "1.png", "2.png"], None),  # the same number twice
        (["1.jpg", "cover.jpg"], None),
        (["1700000000000000000.jpg", "1700000000033333333.jpg"], None),  # times in ns
        (["10-20-59.jpg", "10-21-00.jpg"], [20, 21]),
        (["a.jpg", "b.jpg"], None),
    ],
)
def test_the_numbers_of_frames_are_those_in_the_names(names, expected):
    assert numbers(names) == expected


@given(
    first=st.integers(1, 10**6), steps=st.lists(st.integers(1, 9), max_size=8), prefix=st.sampled_from(["", "f_", "7-"])
)
def test_any_rising_numbers_are_taken_as_they_are(first, steps, prefix):
    expected = [first + sum(steps[:count]) for count in range(len(steps) + 1)]
    assert numbers(f"{prefix}{number}.png" for number in expected) == expected


def test_an_unreadable_image_shifts_no_other(tmp_path, caplog):
    folder = fill(tmp_path / "f", [f"{number:06d}.png" for number in range(8, 14)])
    (folder / "000010.png").write_bytes((folder / "000010.png").read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(folder, rate=2.0))
    assert [frame.index for frame in frames] == [8, 9, 11, 12, 13]
    assert [frame.stamp for frame in frames] == [0.0, 0.5, 1.5, 2.0, 2.5]
    assert [int(frame.image.mean()) for frame in frames] == [0, 1, 3, 4, 5]
    assert "frame 10: 000010.png: not a complete image" in caplog.text
    assert "1 of 6 frames left out" in caplog.text


def test_names_without_numbers_are_counted_and_that_is_said(tmp_path, caplog):
    folder = fill(tmp_path / "f", ["a.png", "b.png", "c.png"])
    (folder / "b.png").unlink()
    (folder / "b.png").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        assert [frame.index for frame in open_source(folder, rate=1.0)] == [1, 3]
    assert "names do not number the images" in caplog.text
    assert "b.png: a link that leads nowhere; left out" in caplog.text


def test_a_link_that_leads_nowhere_does_not_spoil_the_numbers(tmp_path, caplog):
    folder = fill(tmp_path / "f", ["a8.png", "a9.png", "a11.png"])
    (folder / "cover.png").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        assert [frame.index for frame in open_source(folder, rate=1.0)] == [8, 9, 11]
    assert "cover.png: a link that leads nowhere; left out" in caplog.text


def test_a_hole_in_the_numbers_is_one_in_time_but_a_fixed_step_is_none(tmp_path):
    hole = open_source(fill(tmp_path / "hole", ["1.png", "2.png", "5.png"]), rate=10.0)
    assert [frame.stamp for frame in hole] == pytest.approx([0.0, 0.1, 0.4])
    each_tenth = open_source(fill(tmp_path / "tenth", ["0.png", "10.png", "20.png", "40.png"]), rate=10.0)
    assert [frame.stamp for frame in each_tenth] == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert each_tenth.rate == 10.0


@pytest.mark.parametrize(("mark", "key"), [("", "frameRate"), ("\ufeff", "framerate")])
def test_a_sequence_of_motchallenge_tells_its_rate(tmp_path, caplog, mark, key):
    folder = fill(tmp_path / "img1", ["000001.png", "000002.png", "000004.png"])
    (tmp_path / "seqinfo.ini").write_text(f"{mark}[Sequence]\nname=50%\n{key}=25\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        source = open_source(folder)
    assert [frame.stamp for frame in source] == pytest.approx([0.0, 0.04, 0.12])
    assert not caplog.records
    assert [frame.stamp for frame in open_source(folder, rate=1.0)] == [0.0, 1.0, 3.0]


@pytest.mark.parametrize(
    "text", ["", "junk", "[Sequence]\nname=x\n", "[Sequence]\nframeRate=0\n", "[Sequence]\nframeRate=nan\n"]
)
def test_a_rate_that_nobody_tells_is_a_note(tmp_path, caplog, text):
    folder = fill(tmp_path / "img1", ["000001.png", "000002.png"])
    (tmp_path / "seqinfo.ini").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert open_source(folder).rate == 10.0
    assert "nothing tells its rate: 10 frames/s are assumed" in caplog.text
    assert "seqinfo.ini" in caplog.text


def test_hidden_files_are_none_of_the_users_and_the_rest_is_named(tmp_path, caplog):
    folder = fill(tmp_path / "f", ["1.PNG", "2.png", "3.png"])
    for name in ("._1.png", ".DS_Store", "Thumbs.db", ".hidden.png"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "4.png").mkdir()
    (folder / "5.png").symlink_to("5.png")
    os.mkfifo(folder / "6.png")
    (folder / "7.png").symlink_to("/dev/zero")
    (folder / "8.png").touch()
    with caplog.at_level(logging.WARNING):
        assert [frame.index for frame in open_source(folder, rate=1.0)] == [1, 2, 3]
    for words in (
        "4.png: a folder",
        "frame 5: 5.png: cannot be read",
        "6.png: a pipe or device",
        "7.png: a pipe or device",
    ):
        assert words in caplog.text
    assert "8.png: an empty file" in caplog.text and "4 of 7 frames left out" in caplog.text
    assert "._1" not in caplog.text and ".hidden" not in caplog.text


def test_names_that_are_not_utf8_are_read(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr"))
    fill(folder, ["1.png"])
    (folder / "1.png").rename(folder / os.fsdecode(b"\xe41.png"))
    assert [frame.index for frame in open_source(folder)] == [1]


def test_a_folder_in_which_nothing_can_be_read_is_an_error(tmp_path):
    (tmp_path / "f").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "f" / name).write_text("text")
    with pytest.raises(ValueError, match=r"not one image here can be read; the last: frame 2: 2\.png: not an image"):
        list(open_source(tmp_path / "f"))
    with pytest.raises(DataError, match=r"1\.png: not an image that OpenCV or Pillow can read"):
        list(open_source(tmp_path / "f" / "1.png"))


def test_a_folder_without_images_names_what_may_be_meant(tmp_path):
    fill(tmp_path / "img1", ["1.png"])
    with pytest.raises(ValueError, match="there are images in img1; name one"):
        open_source(tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    with pytest.raises(ValueError, match=r"there are videos: a\.mp4; name one"):
        open_source(tmp_path / "videos")
    (tmp_path / "bags" / "drive").mkdir(parents=True)
    (tmp_path / "bags" / "drive" / "drive_0.mcap").touch()
    (tmp_path / "bags" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"there are bags: drive; name one"):
        open_source(tmp_path / "bags")


DURATIONS = [100, 100, 500, 100]


def animation(path: Path, **options: object) -> Path:
    first, *others = [Image.fromarray(gray(60 * number)) for number in range(4)]
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
def test_an_animated_image_is_a_video_with_its_own_times(tmp_path, suffix):
    source = open_source(animation(tmp_path / f"a{suffix}", duration=DURATIONS))
    frames = list(source)
    assert source.length == 4 and source.rate == pytest.approx(5.0)
    assert [frame.index for frame in frames] == [1, 2, 3, 4]
    assert [frame.stamp for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.7])
    assert np.allclose([frame.image.mean() for frame in frames], [0, 60, 120, 180], atol=3)
    assert [frame.stamp for frame in open_source(tmp_path / f"a{suffix}", rate=2.0)] == [0.0, 0.5, 1.0, 1.5]


def test_frames_without_a_duration_do_not_spoil_the_others(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        source = open_source(animation(tmp_path / "a.png", duration=[100, 0, 500, 100]))
    assert [frame.stamp for frame in source] == pytest.approx([0.0, 0.1, 0.2, 0.7])
    assert "nothing tells its rate" in caplog.text


def test_the_pages_of_a_tiff_are_frames_without_times(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(animation(tmp_path / "a.tif")))
    assert [frame.stamp for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert "nothing tells its rate" in caplog.text
    deep = [Image.fromarray(np.full((4, 5), value << 8, np.uint16)) for value in (10, 200)]
    deep[0].save(tmp_path / "deep.tif", save_all=True, append_images=deep[1:])
    assert [int(frame.image.mean()) for frame in open_source(tmp_path / "deep.tif")] == [10, 200]


def test_an_animation_in_a_folder_is_one_frame_and_that_is_said(tmp_path, caplog):
    animation(tmp_path / "1.webp", duration=100)
    animation(tmp_path / "2.webp", duration=100)
    with caplog.at_level(logging.WARNING):
        assert len(list(open_source(tmp_path, rate=1.0))) == 2
    assert "2 images have several frames; the first of each was taken" in caplog.text


def test_an_animation_cut_short_gives_what_is_left(tmp_path, caplog):
    raw = animation(tmp_path / "a.png", duration=100).read_bytes()
    (tmp_path / "b.png").write_bytes(raw[: raw.rindex(b"fdAT") + 10])
    with caplog.at_level(logging.WARNING):
        assert [frame.index for frame in open_source(tmp_path / "b.png")] == [1, 2, 3]
    assert "frame 4 cannot be decoded" in caplog.text and "1 of 4 frames left out" in caplog.text


def test_an_animation_of_absurd_size_is_not_decoded(tmp_path):
    raw = bytearray(animation(tmp_path / "a.webp", duration=100).read_bytes())
    raw[24:30] = b"\xff\x3f\x00" * 2  # the canvas of VP8X: 16384 x 16384
    (tmp_path / "a.webp").write_bytes(raw)
    with pytest.raises(DataError, match=r"too large an image"):
        list(open_source(tmp_path / "a.webp"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_of_any_size_and_kind_are_read_and_bombs_are_not(tmp_path, caplog):
    Image.fromarray(gray(70)).convert("CMYK").save(tmp_path / "1.jpg")
    Image.fromarray(np.full((3, 4), 70 << 8, np.uint16)).save(tmp_path / "2.png")
    Image.fromarray(gray(70, (1, 1))).convert("LA").save(tmp_path / "3.png")
    Image.fromarray(gray(70, (30, 5))).quantize().save(tmp_path / "4.png")
    Image.fromarray(gray(70)).convert("RGBA").save(tmp_path / "5.webp")
    Image.new("1", (11_000, 11_000)).save(tmp_path / "6.tif", compression="group4")
    png = io.BytesIO()
    Image.new("1", (11_000, 11_000)).save(png, "PNG")
    (tmp_path / "7.png").write_bytes(png.getvalue())
    Image.fromarray(np.full((3, 4), 0.5, np.float32)).save(tmp_path / "8.tif")
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(tmp_path, rate=1.0))
    assert [frame.index for frame in frames] == [1, 2, 3, 4, 5]
    assert np.allclose([frame.image.mean() for frame in frames], 70, atol=2)
    for words in (
        "6.tif: too large an image",
        "7.png: too large an image: 11000x11000 px",
        "8.tif: not an image that can",
    ):
        assert words in caplog.text
