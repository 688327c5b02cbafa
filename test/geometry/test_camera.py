# SPDX-License-Identifier: Apache-2.0
"""Properties of cameras: what is projected can be unprojected, and nonsense is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.geometry.camera import Camera

MODELS = {
    "none": [],
    "plumb_bob": [-0.28, 0.09, 0.0005, -0.0003, -0.01],
    "rational_polynomial": [0.3, -0.1, 0.0002, -0.0001, 0.01, 0.65, -0.08, 0.02],
    "equidistant": [-0.01, 0.02, -0.008, 0.001],
}


@st.composite
def cameras(draw):
    focal = draw(st.tuples(st.floats(100, 3000), st.floats(100, 3000)))
    center = draw(st.tuples(st.floats(0, 1600), st.floats(0, 900)))
    matrix = np.array([[focal[0], 0, center[0], 0], [0, focal[1], center[1], 0], [0, 0, 1, 0]])
    if draw(st.booleans()):  # pixels that are not rectangles
        matrix[0, 1] = draw(st.floats(-5, 5))
    if draw(st.booleans()):  # a rectified KITTI camera: displaced from the reference camera
        matrix[:, 3] = draw(st.tuples(st.floats(-400, 400), st.floats(-3, 3), st.floats(-0.01, 0.01)))
    return Camera(1600, 900, matrix)


points = st.lists(st.tuples(st.floats(-50, 50), st.floats(-5, 5), st.floats(0.5, 150)), min_size=1, max_size=10).map(
    lambda rows: np.array(rows, np.float64)
)


@given(cameras(), points)
def test_unprojecting_a_projection_gives_the_point(camera, world):
    depths = world[:, 2] + camera.projection[2, 3]
    np.testing.assert_allclose(camera.unproject(camera.project(world), depths), world, rtol=1e-6, atol=1e-6)


@given(cameras(), points, st.floats(0.2, 3))
def test_a_resized_image_sees_the_same_points_at_resized_pixels(camera, world, factor):
    width, height = max(1, int(camera.width * factor)), max(1, int(camera.height * factor))
    scale = np.array([width / camera.width, height / camera.height])
    np.testing.assert_allclose(
        camera.scaled_to(width, height).project(world), camera.project(world) * scale, rtol=1e-9, atol=1e-6
    )


@settings(deadline=None)
@pytest.mark.parametrize("model", MODELS)
@given(pixels=st.lists(st.tuples(st.floats(250, 390), st.floats(170, 310)), min_size=1, max_size=8).map(np.array))
def test_distorting_an_undistorted_pixel_gives_it_back(model, pixels):
    camera = Camera.from_matrix(640, 480, [[400, 0, 320], [0, 410, 240], [0, 0, 1]], model, MODELS[model])
    np.testing.assert_allclose(camera.distort(camera.undistort(pixels)), pixels, atol=1e-3)
    np.testing.assert_allclose(camera.undistort(camera.distort(pixels)), pixels, atol=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_the_principal_point_is_not_distorted(model):
    camera = Camera.from_matrix(640, 480, [[400, 0, 320], [0, 410, 240], [0, 0, 1]], model, MODELS[model])
    np.testing.assert_allclose(camera.undistort(np.array([[320.0, 240.0]])), [[320, 240]], atol=1e-6)


def test_barrel_distortion_pulls_pixels_to_the_middle():
    camera = Camera.from_matrix(640, 480, [[400, 0, 320], [0, 400, 240], [0, 0, 1]], "plumb_bob", [-0.3, 0, 0, 0, 0])
    assert camera.undistort(np.array([[600.0, 240.0]]))[0, 0] > 600


def test_without_a_focal_length_it_is_the_official_stand_in():
    np.testing.assert_array_equal(
        Camera.from_focal(1600, 900).projection, [[1200, 0, 800, 0], [0, 1200, 450, 0], [0, 0, 1, 0]]
    )


@pytest.mark.parametrize(
    ("width", "matrix", "model", "coefficients", "said"),
    [
        (0, np.eye(3), "none", [], "size"),
        (640, np.full((3, 3), np.nan), "none", [], "NaN"),
        (640, np.zeros((3, 3)), "none", [], "focal lengths must be positive.*uncalibrated"),
        (640, np.eye(4), "none", [], "9 .K. or 12"),
        (640, np.eye(3), "fisheye624", [], "distortion model"),
        (640, np.eye(3), "plumb_bob", [0.1], "coefficients"),
        (640, np.eye(3), "plumb_bob", [np.nan] * 5, "NaN"),
    ],
)
def test_what_is_no_camera_is_named(width, matrix, model, coefficients, said):
    with pytest.raises(ValueError, match=said):
        Camera.from_matrix(width, 480, matrix, model, coefficients)
