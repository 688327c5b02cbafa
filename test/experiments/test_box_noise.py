# SPDX-License-Identifier: Apache-2.0
"""The noise of a detector's boxes: measured on whole objects alone, as large as it is."""

import numpy as np
import pytest

from centertrack_ros.types import Detections
from experiments.box_noise import CLASSES, labelled_images, side_errors, spread_of
from support.rectangles import HEIGHT, WIDTH, RectangleEngine, Thing, paint

CAR = CLASSES.index("car")


def test_sides_are_compared_of_objects_that_are_seen_whole():
    things = [Thing(1, (20, 30, 60, 70)), Thing(2, (0, 80, 40, 120)), Thing(3, (120, 40, 160, 90))]
    true = np.array([[20, 30, 70, 70], [0, 80, 40, 120], [120, 40, 160, 90], [125, 50, 165, 95]], np.float32)
    truth = Detections.from_boxes(true, class_ids=np.full(4, CAR))
    [row] = side_errors(paint(things), truth, RectangleEngine())  # the second is cut, the third is covered
    assert row[0] == CAR and row[2:] == pytest.approx([np.log(40 / 50), 0.0], abs=0.05)


def test_outliers_rule_the_root_mean_square_only():
    errors = np.concatenate([np.random.default_rng(0).normal(0.1, 0.05, 1000), [3.0] * 10])
    bias, sigma, rms = spread_of(errors)
    assert bias == pytest.approx(0.1, abs=0.01) and sigma == pytest.approx(0.05, rel=0.1) and rms > 3 * sigma


def test_labels_are_read_as_boxes_of_the_image(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (tmp_path / "one.txt").write_text("2 0.5 0.5 0.25 0.5\n9 0.1 0.1 0.1 0.1\n")
    [(image, truth)] = labelled_images([tmp_path / "one.png"], tmp_path, {2: "car"})
    assert image.shape == (HEIGHT, WIDTH, 3) and truth.class_ids.tolist() == [CAR]
    assert truth.boxes[0] == pytest.approx([0.375 * WIDTH, 0.25 * HEIGHT, 0.625 * WIDTH, 0.75 * HEIGHT])
