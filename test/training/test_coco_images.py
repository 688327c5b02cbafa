# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON as training data: what is wrong in it is counted and not learnt."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from centertrack_ros.io.errors import DataError
from centertrack_ros.training.augmentation import NO_AUGMENTATION
from centertrack_ros.training.samples import TrackingSamples
from support.moving_square import HEADS, PROFILE, read_images, write_moving_square


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [500, 20, 5, 5]}, "box outside the image"),
        ({"bbox": [10, 20, float("nan"), 5]}, "box that is not a number"),
        ({"bbox": [10, 20, 0, 5]}, "box without area"),
        ({"category_id": 77}, "unknown category"),
        ({"bbox": [10, 20, 1.7e308, 5]}, "box that is not a number"),
        ({"bbox": None}, "annotation without a box of four numbers or a category"),
        ({"bbox": [10, 20, 5]}, "annotation without a box of four numbers or a category"),
        ({"bbox": [10, 20, "wide", 5]}, "annotation without a box of four numbers or a category"),
        ({"category_id": [1]}, "annotation without a box of four numbers or a category"),
        ({"category_id": None, "iscrowd": 1}, "annotation without a box of four numbers or a category"),
        ({"image_id": 1234}, "annotation of an unknown image"),
        ({"image_id": [2]}, "annotation of an unknown image"),
    ],
)
def test_a_bad_annotation_is_left_out_and_counted(tmp_path, change, problem):
    folder = write_moving_square(tmp_path / "v")
    document = json.loads((folder / "annotations.json").read_text())
    document["annotations"][2].update(change)
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read_images(folder)
    assert found.problems == {problem: 1}
    sample = TrackingSamples([found], PROFILE, NO_AUGMENTATION)[2]
    assert sample["mask"].sum() == 0 and all(torch.isfinite(value.float()).all() for value in sample.values())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"depth": 1.7976931348623157e308}, "depth that is not a positive number"),
        ({"depth": "n/a"}, "depth that is not a positive number"),
        ({"dim": [[1.0], [1.0, 2.0]]}, "dim that is not a positive number"),
        ({"velocity": [1e39, 0, 0]}, "velocity that is not a number"),
        ({"alpha": "left"}, "alpha that is not a number"),
        ({"track_id": "car_7"}, "track_id that is not a number"),
        ({"track_id": 2**70}, "track_id that is not a number"),
        ({"depth": 10**400}, "depth that is not a positive number"),
        ({"keypoints": "none"}, "keypoints that are not numbers"),
        ({"velocity": None, "alpha": float("nan")}, ""),
    ],
)
def test_an_unusable_value_is_unknown_and_the_box_is_kept(tmp_path, change, problem):
    folder = write_moving_square(tmp_path / "v", extra={"depth": 10.0, "dim": [1.5, 1.6, 4.0], "velocity": [1, 0, 2]})
    document = json.loads((folder / "annotations.json").read_text())
    document["annotations"][2].update(change)
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read_images(folder)
    assert found.problems == ({problem: 1} if problem else {})
    profile = replace(PROFILE, heads={**HEADS, "dep": 1, "dim": 3, "velocity": 3, "rot": 8})
    sample = TrackingSamples([found], profile, NO_AUGMENTATION)[2]
    assert sample["mask"].sum() == 1 and all(torch.isfinite(value.float()).all() for value in sample.values())
    (key,) = list(change)[:1]
    head = {"depth": "dep", "track_id": "tracking"}.get(key, key)
    if f"{head}_mask" in sample:
        assert not sample[f"{head}_mask"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["images"][1].update(id=0), "two images have the id 0"),
        (lambda d: d.update(images=None), "not a COCO annotation file"),
        (lambda d: d["annotations"].append(7), "not a COCO annotation file"),
        (lambda d: [image.pop("height") for image in d["images"]], "no image has a file_name"),
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error_with_its_name(tmp_path, change, message):
    folder = write_moving_square(tmp_path / "v")
    document = json.loads((folder / "annotations.json").read_text())
    change(document)
    (folder / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"annotations\.json: {message}"):
        read_images(folder)


def test_an_image_of_no_video_is_a_static_one(tmp_path):
    folder = write_moving_square(tmp_path / "v")
    document = json.loads((folder / "annotations.json").read_text())
    document["images"][2].update(video_id=None, frame_id=None)
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read_images(folder)
    assert [image.video for image in found.images] == [0, 0, -1, 0, 0, 0] and not found.problems


@pytest.mark.parametrize("focal", [-700.0, 0.0, float("nan"), "long", [700.0]])
def test_a_camera_without_a_focal_length_is_not_calibrated(tmp_path, focal):
    folder = write_moving_square(tmp_path / "v", extra={"depth": 10.0})
    document = json.loads((folder / "annotations.json").read_text())
    document["images"][2]["calib"] = [[focal, 0, 45, 0], [0, 700, 30, 0], [0, 0, 1, 0]]
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read_images(folder)
    assert found.images[2].focal is None
    assert found.problems == {"calib that does not begin with a focal length": 1}


def test_classes_are_mapped_by_name_in_any_case(tmp_path):
    folder = write_moving_square(tmp_path / "v")
    text = (folder / "annotations.json").read_text()
    for name, wanted in (("Car", 0), ("Pedestrian", 1), ("PERSON", 1)):
        (folder / "annotations.json").write_text(text.replace('"car"', f'"{name}"'))
        found = read_images(folder)
        assert found.images[0].class_ids.tolist() == [wanted] and found.unlabelled.tolist() == [1 - wanted]


def test_unusable_3d_values_are_unknown(tmp_path):
    folder = write_moving_square(
        tmp_path / "v", extra={"depth": float("nan"), "dim": [0.0, 1.0, 1.0], "alpha": "none" and 0.2}
    )
    image = read_images(folder).images[0]
    assert np.isnan(image.depths).all() and np.isnan(image.dimensions).all() and image.alphas[0] == 0.2
