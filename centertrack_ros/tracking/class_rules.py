# SPDX-License-Identifier: Apache-2.0
"""What the configuration says about each class of a model, as arrays by class id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import find_duplicates
from centertrack_ros.network.class_groups import (
    PEOPLE,
    VEHICLES,
    are_among,
    can_be_same,
    class_odds,
    plain,
    select_classes,
    unknown_class,
)
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.tracking.class_votes import class_scores
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.existence import strengths
from centertrack_ros.types import Detections

# Boxes of different classes that overlap by more show one object. Of 31549 vehicles in KITTI's tracking labels 41
# overlap another one of a different class so much, and 485 one of their own.
IOU_ACROSS_CLASSES = 0.5


@dataclass(frozen=True)
class ClassRules:
    """Rules for the C classes of a model.

    Attributes:
        same: (C, C) mask of classes that can be the same object, see `network.class_groups`.
        exclusive: (C, C) mask of classes that cannot fill one box both: `same`, and a person and a vehicle.
        odds: (C,) factors on the scores of classes when they are compared, see `network.class_groups.class_odds`.
        people: (C,) mask of the classes of people.
        vehicles: (C,) mask of the classes of vehicles with windows.
        limits: Each class's own limits, None where there are none.
        out: (C,) scores that a detection must exceed.
        low: (C,) strengths (see `existence.strengths`) that a detection must exceed to be of any use: with birth
            'evidence' weak ones continue tracks.
        new: (C,) scores above which a detection may start a track.
        rebirth: (C,) s within which a lost track may be found again; None: the same for all classes.
        max_range: (C,) m within which tracks are reported.
        requested: (C,) mask of the classes that a user asks for.
        considered: (C,) mask of the classes that can turn out to be a requested one.
    """

    same: NDArray[np.bool_]
    exclusive: NDArray[np.bool_]
    odds: NDArray[np.float32]
    people: NDArray[np.bool_]
    vehicles: NDArray[np.bool_]
    limits: tuple[ClassLimits | None, ...]
    out: NDArray[np.float32]
    low: NDArray[np.float32]
    new: NDArray[np.float32]
    rebirth: NDArray[np.float64] | None
    max_range: NDArray[np.float64]
    requested: NDArray[np.bool_]
    considered: NDArray[np.bool_]

    @classmethod
    def of(cls, profile: ModelProfile, config: TrackerConfig) -> ClassRules:
        """The rules for a model.

        Raises:
            ValueError: The configuration names a class that the model does not have.
        """
        names = profile.classes
        requested = are_among(names, select_classes(config.classes, names))
        same = can_be_same(names, profile.class_groups) if config.class_groups else np.eye(len(names), dtype=bool)
        people, vehicles = are_among(names, PEOPLE), are_among(names, VEHICLES)
        exclusive = same.copy()
        if config.class_groups:
            exclusive |= np.logical_and.outer(people, vehicles) | np.logical_and.outer(vehicles, people)
        limits = _limits(names, config)
        out, new = _thresholds(limits, profile, config)
        return cls(
            same=same,
            exclusive=exclusive,
            odds=class_odds(names, config.classes),
            people=people,
            vehicles=vehicles,
            limits=limits,
            out=out,
            low=_low(limits, out, config),
            new=new,
            rebirth=_rebirth(limits, config),
            max_range=_max_range(limits, config),
            requested=requested,
            considered=np.asarray(same[:, requested].any(axis=1)),
        )

    def accepted(self, detections: Detections) -> Detections:
        """The detections that score high enough and have an allowed size, for their class."""
        if not any(self.limits):
            return detections
        widths, heights = (detections.boxes[:, 2:] - detections.boxes[:, :2]).T
        sizes, class_ids = np.maximum(widths, heights), detections.class_ids
        low, high = self._sizes[class_ids].T
        return detections.select(self._is_useful(detections) & (sizes >= low) & (sizes <= high))

    def reportable(self, detections: Detections) -> Detections:
        """The detections above `out`."""
        return detections.select(detections.scores > self.out[detections.class_ids])

    @cached_property
    def _sizes(self) -> NDArray[np.float64]:
        """(C, 2) smallest and largest longer side of a box, px."""
        own = [limits or ClassLimits() for limits in self.limits]
        return np.array([(one.min_size, one.max_size or np.inf) for one in own], np.float64).reshape(-1, 2)

    def in_range(self, detections: Detections) -> NDArray[np.bool_]:
        """(N,) mask of the objects that are near enough to be reported; so is one at an unknown distance."""
        if detections.locations is None or not np.isfinite(self.max_range).any():
            return np.ones(len(detections), bool)
        distances = np.hypot(detections.locations[:, 0], detections.locations[:, 2])
        return ~(distances > self.max_range[detections.class_ids])

    def considered_of(self, detections: Detections) -> Detections:
        """The detections whose object can turn out to be of a requested class."""
        if self.considered.all():
            return detections
        return detections.select(self.considered[detections.class_ids])

    def without_duplicates(self, detections: Detections, max_iou: float) -> Detections:
        """The detections above `low` that show no object twice, with the scores of all classes that it may be.

        Args:
            detections: N, strongest first. Those with lower scores count as scores of other classes.
            max_iou: Boxes that overlap by more show one object.
        """
        across = min(max_iou, IOU_ACROSS_CLASSES)
        owners = find_duplicates(detections.boxes, detections.class_ids, max_iou, self.exclusive, across)
        scores = class_scores(detections, owners, len(self.same)) * self.same[detections.class_ids]
        found = replace(detections, class_scores=scores)
        return found.select((owners == np.arange(len(owners))) & self._is_useful(found))

    def _is_useful(self, detections: Detections) -> NDArray[np.bool_]:
        """(N,) mask; where nothing weak is of use, a detection's own score decides, as in the official code."""
        by_all = (self.low < self.out).any()
        return np.asarray((strengths(detections) if by_all else detections.scores) > self.low[detections.class_ids])


def _limits(names: Sequence[str], config: TrackerConfig) -> tuple[ClassLimits | None, ...]:
    """Each class's own limits. Raises ValueError for a name that the model does not have."""
    given = {plain(name): limits for name, limits in config.class_limits.items()}
    known = {plain(name) for name in names}
    if unknown := [name for name in config.class_limits if plain(name) not in known]:
        raise ValueError(f"limits of classes: {unknown_class(unknown[0], names)}")
    return tuple(given.get(plain(name)) for name in names)


def _thresholds(
    limits: Sequence[ClassLimits | None], profile: ModelProfile, config: TrackerConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(C,) scores that a detection must exceed, and (C,) those above which it may start a track."""
    common = config.thresholds(profile.thresholds)
    lowest = profile.thresholds.out if config.out_threshold is None else config.out_threshold
    out, new = [], []
    for own in (limit or ClassLimits() for limit in limits):
        out.append(common.out if own.track_threshold is None else max(own.track_threshold, lowest))
        new.append(max(out[-1], common.new if own.new_threshold is None else own.new_threshold))
    return np.array(out, np.float32), np.array(new, np.float32)


def _low(limits: Sequence[ClassLimits | None], out: NDArray[np.float32], config: TrackerConfig) -> NDArray[np.float32]:
    if config.birth != "evidence":
        return out
    own = np.array([limit is not None and limit.track_threshold is not None for limit in limits], bool)
    return np.asarray(np.where(own, out, np.minimum(out, np.float32(config.low_threshold))), np.float32)


def _rebirth(limits: Sequence[ClassLimits | None], config: TrackerConfig) -> NDArray[np.float64] | None:
    own = [None if one is None else one.rebirth for one in limits]
    if all(value is None for value in own):
        return None
    return np.array([config.rebirth if value is None else value for value in own], np.float64)


def _max_range(limits: Sequence[ClassLimits | None], config: TrackerConfig) -> NDArray[np.float64]:
    common = config.max_range or np.inf
    return np.array([common if one is None else min(common, one.max_range or np.inf) for one in limits], np.float64)
