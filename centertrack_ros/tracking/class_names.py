# SPDX-License-Identifier: Apache-2.0
"""Class names of other detectors as classes of a model.

By name, with the names that COCO, nuScenes, KITTI, Open Images, Pascal VOC, Cityscapes, BDD100K and MOTChallenge use
for the same things.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from centertrack_ros.network.class_groups import plain
from centertrack_ros.network.classes import COCO_CLASSES, NUSCENES_CLASSES
from centertrack_ros.network.same_names import candidates, same_names, short_name

UNKNOWN = "unknown"  # the class of what a detector calls by a name that nobody knows

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
            found = self._known[name] = self._find(short_name(name), self._ids.get(UNKNOWN, -1))
        return found

    def has(self, name: str) -> bool:
        """Whether the model has a class of exactly what a name stands for."""
        return any(one in self._ids for one in same_names(short_name(name)))

    def _find(self, name: str, otherwise: int) -> int:
        return next((self._ids[one] for one in candidates(name) if one in self._ids), otherwise)


_MOST_NAMES = 10_000


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
