# SPDX-License-Identifier: Apache-2.0
"""Settings of single classes, which take the place of those of all classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ClassLimits:
    """What is different for one class. None: as for all classes; a size or range of 0: any.

    Attributes:
        track_threshold: A detection of the class above this score continues a track; a lower one is ignored.
        new_threshold: An unmatched detection of the class above this score starts a track.
        min_size: px, of the longer side of a box; a smaller one is ignored.
        max_size: px, of the longer side of a box; a larger one is ignored.
        max_range: m on the ground; a track that is known to be farther away is not reported.
        rebirth: s within which a lost track may be found again.

    Raises:
        ValueError: A value is out of range.
    """

    track_threshold: float | None = None
    new_threshold: float | None = None
    min_size: float = 0.0
    max_size: float = 0.0
    max_range: float = 0.0
    rebirth: float | None = None

    def __post_init__(self) -> None:
        for name in ("track_threshold", "new_threshold"):
            self._check(name, 1.0)
        for name in ("min_size", "max_size", "max_range", "rebirth"):
            self._check(name, math.inf)
        if 0 < self.max_size < self.min_size:
            raise ValueError(f"max_size must not be below min_size, got {self.max_size:g} and {self.min_size:g}")

    def _check(self, name: str, high: float) -> None:
        value = getattr(self, name)
        if value is not None and not 0 <= value <= high:
            raise ValueError(f"{name} must be between 0 and {high:g}, got {value}")


LIMIT_NAMES = tuple(field.name for field in fields(ClassLimits))
