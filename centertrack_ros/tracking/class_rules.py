# SPDX-License-Identifier: Apache-2.0
"""What the configuration says about each class of a model, as arrays by class id."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import find_duplicates
from centertrack_ros.network.class_groups import PEOPLE, VEHICLES, are_among, can_be_same, class_odds, select_classes
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.class_votes import class_scores
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.types import Detections


@dataclass(frozen=True)
class ClassRules:
    """Rules for the C classes of a model.

    Attributes:
        same: (C, C) mask of classes that can be the same object, see `network.class_groups`.
        exclusive: (C, C) mask of classes that cannot fill one box both: `same`, and a person and a vehicle.
        odds: (C,) factors on the scores of classes when they are compared, see `network.class_groups.class_odds`.
        requested: (C,) mask of the classes that a user asks for.
        considered: (C,) mask of the classes that can turn out to be a requested one.
    """

    same: NDArray[np.bool_]
    exclusive: NDArray[np.bool_]
    odds: NDArray[np.float32]
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
        exclusive = same.copy()
        if config.class_groups:
            people, vehicles = are_among(names, PEOPLE), are_among(names, VEHICLES)
            exclusive |= np.logical_and.outer(people, vehicles) | np.logical_and.outer(vehicles, people)
        odds = class_odds(names, config.classes)
        considered = np.asarray(same[:, requested].any(axis=1))
        return cls(same, exclusive, odds, requested, considered)

    def considered_of(self, detections: Detections) -> Detections:
        """The detections whose object can turn out to be of a requested class."""
        if self.considered.all():
            return detections
        return detections.select(self.considered[detections.class_ids])

    def without_duplicates(self, detections: Detections, max_iou: float, threshold: float) -> Detections:
        """The detections above a score that show no object twice, with the scores of all classes that it may be.

        Args:
            detections: N, strongest first. Those below the threshold count as scores of other classes.
            max_iou: Boxes that overlap by more show one object.
            threshold: Score.
        """
        owners = find_duplicates(detections.boxes, detections.class_ids, max_iou, self.exclusive)
        stays = (owners == np.arange(len(owners))) & (detections.scores > np.float32(threshold))
        scores = class_scores(detections, owners, len(self.same)) * self.same[detections.class_ids] * self.odds
        return replace(detections, class_scores=scores).select(stays)
