# SPDX-License-Identifier: Apache-2.0
"""Engines for detections of another detector: none that runs a network, and one that knows more classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine, EngineAround
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile, Thresholds

NONE = "none"  # as `model.weights`, and as the architecture of the profile
# Scores of another detector: usual ones report from 0.25 on.
_THRESHOLDS = Thresholds(track=0.3, new=0.4)


class NoNetworkEngine:
    """Implements `engine.base.Engine` without a network: it finds nothing, and knows of other detections no more.

    Args:
        classes: Names of the classes that are tracked.
    """

    name, device = NONE, "cpu"

    def __init__(self, classes: Sequence[str]) -> None:
        self.profile = ModelProfile(
            name="no network",
            architecture=NONE,
            classes=tuple(classes),
            heads={"hm": len(classes)},
            previous_image=False,
            prior_heatmap=False,
            resize="keep_resolution",
            thresholds=_THRESHOLDS,
            association_point="box",
            trained_tracking=False,
        )

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> None:
        """See `Engine.prepare`; there is nothing to prepare."""

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`: no peaks, and no values at any cell."""
        return [replace(no_peaks(), asked=None if cells is None else {}) for _ in images]


def no_peaks() -> Peaks:
    """What a network finds in an image that it was not shown."""
    empty = np.zeros(0, np.int64)
    return Peaks(np.zeros(0, np.float32), empty, np.zeros((0, 2), np.int64), {}, (0, 0), asked={})


def with_classes(engine: Engine, classes: Sequence[str]) -> Engine:
    """The engine as one of a model with more classes.

    Args:
        engine: Runs the network.
        classes: Those of its model, in their order, and more behind them.
    """
    profile = engine.profile
    heads = {**profile.heads, "hm": len(classes)}
    return EngineAround(engine, replace(profile, classes=tuple(classes), heads=heads))
