# SPDX-License-Identifier: Apache-2.0
"""The parameters `classes.<name>.<limit>`: what is different for one class.

There are too many classes to declare them all: those that are given are, at start and when they are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from centertrack_ros.tracking.class_limits import LIMIT_NAMES, ClassLimits

PREFIX = "classes."
# Limit -> (lowest, highest value, meaning). Of thresholds and times a negative value is 'as for all classes'.
CLASS_PARAMETERS: dict[str, tuple[float, float, str]] = {
    "track_threshold": (-1.0, 1.0, "A detection of the class above this score continues a track. Negative: as for "
                        "all."),
    "new_threshold": (-1.0, 1.0, "An unmatched detection of the class above this score starts a track. Negative: as "
                      "for all."),
    "min_size": (0.0, 1e5, "px, of the longer side of a box: smaller ones of the class are ignored."),
    "max_size": (0.0, 1e5, "px, of the longer side of a box: larger ones of the class are ignored; 0: none."),
    "max_range": (0.0, 1e6, "m: a track of the class that is known to be farther away is not reported; 0: any."),
    "rebirth": (-1.0, 60.0, "Seconds within which a lost track of the class may be found again. Negative: as for all."),
}  # fmt: skip
_UNSET = {"track_threshold": -1.0, "new_threshold": -1.0, "rebirth": -1.0}


def default_of(name: str) -> float:
    """The value of such a parameter that changes nothing."""
    return _UNSET.get(name.rpartition(".")[2], 0.0)


def problem(name: str, value: Any) -> str:
    """Why a parameter whose name begins with `PREFIX` cannot have the value; '' if it can. None removes it."""
    class_name, _, limit = name.removeprefix(PREFIX).rpartition(".")
    if not class_name or limit not in CLASS_PARAMETERS:
        return f"there is no parameter '{name[:80]}': expected classes.NAME.LIMIT, limits are {', '.join(LIMIT_NAMES)}"
    low, high, _ = CLASS_PARAMETERS[limit]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name} must be a number, got {value!r:.80}"
    return "" if low <= value <= high else f"{name} must be between {low:g} and {high:g}; got {value}"


def class_limits(values: Mapping[str, Any]) -> dict[str, ClassLimits]:
    """The limits of each class among the values of all parameters.

    Raises:
        ValueError: Two limits of a class contradict each other.
    """
    limits: dict[str, ClassLimits] = {}
    for name, value in values.items():
        if not name.startswith(PREFIX) or value is None:
            continue
        class_name, _, limit = name.removeprefix(PREFIX).rpartition(".")
        own = limits.get(class_name, ClassLimits())
        unset = limit in _UNSET and value < 0
        try:
            limits[class_name] = replace(own, **{limit: None if unset else float(value)})  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{PREFIX}{class_name}: {error}") from None
    return limits
