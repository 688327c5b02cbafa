# SPDX-License-Identifier: Apache-2.0
"""Folders of data sets: images are found and numbered by their names, and what a file does not tell is not made up."""

from __future__ import annotations

import codecs
import logging
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from centertrack_ros.datasets import kitti, mot
from centertrack_ros.datasets.image_names import ImageFinder, numbered_images
from centertrack_ros.datasets.registry import DatasetLocation, read_dataset
from centertrack_ros.io.errors import DataError

LINE = "{} 1 Car 0 0 -1.5 50 60 90 100 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n"


def _mot(folder: Path, names: list[str], frames: list[int], info: str = "frameRate=7\n", images: str = "img1") -> Path:
    (folder / images).mkdir(parents=True)
    (folder / "gt").mkdir()
    for name in names:
        cv2.imwrite(str(folder / images / name), np.zeros((8, 8, 3), np.uint8))
    (folder / "gt" / "gt.txt").write_text("".join(f"{frame},1,0,0,4,4,1,1,1\n" for frame in frames))
    (folder / "seqinfo.ini").write_text(f"[Sequence]\n{info}")
    return folder


def _found(folder: Path) -> list[tuple[int, str, int]]:
    """(frame, image, objects) of a MOT folder."""
    return [(f.index, f.image.name if f.image else "", len(f.tracks)) for f in mot.read_sequence(folder)]


@pytest.mark.parametrize("ini", ["imExt=.jpg\n", "imDir=frames\n", ""])
def test_images_in_another_case_or_folder_are_found_and_hidden_files_are_none(tmp_path: Path, ini: str) -> None:
    place = "frames" if "imDir" in ini else "img1"
    folder = _mot(tmp_path / "s", ["000001.JPG", "000002.JPG"], [1, 2], ini, place)
    (folder / place / "._000001.JPG").write_bytes(b"\0")
    assert _found(folder) == [(1, "000001.JPG", 1), (2, "000002.JPG", 1)]


@pytest.mark.parametrize(
    ("names", "frames", "expected"),
    [
        (["000008.png", "000010.png"], [8, 10], [(8, "000008.png", 1), (10, "000010.png", 1)]),
        (["000000.png", "000001.png"], [1, 2], [(1, "000000.png", 1), (2, "000001.png", 1)]),
        (["000000.png", "000001.png"], [0, 1], [(0, "000000.png", 1), (1, "000001.png", 1)]),
        (["frame_000007.png", "frame_000009.png"], [7], [(7, "frame_000007.png", 1), (9, "frame_000009.png", 0)]),
    ],
)
def test_each_image_gets_the_truth_of_its_own_number(
    tmp_path: Path, names: list[str], frames: list[int], expected: list[Any]
) -> None:
    assert _found(_mot(tmp_path / "s", names, frames)) == expected


def test_truth_without_an_image_is_counted(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(_found(_mot(tmp_path / "s", ["000002.png"], [1, 2, 3]))) == 1
    assert "2 frames of the truth have no image" in caplog.text


def test_a_rate_that_nobody_tells_is_unknown(tmp_path: Path) -> None:
    told = mot.read_sequence(_mot(tmp_path / "a", ["000001.png", "000002.png"], [1, 2]))
    assert told.rate == 7.0 and told.frames[1].stamp == pytest.approx(1 / 7)
    silent = mot.read_sequence(_mot(tmp_path / "b", ["000001.png", "000002.png"], [1, 2], ""))
    assert silent.rate is None and all(math.isnan(frame.stamp) for frame in silent)
    assert silent.at_rate(4.0).frames[1].stamp == 0.25
    for value in ("0", "-3", "nan", "fast"):
        (tmp_path / "b" / "seqinfo.ini").write_text(f"[Sequence]\nframeRate={value}\n")
        with pytest.raises(DataError, match=f"frameRate is '{value}', expected a number above 0"):
            mot.read_sequence(tmp_path / "b")


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, mark: bytes) -> None:
    folder = _mot(tmp_path / "s", ["000001.png"], [1], "frameRate=7\nname=100%\n")
    encoding = "utf-8" if mark == codecs.BOM_UTF8 else "utf-16-le"
    for file in (folder / "seqinfo.ini", folder / "gt" / "gt.txt"):
        file.write_bytes(mark + file.read_text().replace("\n", "\r\n").encode(encoding))
    sequence = mot.read_sequence(folder)
    assert (sequence.name, sequence.rate) == ("100%", 7.0) and len(sequence.frames[0].tracks) == 1


def test_images_of_kitti_in_upper_case_and_hidden_labels(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "image_02" / "0001").mkdir(parents=True)
    (tmp_path / "label_02").mkdir()
    cv2.imwrite(str(tmp_path / "image_02" / "0001" / "000010.PNG"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "label_02" / "0001.txt").write_text(LINE.format(10) + LINE.format(11))
    (tmp_path / "label_02" / "._0001.txt").write_bytes(b"\0\1")
    with caplog.at_level(logging.WARNING):
        [sequence] = read_dataset("kitti", DatasetLocation(tmp_path))
    assert [(f.index, bool(f.image), len(f.tracks)) for f in sequence] == [(10, True, 1), (11, False, 1)]
    assert "1 frames of the labels have no image" in caplog.text


def test_two_images_of_one_number_and_names_without_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    (tmp_path / "000001.jpg").touch()
    with pytest.raises(DataError, match="is frame 1, and so is"):
        numbered_images(tmp_path)
    assert [path.name for path in numbered_images(tmp_path, ".PNG").values()] == ["1.png"]
    (tmp_path / "000001.jpg").rename(tmp_path / "cover.jpg")
    with pytest.raises(DataError, match=r"cover\.jpg: an image's name must be its frame number"):
        numbered_images(tmp_path)


def test_names_that_are_none_find_nothing(tmp_path: Path) -> None:
    finder = ImageFinder(tmp_path)
    assert [finder.find(name) for name in ("", ".", "a\0b", "../x.jpg", "no/where.jpg")] == [None] * 5


def test_boxes_that_are_turned_over_are_counted_or_refused(tmp_path: Path, caplog: Any) -> None:
    good = "".join(LINE.format(frame) for frame in range(199))
    turned = LINE.format(199).replace("50 60 90", "90 60 50")
    (tmp_path / "a.txt").write_text(good + turned)
    with caplog.at_level(logging.WARNING):
        assert kitti.read_labels(tmp_path / "a.txt").length == 200
    assert "1 of 200 boxes have a negative width or height" in caplog.text
    (tmp_path / "b.txt").write_text(turned)
    with pytest.raises(DataError, match=r"b\.txt:1: negative width or height"):
        kitti.read_labels(tmp_path / "b.txt")


@pytest.mark.parametrize("text", ["1,1,0,0,4,4,0.5\n2,1,0,0,4,4\n", "1,1,0,0,4,4\n2,1,0,0,4,4,0.5\n"])
def test_a_score_that_a_part_of_the_lines_has_is_not_made_up(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match="does not have a score, others have one"):
        mot.read_results(tmp_path / "a.txt")


def test_a_sequence_map_names_each_recording_once(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("0001 empty 0 5\n0001 empty 0 6\n")
    with pytest.raises(DataError, match="m:2: sequence 0001 is there twice"):
        kitti.read_seqmap(tmp_path / "m")


def test_a_projection_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("P0: 1\nP2: -7 0 6 4 0 7 1 0 0 0 1 0\n")
    with pytest.raises(DataError, match=r"c\.txt:2: .*focal lengths must be positive"):
        kitti.read_calibration(tmp_path / "c.txt")
