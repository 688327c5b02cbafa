# SPDX-License-Identifier: Apache-2.0
"""Groups of classes that can be one object, and sets of classes by name, for the class lists that models have."""

from __future__ import annotations

import numpy as np
import pytest

from centertrack_ros.network.class_groups import (
    CLASS_SETS,
    DEFAULT_GROUPS,
    SET_NAMES,
    can_be_same,
    group_ids,
    plain,
    select_classes,
)
from centertrack_ros.network.classes import COCO_CLASSES, KITTI_CLASSES, NUSCENES_CLASSES

LISTS = (COCO_CLASSES, NUSCENES_CLASSES, KITTI_CLASSES)


@pytest.mark.parametrize("classes", LISTS)
def test_what_can_be_the_same_object_is_an_equivalence(classes: tuple[str, ...]) -> None:
    same = can_be_same(classes)
    assert same.diagonal().all() and (same == same.T).all()
    assert ((same.astype(int) @ same > 0) == same).all()
    ids = group_ids(classes)
    assert (np.equal.outer(ids, ids) == same).all() and (ids[ids] == ids).all() and (ids <= np.arange(len(ids))).all()


def test_no_class_is_in_two_groups() -> None:
    names = [plain(name) for group in DEFAULT_GROUPS for name in group]
    assert len(set(names)) == len(names)


def test_vehicles_can_be_one_object_and_riders_are_not_their_bicycles() -> None:
    same = can_be_same(COCO_CLASSES)

    def one(first: str, second: str) -> bool:
        return bool(same[COCO_CLASSES.index(first), COCO_CLASSES.index(second)])

    assert one("car", "truck") and one("truck", "train") and one("bicycle", "motorcycle")
    assert not one("person", "bicycle") and not one("person", "car") and not one("car", "motorcycle")
    trucks = can_be_same(NUSCENES_CLASSES)[NUSCENES_CLASSES.index("truck")]
    assert {n for n, yes in zip(NUSCENES_CLASSES, trucks, strict=True) if yes} == {
        "car", "truck", "bus", "trailer", "construction_vehicle",
    }  # fmt: skip


def test_own_groups_replace_the_usual_ones() -> None:
    same = can_be_same(("cat", "dog", "car", "truck"), (("Cat", "CAR"),))
    assert [tuple(pair) for pair in np.argwhere(np.triu(same, 1))] == [(0, 2)]


def test_sets_and_names_mix_and_keep_the_order_of_the_model() -> None:
    people_and_cars = select_classes(("car", "people"), COCO_CLASSES)
    assert people_and_cars == ("person", "car")
    assert select_classes(("road",), COCO_CLASSES) == (
        "person", "bicycle", "car", "motorcycle", "bus", "train", "truck",
    )  # fmt: skip
    assert select_classes(("Traffic_Light",), COCO_CLASSES) == ("traffic light",)
    assert select_classes((), COCO_CLASSES) == select_classes(("all",), COCO_CLASSES) == COCO_CLASSES


def test_by_default_a_coco_model_reports_what_moves_on_roads_and_other_models_report_all() -> None:
    chosen = set(select_classes(("auto",), COCO_CLASSES))
    assert set(select_classes(("road",), COCO_CLASSES)) < chosen and "dog" in chosen
    assert not chosen & {"tie", "handbag", "tv", "traffic light", "bird"}
    for classes in (NUSCENES_CLASSES, KITTI_CLASSES, ("tree",)):
        assert select_classes(("auto",), classes) == classes


def test_every_set_holds_classes_of_coco() -> None:
    assert all(select_classes((name,), COCO_CLASSES) for name in SET_NAMES)
    assert set(CLASS_SETS) < set(SET_NAMES)


def test_unknown_names_and_empty_sets_are_told_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"no class 'trcuk'; did you mean 'truck'.*sets of classes: auto, all, road"):
        select_classes(("car", "trcuk"), COCO_CLASSES)
    with pytest.raises(ValueError, match="no class of the set 'indoor'"):
        select_classes(("indoor",), ("car", "truck"))
