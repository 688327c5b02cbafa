# SPDX-License-Identifier: Apache-2.0
"""The fit of heading, size and distance: 3D boxes whose 2D boxes are those that were seen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking import heading
from centertrack_ros.tracking.box_fit import Sizes, edges_of, fit_boxes
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.size_prior import SIZE_PRIORS, class_sizes
from centertrack_ros.types import Detections
from support.visible_boxes import visible_box

CAMERA = Camera.from_focal(1242, 375, 720.0, (610.0, 173.0))
CAR = SIZE_PRIORS["car"]
SIZE = np.array([[CAR.height, CAR.width, CAR.length]])
GROUND = 1.65  # m below the camera


def seen(x: float, z: float, angle: float, size: np.ndarray = SIZE) -> np.ndarray:
    """(1, 4) px that a car on the ground covers."""
    return visible_box(size[0], np.array([x, GROUND, z]), angle, CAMERA)[None]


def car_sizes(factor: float = 1.0) -> Sizes:
    classes = class_sizes(["car"])
    return Sizes(factor * classes.means, classes.covariances, classes.is_round)


def depth_of(box: np.ndarray, angle: float) -> float:
    edges = edges_of(box, CAMERA, np.ones((1, 2)), np.full(1, 0.03))
    return float(fit_boxes(edges, car_sizes(), np.array([[angle]])).states[0, 0, 0])


def between(first: float, second: float) -> float:
    """Angle, rad, between two axes: up to half a turn."""
    return abs((first - second + np.pi / 2) % np.pi - np.pi / 2)


whole_cars = st.tuples(st.floats(-0.25, 0.25), st.floats(12, 60), st.floats(-3.1, 3.1))


@given(whole_cars)
def test_a_car_of_usual_size_is_found_exactly_where_it_is_if_its_heading_is_known(car):
    side, z, angle = car
    edges = edges_of(seen(side * z, z, angle), CAMERA, np.ones((1, 2)), np.zeros(1))
    fits = fit_boxes(edges, car_sizes(), np.array([[angle]]))
    np.testing.assert_allclose(fits.positions[0, 0], [side * z, GROUND - CAR.height / 2, z], rtol=2e-3, atol=0.05)


@given(whole_cars)
def test_no_heading_is_more_likely_than_the_true_one(car):
    side, z, angle = car
    edges = edges_of(seen(side * z, z, angle), CAMERA, np.ones((1, 2)), np.zeros(1))
    others = np.concatenate([[angle], heading.HEADINGS])[None]
    fits = fit_boxes(edges, car_sizes(), others)
    assert fits.log_likelihoods[0, 0] > fits.log_likelihoods[0].max() - 0.5


@given(whole_cars)
def test_the_box_that_is_drawn_covers_what_was_seen(car):
    side, z, angle = car
    box = seen(side * z, z, angle)
    lifted = SizePriorLifter(["car"]).lift(Detections.from_boxes(box), CAMERA)
    drawn = boxes3d.projected_boxes(lifted.dimensions, lifted.locations, lifted.rotations_y, CAMERA)
    np.testing.assert_allclose(drawn, box, atol=0.12 * (box[0, 2] - box[0, 0]) + 2)


@pytest.mark.parametrize("angle", [-1.57, -1.3, 1.5])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_car_that_leaves_the_image_at_a_side_is_not_taken_for_a_far_one(angle, side):
    box = seen(side * 8.5, 10.0, angle)
    assert box[0, 0] < 1 or box[0, 2] > CAMERA.width - 1
    assert depth_of(box, angle) == pytest.approx(10.0, rel=0.06)


def test_the_axis_of_cars_along_the_road_is_found():
    wrong = []
    for z in (10.0, 18.0, 30.0):
        for x in (-8.0, -4.0, 3.5, 6.0):
            for turn in (-0.1, 0.0, 0.1):
                box = seen(x, z, heading.AXIS + turn)
                lifted = SizePriorLifter(["car"]).lift(Detections.from_boxes(box), CAMERA)
                wrong.append(between(lifted.rotations_y[0], heading.AXIS + turn))
    assert np.degrees(np.median(wrong)) < 5 and np.degrees(np.percentile(wrong, 90)) < 12


def test_front_and_rear_stay_ambiguous_and_the_covariance_says_so():
    lifted = SizePriorLifter(["car", "person"]).lift(
        replace(Detections.from_boxes(np.repeat(seen(3.0, 20.0, heading.AXIS), 2, axis=0)), class_ids=np.array([0, 1])),
        CAMERA,
    )
    car, person = lifted.heading_variances
    assert car > 1.0  # half a turn with a probability of more than a tenth
    assert person == pytest.approx(np.pi**2 / 3, rel=0.1)


def test_boxes_that_a_model_draws_too_small_are_taken_for_what_they_stand_for():
    box = seen(2.0, 20.0, heading.AXIS)
    middle, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2 * [0.85, 0.9]
    small = np.concatenate([middle - half, middle + half], axis=1)
    plain, corrected = SizePriorLifter(["car"]), SizePriorLifter(["car"], 0.0, {"car": (0.85, 0.9, 0.03)})
    true = plain.lift(Detections.from_boxes(box), CAMERA).depths[0]
    assert plain.lift(Detections.from_boxes(small), CAMERA).depths[0] > 1.08 * true
    assert corrected.lift(Detections.from_boxes(small), CAMERA).depths[0] == pytest.approx(true, rel=1e-3)


def test_a_box_at_the_border_is_corrected_at_its_seen_edges_only():
    box = np.array([[0.0, 100.0, 200.0, 200.0]])
    edges = edges_of(box, CAMERA, np.array([[2.0, 1.0]]), np.full(1, 0.03))
    left, _, right, _ = edges.slopes[0] * 720 + np.tile([610.0, 173.0], 2)
    assert (round(left), round(right)) == (0, 400)
