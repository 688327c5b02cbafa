# SPDX-License-Identifier: Apache-2.0
"""From the class names of a data set to the classes of a model: the only place that decides it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.errors import DataError
from centertrack_ros.network.same_names import find_class

_LOG = logging.getLogger(__name__)
# Class of the data -> class of the model; None: an ignored region; a pair: a cyclist's bicycle and rider. Classes that
# are not in it are background.
LabelMapping = Mapping[str, "str | Sequence[str] | None"]
# Classes of KITTI and MOT17 that a detector may take for others: ignored regions, unless the model has a class of
# that name.
_KITTI_SIMILAR = ("Van", "Truck", "Person", "Cyclist")
_KITTI_SITTING = "Person"  # KITTI's sitting people are not among its pedestrians
_MOT_SIMILAR = ("person_on_vehicle", "static_person", "distractor", "reflection", "crowd")


def map_by_name(
    names: Iterable[str], classes: Sequence[str], similar: Sequence[str] = (), never: Sequence[str] = ()
) -> dict[str, str | None]:
    """Map each class of the data to the model's class of that name, in upper or lower case, or of another name for it.

    Args:
        names: Classes of the data.
        classes: Classes of the model.
        similar: Classes of the data that become ignored regions when the model has no such class.
        never: Classes of the data that are no class of the model, whatever their name.

    Returns:
        The mapping; classes that are not in it are background.
    """
    mapping: dict[str, str | None] = {}
    for name in names:
        number = -1 if name in never else find_class(name, classes)
        target = classes[number] if number >= 0 else None
        if target is not None or name in similar:
            mapping[name] = target
    return mapping


def default_mapping(kind: str, names: Sequence[str], classes: Sequence[str]) -> dict[str, str | None]:
    """The mapping of a kind of data set (`recipe.REQUIRED_KEYS`) by the names of its classes."""
    if kind == "kitti":
        return map_by_name(names, classes, _KITTI_SIMILAR, (_KITTI_SITTING,))
    if kind == "mot":  # vehicles are annotated only where they hide people
        return map_by_name([name for name in names if name in ("pedestrian", *_MOT_SIMILAR)], classes, _MOT_SIMILAR)
    return map_by_name(names, classes)


def mapping_of_sequences(
    where: str, kind: str, names: Sequence[str], classes: Sequence[str], class_map: LabelMapping | None
) -> LabelMapping:
    """The mapping of a data set, checked; logs the classes that become background.

    Args:
        where: File or folder, for messages.
        kind: Of the data set.
        names: Its classes.
        classes: Classes of the model.
        class_map: Of the recipe; None: `default_mapping`.

    Raises:
        DataError: The mapping leads to no class of the model, or has a class that the data has not.
    """
    mapping: LabelMapping = default_mapping(kind, names, classes) if class_map is None else class_map
    if not any(isinstance(target, str) for target in mapping.values()):
        raise DataError(
            where, f"none of its classes ({', '.join(names[:8])}) is a class of the model: give a class_map"
        )
    if unknown := sorted(set(mapping) - set(names)):
        raise DataError(where, f"class_map: it has no class '{unknown[0]}'; there are {', '.join(names)}")
    if background := [name for name in names if name not in mapping]:
        _LOG.warning("%s: classes that the model has none for are background: %s", where, ", ".join(background))
    return mapping


def check_mapping(where: object, mapping: LabelMapping, classes: Sequence[str]) -> None:
    """Raise DataError when a mapping leads to a class that the model does not have."""
    if unknown := sorted(mapped_classes(mapping, mapping) - set(classes)):
        raise DataError(str(where), f"maps to class '{unknown[0]}', which the model does not have")


def check_single_targets(where: object, mapping: LabelMapping, classes: Sequence[str]) -> None:
    """Raise DataError unless each target is one class of the model or None."""
    for name, target in mapping.items():
        if target is not None and (not isinstance(target, str) or target not in classes):
            raise DataError(str(where), f"maps '{name}' to {target!r}, expected a class of the model or null")


def mapped_classes(mapping: LabelMapping, names: Iterable[str]) -> set[str]:
    """The model classes to which the mapping leads from these classes of the data."""
    targets: set[str] = set()
    for name in names:
        target = mapping.get(name)
        targets.update([target] if isinstance(target, str) else target or [])
    return targets


def unlabelled_classes(classes: Sequence[str], labelled: Iterable[str]) -> NDArray[Any]:
    """Numbers (U,) of the model's classes that are not among `labelled`."""
    covered = set(labelled)
    return np.array([i for i, name in enumerate(classes) if name not in covered], np.int64)
