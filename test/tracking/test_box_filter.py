# SPDX-License-Identifier: Apache-2.0
"""3D boxes of tracks over time: memory of size, heading and speed, with covariances that stay honest."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.heading import AXIS, turned_by_motion
from centertrack_ros.tracking.size_prior import SIZE_PRIORS
from centertrack_ros.types import BoxMemory, Detections
from support.visible_boxes import visible_box

CAMERA = Camera.from_focal(1242, 375, 720.0, (610.0, 173.0))
CAR, PERSON = SIZE_PRIORS["car"], SIZE_PRIORS["person"]
SIZE = np.array([[CAR.height, CAR.width, CAR.length]])
HEIGHT, STEP = 1.65, 0.1


def view(x: float, z: float, size: np.ndarray = SIZE, camera: Camera = CAMERA, ground: float = HEIGHT) -> np.ndarray:
    return visible_box(size[0], np.array([x, ground, z]), AXIS, camera)


def follow(boxes: list[np.ndarray], lifter: SizePriorLifter | None = None) -> list[Detections]:
    """Lifts one car, frame by frame."""
    lifter, memory, found = lifter or SizePriorLifter(["car"]), BoxMemory(), []
    for frame, box in enumerate(boxes):
        tracks = tracks_of(np.array([7]), np.array([0]), np.ones(1), box[None])
        tracks, memory = lifter.lift_tracks(tracks, CAMERA, frame * STEP, memory)
        found.append(tracks.detections)
    return found


def test_a_car_that_passes_is_not_lost_when_the_image_cuts_it():
    path = [(-3.2, 20.0 - 0.8 * k) for k in range(22)]  # the last ones are cut at the side and below
    boxes = [view(x, z) for x, z in path]
    assert boxes[-1][0] < 1 and boxes[-1][3] > CAMERA.height - 1
    alone = [SizePriorLifter(["car"]).lift(Detections.from_boxes(box[None]), CAMERA) for box in boxes]
    tracked = follow(boxes)
    errors = [[abs(one.depths[0] / z - 1) for one, (_, z) in zip(way, path, strict=True)] for way in (alone, tracked)]
    assert max(errors[1][-4:]) < 0.25 < 0.5 * max(errors[0][-4:])


def test_boxes_do_not_jump_with_the_detector():
    rng = np.random.default_rng(3)
    boxes = [view(2.0, 18.0) + rng.normal(0, 2.5, 4) for _ in range(40)]
    alone = [SizePriorLifter(["car"]).lift(Detections.from_boxes(box[None]), CAMERA).depths[0] for box in boxes]
    tracked = [one.depths[0] for one in follow(boxes)]
    assert np.std(np.diff(tracked[10:])) < 0.5 * np.std(np.diff(alone[10:]))


def test_looking_longer_does_not_tell_that_a_car_is_larger_than_usual():
    rng = np.random.default_rng(4)
    normalized = []
    for factor in np.exp(rng.normal(0, 0.1, 25)):
        last = follow([view(2.0, 18.0, SIZE * factor)] * 30)[-1]
        sigma = np.sqrt(last.location_covariances[0, 2, 2])
        assert sigma > 0.04 * 18.0
        normalized.append((last.depths[0] - 18.0) / sigma)
    assert 0.5 < np.sqrt(np.mean(np.square(normalized))) < 1.6


def test_another_object_under_the_same_id_starts_anew():
    far, near = view(0.0, 40.0), view(0.0, 10.0)
    last = follow([far] * 10 + [near])[-1]
    assert last.depths[0] == pytest.approx(follow([near])[0].depths[0], rel=0.02)


def crowd(rng: np.random.Generator, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and depths of people and cars of different sizes, in a camera that is pitched by `pitch` rad."""
    shifted = Camera.from_focal(1242, 375, 720.0, (610.0, 173.0 + 720.0 * np.tan(pitch)))
    depths = rng.uniform(8, 35, 12)
    boxes = [
        view(x, z, SIZE * np.exp(rng.normal(0, 0.09)), shifted)
        for x, z in zip(rng.uniform(-0.3, 0.3, 12) * depths, depths, strict=True)
    ]
    return np.array(boxes), depths


@pytest.mark.parametrize("pitch", [0.0, 0.025])
def test_the_ground_helps_though_nobody_knows_where_the_horizon_is(pitch):
    rng, by_size, by_both = np.random.default_rng(6), [], []
    for _ in range(10):
        boxes, depths = crowd(rng, pitch)
        tracks = tracks_of(np.arange(12), np.zeros(12, np.int64), np.ones(12), boxes)
        by_size += list(np.abs(SizePriorLifter(["car"]).lift(tracks.detections, CAMERA).depths / depths - 1))
        lifter, memory = SizePriorLifter(["car"], HEIGHT), BoxMemory()
        for frame in range(5):
            lifted, memory = lifter.lift_tracks(tracks, CAMERA, frame * STEP, memory)
        assert memory.horizon.slope == pytest.approx(np.tan(pitch), abs=0.012)
        by_both += list(np.abs(lifted.detections.depths / depths - 1))
    assert np.median(by_both) < 0.9 * np.median(by_size)


@pytest.mark.parametrize("height", [-1.0, np.inf, np.nan])
def test_the_height_of_a_camera_is_a_usual_one(height):
    with pytest.raises(ValueError, match="camera_height must be between 0 and 100"):
        TrackerConfig(camera_height=height)


def test_an_object_that_does_not_stand_on_the_ground_does_not_move_the_horizon():
    boxes, _ = crowd(np.random.default_rng(8), 0.0)
    boxes[0] = view(0.0, 9.0, ground=-1.0)  # on a bridge
    tracks = tracks_of(np.arange(12), np.zeros(12, np.int64), np.ones(12), boxes)
    memory = SizePriorLifter(["car"], HEIGHT).lift_tracks(tracks, CAMERA, 0.0, BoxMemory())[1]
    assert abs(memory.horizon.slope) < 0.015


def test_people_face_where_they_walk_and_cars_are_turned_round_by_their_motion():
    headings = np.array([AXIS, AXIS + 0.1, AXIS, AXIS])
    velocities = np.array([[1.6, 0.0, 0.0], [0.3, 0.0, -9.0], [0.0, 0.0, -0.5], [np.nan] * 3])
    is_round = np.array([True, False, False, False])
    turned, variances = turned_by_motion(headings, np.full(4, 3.0), velocities, is_round)
    assert turned[0] == pytest.approx(0.0) and variances[0] < 0.2
    assert turned[1] == pytest.approx(AXIS + 0.1 + np.pi) and variances[1] < 0.1
    assert (turned[2:] == headings[2:]).all() and (variances[2:] == 3.0).all()


def test_velocities_over_ground_turn_the_boxes_of_tracks_and_leave_those_of_heads_alone():
    lifter = SizePriorLifter(["car", "person"])
    tracks = tracks_of(np.array([1, 2]), np.array([0, 1]), np.ones(2), np.array([view(3.0, 20.0), view(-3.0, 20.0)]))
    lifted = lifter.lift_tracks(tracks, CAMERA, 0.0, BoxMemory())[0]
    moving = replace(lifted, detections=replace(lifted.detections, velocities=np.array([[0, 0, -9.0], [1.5, 0, 0]])))
    turned = lifter.turn_by_motion(moving).detections
    assert turned.rotations_y[0] == pytest.approx(-AXIS, abs=0.1) and turned.rotations_y[1] == pytest.approx(0.0)
    assert (turned.heading_variances < 0.3).all()
    measured = replace(moving, detections=replace(moving.detections, heading_variances=None))
    assert lifter.turn_by_motion(measured) is measured


@pytest.mark.parametrize("height", [0.0, 1.5])
@pytest.mark.filterwarnings("error")
def test_whatever_a_detector_finds_the_boxes_have_a_place_a_size_and_a_sound_covariance(height):
    rng, names = np.random.default_rng(11), ["car", "person", "bus", "kite", "bicycle"]
    lifter, memory = SizePriorLifter(names, height, {"car": (0.9, 0.9, 0.1)}), BoxMemory()
    for frame in range(60):
        count = int(rng.integers(0, 20))
        middles, sides = rng.uniform(-100, 1300, (count, 2)), np.exp(rng.uniform(-2, 7, (count, 2)))
        boxes = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
        if frame % 3:
            boxes = np.clip(boxes, 0, [CAMERA.width, CAMERA.height] * 2)  # some are empty, at the border
        tracks = tracks_of(rng.permutation(40)[:count], rng.integers(0, 5, count), np.ones(count), boxes)
        tracks, memory = lifter.lift_tracks(tracks, CAMERA, frame * STEP, memory)
        found = tracks.detections
        known = found.class_ids != names.index("kite")
        assert np.isnan(found.depths[~known]).all()
        assert (found.depths[known] > 0).all() and (found.dimensions[known] > 0).all()
        assert np.isfinite(found.locations[known]).all() and (found.heading_variances[known] > 0).all()
        covariances = found.location_covariances[known]
        assert (np.linalg.eigvalsh(covariances) > -1e-6 * np.trace(covariances, axis1=1, axis2=2)[:, None]).all()
