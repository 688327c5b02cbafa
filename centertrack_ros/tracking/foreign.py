# SPDX-License-Identifier: Apache-2.0
"""Detections of another detector than the network: checked, mapped to the model's classes, and read off its heads.

The box, the score and the class are the detector's; displacement, depth, size, heading and velocity are those that the
network's heads give at the box's middle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.no_network import NONE, NoNetworkEngine, with_classes
from centertrack_ros.geometry.affine import Placement, transform
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.network.peaks import JointPeaks, Peaks
from centertrack_ros.tracking.class_names import COMMON_CLASSES, UNKNOWN, ClassNames, classes_with
from centertrack_ros.tracking.class_rules import IOU_ACROSS_CLASSES
from centertrack_ros.tracking.config import BOTH, EXTERNAL, NETWORK
from centertrack_ros.types import Array, Detections, ForeignDetections

_BOX_HEADS = ("ltrb_amodal", "ltrb", "wh", "reg")
_LARGEST = 1e7  # px, of a side: beyond, float32 knows no px


@dataclass(frozen=True)
class UsableDetections:
    """N detections of another detector, strongest first.

    Attributes:
        boxes: (N, 4) float32 px of the image.
        scores: (N,) float32 in 0..1.
        class_ids: (N,) int64 of the model.
        cells: (N, 2) int64: x, y of the boxes' middles on the output grid.
        rows: (N,) int64: their rows in the detector's own order.
        notes: Sentences on what could not be used.
    """

    boxes: Array
    scores: Array
    class_ids: Array
    cells: Array
    rows: Array
    notes: tuple[str, ...] = ()

    def as_detections(self) -> Detections:
        """The same in the detector's own order, and without anything of a network."""
        order = np.argsort(self.rows)
        return Detections.from_boxes(self.boxes[order], self.scores[order], self.class_ids[order])


def usable(
    foreign: ForeignDetections, placement: Placement, names: ClassNames, most: int, places: int = 0
) -> UsableDetections:
    """Selects the detections that can be tracked.

    Args:
        foreign: As the detector gave them.
        placement: How the image lies in the network's input.
        names: The model's classes.
        most: So many of them, the strongest, are taken.
        places: Of the network, which it shares with them; 0: it does not.

    Raises:
        ValueError: They are no table of boxes, scores and names.
    """
    boxes, scores = np.asarray(foreign.boxes), np.asarray(foreign.scores)
    count = len(boxes)
    if boxes.shape != (count, 4) or scores.shape != (count,) or len(foreign.class_names) != count:
        raise ValueError(
            f"detections must be boxes (N, 4), scores (N,) and N class names, got {boxes.shape}, {scores.shape} and "
            f"{len(foreign.class_names)}"
        )
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    height, width = placement.image_size
    lost: dict[str, int] = {}
    keep = _kept(np.isfinite(boxes).all(axis=1) & np.isfinite(scores), "not finite", np.ones(count, bool), lost)
    keep = _kept(np.asarray((boxes[:, :2] < boxes[:, 2:]).all(axis=1)), "without an area", keep, lost)
    inside = (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    keep = _kept(inside & (np.abs(boxes) < _LARGEST).all(axis=1), "outside the image", keep, lost)
    if keep.any() and np.abs(boxes[keep]).max() <= 1:
        keep = _kept(
            np.zeros(count, bool), "within one px, as parts of the image's sides would be: px are expected", keep, lost
        )
    rows = np.flatnonzero(keep)
    wrong = int(((scores[rows] < 0) | (scores[rows] > 1)).sum())
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    if len(rows) > most:
        shared = (
            f" (with 'both' the network keeps {places - most} of its {places} places for its own)" if places else ""
        )
        lost[f"weaker than the {most} best{shared}"] = len(rows) - most
        rows = rows[:most]
    called = [str(foreign.class_names[row]) for row in rows.tolist()]
    class_ids = np.array([names.id_of(name) for name in called], np.int64)
    if len(rows) and class_ids.min() < 0:
        name = called[int(class_ids.argmin())]
        lost[f"of a class that the model does not have ('{name[:40]}')"] = int((class_ids < 0).sum())
        rows, class_ids = rows[class_ids >= 0], class_ids[class_ids >= 0]
    taken = boxes[rows].astype(np.float32)
    grid_height, grid_width = placement.grid_size
    middles = transform(placement.to_grid, (taken[:, :2] + taken[:, 2:]) / 2)
    cells = np.clip(np.floor(middles).astype(np.int64), 0, (grid_width - 1, grid_height - 1))
    clipped = np.clip(scores[rows], 0, 1).astype(np.float32)
    notes = (*_notes(count, lost, wrong), *_unknown_names(called, names))
    return UsableDetections(taken, clipped, class_ids, cells, rows, notes)


def engine_for(source: str, names: Sequence[str], weights: str | None, load: Callable[[], Engine]) -> Engine:
    """The engine for detections of a source.

    Args:
        source: One of `config.DETECTOR_SOURCES`.
        names: Of the classes of the other detector, as far as they are told.
        weights: As a user names them; 'none': no network runs.
        load: Loads the weights.

    Raises:
        ValueError: Neither a network nor another detector finds anything.
    """
    if weights == NONE:
        if source not in (EXTERNAL, BOTH):
            raise ValueError(
                f"without a network (weights '{NONE}') another detector must find the objects: name its detections "
                f"(--detections or --detector, on the node detector.source '{EXTERNAL}'), got source '{source}'"
            )
        return NoNetworkEngine(classes_with((), names) if names else COMMON_CLASSES)
    engine = load()
    if source == NETWORK:
        return engine
    return with_classes(engine, classes_with(engine.profile.classes, names))


def _kept(good: NDArray[np.bool_], reason: str, keep: NDArray[np.bool_], lost: dict[str, int]) -> NDArray[np.bool_]:
    if number := int((keep & ~good).sum()):
        lost[reason] = number
    return keep & good


def _notes(count: int, lost: Mapping[str, int], wrong: int) -> tuple[str, ...]:
    notes = []
    if lost:
        reasons = ", ".join(f"{number} {reason}" for reason, number in lost.items())
        notes.append(f"{sum(lost.values())} of {count} detections of the other detector are left out: {reasons}")
    if wrong:
        notes.append(f"{wrong} scores of the other detector are not in 0..1: they were limited to it")
    return tuple(notes)


def _unknown_names(called: Sequence[str], names: ClassNames) -> tuple[str, ...]:
    """A sentence on names that are tracked as 'unknown'."""
    unknown = names.id_of(UNKNOWN)
    found = sorted({name for name in called if names.id_of(name) == unknown >= 0} - {UNKNOWN})
    if not found:
        return ()
    hint = ": numbers get names by detector.class_names or a LabelInfo" if found[0].isdecimal() else ""
    listed = ", ".join(f"'{name[:40]}'" for name in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (f"{listed}{more} of the other detector are no classes here and are tracked as '{UNKNOWN}'{hint}",)


def none_usable() -> UsableDetections:
    """No detection."""
    boxes, scores, ids = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    return UsableDetections(boxes, scores, ids, np.zeros((0, 2), np.int64), ids)


def read_off(
    found: UsableDetections,
    values: Mapping[str, Array],
    joints: JointPeaks | None,
    placement: Placement,
    decoder: Callable[[Peaks], Detections],
) -> Detections:
    """The detections with what the network's heads tell of them.

    Args:
        found: N detections.
        values: Head -> (N, C) values at their cells; empty without a network.
        joints: Of a pose model.
        placement: How the image lies in the network's input.
        decoder: Makes detections of all the peaks that it gets.

    Returns:
        The N detections with their own boxes.
    """
    corners = transform(placement.to_grid, found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    heads = {head: value for head, value in values.items() if head not in _BOX_HEADS}
    heads["ltrb"] = (corners - np.tile(found.cells, 2)).astype(np.float32)
    peaks = Peaks(found.scores, found.class_ids, found.cells, heads, placement.grid_size, joints)
    return replace(decoder(peaks), boxes=found.boxes)


def with_own(
    foreign: Detections, own: Detections, exclusive: NDArray[np.bool_], overlap: float = IOU_ACROSS_CLASSES
) -> tuple[Detections, NDArray[np.bool_]]:
    """Detections of both, strongest first: where both see one object, that of the other detector stays.

    Args:
        foreign: N detections of the other detector.
        own: M detections of the network.
        exclusive: (C, C) mask of classes that one object cannot have both, see `ClassRules`.
        overlap: IoU from which both see one object.

    Returns:
        The detections, and which of them are the network's.
    """
    overlaps = iou(own.boxes, foreign.boxes) > overlap
    overlaps &= exclusive[np.ix_(own.class_ids, foreign.class_ids)]
    joined = Detections.concatenate([foreign, own.select(~np.asarray(overlaps.any(axis=1)))])
    order = np.argsort(-joined.scores, kind="stable")
    return joined.select(order), order >= len(foreign)
