# SPDX-License-Identifier: Apache-2.0
"""Frames and objects are told apart by their source's own names: nothing that identifies is made up or rounded."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from centertrack_ros.datasets import coco_video, kitti, mot
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import (
    NO_IDENTITY,
    AnnotatedFrame,
    VideoSequence,
    checked,
    identity_numbers,
    tracks_of,
)
from centertrack_ros.io.errors import DataError

BIG = 2**53


def _document(frames: list[Any], ids: list[Any], **image: Any) -> dict[str, Any]:
    """A video whose images have these `frame_id`s and in each image an object with the label at its place."""
    images = [{"id": n, "video_id": 1, "frame_id": frame, "file_name": f"{n}.jpg"} for n, frame in enumerate(frames)]
    rows = [
        {"id": 90 + n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4], **({} if label is None else label)}
        for n, label in enumerate(ids)
    ]
    return {"images": [i | image for i in images], "annotations": rows, "categories": [{"id": 1, "name": "car"}]}


def _read(folder: Path, document: dict[str, Any]) -> tuple[VideoSequence, ...]:
    (folder / "a.json").write_text(json.dumps(document))
    return coco_video.read_videos(folder / "a.json")


def _ids(sequence: VideoSequence) -> list[int]:
    return [int(frame.tracks.ids[0]) for frame in sequence]


def test_frames_are_numbered_by_the_file_in_any_order(tmp_path: Path) -> None:
    [video] = _read(tmp_path, _document([7, 3, 5], [{"track_id": n} for n in (1, 2, 3)]))
    assert [frame.index for frame in video] == [3, 5, 7] and _ids(video) == [2, 3, 1]
    assert (video.first, video.length) == (3, 5)


def test_without_any_frame_id_the_order_of_the_file_is_taken_and_said(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        [video] = _read(tmp_path, _document([None] * 3, [{"track_id": 1}] * 3))
    assert [frame.index for frame in video] == [1, 2, 3]
    assert "no image has a frame_id: the order of the file is taken" in caplog.text


@pytest.mark.parametrize(
    ("frames", "words"),
    [([1, 2, 2], r"1\.jpg and 2\.jpg both have frame_id 2"), ([1, None, 2], r"1\.jpg has no frame_id, but 0\.jpg has")],
)
def test_a_frame_id_that_is_twice_or_missing_in_part_is_an_error_that_names_both(
    tmp_path: Path, frames: list[Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        _read(tmp_path, _document(frames, [{"track_id": 1}] * 3))


@pytest.mark.parametrize(
    "labels",
    [
        [{"track_id": BIG}, {"track_id": BIG + 1}, {"track_id": BIG}],
        [{"attributes": {"track_id": 4}}, {"attributes": {"track_id": 5}}, {"attributes": {"track_id": 4}}],
        [{"instance_id": 4}, {"instance_id": 5}, {"instance_id": 4}],
        [{"track_id": "a7"}, {"track_id": "b"}, {"track_id": "a7"}],
        [{"track_id": 2**70}, {"track_id": 3}, {"track_id": 2**70}],
    ],
)
def test_objects_are_the_same_if_their_labels_are(tmp_path: Path, labels: list[Any]) -> None:
    [video] = _read(tmp_path, _document([1, 2, 3], labels))
    one, two, three = _ids(video)
    assert one == three != two
    if labels[0].get("track_id") == BIG:
        assert (one, two) == (BIG, BIG + 1)


def test_objects_without_a_label_have_no_identity_and_that_is_said(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        [video] = _read(tmp_path, _document([1, 2], [{}, {"track_id": None}]))
    assert _ids(video) == [NO_IDENTITY] * 2 and "no object has a track_id" in caplog.text
    with caplog.at_level(logging.WARNING):
        [video] = _read(tmp_path, _document([1, 2], [{}, {"track_id": 6}]))
    assert _ids(video) == [NO_IDENTITY, 6] and "1 of 2 objects do not have a track_id" in caplog.text


def test_images_of_cvat_are_one_video_if_objects_are_in_several(tmp_path: Path, caplog: Any) -> None:
    document = _document([None] * 2, [{"attributes": {"track_id": 4}}] * 2, video_id=None)
    with caplog.at_level(logging.WARNING):
        [video] = _read(tmp_path, document)
    assert video.name == "a" and _ids(video) == [4, 4] and "taken as one video" in caplog.text
    stills = _read(tmp_path, _document([None] * 2, [{"track_id": 1}, {"track_id": 2}], video_id=None))
    assert [len(video.frames) for video in stills] == [1, 1]


def test_images_are_found_by_other_spellings_and_their_times_are_read(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.JPG").touch()
    (tmp_path / "pictures" / "._1.jpg").touch()
    document = _document([1, 2], [{"track_id": 1}] * 2)
    for number, image in enumerate(document["images"]):
        image |= {"file_name": f"pictures\\{number}.jpg", "stamp": 5.0 + number}
    [video] = _read(tmp_path, document)
    assert [frame.image and frame.image.name for frame in video] == ["0.JPG", None]
    assert [frame.stamp for frame in video] == [5.0, 6.0]
    document["videos"] = [{"id": 1, "file_name": "v", "fps": 4}]
    [video] = _read(tmp_path, document)
    assert (video.name, video.rate, video.frames[1].stamp) == ("v", 4.0, 0.25)


def test_two_videos_of_one_name_and_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    document = _document([1, 1], [{"track_id": 1}] * 2)
    document["images"][1]["video_id"] = 2
    document["videos"] = [{"id": 1, "file_name": "v"}, {"id": 2, "file_name": "v"}]
    with pytest.raises(DataError, match="two videos are called 'v'"):
        _read(tmp_path, document)
    document["images"][1]["id"] = 0
    with pytest.raises(DataError, match=r"images\[1\]: the id 0 is also that of images\[0\]"):
        _read(tmp_path, document)


def test_numbers_for_labels() -> None:
    assert identity_numbers([3, "5", 2**62]) == {3: 3, "5": 5, 2**62: 2**62}
    for labels in (["01", "1"], ["a", 1], [2**63, 1], ["²", "1"]):
        assert sorted(identity_numbers(labels).values()) == [1, 2]


@pytest.mark.parametrize("first", [BIG, 300_000_000, 2**62])
def test_large_ids_of_text_files_stay_apart(tmp_path: Path, first: int) -> None:
    (tmp_path / "m.txt").write_text(f"1,{first},1,1,5,5,1\n1,{first + 1}.0,9,9,5,5,1\n")
    if first < BIG:
        assert mot.read_results(tmp_path / "m.txt").frames[0].tracks.ids.tolist() == [first, first + 1]
    line = "0 {} Car 0 0 -1.5 50 60 90 100 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n"
    (tmp_path / "k.txt").write_text(line.format(first) + line.format(first + 1))
    assert kitti.read_labels(tmp_path / "k.txt").frames[0].tracks.ids.tolist() == [first, first + 1]


def _sequence(
    ids: list[int], boxes: list[list[float]], scores: list[float] | None = None, stamp: float = 0.0, **others: Any
) -> VideoSequence:
    scores_of = np.array(scores or [1.0] * len(ids))
    tracks = tracks_of(np.array(ids), np.zeros(len(ids), int), scores_of, np.array(boxes, np.float64), **others)
    return VideoSequence("s", ("car",), (AnnotatedFrame(3, stamp, tracks),), 1, 3)


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        (_sequence([4, 4], [[0, 0, 1, 1]] * 2), "s: frame 3, id 4: id 4 appears twice in frame 3"),
        (_sequence([-5], [[0, 0, 1, 1]]), "id -5, expected 0 or more"),
        (_sequence([1], [[9, 0, 1, 1]]), "negative width or height: x1, y1, x2, y2 are 9, 0, 1, 1"),
        (_sequence([1], [[0, 0, math.inf, 1]]), "is not four finite numbers"),
        (_sequence([1], [[math.nan] * 4]), "is not four finite numbers"),
        (_sequence([1], [[0, 0, 1, 1]], dimensions=np.array([[1.5, -1.0, 4.0]])), "frame 3: .* a negative size in m"),
        (_sequence([1], [[0, 0, 1, 1]], stamp=math.inf), "s: frame 3 has no finite time"),
        (_sequence([1], [[0, 0, 1, 1]], [math.nan]), "the score nan is not a finite number"),
    ],
)
def test_what_is_wrong_with_an_object_is_named(sequence: VideoSequence, words: str) -> None:
    with pytest.raises(DataError, match=words):
        checked(sequence, "file.json")


def test_objects_without_identity_pass_through_a_bag(tmp_path: Path) -> None:
    sequence = _sequence([NO_IDENTITY, NO_IDENTITY, 4], [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]])
    write_bag(tmp_path / "bag", {"front": checked(sequence, "x")})
    [again] = read_tracks(tmp_path / "bag").values()
    assert sorted(again.frames[0].tracks.ids.tolist()) == [NO_IDENTITY, NO_IDENTITY, 4]
