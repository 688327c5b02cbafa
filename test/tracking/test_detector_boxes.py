# SPDX-License-Identifier: Apache-2.0
"""Distances by the boxes of a detector: their stated errors hold the noise of the boxes."""

import numpy as np
import pytest

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.heading import AXIS
from centertrack_ros.tracking.lifters import BOX_NOISE, LiftOptions, detector_boxes, size_prior_lifter
from centertrack_ros.tracking.size_prior import SIZE_PRIORS
from centertrack_ros.types import Detections
from support.rectangles import profile
from support.visible_boxes import visible_box

CAMERA = Camera.from_focal(1242, 375, 720.0, (610.0, 173.0))


def noisy_errors(lifter, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Errors over their stated deviations, of cars of all sizes and headings by boxes with relative noise."""
    car, normalized = SIZE_PRIORS["car"], []
    for _ in range(150):
        size = np.array([car.height, car.width, car.length]) * np.exp(rng.normal(0, 0.09))
        place = np.array([rng.uniform(-4, 4), 1.65, rng.uniform(14, 35)])
        box = visible_box(size, place, AXIS + rng.normal(0, 0.2), CAMERA)
        sides, middle = (box[2:] - box[:2]) * np.exp(rng.normal(0, noise, 2)), (box[2:] + box[:2]) / 2
        found = lifter(Detections.from_boxes(np.concatenate([middle - sides / 2, middle + sides / 2])[None]), CAMERA)
        normalized.append((found.locations[0, 2] - place[2]) / np.sqrt(found.location_covariances[0, 2, 2]))
    return np.array(normalized)


def test_errors_of_a_detectors_boxes_are_as_large_as_stated():
    noise = BOX_NOISE["car"]
    lifter = size_prior_lifter(profile(), LiftOptions())
    rms = np.sqrt(np.mean(noisy_errors(lifter, np.random.default_rng(5), noise) ** 2))
    exact = np.sqrt(np.mean(noisy_errors(SizePriorLifter(["car"]), np.random.default_rng(5), noise) ** 2))
    assert 0.7 < rms < 1.25 and rms < exact


def test_what_a_profile_states_of_its_boxes_holds():
    stated = profile(box_bias={"person": (0.9, 0.95, 0.02)})
    assert detector_boxes(stated)["person"] == (0.9, 0.95, 0.02)
    assert detector_boxes(stated)["car"] == (1.0, 1.0, BOX_NOISE["car"])


@pytest.mark.parametrize("kind", ["car", "person"])
def test_the_noisier_the_boxes_the_less_sure_the_distance(kind):
    prior = SIZE_PRIORS[kind]
    box = visible_box(np.array([prior.height, prior.width, prior.length]), np.array([1.0, 1.65, 20.0]), AXIS, CAMERA)
    found = [
        SizePriorLifter([kind], box_bias={kind: (1.0, 1.0, noise)}).lift(Detections.from_boxes(box[None]), CAMERA)
        for noise in (0.0, 0.05, 0.1)
    ]
    variances = [one.location_covariances[0, 2, 2] for one in found]
    assert variances == sorted(variances) and variances[0] < variances[-1]
