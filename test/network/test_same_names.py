# SPDX-License-Identifier: Apache-2.0
"""Class names of several data sets: spellings are one class, and what stands in for another only where it may."""

import pytest

from centertrack_ros.network.classes import COCO_CLASSES, KITTI_CLASSES, NUSCENES_CLASSES
from centertrack_ros.network.same_names import find_class, spelling


@pytest.mark.parametrize(
    ("name", "classes", "stand_ins", "expected"),
    [
        ("person", KITTI_CLASSES, False, "Pedestrian"),
        ("Pedestrian", COCO_CLASSES, False, "person"),
        ("motorbike", NUSCENES_CLASSES, False, "motorcycle"),
        ("CAR", KITTI_CLASSES, False, "Car"),
        ("bicycle", KITTI_CLASSES, True, "Cyclist"),
        ("cyclist", COCO_CLASSES, True, "bicycle"),
        ("bicycle", ("cyclist", "bicycle"), True, "bicycle"),
        ("bicycle", KITTI_CLASSES, False, None),
        ("van", KITTI_CLASSES, True, None),
        ("person", ("pedestrian", "Person"), False, "Person"),
        ("person", (), True, None),
    ],
)
def test_a_name_finds_the_class_that_it_means(name, classes, stand_ins, expected) -> None:
    number = find_class(name, classes, stand_ins)
    assert (classes[number] if number >= 0 else None) == expected


def test_names_of_one_class_have_one_spelling() -> None:
    assert spelling("Pedestrian") == spelling("PERSON") != spelling("rider")
