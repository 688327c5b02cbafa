# SPDX-License-Identifier: Apache-2.0
"""Class names of other detectors as classes of a model.

By name, with the names that COCO, nuScenes, KITTI, Open Images, Pascal VOC, Cityscapes, BDD100K and MOTChallenge use
for the same things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from centertrack_ros.network.class_groups import plain
from centertrack_ros.network.classes import COCO_CLASSES, NUSCENES_CLASSES

UNKNOWN = "unknown"  # the class of what a detector calls by a name that nobody knows

# Names of one thing, whatever the data set. The order does not matter.
_SAME: tuple[tuple[str, ...], ...] = (
    ("person", "pedestrian", "people", "human", "man", "woman", "boy", "girl", "walker", "static person"),
    ("cyclist", "bicyclist", "rider", "motorcyclist"),
    ("person sitting", "person (sitting)"),
    ("car", "auto", "automobile", "passenger car", "sedan", "suv", "taxi", "cab", "limousine", "hatchback"),
    ("truck", "lorry", "pickup truck"),
    ("bus", "coach", "bendy bus", "rigid bus", "school bus"),
    ("van", "minivan"),
    ("train", "tram", "streetcar"),
    ("trailer", "caravan"),
    ("construction vehicle", "excavator"),
    ("motorcycle", "motorbike", "motor", "motor bike", "moped", "scooter"),
    ("bicycle", "bike", "pedal cycle"),
    ("airplane", "aeroplane", "plane", "aircraft"),
    ("boat", "ship", "watercraft"),
    ("traffic light", "traffic signal", "trafficlight"),
    ("traffic sign", "trafficsign"),
    ("stop sign", "stopsign"),
    ("traffic cone", "cone", "trafficcone", "pylon"),
    ("couch", "sofa", "sofa bed", "loveseat"),
    ("dining table", "diningtable", "table", "kitchen & dining room table"),
    ("potted plant", "pottedplant", "houseplant", "plant"),
    ("tv", "tvmonitor", "television", "monitor", "tv monitor", "computer monitor"),
    ("cell phone", "mobile phone", "cellphone", "phone"),
    ("cow", "cattle", "bull", "ox"),
    ("keyboard", "computer keyboard"),
    ("mouse", "computer mouse"),
    ("remote", "remote control"),
    ("microwave", "microwave oven"),
    ("oven", "gas stove"),
    ("hair drier", "hair dryer"),
    ("donut", "doughnut"),
    ("cup", "coffee cup", "mug"),
    ("sports ball", "ball", "football"),
    ("skis", "ski"),
    ("backpack", "rucksack"),
    ("handbag", "bag"),
)
# What a thing is, too, where a model does not tell it apart.
_WIDER: Mapping[str, tuple[str, ...]] = {
    "cyclist": ("person",),
    "person sitting": ("person",),
    "person on vehicle": ("person",),
    "van": ("car",),
    "trailer": ("truck",),
    "construction vehicle": ("truck",),
    "ambulance": ("van", "car"),
    "fire truck": ("truck",),
    "vehicle": ("car",),
    "other vehicle": ("truck",),
    "dog or cat": ("dog",),
}
# Beginnings of nuScenes' full names: 'human.pedestrian.adult' is a pedestrian, 'vehicle.bus.rigid' a bus.
_NUSCENES_FULL: tuple[tuple[str, str], ...] = (
    ("human.pedestrian", "person"),
    ("vehicle.emergency.police", "car"),
    ("vehicle.emergency.ambulance", "ambulance"),
    ("vehicle.construction", "construction vehicle"),
    ("movable object.trafficcone", "traffic cone"),
    ("movable object.barrier", "barrier"),
    ("static object.bicycle rack", "bicycle rack"),
)
# What is tracked without a network, if nobody names the classes.
COMMON_CLASSES: tuple[str, ...] = (
    *COCO_CLASSES,
    *(name for name in NUSCENES_CLASSES if name not in (*COCO_CLASSES, "pedestrian")),
    "van",
    "cyclist",
    "traffic sign",
    "animal",
    UNKNOWN,
)


class ClassNames:
    """The class of a model for each name that a detector uses. Names are compared as in `network.class_groups`."""

    def __init__(self, classes: Sequence[str]) -> None:
        """Takes the model's classes; one that is called 'unknown' gets every name that is not known."""
        self._ids = {plain(name): index for index, name in reversed(list(enumerate(classes)))}
        self._known: dict[str, int] = {}

    def id_of(self, name: str) -> int:
        """The class id of a name; -1 where the model has no such class, and none for unknown ones."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) > _MOST_NAMES:  # a detector that makes up names does not fill the memory
                self._known.clear()
            found = self._known[name] = self._find(_short(name), self._ids.get(UNKNOWN, -1))
        return found

    def has(self, name: str) -> bool:
        """Whether the model has a class of exactly what a name stands for."""
        return any(one in self._ids for one in _same(_short(name)))

    def _find(self, name: str, otherwise: int) -> int:
        return next((self._ids[one] for one in _candidates(name) if one in self._ids), otherwise)


_MOST_NAMES = 10_000


def _short(name: str) -> str:
    key = plain(name)
    for beginning, short in _NUSCENES_FULL:
        if key.startswith(beginning):
            return short
    if key.startswith("vehicle."):
        return key.split(".")[1]
    return key


def _same(name: str) -> list[str]:
    """The name, and other names of the same thing."""
    return [name, *(one for names in _SAME if name in names for one in names)]


def _candidates(name: str) -> Iterable[str]:
    """The name, other names of the same thing, and wider ones; the nearest first."""
    same = _same(name)
    yield from same
    for one in same:
        for wider in _WIDER.get(one, ()):
            yield from _same(wider)


def classes_with(classes: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """The classes of a model and, behind them, those of a detector that it does not have; the last is 'unknown'.

    Args:
        classes: Of the model.
        names: That the detector uses, as far as they are told beforehand.
    """
    extended = list(classes)
    for name in names:
        if not ClassNames(extended).has(name):
            extended.append(name)
    return (*extended, *(() if UNKNOWN in map(plain, extended) else (UNKNOWN,)))
