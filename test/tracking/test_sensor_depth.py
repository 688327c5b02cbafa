# SPDX-License-Identifier: Apache-2.0
"""Distances by depth images and points: the object in the box, not what is behind or before it."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.heads_lifter import HeadsLifter
from centertrack_ros.tracking.lifecycle import start_tracks
from centertrack_ros.tracking.lifting import lift_heads
from centertrack_ros.tracking.sensor_depth import SensorView
from centertrack_ros.tracking.surface_fit import fills_of
from centertrack_ros.types import (
    LIFT_DEPTH,
    LIFT_HEADS,
    LIFT_POINTS,
    LIFT_SIZE_PRIOR,
    BoxMemory,
    CameraMount,
    DepthImage,
    Detections,
    Points,
)
from support.depth_scenes import CAMERA, Solid, depth_image

LIFTER = SizePriorLifter(["car", "person"])
LONG = (1.5, 1.9, 4.9)  # a car that is longer and lower than usual


def detections(*solids: Solid) -> Detections:
    return Detections.from_boxes(np.concatenate([solid.box() for solid in solids]))


def points_of(depths: np.ndarray, step: int = 2, every: int = 6) -> Points:
    """What a LiDAR of some rows sees of a scene."""
    v, u = np.mgrid[0 : depths.shape[0] : every, 0 : depths.shape[1]]
    z = depths[v, u].ravel()
    pixels = np.stack([u.ravel() * step + step / 2, v.ravel() * step + step / 2], axis=1)
    return Points(CAMERA.unproject(pixels, z).astype(np.float32))


@pytest.mark.parametrize("sensor", ["depth", "points"])
@pytest.mark.parametrize("angle", [-45.0, -20.0, 0.0, 30.0])
@pytest.mark.parametrize("z", [8.0, 15.0, 30.0])
def test_a_car_seen_from_the_side_has_its_distance_heading_and_size(sensor, angle, z) -> None:
    solid = Solid(1.0, z, LONG, np.radians(angle))
    scene = depth_image(solid)
    view = SensorView(CAMERA, DepthImage(scene)) if sensor == "depth" else SensorView(CAMERA, points=points_of(scene))
    lifted = LIFTER.lift(detections(solid), CAMERA, view=view)
    assert lifted.depths[0] == pytest.approx(z, rel=0.005, abs=0.3)  # half of what its length is unusual by
    assert abs(lifted.depths[0] - z) < 3 * np.sqrt(lifted.location_covariances[0, 2, 2])
    assert abs(np.sin(lifted.rotations_y[0] - solid.angle)) < np.sin(np.radians(5))
    assert lifted.dimensions[0] == pytest.approx(LONG, rel=0.09)
    assert lifted.lifts[0] == {"depth": LIFT_DEPTH, "points": LIFT_POINTS}[sensor]


@pytest.mark.parametrize("z", [8.0, 15.0, 30.0])
def test_a_car_seen_from_behind_has_its_near_end_where_it_is(z) -> None:
    solid = Solid(0.0, z, LONG)
    lifted = LIFTER.lift(detections(solid), CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(solid))))
    assert lifted.depths[0] - lifted.dimensions[0, 2] / 2 == pytest.approx(z - LONG[2] / 2, rel=0.005, abs=0.1)
    sigma = np.sqrt(lifted.location_covariances[0, 2, 2])
    assert abs(lifted.depths[0] - z) < 3 * sigma < 0.2 * z  # nothing tells its length


def test_the_background_in_a_box_is_not_the_object() -> None:
    """A narrow person, whose box is mostly wall: the median of the box would be the wall."""
    person = Solid(0.3, 12.0, (1.75, 0.35, 0.35))
    seen = detections(person)
    wide = seen.boxes + np.array([-60, -10, 60, 5], np.float32)
    seen = replace(seen, boxes=wide, class_ids=np.ones(1, np.int64))
    lifted = LIFTER.lift(seen, CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(person, wall=25.0))))
    assert lifted.depths[0] == pytest.approx(12.0, rel=0.02)


def test_what_stands_before_an_object_is_left_out() -> None:
    near, far = Solid(0.4, 9.0, (1.75, 0.6, 0.5)), Solid(0.0, 20.0, LONG, 0.0)
    both = replace(detections(far, near), class_ids=np.array([0, 1]))
    lifted = LIFTER.lift(both, CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(near, far))))
    np.testing.assert_allclose(lifted.depths, [20.0, 9.0], rtol=0.015)
    # The same where most of the far one is covered.
    truck = Solid(-0.9, 9.0, (2.0, 2.0, 4.4))
    lifted = LIFTER.lift(detections(far, truck), CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(truck, far))))
    assert lifted.depths[0] == pytest.approx(20.0, rel=0.03)


def test_of_two_that_look_as_large_the_lower_one_is_nearer() -> None:
    """A tall person mostly behind a short one: their sizes tell nothing, where they stand does."""
    near, far = Solid(0.0, 9.0, (1.6, 0.6, 0.5)), Solid(0.3, 11.0, (1.95, 0.6, 0.5))
    both = replace(detections(near, far), class_ids=np.ones(2, np.int64))
    lifted = LIFTER.lift(both, CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(near, far))))
    np.testing.assert_allclose(lifted.depths, [9.0, 11.0], rtol=0.03)


def test_an_edge_that_a_nearer_object_covers_does_not_make_a_car_small() -> None:
    near, far = Solid(-2.2, 8.0, (2.2, 2.0, 4.6)), Solid(-1.2, 17.0, LONG, np.radians(-70))
    both = detections(far, near)
    both.boxes[0, 0] = both.boxes[1, 2]  # what is seen of it begins where the nearer one ends
    assert both.boxes[0, 2] - both.boxes[0, 0] < 0.8 * np.diff(far.box()[0, [0, 2]])[0]
    lifted = LIFTER.lift(both, CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(near, far))))
    assert lifted.depths[0] == pytest.approx(17.0, rel=0.025)
    assert lifted.dimensions[0, 2] > 0.85 * LONG[2]


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf, -1.0])
def test_what_was_not_measured_counts_for_nothing(hole) -> None:
    solid, rng = Solid(1.0, 15.0, LONG, 0.0), np.random.default_rng(1)
    scene = depth_image(solid)
    scene[rng.random(scene.shape) < 0.5] = hole
    lifted = LIFTER.lift(detections(solid), CAMERA, view=SensorView(CAMERA, DepthImage(scene)))
    assert lifted.depths[0] == pytest.approx(15.0, rel=0.01) and lifted.lifts[0] == LIFT_DEPTH
    scene[:] = hole
    view = SensorView(CAMERA, DepthImage(scene), Points(np.full((4, 3), hole, np.float32)))
    blind = LIFTER.lift(detections(solid), CAMERA, view=view)
    alone = LIFTER.lift(detections(solid), CAMERA)
    np.testing.assert_array_equal(blind.locations, alone.locations)
    assert blind.lifts[0] == LIFT_SIZE_PRIOR


def test_noise_and_mixed_pixels_cost_little() -> None:
    rng, errors = np.random.default_rng(2), []
    for angle in np.radians([-60, -30, 0, 30, 60]):
        for z in (8.0, 20.0, 30.0):
            solid = Solid(1.0, z, LONG, angle)
            scene = depth_image(solid)
            scene *= 1 + rng.normal(0, 0.01, scene.shape).astype(np.float32)
            mixed = rng.random(scene.shape) < 0.1
            scene[mixed] = rng.uniform(z, 80, int(mixed.sum()))
            lifted = LIFTER.lift(detections(solid), CAMERA, view=SensorView(CAMERA, DepthImage(scene)))
            errors.append(abs(lifted.depths[0] / z - 1))
    assert np.mean(errors) < 0.02


def drive(seen_by_sensor: list[bool], solid_at: "np.ndarray") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depths, their standard deviations and sources over the frames of a car."""
    memory, rows = BoxMemory(), []
    for frame, (z, sensed) in enumerate(zip(solid_at, seen_by_sensor, strict=True)):
        solid = Solid(1.5, z, LONG, np.radians(-70))
        tracks = start_tracks(detections(solid), 1, 0.0)
        view = SensorView(CAMERA, DepthImage(depth_image(solid, step=4))) if sensed else None
        lifted, memory = LIFTER.lift_tracks(tracks, CAMERA, 0.1 * frame, memory, view=view)
        found = lifted.detections
        rows.append((found.depths[0], np.sqrt(found.location_covariances[0, 2, 2]), found.lifts[0]))
    return tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def test_a_change_of_source_is_no_jump_above_three_sigma() -> None:
    true = 25.0 - 0.5 * np.arange(36)
    sensed = [8 <= frame < 16 or frame >= 26 for frame in range(36)]
    depths, sigmas, lifts = drive(sensed, true)
    assert (lifts == np.where(sensed, LIFT_DEPTH, LIFT_SIZE_PRIOR)).all()
    steps = np.abs(np.diff(depths) - np.diff(true))
    assert (steps < 3 * np.maximum(sigmas[:-1], sigmas[1:])).all()
    assert (np.abs(depths - true) < 3 * sigmas).all()
    # What the sensor told of the size stays: without it the distance is better than before it came.
    assert np.abs(depths[16:26] / true[16:26] - 1).max() < np.abs(depths[4:8] / true[4:8] - 1).min()


def test_heads_are_corrected_and_keep_their_boxes_elsewhere() -> None:
    solid = Solid(1.0, 15.0, LONG, 0.0)
    flat = detections(solid, Solid(-6.0, 15.0))
    box = CAMERA.project(np.array([[1.0, 1.5 - LONG[0] / 2, 15.0], [-6.0, 1.0, 15.0]]))
    seen = replace(
        flat,
        amodal_centers=box.astype(np.float32),
        depths=np.array([17.0, 15.0], np.float32),
        dimensions=np.array([LONG, LONG], np.float32),
        alphas=-np.arctan2(box[:, 0] - CAMERA.projection[0, 2], CAMERA.focal[0]).astype(np.float32),
    )
    lifter, before = HeadsLifter(["car", "person"], 0.1), lift_heads(seen, CAMERA)
    scene = depth_image(solid)
    scene[:, : scene.shape[1] // 2 - 60] = np.nan
    lifted = lifter.lift_sensed(seen, CAMERA, SensorView(CAMERA, DepthImage(scene)))
    assert lifted.depths[0] == pytest.approx(15.0, rel=0.01)
    assert lifted.location_covariances[0, 2, 2] < before.location_covariances[0, 2, 2] / 10
    np.testing.assert_allclose(lifted.locations[1], before.locations[1], rtol=1e-6)
    assert lifted.lifts.tolist() == [LIFT_DEPTH, LIFT_HEADS]


def test_a_camera_that_looks_down_measures_the_same() -> None:
    """The scene is that of a level camera, seen by one that is turned down by 12 degrees."""
    solid, pitch = Solid(1.0, 15.0, LONG, np.radians(-20)), np.radians(12.0)
    scene = depth_image(solid)
    v, u = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]]
    pixels = np.stack([u.ravel() * 2 + 1, v.ravel() * 2 + 1], axis=1)
    points = CAMERA.unproject(pixels, scene.ravel())
    turn = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    location = np.array([[1.0, 1.5, 15.0]])
    corners = boxes3d.corners(np.array([LONG]), location, np.array([solid.angle]))[0] @ turn.T
    seen = CAMERA.project(corners)
    box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])[None]
    view = SensorView(CAMERA, points=Points((points @ turn.T).astype(np.float32)))
    lifted = LIFTER.lift(Detections.from_boxes(box), CAMERA, CameraMount.of_pitch(0.0, 12.0), view)
    middle = turn @ np.array([1.0, 1.5 - LONG[0] / 2, 15.0])
    assert lifted.depths[0] == pytest.approx(middle[2], rel=0.02)
    assert abs(np.sin(lifted.rotations_y[0] - solid.angle)) < np.sin(np.radians(8))


def test_points_fit_a_distorted_image() -> None:
    bent = Camera(1280, 720, CAMERA.projection, "plumb_bob", np.array([-0.25, 0.06, 0.0, 0.0, 0.0]))
    solid = Solid(6.0, 15.0, LONG, 0.0)
    view = SensorView(bent, points=points_of(depth_image(solid)))
    lifted = LIFTER.lift(Detections.from_boxes(solid.box(bent)), bent, view=view)
    assert lifted.depths[0] == pytest.approx(15.0, rel=0.01) and lifted.lifts[0] == LIFT_POINTS


@pytest.mark.parametrize(("x", "z", "angle"), [(-5.0, 4.0, 0.0), (-4.2, 5.5, -30.0), (-4.2, 8.0, 0.0), (4.2, 4.0, 0.0)])
def test_of_an_object_that_a_side_of_the_image_cuts_the_middle_is_uncertain(x, z, angle) -> None:
    """A car that crosses or is driven past: what is left of it in the image tells little of its heading."""
    solid = Solid(x, z, LONG, np.radians(angle))
    box = solid.box()  # in the image
    assert box[0, 0] == 0.0 or box[0, 2] == CAMERA.width
    lifted = LIFTER.lift(Detections.from_boxes(box), CAMERA, view=SensorView(CAMERA, DepthImage(depth_image(solid))))
    assert abs(lifted.locations[0, 0] - x) < 3 * np.sqrt(lifted.location_covariances[0, 0, 0])


def test_the_parts_that_classes_fill_are_found_by_their_names() -> None:
    known = fills_of(["traffic_cone", "Traffic Cone", "fire hydrant", "fire_hydrant", "car", "Person"])
    assert known.parts.tolist() == [0.5, 0.5, 0.7, 0.7, 0.97, 0.4]


def test_no_boxes_and_no_points_are_no_problem() -> None:
    empty = Detections.from_boxes(np.zeros((0, 4)))
    view = SensorView(CAMERA, DepthImage(np.ones((2, 2), np.float32)), Points(np.zeros((0, 3), np.float32)))
    assert len(LIFTER.lift(empty, CAMERA, view=view)) == 0
    one = LIFTER.lift(detections(Solid(0, 10)), CAMERA, view=view)
    assert np.isfinite(one.depths).all()
