# SPDX-License-Identifier: Apache-2.0
"""Properties of rigid transforms between frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.boxes3d import OrientedBoxes, oriented_boxes
from centertrack_ros.geometry.transform import (
    Transform,
    box_quaternions,
    interpolate,
    multiply_quaternions,
    quaternion_to_matrix,
)

numbers = st.floats(-100, 100)
triples = st.tuples(numbers, numbers, numbers).map(np.array)
quaternions = (
    st.tuples(*[st.floats(-1, 1)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 0.1)
)  # of any length: they are normalised
transforms = st.builds(Transform.from_quaternion, quaternions, triples)
clouds = st.lists(triples, min_size=1, max_size=5).map(np.array)


def random_covariances(seed: int, size: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(2, size, size))
    return root @ np.swapaxes(root, 1, 2)


@given(transforms, clouds)
def test_the_inverse_restores_points_and_directions(transform, points):
    np.testing.assert_allclose(transform.inverse().points(transform.points(points)), points, atol=1e-9)
    np.testing.assert_allclose(transform.inverse().vectors(transform.vectors(points)), points, atol=1e-9)


@given(transforms, transforms, clouds)
def test_a_chain_of_transforms_is_one_transform(outer, inner, points):
    chain = outer @ inner
    np.testing.assert_allclose(chain.points(points), outer.points(inner.points(points)), atol=1e-9)
    np.testing.assert_allclose((chain.inverse() @ chain).points(points), points, atol=1e-9)


@given(transforms, triples, triples)
def test_distances_stay_and_directions_do_not_move(transform, one, other):
    moved = transform.points(np.stack([one, other]))
    np.testing.assert_allclose(np.linalg.norm(moved[0] - moved[1]), np.linalg.norm(one - other), atol=1e-9)
    np.testing.assert_allclose(transform.vectors(one - other), moved[0] - moved[1], atol=1e-9)


@given(transforms, triples)
def test_quaternion_and_matrix_are_the_same_rotation(transform, point):
    again = Transform.from_quaternion(transform.quaternion, transform.translation)
    np.testing.assert_allclose(again.points(point), transform.points(point), atol=1e-6)
    homogeneous = np.eye(4)
    homogeneous[:3, :3], homogeneous[:3, 3] = transform.rotation, transform.translation
    np.testing.assert_array_equal(Transform.from_matrix(homogeneous).points(point), transform.points(point))
    np.testing.assert_allclose((homogeneous @ np.append(point, 1))[:3], transform.points(point), atol=1e-9)


@given(transforms, st.integers(0, 1000), triples)
def test_uncertainty_along_a_direction_turns_with_the_direction(transform, seed, direction):
    covariances = random_covariances(seed, 3)
    turned, along = transform.covariances(covariances), transform.vectors(direction)
    before = np.einsum("i,nij,j->n", direction, covariances, direction)
    np.testing.assert_allclose(np.einsum("i,nij,j->n", along, turned, along), before, rtol=1e-9, atol=1e-6)


@given(transforms, st.integers(0, 1000))
def test_covariances_of_poses_turn_block_by_block(transform, seed):
    covariances = random_covariances(seed, 6)
    turned = transform.covariances(covariances)
    for rows in (slice(0, 3), slice(3, 6)):
        for columns in (slice(0, 3), slice(3, 6)):
            block = covariances[:, rows, columns]
            np.testing.assert_allclose(
                turned[:, rows, columns], transform.rotation @ block @ transform.rotation.T, atol=1e-9
            )
    np.testing.assert_allclose(turned, np.swapaxes(turned, 1, 2), atol=1e-9)


@given(transforms, st.floats(-3, 3), st.integers(0, 1000))
def test_the_corners_of_a_box_move_with_the_box(transform, angle, seed):
    dimensions, location = np.array([[1.5, 1.8, 4.4]]), np.array([[3.0, 1.2, 20.0]])
    boxes = oriented_boxes(
        dimensions, location, np.array([angle]), random_covariances(seed, 3)[:1], np.array([[1.0, 0.0, 5.0]])
    )
    moved = transform.boxes(boxes)
    halves = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * moved.sizes[0]
    corners = halves @ quaternion_to_matrix(moved.quaternions[0]).T + moved.centers[0]
    expected = transform.points(boxes3d.corners(dimensions, location, np.array([angle]))[0])
    distances = np.linalg.norm(corners[:, None] - expected[None], axis=2)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(moved.velocities, transform.vectors(boxes.velocities), atol=1e-6)
    np.testing.assert_allclose(moved.covariances, transform.covariances(boxes.covariances), atol=1e-5)


def test_a_camera_that_looks_left_sees_objects_on_the_left_of_the_vehicle():
    """REP 103: the body has x forward, y left, z up; the optical frame x right, y down, z forward."""
    looks_ahead = Transform(boxes3d.BODY_FROM_OPTICAL, np.array([1.5, 0.0, 1.6]))
    quarter_turn = Transform.from_quaternion([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)], np.zeros(3))
    np.testing.assert_allclose(looks_ahead.points(np.array([0.0, 0.0, 10.0])), [11.5, 0.0, 1.6], atol=1e-9)
    np.testing.assert_allclose(
        (quarter_turn @ looks_ahead).points(np.array([0.0, 0.0, 10.0])), [0.0, 11.5, 1.6], atol=1e-9
    )


@pytest.mark.parametrize(
    ("rotation", "translation"),
    [
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3)),  # a mirror
        (2 * np.eye(3), np.zeros(3)),
        (np.full((3, 3), np.nan), np.zeros(3)),
        (np.eye(3), np.array([0.0, np.inf, 0.0])),
        (np.eye(3)[:2], np.zeros(3)),
    ],
)
def test_an_invalid_rigid_transform_is_an_error(rotation, translation):
    with pytest.raises(ValueError, match=r"must|has a rotation"):
        Transform(rotation, translation)


@given(st.integers(0, 1000), st.lists(st.booleans(), min_size=2, max_size=2))
def test_selected_and_concatenated_boxes_are_the_same_boxes(seed, mask):
    boxes = oriented_boxes(
        np.ones((2, 3)), np.random.default_rng(seed).normal(size=(2, 3)), None, random_covariances(seed, 3)
    )
    chosen = np.array(mask)
    joined = OrientedBoxes.concatenate([boxes.select(chosen), boxes.select(~chosen)])
    order = np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])
    np.testing.assert_array_equal(joined.centers, boxes.centers[order])
    np.testing.assert_array_equal(joined.covariances, boxes.covariances[order])


@given(transforms, transforms, st.floats(0, 1))
def test_between_two_poses_a_frame_moves_along_the_line_and_turns_at_a_constant_rate(start, end, fraction):
    def angle(one: Transform, other: Transform) -> float:
        cosine = (np.trace((one.inverse() @ other).rotation) - 1) / 2
        return float(np.arccos(np.clip(cosine, -1, 1)))

    between = interpolate(start, end, fraction)
    line = (1 - fraction) * start.translation + fraction * end.translation
    np.testing.assert_allclose(between.translation, line, atol=1e-9)
    assert angle(start, between) == pytest.approx(fraction * angle(start, end), abs=1e-3)
    assert angle(between, end) == pytest.approx((1 - fraction) * angle(start, end), abs=1e-3)


@given(transforms)
def test_the_quaternion_of_a_chain_is_the_product_of_quaternions(transform):
    turn = Transform.from_quaternion([0.1, -0.2, 0.3, 0.9], np.zeros(3))
    product = multiply_quaternions(turn.quaternion, transform.quaternion)
    assert abs((turn @ transform).quaternion @ product) == pytest.approx(1) and product[3] >= 0


def test_an_unknown_orientation_stays_unknown_beside_known_ones():
    angles = np.array([0.5, np.nan])
    quaternions = box_quaternions(angles)
    assert np.isfinite(quaternions[0]).all() and np.isnan(quaternions[1]).all()
    turned = multiply_quaternions(np.array([0.0, 0.0, 0.0, 1.0]), quaternions)
    np.testing.assert_allclose(turned, quaternions, atol=1e-12)
    assert multiply_quaternions(np.array([0.0, 0.0, 0.0, 1.0]), box_quaternions(np.zeros(0))).shape == (0, 4)
