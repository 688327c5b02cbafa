# SPDX-License-Identifier: Apache-2.0
"""Which boxes of a detector of the user's own count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DetectorLimits:
    """Which of a detector's boxes count; both in 0..1.

    min_score  weaker ones are left out; low ones help to follow a track
    iou        of two boxes of one class that overlap more the weaker one is left out, in layouts that give double ones
    """

    min_score: float = 0.1
    iou: float = 0.65

    def __post_init__(self) -> None:
        for name in ("min_score", "iou"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"detector.{name} must be between 0 and 1, got {getattr(self, name)}")
