# SPDX-License-Identifier: Apache-2.0
"""A world of coloured rectangles and an engine that detects it perfectly: for tests of tracking alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile, Thresholds

HEIGHT, WIDTH = 128, 192


@dataclass(frozen=True)
class Thing:
    """A rectangle x1, y1, x2, y2 (whole px). Its colour encodes its number, its score and its class."""

    number: int
    box: tuple[int, int, int, int]
    score: float = 0.8
    class_id: int = 0


def paint(things: Sequence[Thing], size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """BGR uint8 image of the things, the last one in front."""
    image = np.zeros((*size, 3), np.uint8)
    for thing in things:
        x1, y1, x2, y2 = thing.box
        image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = (
            thing.number,
            round(thing.score * 255),
            thing.class_id,
        )
    return image


def profile(**changes: object) -> ModelProfile:
    """The profile of a model for that world, with `changes` to single fields."""
    values: dict[str, object] = {
        "name": "rectangles",
        "architecture": "none",
        "classes": ("car", "person"),
        "heads": {"hm": 2, "reg": 2, "wh": 2, "tracking": 2},
        "input_height": HEIGHT,
        "input_width": WIDTH,
        "thresholds": Thresholds(track=0.3, new=0.5),
    }
    return ModelProfile(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class RectangleEngine:
    """An `Engine` for that world: detects each rectangle and its previous position. Keeps the priors that it gets."""

    profile: ModelProfile = field(default_factory=profile)
    name: str = "rectangles"
    device: str = "cpu"
    priors: list[np.ndarray] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    displacement: bool = True

    def prepare(self, image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        import cv2

        return cv2.warpAffine(image, affine, (size[1], size[0]), flags=cv2.INTER_NEAREST)

    def infer(
        self,
        images: Sequence[np.ndarray],
        previous: Sequence[np.ndarray],
        priors: Sequence[np.ndarray],
        cells: Sequence[np.ndarray] | None = None,
    ) -> list[Peaks]:
        self.priors.extend(priors)
        self.batches.append(len(images))
        return [self._detect(now, before) for now, before in zip(images, previous, strict=True)]

    def _detect(self, image: np.ndarray, before: np.ndarray) -> Peaks:
        seen, past = _boxes(image), _boxes(before)
        rows = sorted(seen.items(), key=lambda item: -item[1][1])
        count = len(rows)
        boxes = np.array([box for _, (box, _, _) in rows], np.float32).reshape(count, 4) / 4
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        cells = np.floor(centers).astype(np.int64)
        was = [past[number][0] if number in past and self.displacement else box for number, (box, _, _) in rows]
        old = np.array(was, np.float32).reshape(count, 4) / 4
        values = {
            "reg": (centers - cells).astype(np.float32),
            "wh": boxes[:, 2:] - boxes[:, :2],
            "tracking": ((old[:, :2] + old[:, 2:]) / 2 - centers).astype(np.float32),
        }
        if "velocity" in self.profile.heads:  # metres since the previous image: 4 px are one, to the right and ahead
            right, ahead = -values["tracking"].T
            absolute = np.tile([4.0, 0, 0], (count, 1))[:, : self.profile.heads["velocity"] - 3]  # m/s
            values["velocity"] = np.column_stack([right, np.zeros(count), ahead, absolute]).astype(np.float32)
        scores = np.array([score for _, (_, score, _) in rows], np.float32)
        class_ids = np.array([class_id for _, (_, _, class_id) in rows], np.int64)
        return Peaks(scores, class_ids, cells, values, (image.shape[0] // 4, image.shape[1] // 4))


def _boxes(image: np.ndarray) -> dict[int, tuple[tuple[int, int, int, int], float, int]]:
    """number -> (box, score, class) of what is visible."""
    found = {}
    for number in np.unique(image[..., 0]).tolist():
        if number:
            rows, columns = np.nonzero(image[..., 0] == number)
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            _, score, class_id = image[rows[0], columns[0]].tolist()
            found[number] = (box, score / 255, class_id)
    return found
