# SPDX-License-Identifier: Apache-2.0
"""Moving, standing or unknown: what a noisy velocity with a known covariance can tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.lifting import ray_covariances
from centertrack_ros.tracking.motion_state import motion_states
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import (
    MOTION_MOVING,
    MOTION_STANDING,
    MOTION_UNKNOWN,
    Detections,
    Tracks,
    VelocityFilters,
)

CAMERA = Camera.from_focal(512, 288, 400.0)
STEP_S = 0.1
# A camera that looks along x of a frame whose z points up.
POSE = Transform(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def watched(velocity: tuple[float, float], seconds: float, depth_sigma: float, count: int = 100) -> np.ndarray:
    """(frames, count) states of objects 12 m ahead with a velocity over ground, seen with independent errors."""
    random, filters, states = np.random.default_rng(3), VelocityFilters(), []
    for index in range(round(seconds / STEP_S)):
        stamp = index * STEP_S
        middles = np.tile([0.0, 0.5, 12.0], (count, 1)) + stamp * np.array([-velocity[1], 0.0, velocity[0]])
        covariances = ray_covariances(middles, np.full(count, depth_sigma), CAMERA)
        noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariances), random.normal(size=(count, 3)))
        detections = replace(
            Detections.from_boxes(np.zeros((count, 4))),
            dimensions=np.full((count, 3), 1.5),
            locations=middles + noise + [0.0, 0.75, 0.0],
            location_covariances=covariances,
        )
        ones = np.ones(count, np.int64)
        tracks = Tracks(detections, np.arange(1, count + 1), ones, 2 * ones, np.zeros(count))
        result, filters = filter_velocities(filters, tracks, POSE, stamp)
        states.append(result.motion_states)
    return np.array(states)


def test_what_was_seen_once_is_unknown() -> None:
    assert (watched((0.0, 0.0), 0.2, 0.2)[0] == MOTION_UNKNOWN).all()


def test_what_stands_stands_and_is_hardly_ever_said_to_move() -> None:
    states = watched((0.0, 0.0), 6.0, 0.2)
    assert (states == MOTION_MOVING).mean() < 0.01
    assert (states[30:] == MOTION_STANDING).mean() > 0.95


@pytest.mark.parametrize("velocity", [(8.0, 0.0), (0.0, 1.4), (-3.0, 3.0)])
def test_what_moves_moves_within_two_seconds_and_never_stands(velocity: tuple[float, float]) -> None:
    states = watched(velocity, 4.0, 0.2)
    assert (states[20:] == MOTION_MOVING).mean() > 0.99
    assert (states == MOTION_STANDING).mean() < 0.005


def drifting(
    velocity: tuple[float, float], part: float, memory_s: float, driven: float, count: int = 100
) -> NDArray[np.uint8]:
    """(frames, count) states of objects whose distances are wrong by a part that changes slowly, after a second.

    The camera drives ahead with `driven` m/s. The covariances state the errors' variance, and nothing of their memory.
    """
    random, filters, states = np.random.default_rng(4), VelocityFilters(), []
    error, kept = random.normal(size=count), np.exp(-STEP_S / memory_s)
    for index in range(60):
        stamp = index * STEP_S
        true = np.array([2.0, 0.5, 45.0]) + stamp * np.array([-velocity[1], 0.0, velocity[0] - driven])
        middles = true * np.exp(part * error)[:, None]
        error = kept * error + np.sqrt(1 - kept**2) * random.normal(size=count)
        detections = replace(
            Detections.from_boxes(np.zeros((count, 4))),
            dimensions=np.full((count, 3), 1.5),
            locations=middles + [0.0, 0.75, 0.0],
            location_covariances=ray_covariances(middles, part * middles[:, 2], CAMERA),
        )
        ones = np.ones(count, np.int64)
        tracks = Tracks(detections, np.arange(1, count + 1), ones, 2 * ones, np.zeros(count))
        pose = Transform(POSE.rotation, np.array([driven * stamp, 0.0, 0.0]))
        result, filters = filter_velocities(filters, tracks, pose, stamp)
        states.append(result.motion_states)
    return np.array(states[10:])


@pytest.mark.parametrize(("part", "memory_s", "most"), [(0.05, 2.0, 0.025), (0.08, 10.0, 0.002)])
def test_a_distance_that_drifts_is_no_motion(part: float, memory_s: float, most: float) -> None:
    """Seen from a vehicle that drives past. With errors that are taken as independent 6.2 and 0.6 % would move."""
    assert (drifting((0.0, 0.0), part, memory_s, 5.0) == MOTION_MOVING).mean() < most


def test_what_drives_moves_though_its_distance_drifts() -> None:
    assert (drifting((0.0, 8.0), 0.05, 2.0, 0.0)[20:] == MOTION_MOVING).mean() > 0.95
    assert (drifting((12.0, 0.0), 0.05, 2.0, 5.0)[20:] == MOTION_MOVING).mean() > 0.95


def test_a_distance_that_was_once_far_off_is_no_motion() -> None:
    """As where the first view of an object took what is behind it for the object."""
    filters, states = VelocityFilters(), []
    for index in range(20):
        middle = np.array([[0.0, 0.5, 20.0 if index < 2 else 12.0]])
        detections = replace(
            Detections.from_boxes(np.zeros((1, 4))),
            dimensions=np.full((1, 3), 1.5),
            locations=middle + [0.0, 0.75, 0.0],
            location_covariances=ray_covariances(middle, np.full(1, 0.2), CAMERA),
        )
        one = np.ones(1, np.int64)
        result, filters = filter_velocities(
            filters, Tracks(detections, one, one, 2 * one, np.zeros(1)), POSE, index / 10
        )
        states.append(int(result.motion_states[0]))
    assert MOTION_MOVING not in states and states[-1] == MOTION_STANDING


def test_a_distance_that_nobody_knows_tells_nothing_about_a_walk_along_the_ray() -> None:
    states = watched((1.0, 0.0), 2.0, 5.0)
    assert (states == MOTION_UNKNOWN).mean() > 0.9


def test_noise_does_not_switch_a_state_that_was_reached() -> None:
    """At the edge of significance: with its memory a state changes several times less often than without."""
    random = np.random.default_rng(0)
    velocities = np.zeros((200, 50, 3))
    velocities[..., 0] = 0.95 + 0.15 * random.normal(size=(200, 50))
    covariance = np.tile(0.3**2 * np.eye(3), (50, 1, 1))
    state, kept, alone = np.zeros(50, np.uint8), [], []
    for frame in velocities:
        state = motion_states(frame, covariance, state)
        kept.append(state)
        alone.append(motion_states(frame, covariance, np.zeros(50, np.uint8)))
    changes = [int((np.diff(np.array(states).astype(int), axis=0) != 0).sum()) for states in (kept, alone)]
    assert changes[1] > 500 and changes[0] < changes[1] / 5


@given(
    st.tuples(*[st.floats(-30, 30) | st.just(float("nan"))] * 2),
    st.floats(0.0, 100.0) | st.just(float("nan")),
    st.integers(0, 2),
    st.sampled_from(((0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))),
)
def test_it_is_the_same_in_axes_that_are_turned_and_unknown_for_what_is_not_a_number(
    velocity: tuple[float, float], sigma: float, previous: int, turn: tuple[int, ...]
) -> None:
    a, b, c, d = turn
    (x, y), near, far = velocity, sigma**2, 4 * sigma**2
    before = np.array([previous], np.uint8)
    plain = motion_states(np.array([[x, y, 0.0]]), np.diag([near, far, 1.0])[None], before)
    swapped = (far, near) if a == 0 else (near, far)
    there = np.array([[(b if a == 0 else a) * (y if a == 0 else x), (c if a == 0 else d) * (x if a == 0 else y), 0.0]])
    assert plain == motion_states(there, np.diag([*swapped, 1.0])[None], before)
    if not np.isfinite([x, y, sigma]).all():
        assert plain == MOTION_UNKNOWN
