# SPDX-License-Identifier: Apache-2.0
"""What a nuScenes attribute head says about an object: the names, and which of them a class can have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# In the order of the head's eight logits (nuScenes schema, attribute.json).
ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
_RANGES = {
    **dict.fromkeys(("bicycle", "motorcycle"), (0, 2)),
    "pedestrian": (2, 5),
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), (5, 8)),
}


def attribute(class_name: str, logits: NDArray[np.floating]) -> tuple[str, float]:
    """(the likeliest attribute of a class, its score in 0..1) from (8,) logits; ('', 0.0) for a class without."""
    first, last = _RANGES.get(class_name, (0, 0))
    if first == last:
        return "", 0.0
    best = first + int(np.argmax(logits[first:last]))
    return ATTRIBUTES[best], float(1.0 / (1.0 + np.exp(-float(logits[best]))))
