# SPDX-License-Identifier: Apache-2.0
"""3D boxes of another detector, as of a LiDAR or a radar: checked, named, and stood upright in the common frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import MIN_EXTENT, OrientedBoxes
from centertrack_ros.geometry.transform import Transform, matrix_to_quaternion, quaternion_to_matrix
from centertrack_ros.tracking.class_names import UNKNOWN, ClassNames
from centertrack_ros.types import ForeignBoxes

Floats = NDArray[np.float64]

MOST = 500  # boxes of one message
_ROUNDING = 1e-9  # m² by which a variance may be negative
_FARTHEST = 1e5  # m; what is farther away, or larger, is no object around a vehicle
_LEAST_NORM, _LEAST_SIZE = 1e-6, 1e-3  # of a quaternion; m, of a side
_MOST_NAMES = 1000  # classes that a detector may add: one that makes up names does not fill the memory
# Least part of a unit vector that must point up: a box that lies otherwise is left as it is.
_UPRIGHT = np.cos(np.radians(45.0))
_HEADING_SIGMA = np.radians(15.0)  # where a message does not tell it
_TILT_SIGMA = np.radians(5.0)


class GrowingNames(Sequence[str]):
    """The names of a model's classes, and behind them those that detectors add. Threads may read while it grows."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._names = list(classes)
        self._known = len(self._names)
        self._table = ClassNames(self._names)
        self._added: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return self._names[index]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._names))

    @property
    def of_model(self) -> int:
        """How many of the names are the model's."""
        return self._known

    def id_of(self, name: str) -> int:
        """The class id of a name: of the model's class that means the same, else one of its own."""
        unknown = self._table.id_of(UNKNOWN)
        found = self._table.id_of(name)
        if found >= 0 and (found != unknown or name == UNKNOWN):
            return found
        if (found := self._added.get(name, -1)) >= 0:
            return found
        if len(self._added) >= _MOST_NAMES:
            name = UNKNOWN
            if (found := max(unknown, self._added.get(name, -1))) >= 0:
                return found
        self._names.append(name)
        self._added[name] = len(self._names) - 1
        return self._added[name]


@dataclass(frozen=True)
class UsableBoxes:
    """N boxes of another detector, strongest first.

    Attributes:
        boxes: In the frame that they came in, with covariances.
        scores: (N,) in 0..1.
        class_ids: (N,) of `GrowingNames`.
        notes: Sentences on what could not be used.
    """

    boxes: OrientedBoxes
    scores: Floats
    class_ids: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def usable_boxes(found: ForeignBoxes, names: GrowingNames, sigma: float) -> UsableBoxes:
    """Selects the boxes that can be tracked.

    Args:
        found: As the detector gave them.
        names: The classes; names that the model does not have are added.
        sigma: m, standard deviation of positions of which the detector does not tell it.
    """
    count, boxes, scores = len(found), found.boxes, np.asarray(found.scores, np.float64)
    norms = np.hypot(*np.hypot(*boxes.quaternions.reshape(-1, 2, 2).T))  # of the largest numbers as well
    lost: dict[str, int] = {}
    keep = np.ones(count, bool)
    numbers = np.concatenate([boxes.centers, boxes.sizes, boxes.quaternions, scores[:, None]], axis=1)
    for good, reason in (
        (np.isfinite(numbers).all(axis=1), "not finite"),
        ((boxes.sizes > _LEAST_SIZE).all(axis=1), "without a size"),
        ((norms > _LEAST_NORM) & (norms < 1 / _LEAST_NORM), "with a quaternion that is no rotation"),
        ((np.abs(numbers[:, :6]) < _FARTHEST).all(axis=1), "beyond all measure"),
    ):
        if number := int((keep & ~good).sum()):
            lost[reason] = number
        keep = keep & good
    rows, notes = np.flatnonzero(keep), []
    if len(rows) and not scores[rows].any():
        scores = np.ones(count)
        notes.append("all scores are 0: the boxes count as certain")
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    if len(rows) > MOST:
        lost[f"weaker than the {MOST} best"] = len(rows) - MOST
        rows = rows[:MOST]
    if lost:
        reasons = ", ".join(f"{number} {reason}" for reason, number in lost.items())
        notes.append(f"{sum(lost.values())} of {count} boxes are left out: {reasons}")
    if wrong := int(((scores[rows] < 0) | (scores[rows] > 1)).sum()):
        notes.append(f"{wrong} scores are not in 0..1: they were limited to it")
    chosen = boxes.select(rows)
    covariances, bad = _known_covariances(chosen.covariances, sigma)
    if bad:
        notes.append(f"{bad} covariances are none: {sigma:g} m is taken instead")
    unit = chosen.quaternions / norms[rows, None]
    class_ids = np.array([names.id_of(str(found.class_names[row])) for row in rows.tolist()], np.int64)
    sizes = np.maximum(chosen.sizes, MIN_EXTENT)
    made = replace(chosen, quaternions=unit, sizes=sizes, covariances=covariances)
    return UsableBoxes(made, np.clip(scores[rows], 0.0, 1.0), class_ids, tuple(notes))


def _known_covariances(covariances: Floats, sigma: float) -> tuple[Floats, int]:
    """The covariances (N, 6, 6) with the usual one in place of unknown ones, and how many are none at all."""
    usual = np.diag([sigma**2] * 3 + [_TILT_SIGMA**2, _TILT_SIGMA**2, _HEADING_SIGMA**2])
    measurable = np.asarray((np.abs(covariances) < _FARTHEST).all(axis=(1, 2)))  # False for NaN
    values = np.where(measurable[:, None, None], covariances, 0.0)
    values = (values + np.swapaxes(values, 1, 2)) / 2
    told, turned = values[:, :3, :3].any(axis=(1, 2)), values[:, 3:, 3:].any(axis=(1, 2))
    if told.any():
        positive = (np.linalg.eigvalsh(values[:, :3, :3]) >= -_ROUNDING).all(axis=1)
        turned &= (np.linalg.eigvalsh(values[:, 3:, 3:]) >= -_ROUNDING).all(axis=1)
        good = told & positive
        mixed = np.broadcast_to(usual, values.shape).copy()
        mixed[good, :3, :3] = values[good, :3, :3]
        mixed[good & turned] = values[good & turned]
        return mixed, int((~measurable | (told & ~positive)).sum())
    return np.broadcast_to(usual, values.shape).copy(), int((~measurable).sum())


def in_common_frame(boxes: OrientedBoxes, to_common: Transform, upright: bool) -> OrientedBoxes:
    """The boxes in the frame in which objects are compared.

    Args:
        boxes: In the detector's frame.
        to_common: From there.
        upright: The z axis of the common frame points up: boxes stand on their lower side, turned by a heading alone. A
            detector that does not turn its boxes in an optical frame has their heights along y.
    """
    moved = to_common.boxes(boxes)
    if not upright or not len(moved):
        return moved
    axes = quaternion_to_matrix(moved.quaternions)
    highest = np.abs(axes[:, 2]).argmax(axis=1)  # which of the box's own axes is the vertical one
    forward = np.where(highest == 0, 2, 0)
    rows = np.arange(len(moved))
    ahead = axes[rows, :, forward]
    ahead = np.concatenate([ahead[:, :2], np.zeros((len(moved), 1))], axis=1)
    lengths = np.linalg.norm(ahead, axis=1)
    stands = (np.abs(axes[rows, 2, highest]) >= _UPRIGHT) & (lengths > 0)
    ahead = np.where(stands[:, None], ahead / np.maximum(lengths, 1e-12)[:, None], [1.0, 0.0, 0.0])
    up = np.broadcast_to([0.0, 0.0, 1.0], ahead.shape)
    matrices = np.stack([ahead, np.cross(up, ahead), up], axis=2)
    sizes = np.stack([moved.sizes[rows, forward], moved.sizes[rows, 3 - forward - highest],
                      moved.sizes[rows, highest]], axis=1)  # fmt: skip
    return replace(
        moved,
        quaternions=np.where(stands[:, None], matrix_to_quaternion(matrices), moved.quaternions),
        sizes=np.where(stands[:, None], sizes, moved.sizes),
    )
