# SPDX-License-Identifier: Apache-2.0
"""Which classes can be the same object, and sets of classes that users ask for by one name.

Names are compared without regard to case, and '_' stands for a space: 'traffic_light' is 'traffic light'. The defaults
hold the names of COCO, nuScenes, KITTI, BDD100K and DGP-DDAD; a name that a model does not have does not matter.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.network.classes import COCO_CLASSES

# Large things on wheels with windows. What a detector calls a truck now and a train then is one of them.
VEHICLES = (
    "car", "truck", "bus", "train", "van", "tram", "trailer", "caravan", "construction vehicle", "vehicle",
    "other vehicle",
)  # fmt: skip
PEOPLE = ("person", "pedestrian", "person sitting", "person (sitting)", "rider", "cyclist", "bicyclist", "motorcyclist")
CYCLES = ("bicycle", "motorcycle", "bike", "motorbike", "motor")
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal")

# The classes of one group can be the same object, which never belongs to two of them. A cyclist is a person here: he
# is mistaken for a pedestrian. A bicycle is not: its rider sits on it, and both are true at the same place.
DEFAULT_GROUPS: tuple[tuple[str, ...], ...] = (
    VEHICLES,
    PEOPLE,
    CYCLES,
    ANIMALS,
    ("backpack", "handbag", "suitcase"),
    ("bottle", "wine glass", "cup", "vase", "bowl"),
    ("fork", "knife", "spoon"),
    ("chair", "couch", "bed", "bench"),
    ("tv", "laptop", "microwave", "oven"),
    ("skis", "snowboard", "skateboard", "surfboard"),
)

_INDOOR = (*COCO_CLASSES[24:29], *COCO_CLASSES[39:])  # bags, umbrella and tie; from the bottle to the toothbrush
# Every set by its name. 'auto' and 'all' are in `select_classes`.
CLASS_SETS: dict[str, tuple[str, ...]] = {
    "road": (*PEOPLE, *CYCLES, *VEHICLES),
    "people": PEOPLE,
    "animals": ANIMALS,
    "signs": ("traffic light", "stop sign", "traffic sign", "fire hydrant", "parking meter", "traffic cone", "barrier"),
    "indoor": (*PEOPLE, "cat", "dog", *_INDOOR),
}
AUTO, ALL = "auto", "all"
_AUTO_ANIMALS = ("cat", "dog", "horse", "sheep", "cow")  # not birds: dirt on the lens and distant specks look like them
SET_NAMES = (AUTO, ALL, *CLASS_SETS)

# How much rarer a class is before a usual camera than in the images that the model learnt from, against its group.
# COCO has one train for 3.5 trucks and buses, streets have one for some hundreds (BDD100K: 136 of 41779), or one for
# a few where there are trams (KITTI). Labelled vehicles that COCO's model calls trains (OpenImages, 115 trucks and
# buses: 3) have at most 2.1 times the score of the next class, real trains (COCO, 4) have 7 times in the median.
COCO_ODDS = {"train": 0.2}


def plain(name: str) -> str:
    """The name of a class as it is compared: in lower case, with spaces."""
    return name.lower().replace("_", " ").strip()


def group_ids(classes: Sequence[str], groups: Iterable[Sequence[str]] | None = None) -> NDArray[np.int64]:
    """The group of each class.

    Args:
        classes: Names of the model's C classes.
        groups: Names of classes that can be the same object; None: `DEFAULT_GROUPS`.

    Returns:
        (C,) the lowest class id of the class's group; its own id where it is in no group.
    """
    names = [plain(name) for name in classes]
    ids = np.arange(len(names), dtype=np.int64)
    for group in DEFAULT_GROUPS if groups is None else groups:
        wanted = {plain(name) for name in group}
        members = [index for index, name in enumerate(names) if name in wanted]
        ids[members] = min(members, default=0)
    return ids


def can_be_same(classes: Sequence[str], groups: Iterable[Sequence[str]] | None = None) -> NDArray[np.bool_]:
    """Which classes can be the same object.

    Args:
        classes: Names of the model's C classes.
        groups: As in `group_ids`.

    Returns:
        (C, C) symmetric mask; the diagonal is true.
    """
    ids = group_ids(classes, groups)
    return np.equal.outer(ids, ids)


def are_among(classes: Sequence[str], names: Iterable[str]) -> NDArray[np.bool_]:
    """(C,) mask of the classes that are among the names."""
    wanted = {plain(name) for name in names}
    return np.array([plain(name) in wanted for name in classes], bool)


def class_odds(classes: Sequence[str], requested: Iterable[str] = ()) -> NDArray[np.float32]:
    """(C,) factors on scores when classes of one group are compared: `COCO_ODDS` for a model with COCO's classes.

    Classes whose names are `requested` keep their factor of 1.
    """
    odds = np.ones(len(classes), np.float32)
    if set(COCO_CLASSES) <= set(classes):
        named = {plain(name) for name in requested}
        for name, factor in COCO_ODDS.items():
            if name not in named:
                odds[classes.index(name)] = factor
    return odds


def select_classes(requested: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of a model that a user asks for.

    Args:
        requested: Names of classes and of sets, mixed: 'road', 'people', 'animals', 'signs', 'indoor', 'all', and
            'auto': for a model with COCO's classes 'road', cats, dogs, horses, sheep, cows and what is no class of
            COCO, 'all' for every other.
        classes: Names of the model's classes.

    Returns:
        The names in the model's order; all if nothing is requested.

    Raises:
        ValueError: A name is neither a class of the model nor a set, or a set has no class of the model.
    """
    if not requested:
        return tuple(classes)
    chosen = np.zeros(len(classes), bool)
    for name in requested:
        chosen |= _named(name, classes)
    return tuple(name for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen)


def _named(name: str, classes: Sequence[str]) -> NDArray[np.bool_]:
    """(C,) mask of the classes that one name stands for: a class has priority over a set of the same name."""
    mask = are_among(classes, (name,))
    if mask.any():
        return mask
    key = plain(name)
    if key == ALL or (key == AUTO and not set(COCO_CLASSES) <= set(classes)):
        return np.ones(len(classes), bool)
    if key == AUTO:
        return are_among(classes, (*CLASS_SETS["road"], *_AUTO_ANIMALS)) | ~are_among(classes, COCO_CLASSES)
    if key not in CLASS_SETS:
        raise ValueError(f"{unknown_class(name, classes)} (sets of classes: {', '.join(SET_NAMES)})")
    mask = are_among(classes, CLASS_SETS[key])
    if not mask.any():
        raise ValueError(f"the model knows no class of the set '{name}'; it knows {_listed(classes)}")
    return mask


def unknown_class(name: str, classes: Sequence[str]) -> str:
    """A sentence on a name that is not among the classes, with the most similar one."""
    similar = difflib.get_close_matches(plain(name), [plain(one) for one in classes], n=1)
    hint = f"did you mean '{similar[0]}'?" if similar else f"it knows {_listed(classes)}"
    return f"the model knows no class '{name[:60]}'; {hint}"


def _listed(classes: Sequence[str]) -> str:
    rest = len(classes) - 12
    return ", ".join(classes[:12]) + (f" and {rest} more" if rest > 0 else "")
