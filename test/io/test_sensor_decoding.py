# SPDX-License-Identifier: Apache-2.0
"""Depth images and point clouds from messages in all their layouts; what is wrong is told in one sentence."""

from types import SimpleNamespace

import numpy as np
import pytest

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.depth_decoding import DepthError, check_aligned, depth_of, points_of_depth
from centertrack_ros.io.point_decoding import MOST_POINTS, PointsError, points_of
from centertrack_ros.types import DepthImage
from support.sensor_messages import cloud, compressed, image

TRUE = np.array([[0.5, 1.0, 2.5], [4.0, 8.125, 60.0]], np.float32)  # m


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_depth_in_mm_and_in_m_is_the_same(padding, big_endian) -> None:
    in_mm = image((TRUE * 1000).astype(np.uint16), "16UC1", padding, big_endian)
    in_m = image(TRUE, "32FC1", padding, big_endian)
    np.testing.assert_allclose(depth_of(in_mm).depths, TRUE, atol=1e-3)
    np.testing.assert_array_equal(depth_of(in_m).depths, TRUE)


def test_a_saturated_value_was_not_measured() -> None:
    values = (TRUE * 1000).astype(np.uint16)
    values[1, 2] = 65535
    assert depth_of(image(values, "16UC1")).depths[1, 2] == 0


def test_compressed_depth_is_what_was_compressed() -> None:
    millimeters = (TRUE * 1000).astype(np.uint16)
    np.testing.assert_allclose(depth_of(compressed(millimeters, "16UC1")).depths, TRUE, atol=1e-3)
    # compressed_depth's quantisation: A = quantum (quantum + 1), B = 1 - A / farthest.
    quantum, farthest = 100.0, 100.0
    scale = quantum * (quantum + 1)
    offset = 1 - scale / farthest
    inverse = np.round(scale / TRUE + offset).astype(np.uint16)
    inverse[0, 0] = 0
    depths = depth_of(compressed(inverse, "32FC1", (0, scale, offset))).depths
    np.testing.assert_allclose(depths[1], TRUE[1], rtol=0.02)
    assert np.isnan(depths[0, 0])


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (image(TRUE, "bgr8"), "unknown depth encoding 'bgr8'; expected 16UC1"),
        (image(TRUE, "32FC1", step=3), "expected a step of at least 12"),
        (image(TRUE, "32FC1", height=9), "bytes of data"),
        (image(TRUE * 1000, "32FC1"), "look like mm; 32FC1 holds m"),
        (image(TRUE.astype(np.uint16), "16UC1"), "look like m; it holds mm"),
        (image(TRUE, "32FC1", width=0, step=0), "impossible size"),
        (compressed(np.zeros((3, 3), np.uint8), "16UC1"), "one channel of 16 bits"),
        (compressed(np.ones((3, 3), np.uint16), "32FC1"), "quantisation 0"),
        (SimpleNamespace(format="jpeg", data=b"\xff\xd8"), "no depth; expected '16UC1; compressedDepth png'"),
        (SimpleNamespace(format="16UC1; compressedDepth png", data=b"12345"), "truncated"),
        (SimpleNamespace(format="16UC1; compressedDepth rvl", data=b"1" * 99), "set the publisher's format to png"),
    ],
)
def test_what_is_wrong_with_a_depth_image_is_told(message, sentence) -> None:
    with pytest.raises(DepthError, match=sentence.replace("(", r"\(")):
        depth_of(message)


def test_a_depth_image_of_another_shape_is_not_of_the_same_view() -> None:
    check_aligned(DepthImage(np.ones((240, 320), np.float32)), (480, 640))
    with pytest.raises(DepthError, match="320x320 px is not of the same view as an image of 640x480"):
        check_aligned(DepthImage(np.ones((320, 320), np.float32)), (480, 640))


def test_the_points_of_a_depth_image_project_to_its_pixels() -> None:
    camera = Camera.from_focal(640, 480, 500.0)
    depths = np.full((480, 640), 3.0, np.float32)
    depths[:, :320] = np.nan
    points = points_of_depth(DepthImage(depths), camera).points
    assert 0 < len(points) <= 150_000
    assert (points[:, 2] == 3).all() and (points[:, 0] > 0).all() and points[:, 0].max() < 3 * 320 / 500


@pytest.mark.parametrize("order", ["xyz", "zyx", "yxz"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">i2"])
@pytest.mark.parametrize(("height", "padding"), [(1, 0), (4, 0), (4, 6)])
def test_points_are_read_from_every_layout(order, kind, height, padding) -> None:
    points = np.round(np.random.default_rng(1).uniform(-90, 90, (20, 3)))
    np.testing.assert_array_equal(points_of(cloud(points, order, kind, height, padding)).points, points)


def test_points_that_are_not_finite_are_left_out() -> None:
    points = np.array([[1, 2, 3], [np.nan, 0, 0], [0, np.inf, 0], [4, 5, 6]], np.float64)
    np.testing.assert_array_equal(points_of(cloud(points)).points, points[[0, 3]])
    assert points_of(cloud(np.zeros((0, 3)))).points.shape == (0, 3)


@pytest.mark.parametrize("height", [1, 1000])
def test_of_a_huge_cloud_a_part_is_taken(height) -> None:
    count = 2_000_000
    points = np.stack([np.arange(count), np.zeros(count), np.ones(count)], axis=1)
    found = points_of(cloud(points, height=height)).points
    assert MOST_POINTS // 3 < len(found) <= 1.1 * MOST_POINTS
    assert found[0, 0] == 0 and found[:, 0].max() > 0.99 * count


def test_what_is_wrong_with_a_cloud_is_told() -> None:
    good = cloud(np.ones((10, 3)))
    without = SimpleNamespace(**{**vars(good), "fields": good.fields[:2]})
    with pytest.raises(PointsError, match="no field y and no field z; its fields are: intensity, x"):
        points_of(without)
    for change in ({"data": good.data[:-20]}, {"point_step": 5}, {"row_step": 1, "height": 2}, {"width": 2**31}):
        with pytest.raises(PointsError, match="a cloud of"):
            points_of(SimpleNamespace(**{**vars(good), **change}))
    good.fields[1].datatype = 99
    with pytest.raises(PointsError, match="of type 99"):
        points_of(good)
