# SPDX-License-Identifier: Apache-2.0
"""Which image comes before another, and which object is which, is learnt from the file's own names or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from centertrack_ros.io.errors import DataError
from centertrack_ros.training.augmentation import NO_AUGMENTATION
from centertrack_ros.training.recipe import DataEntry
from centertrack_ros.training.samples import TrackingSamples
from centertrack_ros.training.sources import load
from support.moving_square import PROFILE, read_images, write_moving_square
from support.training_sets import CLASSES, WRITERS, truth


def _changed(folder: Path, change: Any) -> Path:
    """The moving square with every image entry and annotation changed: `change(entry, number)`."""
    write_moving_square(folder)
    document = json.loads((folder / "annotations.json").read_text())
    for number, entry in enumerate(document["images"]):
        change(entry, number)
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def _labelled(folder: Path, label: Any) -> Path:
    write_moving_square(folder)
    document = json.loads((folder / "annotations.json").read_text())
    for number, entry in enumerate(document["annotations"]):
        del entry["track_id"]
        entry |= label(number)
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def _previous(folder: Path) -> list[int]:
    """Number of the previous image of each image."""
    samples = TrackingSamples([read_images(folder)], PROFILE, NO_AUGMENTATION)
    return [samples.previous_of(number, np.random.default_rng(0)) for number in range(len(samples))]


@pytest.mark.parametrize("absent", ["missing", "null"])
def test_without_any_frame_id_the_image_before_is_the_one_before_in_the_file(
    tmp_path: Path, caplog: Any, absent: str
) -> None:
    def change(entry: dict[str, Any], number: int) -> None:
        del entry["frame_id"]
        entry |= {"frame_id": None} if absent == "null" else {}

    assert _previous(_changed(tmp_path / "v", change)) == [0, 0, 1, 2, 3, 4]
    assert "no image has a frame_id: the order of the file is taken" in caplog.text


@pytest.mark.parametrize(
    ("frame", "words"),
    [(lambda n: n // 2, r"0\.png and 1\.png both have frame_id 0"), (lambda n: n or None, r"0\.png has no frame_id")],
)
def test_a_frame_id_that_is_twice_or_missing_in_part_is_an_error(tmp_path: Path, frame: Any, words: str) -> None:
    folder = _changed(tmp_path / "v", lambda entry, number: entry.update(frame_id=frame(number)))
    with pytest.raises(DataError, match=words):
        read_images(folder)


@pytest.mark.parametrize(
    "label",
    [
        lambda n: {"track_id": 2**53 + n % 2},
        lambda n: {"track_id": ("a7", "b")[n % 2]},
        lambda n: {"attributes": {"track_id": n % 2}},
        lambda n: {"instance_id": n % 2},
    ],
)
def test_objects_are_the_same_if_their_labels_are(tmp_path: Path, label: Any) -> None:
    found = read_images(_labelled(tmp_path / "v", label))
    ids = [int(image.track_ids[0]) for image in found.images]
    assert ids[0] == ids[2] == ids[4] != ids[1] == ids[3] and min(ids) >= 0 and not found.problems


def test_objects_without_labels_are_strangers_to_each_other(tmp_path: Path, caplog: Any) -> None:
    found = read_images(_labelled(tmp_path / "v", lambda n: {}))
    ids = [int(image.track_ids[0]) for image in found.images]
    assert len(set(ids)) == len(ids) and max(ids) < 0
    assert "no object of its videos has a track_id" in caplog.text


def test_images_that_are_missing_are_counted_and_none_is_an_error(tmp_path: Path) -> None:
    folder = write_moving_square(tmp_path / "v")
    (folder / "images" / "2.png").unlink()
    (folder / "images" / "3.png").rename(folder / "images" / "3.PNG")
    found = read_images(folder)
    assert found.problems == {"missing image": 1} and len(found.images) == 5
    for file in (folder / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="none of its 6 images is in"):
        read_images(folder)


def _entry(kind: str, folder: Path) -> DataEntry:
    return WRITERS[kind](truth(folder / "images"), folder)


def test_a_set_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    entry = _entry("coco_video", tmp_path)
    file = Path(entry.annotations)
    document = json.loads(file.read_text())
    for row in document["annotations"]:
        row["bbox"] = [0, 0, 0, 0]
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match="no annotation can be used"):
        load(entry, CLASSES)
    file.write_text(json.dumps({**document, "images": []}))
    with pytest.raises(DataError, match="no images"):
        load(entry, CLASSES)


def test_labels_of_yolo_in_another_folder_or_encoding(tmp_path: Path) -> None:
    entry = _entry("yolo", tmp_path)
    for file in Path(entry.labels).iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
        file.rename(file.with_suffix(".TXT"))
        file.with_name(f"._{file.name}").write_bytes(b"\0")
    assert [len(image.boxes) for image in load(entry, CLASSES).images] == [2, 2, 2]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no label file NAME\.txt of any of the 3 images"):
        load(DataEntry("yolo", images=entry.images, labels=str(tmp_path / "empty"), names=CLASSES), CLASSES)


def test_samples_of_nuscenes_without_tracks_have_no_objects_in_common(tmp_path: Path, caplog: Any) -> None:
    entry = _entry("nuscenes", tmp_path)
    document = json.loads(Path(entry.annotations).read_text())
    for sample in document["data_list"]:
        for row in sample["cam_instances"]["CAM_FRONT"]:
            del row["track_id"]
    Path(entry.annotations).write_text(json.dumps(document))
    ids = [number for image in load(entry, CLASSES).images for number in image.track_ids.tolist()]
    assert len(set(ids)) == 6 and max(ids) < 0
    assert "6 of 6 objects have no instance_token or track_id" in caplog.text
