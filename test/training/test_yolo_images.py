# SPDX-License-Identifier: Apache-2.0
"""Static images with YOLO's text files."""

import cv2
import numpy as np
import pytest
import torch

from centertrack_ros.io.errors import DataError
from centertrack_ros.training.augmentation import Augmentation
from centertrack_ros.training.samples import TrackingSamples
from centertrack_ros.training.yolo_images import read_yolo
from support.moving_square import PROFILE


def test_yolo_images_are_static_and_their_unlabelled_classes_are_ignored(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((60, 90, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("2 0.5 0.5 0.2 0.4\n9 0.5 0.5 0.1 0.1\n")
    found = read_yolo(tmp_path / "images", tmp_path / "labels", ("x", "y", "Car"), PROFILE.classes, {"Car": "car"})
    np.testing.assert_allclose(found.images[0].boxes, [[36, 18, 54, 42]])
    assert found.problems == {"unknown category": 1} and found.unlabelled.tolist() == [1]
    sample = TrackingSamples([found], PROFILE, Augmentation(color=0, lighting=0, lost=0, crop=False))[0]
    assert torch.all(sample["hm"][1] == 1) and sample["hm"][0].min() == 0
    assert sample["tracking_mask"].sum() == 2  # a static image is its own previous frame
    for row in ("2 0.5 0.5 wide 0.4", "2 0.5 0.5 0.4", "inf 0.5 0.5 0.2 0.4", "2 .1 .1 .2 .2 .3 .3 .4"):
        (tmp_path / "labels" / "a.txt").write_text(f"{row}\n")
        with pytest.raises(DataError, match=r"a\.txt:1"):
            read_yolo(tmp_path / "images", tmp_path / "labels", ("x", "y", "Car"), PROFILE.classes, {"Car": "car"})


def test_yolo_rows_may_have_a_score_or_be_polygons_and_count_from_0(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((100, 100, 3), np.uint8))
    rows = ("0 .5 .5 .2 .4 .9", "0 .1 .1 .9 .1 .9 .2 .1 .2", "-1 .5 .5 .2 .4")
    (tmp_path / "labels" / "a.txt").write_text("\n".join(rows))
    found = read_yolo(tmp_path / "images", tmp_path / "labels", ("Car", "Person"), PROFILE.classes)
    np.testing.assert_allclose(found.images[0].boxes, [[40, 30, 60, 70], [10, 10, 90, 20]])
    assert found.problems == {"unknown category": 1}
