# SPDX-License-Identifier: Apache-2.0
"""An engine that finds what a test says: for tests of what becomes of detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from centertrack_ros.network.classes import COCO_CLASSES
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile, Thresholds

SIZE = (128, 192)  # height, width, px

Seen = tuple[int, float, tuple[float, ...]]  # class id, score, box x1, y1, x2, y2 in px


class PeakEngine:
    """An `Engine` for images of `SIZE` that finds the n-th entry of a video in the n-th image."""

    name = device = "peaks"

    def __init__(self, video: Sequence[Sequence[Seen]], classes: Sequence[str] = COCO_CLASSES) -> None:
        self.video = iter(video)
        self.profile = ModelProfile(
            name="peaks",
            architecture="none",
            classes=tuple(classes),
            heads={"hm": len(classes), "ltrb": 4, "tracking": 2},
            input_height=SIZE[0],
            input_width=SIZE[1],
            thresholds=Thresholds(track=0.3, new=0.45),
        )

    def prepare(self, image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return image

    def infer(
        self, images: Sequence[np.ndarray], previous: Sequence[np.ndarray], priors: Sequence[np.ndarray]
    ) -> list[Peaks]:
        return [_peaks(next(self.video)) for _ in images]


def _peaks(seen: Sequence[Seen]) -> Peaks:
    rows = sorted(seen, key=lambda one: -one[1])
    boxes = np.array([box for *_, box in rows], np.float32).reshape(-1, 4) / 4
    cells = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.int64)
    values = {
        "ltrb": (boxes - np.tile(cells, 2)).astype(np.float32),
        "tracking": np.zeros((len(rows), 2), np.float32),
    }
    scores = np.array([score for _, score, _ in rows], np.float32)
    class_ids = np.array([class_id for class_id, *_ in rows], np.int64)
    return Peaks(scores, class_ids, cells, values, (SIZE[0] // 4, SIZE[1] // 4))
