# SPDX-License-Identifier: Apache-2.0
"""A CameraInfo becomes the camera of the image that came with it, or a sentence about why it cannot."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed (ROS 2 or its wheels)")

from centertrack_ros.io.camera_info import CameraInfoError, camera_from_info  # noqa: E402

K = (1266.4, 0.0, 816.3, 0.0, 1262.1, 491.5, 0.0, 0.0, 1.0)
P = (1200.0, 0.0, 800.0, -240.0, 0.0, 1200.0, 450.0, 1.5, 0.0, 0.0, 1.0, 0.02)
DISTORTIONS = {
    "plumb_bob": [-0.28, 0.07, 0.001, -0.0005, 0.01],
    "rational_polynomial": [0.4, -0.1, 0.0002, 0.0001, 0.02, 0.7, -0.05, 0.03],
    "equidistant": [0.02, -0.01, 0.004, -0.001],
}


def make_info(**changes):
    info = sensor_msgs.CameraInfo(width=1600, height=900, k=K, p=P, distortion_model="plumb_bob")
    info.d = [0.0] * 5
    for name, value in changes.items():
        target = info.roi if name in ("x_offset", "y_offset", "roi_width", "roi_height") else info
        setattr(target, name.removeprefix("roi_"), value)
    return info


def project(camera, points: np.ndarray) -> np.ndarray:
    """(N, 2) px of (N, 3) points by OpenCV's own distortion code: an opinion independent of ours."""
    matrix = camera.projection[:, :3]
    if camera.distortion_model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), matrix, camera.distortion)[0][:, 0]
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, camera.distortion)[0][:, 0]


def some_points(count: int = 50) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.uniform((-6, -2, 8), (6, 2, 40), (count, 3))


@pytest.mark.parametrize("model", DISTORTIONS)
def test_a_raw_image_has_k_and_d(model: str) -> None:
    camera = camera_from_info(make_info(distortion_model=model, d=DISTORTIONS[model]), (900, 1600))
    matrix, d, points = np.array(K).reshape(3, 3), np.array(DISTORTIONS[model]), some_points()
    if model == "equidistant":
        expected = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), matrix, d)[0][:, 0]
    else:
        expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, d)[0][:, 0]
    np.testing.assert_allclose(project(camera, points), expected, atol=1e-9)
    assert (camera.width, camera.height, camera.distortion_model) == (1600, 900, model)


def test_zero_coefficients_are_no_distortion() -> None:
    assert camera_from_info(make_info(), (900, 1600)).distortion_model == "none"
    assert camera_from_info(make_info(d=[], distortion_model=""), (900, 1600)).distortion_model == "none"


def test_a_rectified_image_has_p_with_its_translation_and_no_distortion() -> None:
    camera = camera_from_info(make_info(d=DISTORTIONS["plumb_bob"]), (900, 1600), rectified=True)
    np.testing.assert_array_equal(camera.projection, np.array(P).reshape(3, 4))
    assert camera.distortion_model == "none"


@settings(deadline=None)
@given(
    rectified=st.booleans(),
    x_offset=st.integers(0, 600),
    y_offset=st.integers(0, 300),
    binning=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    resized=st.sampled_from([1.0, 0.5, 0.8]),
)
def test_roi_binning_and_resizing_move_pixels_as_they_move_the_image(rectified, x_offset, y_offset, binning, resized):
    """A point projected by hand into the full image, then cropped, binned and resized, is where we project it."""
    roi_width, roi_height = 960, 480
    bin_x, bin_y = max(binning[0], 1), max(binning[1], 1)
    size = (round(roi_height / bin_y * resized), round(roi_width / bin_x * resized))
    info = make_info(
        x_offset=x_offset,
        y_offset=y_offset,
        roi_width=roi_width,
        roi_height=roi_height,
        binning_x=binning[0],
        binning_y=binning[1],
    )
    camera = camera_from_info(info, size, rectified)
    point = np.array([2.5, -1.0, 17.0])
    if rectified:
        row = np.array(P).reshape(3, 4) @ [*point, 1.0]
        full = row[:2] / row[2]
    else:
        full = np.array([K[0] * point[0] / point[2] + K[2], K[4] * point[1] / point[2] + K[5]])
    by_hand = (full - (x_offset, y_offset)) * (size[1] / roi_width, size[0] / roi_height)
    row = camera.projection @ [*point, 1.0]
    np.testing.assert_allclose(row[:2] / row[2], by_hand, rtol=1e-9)


def test_an_unstated_size_is_that_of_the_image() -> None:
    camera = camera_from_info(make_info(width=0, height=0), (450, 800))
    np.testing.assert_allclose(camera.projection[:, :3], np.array(K).reshape(3, 3))


def with_value(matrix: tuple[float, ...], index: int, value: float) -> list[float]:
    changed = list(matrix)
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "uncalibrated"),
        ({"k": with_value(K, 0, math.nan)}, "NaN or infinite values in K"),
        ({"k": with_value(K, 2, math.inf)}, "NaN or infinite values in K"),
        ({"k": with_value(K, 4, 0.0)}, "focal lengths"),
        ({"k": with_value(K, 0, -1266.0)}, "focal lengths"),
        ({"k": with_value(K, 0, 1e300)}, "focal lengths"),
        ({"k": with_value(K, 8, 0.0)}, "last row of K"),
        ({"k": with_value(K, 2, 1e12)}, "principal point"),
        ({"k": with_value(K, 1, 1e308), "width": 16, "height": 9}, "beyond all measure"),
        ({"d": [math.nan] * 5}, "NaN or infinite values in D"),
        ({"d": [0.1] * 3}, "3 coefficients in D; expected 4 or 5 for plumb_bob"),
        ({"d": [0.1] * 5, "distortion_model": "magic"}, "unknown distortion_model 'magic'"),
        ({"x_offset": 900, "roi_width": 900}, "ROI"),
        ({"binning_x": 4_000_000_000, "width": 0, "height": 0, "roi_width": 0, "d": [1.0]}, "after binning"),
    ],
)
def test_an_unusable_calibration_is_named(changes: dict, words: str) -> None:
    with pytest.raises(CameraInfoError, match=words) as error:
        camera_from_info(make_info(**changes), (900, 1600))
    assert "\n" not in str(error.value)


def test_a_rectified_image_without_p_is_named() -> None:
    with pytest.raises(CameraInfoError, match=r"P\[0\] == 0.*raw image"):
        camera_from_info(make_info(p=[0.0] * 12), (900, 1600), rectified=True)


any_float = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_message_is_a_finite_camera_or_a_camera_info_error(data) -> None:
    count = st.integers(0, 2**32 - 1) | st.integers(0, 2000)
    info = make_info(
        k=data.draw(st.lists(any_float, min_size=9, max_size=9) | st.just(list(K))),
        p=data.draw(st.lists(any_float, min_size=12, max_size=12) | st.just(list(P))),
        d=data.draw(st.lists(any_float, max_size=15)),
        distortion_model=data.draw(st.sampled_from([*DISTORTIONS, "", "x"])),
        **{
            name: data.draw(count)
            for name in ("width", "height", "binning_x", "binning_y", "x_offset", "y_offset", "roi_width")
        },
    )
    try:
        camera = camera_from_info(info, (900, 1600), data.draw(st.booleans()))
    except CameraInfoError:
        return
    assert np.isfinite(camera.projection).all() and np.isfinite(camera.distortion).all()
    assert camera.projection[0, 0] >= 1.0 and camera.projection[1, 1] >= 1.0
