# SPDX-License-Identifier: Apache-2.0
"""Velocities of tracks whose way through the world is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.lifting import ray_covariances
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import Detections, Tracks, VelocityFilters

CAMERA = Camera.from_focal(512, 288, 400.0)
STEP_S = 0.1
STARTS = np.array([[2.0, 0.5, 12.0], [-3.0, 0.6, 20.0]])  # in the first image's camera axes, m
VELOCITIES = np.array([[0.0, 0.0, 8.0], [1.2, 0.0, 0.3]])  # over ground, in the same axes, m/s


def camera_at(stamp: float) -> Transform:
    """A vehicle that drives ahead at 5 m/s and turns left at 0.2 rad/s."""
    c, s = np.cos(-0.2 * stamp), np.sin(-0.2 * stamp)
    return Transform(np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]), np.array([0.0, 0.0, 5.0 * stamp]))


def seen(
    stamp: float, error: np.ndarray | None = None, ids: tuple[int, ...] = (1, 2), hits: tuple[int, ...] = (2, 2)
) -> Tracks:
    """The two objects as the camera sees them, with the network's velocities, wrong by `error`; None: no such head."""
    to_camera = camera_at(stamp).inverse()
    middles, sizes = to_camera.points(STARTS + stamp * VELOCITIES), np.full((2, 3), 1.5)
    bottoms = middles + [0.0, 0.75, 0.0]
    detections = replace(
        Detections.from_boxes(np.zeros((2, 4))),
        dimensions=sizes,
        locations=bottoms,
        velocities=None if error is None else (to_camera.vectors(VELOCITIES) + error).astype(np.float32),
        location_covariances=ray_covariances(middles, 0.1 * middles[:, 2], CAMERA),
    )
    rows = np.arange(len(ids))
    return Tracks(
        detections.select(rows), np.array(ids), np.ones(len(ids), np.int64), np.array(hits), np.zeros(len(ids))
    )


def told(tracks: Tracks, stamp: float) -> np.ndarray:
    """Velocities over ground in the first image's axes."""
    return camera_at(stamp).vectors(tracks.detections.velocities)


def drive(seconds: float, error: np.ndarray | None = None) -> tuple[list[np.ndarray], VelocityFilters]:
    answers, filters = [], VelocityFilters()
    for index in range(round(seconds / STEP_S) + 1):
        stamp = index * STEP_S
        tracks, filters = filter_velocities(filters, seen(stamp, error), camera_at(stamp), stamp)
        answers.append(told(tracks, stamp))
    return answers, filters


@pytest.mark.parametrize("error", [np.array([1.0, 0.0, 2.0]), np.array([-2.0, 0.5, -1.0])])
def test_a_network_that_is_always_wrong_about_an_object_counts_less_and_less(error) -> None:
    answers, _ = drive(3.0, error)
    off = np.array([np.linalg.norm(answer - VELOCITIES, axis=1) for answer in answers])
    assert off[0] == pytest.approx(np.linalg.norm(error), rel=0.1), "at first nothing else is known"
    assert (np.diff(off, axis=0) < 1e-3).all()
    assert (off[-1] < 0.25 * np.linalg.norm(error)).all()


def test_a_network_that_is_right_stays_so() -> None:
    """The filters begin at rest: that they know nothing yet must not slow anybody down by much."""
    for answer in drive(2.0, np.zeros(3))[0]:
        assert np.abs(answer - VELOCITIES).max() < 0.3


def test_without_a_velocity_head_velocities_come_from_the_way_alone() -> None:
    answers, _ = drive(3.0)
    assert np.isnan(answers[0]).all() and np.isnan(answers[1]).all()
    assert np.abs(answers[-1] - VELOCITIES).max() < 0.2


@given(angle=st.floats(-np.pi, np.pi), east=st.floats(-1e5, 1e5), north=st.floats(-1e5, 1e5))
def test_it_does_not_matter_where_the_frame_that_stands_still_is(angle: float, east: float, north: float) -> None:
    c, s = np.cos(angle), np.sin(angle)
    elsewhere = Transform(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), np.array([east, north, 3.0]))
    error, here, there = np.array([1.0, 0.0, -1.0]), VelocityFilters(), VelocityFilters()
    for index in range(6):
        stamp = index * STEP_S
        one, here = filter_velocities(here, seen(stamp, error), camera_at(stamp), stamp)
        other, there = filter_velocities(there, seen(stamp, error), elsewhere @ camera_at(stamp), stamp)
        np.testing.assert_allclose(one.detections.velocities, other.detections.velocities, atol=1e-4)


def test_a_lost_track_keeps_its_filter_and_one_that_is_gone_does_not() -> None:
    _, filters = drive(2.0, np.zeros(3))
    tracks, waiting = filter_velocities(filters, seen(2.1, np.ones(3), hits=(3, 0)), camera_at(2.1), 2.1)
    assert sorted(waiting.ids) == [1, 2]
    assert told(tracks, 2.1)[1] == pytest.approx(VELOCITIES[1] + camera_at(2.1).vectors(np.ones(3)), abs=1e-5), (
        "what is not seen is not filtered"
    )
    found, _ = filter_velocities(waiting, seen(2.5), camera_at(2.5), 2.5)
    assert np.abs(told(found, 2.5) - VELOCITIES).max() < 0.3
    _, left = filter_velocities(waiting, seen(2.5, ids=(1,), hits=(4,)), camera_at(2.5), 2.5)
    assert left.ids.tolist() == [1]


def test_a_stamp_that_is_not_later_begins_anew() -> None:
    _, filters = drive(2.0)
    tracks, filters = filter_velocities(filters, seen(1.0), camera_at(1.0), 1.0)
    assert np.isnan(told(tracks, 1.0)).all() and (filters.stamps == 1.0).all()


def test_an_object_without_a_3d_box_does_not_trouble_the_others() -> None:
    _, filters = drive(2.0)
    tracks = seen(2.1)
    tracks.detections.locations[0] = np.nan
    answer, filters = filter_velocities(filters, tracks, camera_at(2.1), 2.1)
    assert np.isnan(told(answer, 2.1)[0]).all() and np.abs(told(answer, 2.1)[1] - VELOCITIES[1]).max() < 0.2
    tracks = seen(2.2)
    tracks.detections.location_covariances[1] = np.nan
    answer, _ = filter_velocities(filters, tracks, camera_at(2.2), 2.2)
    assert np.abs(told(answer, 2.2)[0] - VELOCITIES[0]).max() < 0.3


@pytest.mark.parametrize("jump", [100.0, 1e9, 1e308])
def test_a_frame_that_jumps_costs_nothing_but_the_past(jump: float) -> None:
    """As one does that is located anew on its map; velocities are the network's then, as for new tracks."""
    error = np.array([1.0, 0.0, 2.0])
    _, filters = drive(2.0, error)
    for stamp, moved in ((2.1, jump), (2.2, jump), (2.3, 0.0)):
        there = Transform(np.eye(3), np.full(3, moved)) @ camera_at(stamp)
        tracks, filters = filter_velocities(filters, seen(stamp, error), there, stamp)
        off = np.linalg.norm(told(tracks, stamp) - VELOCITIES, axis=1)
        assert off == pytest.approx(np.linalg.norm(error), rel=0.1)


def test_tracks_without_3d_boxes_stay_as_they_are() -> None:
    tracks = Tracks(Detections.from_boxes(np.zeros((2, 4))), np.array([1, 2]), np.ones(2), np.ones(2), np.zeros(2))
    assert filter_velocities(VelocityFilters(), tracks, camera_at(0.0), 0.0)[0] is tracks
    empty = seen(0.0, np.zeros(3), ids=(), hits=())
    assert len(filter_velocities(VelocityFilters(), empty, camera_at(0.0), 0.0)[0]) == 0
