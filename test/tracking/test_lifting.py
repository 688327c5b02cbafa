# SPDX-License-Identifier: Apache-2.0
"""Lifting: boxes in the optical frame that project to their detections, with honest covariances."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.lifting import focal_correction, lift_heads, ray_covariances
from centertrack_ros.tracking.size_prior import SIZE_PRIORS, prior_for
from centertrack_ros.types import Detections

CAMERA = Camera.from_matrix(1600, 900, [[1266.4, 0, 816.3, 45.0], [0, 1266.4, 491.5, -0.3], [0, 0, 1, 0.005]])

objects = st.tuples(
    st.floats(-20, 20), st.floats(-2, 3), st.floats(3, 120), st.floats(0.5, 4), st.floats(0.5, 3), st.floats(0.5, 12),
    st.floats(-3.1, 3.1),
)  # fmt: skip


def detection(boxes: np.ndarray, **values: np.ndarray) -> Detections:
    return replace(Detections.from_boxes(boxes), **values)


@given(objects)
def test_lifting_what_a_box_projects_to_gives_the_box(thing):
    x, y, z, *size, angle = thing
    location, dimensions = np.array([[x, y, z]]), np.array([size])
    center = CAMERA.project(boxes3d.centers(dimensions, location))
    seen = detection(
        np.zeros((1, 4)),
        amodal_centers=center,
        depths=location[:, 2] + CAMERA.projection[2, 3],
        dimensions=dimensions,
        alphas=boxes3d.alphas_from_rotation(np.array([angle]), center[:, 0], CAMERA.projection[0, 2], CAMERA.focal[0]),
    )
    lifted = lift_heads(seen, CAMERA)
    np.testing.assert_allclose(lifted.locations, location, atol=1e-3, rtol=1e-5)
    turn = lifted.rotations_y[0] - angle
    assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 1e-5


def test_a_model_without_depth_cannot_be_lifted_by_heads():
    with pytest.raises(ValueError, match="dep, dim and rot"):
        lift_heads(detection(np.zeros((1, 4))), CAMERA)


@given(st.tuples(st.floats(-20, 20), st.floats(-3, 3), st.floats(2, 100)), st.floats(0.3, 20))
def test_a_covariance_is_long_along_the_ray_and_short_across_it(point, sigma):
    place = np.array([point])
    covariance = ray_covariances(place, np.array([sigma]), CAMERA)[0]
    np.testing.assert_allclose(covariance, covariance.T)
    values, vectors = np.linalg.eigh(covariance)
    assert (values > 0).all()
    ray = place[0] / np.linalg.norm(place[0])
    if sigma > 1.5:
        assert abs(vectors[:, 2] @ ray) == pytest.approx(1, abs=1e-6)
    along = ray @ covariance @ ray
    assert along == pytest.approx((sigma * np.linalg.norm(place[0]) / point[2]) ** 2, rel=1e-6)


@given(st.floats(300, 3000), st.floats(0.2, 2))
def test_twice_the_focal_length_means_twice_the_depth(focal, scale):
    single = focal_correction(Camera.from_focal(1600, 900, focal), scale, 633.0)
    assert focal_correction(Camera.from_focal(1600, 900, 2 * focal), scale, 633.0) == pytest.approx(2 * single)
    assert focal_correction(Camera.from_focal(1600, 900, 633.0 / scale), scale, 633.0) == pytest.approx(1)


def box_around(name: str, z: float, x: float = 0.0, angle: float = 0.3, factor: float = 1.0) -> np.ndarray:
    """(1, 4) px: box of an object of its class's mean size, times `factor`, whose middle is at (x, 0, z)."""
    prior = SIZE_PRIORS[name]
    size = factor * np.array([[prior.height, prior.width, prior.length]])
    corners = boxes3d.corners(size, np.array([[x, size[0, 0] / 2, z]]), np.array([angle]))[0]
    pixels = CAMERA.project(corners)
    return np.concatenate([pixels.min(0), pixels.max(0)])[None]


@given(st.sampled_from(["person", "car", "bicycle", "motorcycle", "cyclist"]), st.floats(10, 60), st.floats(-0.3, 0.3))
def test_an_object_of_usual_size_is_lifted_to_its_location(name, z, side):
    lifted = SizePriorLifter([name]).lift(detection(box_around(name, z, side * z)), CAMERA)
    sigma = np.sqrt(lifted.location_covariances[0, 2, 2])
    assert abs(lifted.depths[0] - z) < 2 * sigma
    assert abs(lifted.depths[0] / z - 1) < 0.25
    np.testing.assert_allclose(lifted.locations[0, 0], side * z * lifted.depths[0] / z, atol=0.1 * z)


def test_the_stated_uncertainty_covers_the_variation_of_sizes_and_headings():
    rng = np.random.default_rng(5)
    inside = total = 0
    for name in ("person", "car", "bicycle"):
        lifter, prior = SizePriorLifter([name]), SIZE_PRIORS[name]
        for _ in range(150):
            z, factor = rng.uniform(8, 60), np.exp(rng.normal(0, prior.height_sigma))
            lifted = lifter.lift(detection(box_around(name, z, 0, rng.uniform(-np.pi, np.pi), factor)), CAMERA)
            inside += abs(lifted.depths[0] - z) < 2 * np.sqrt(lifted.location_covariances[0, 2, 2])
            total += 1
    assert inside / total > 0.9


def test_a_box_cut_off_by_the_border_is_less_certain():
    whole = box_around("car", 15.0)
    cut = whole.copy()
    shift = CAMERA.width - cut[0, 0] - 0.4 * (cut[0, 2] - cut[0, 0])
    cut[0, [0, 2]] += shift
    cut[0, 2] = CAMERA.width
    lifter = SizePriorLifter(["car"])
    whole_lifted, cut_lifted = (lifter.lift(detection(box), CAMERA) for box in (whole, cut))
    relative = [
        np.sqrt(np.trace(lifted.location_covariances[0])) / lifted.depths[0] for lifted in (whole_lifted, cut_lifted)
    ]
    assert relative[1] > relative[0]
    assert cut_lifted.depths[0] == pytest.approx(15, rel=0.35)  # its height is still visible


def test_a_class_without_a_size_prior_gets_no_location():
    lifted = SizePriorLifter(["kite", "car"]).lift(
        replace(detection(np.repeat(box_around("car", 20.0), 2, axis=0)), class_ids=np.array([0, 1])), CAMERA
    )
    assert np.isnan(lifted.locations[0]).all() and np.isfinite(lifted.locations[1]).all()
    assert np.isnan(lifted.depths[0])


def test_size_priors_are_found_by_any_spelling_and_are_sound():
    assert prior_for("Car") == prior_for("car") == SIZE_PRIORS["car"]
    assert prior_for("traffic_light") == SIZE_PRIORS["traffic light"]
    assert prior_for("banana") is None
    for prior in SIZE_PRIORS.values():
        assert 0.1 < prior.height < 5 and 0.01 < prior.width < 4 and prior.length < 25
        assert 0.03 < prior.height_sigma < 0.5 and 0.03 < prior.width_sigma < 0.5 and 0.05 < prior.length_sigma < 0.5


@given(st.sampled_from(["plumb_bob", "equidistant"]))
def test_distortion_is_taken_out_before_lifting(model):
    coefficients = [-0.2, 0.05, 0, 0] if model == "equidistant" else [-0.2, 0.05, 0, 0, 0]
    bent = Camera.from_matrix(1600, 900, CAMERA.projection, model, coefficients)
    straight = box_around("car", 20.0, 6.0)
    seen = bent.distort(straight.reshape(-1, 2)).reshape(1, 4)
    lifter = SizePriorLifter(["car"])
    np.testing.assert_allclose(
        lifter.lift(detection(seen), bent).locations, lifter.lift(detection(straight), CAMERA).locations, atol=0.02
    )
