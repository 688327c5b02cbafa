# SPDX-License-Identifier: Apache-2.0
"""How cameras stand over the ground: 3D boxes of cameras that look down, and what poses tell."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.heading import AXIS
from centertrack_ros.tracking.results import CameraPoses, OutputFrames
from centertrack_ros.tracking.session import FROM_POSE, SessionConfig, TrackingSession
from centertrack_ros.tracking.size_prior import SIZE_PRIORS
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import BoxMemory, CameraMount, Detections, Frame
from support.rectangles import HEIGHT, WIDTH, RectangleEngine, Thing, paint
from support.visible_boxes import visible_box

CAMERA = Camera.from_focal(1280, 720, 1000.0)
CAR = SIZE_PRIORS["car"]
SIZE = np.array([CAR.height, CAR.width, CAR.length])
BRIDGE = 9.0  # m
PLACES = np.array([[x, BRIDGE, z] for z in (14.0, 20.0, 30.0, 45.0) for x in (-3.5, 0.0, 3.5)])


def from_bridge(pitch: float, roll: float = 0.0) -> tuple[Detections, np.ndarray, np.ndarray]:
    """2D boxes of cars on a road below, the middles of the cars, m in the optical frame, and upwards there."""
    up = np.array([np.sin(np.radians(roll)), -np.cos(np.radians(pitch)), -np.sin(np.radians(pitch))])
    axes = boxes3d.level_axes(up)
    middles = (PLACES - [0.0, CAR.height / 2, 0.0]) @ axes
    pixels = CAMERA.project(middles)
    near = ((pixels > 10) & (pixels < [1270, 710])).all(axis=1)
    middles = middles[near]
    boxes = np.array([visible_box(SIZE, place, AXIS, CAMERA, up) for place in PLACES[near]])
    inside = (boxes > 30).all(axis=1) & (boxes < np.tile([1250, 690], 2)).all(axis=1)
    assert inside.sum() >= 4
    return Detections.from_boxes(boxes[inside].astype(np.float32)), middles[inside], -axes[1]


def middles_of(found: Detections) -> np.ndarray:
    return boxes3d.centers(found.dimensions, found.locations)


@pytest.mark.parametrize(("pitch", "roll"), [(10.0, 0.0), (25.0, 0.0), (35.0, 5.0)])
def test_boxes_seen_from_a_bridge_stand_upright_at_their_places(pitch, roll):
    boxes, middles, up = from_bridge(pitch, roll)
    lifter, mount = SizePriorLifter(["car"]), CameraMount(0.0, up)
    errors = {}
    for name, known in (("level", None), ("known", mount), ("known, height", replace(mount, height=BRIDGE))):
        found = lifter.lift(boxes, CAMERA, known)
        distances = np.linalg.norm(middles, axis=1)
        errors[name] = np.median(np.linalg.norm(middles_of(found) - middles, axis=1) / distances)
    assert errors["known"] < 0.06 and errors["known, height"] < 0.05
    assert errors["known"] < errors["level"]
    tracks = tracks_of(np.arange(len(boxes)), np.zeros(len(boxes), np.int64), np.ones(len(boxes)), boxes.boxes)
    lifted = lifter.lift_tracks(tracks, CAMERA, 0.0, BoxMemory(), mount)[0]
    _, oriented = boxes3d_of_tracks(lifted)
    for quaternion, covariance in zip(oriented.quaternions, oriented.covariances, strict=True):
        assert Transform.from_quaternion(quaternion, np.zeros(3)).rotation[:, 2] == pytest.approx(up, abs=1e-6)
        assert (np.linalg.eigvalsh(covariance) > 0).all()
    corners = boxes3d.corners(
        *(getattr(lifted.detections, n) for n in ("dimensions", "locations", "rotations_y", "ups"))
    )
    assert corners.mean(axis=1) == pytest.approx(oriented.centers, abs=1e-3)
    drawn = CAMERA.project(corners.reshape(-1, 3)).reshape(-1, 8, 2)
    sides = np.tile(boxes.boxes[:, 2:] - boxes.boxes[:, :2], 2)
    missed = np.abs(np.concatenate([drawn.min(axis=1), drawn.max(axis=1)], axis=1) - boxes.boxes) / sides
    assert missed.max() < 0.12 and np.median(missed) < 0.05


def test_a_pitch_of_the_configuration_is_that_of_a_mount():
    boxes, _, up = from_bridge(25.0)
    given = SizePriorLifter(["car"], camera_pitch=25.0).lift(boxes, CAMERA)
    known = SizePriorLifter(["car"]).lift(boxes, CAMERA, CameraMount(0.0, up))
    assert given.locations == pytest.approx(known.locations, rel=1e-5)


def test_a_level_camera_with_a_known_direction_is_as_one_without():
    boxes, _, _ = from_bridge(10.0)
    plain = SizePriorLifter(["car"]).lift(boxes, CAMERA)
    level = SizePriorLifter(["car"]).lift(boxes, CAMERA, CameraMount(0.0, np.array([0.0, -1.0, 0.0])))
    for name in ("locations", "rotations_y", "dimensions", "location_covariances"):
        assert getattr(level, name) == pytest.approx(getattr(plain, name), rel=1e-4, abs=1e-4)
    assert plain.ups is None


def test_vehicles_seen_from_a_bridge_are_turned_to_where_they_drive():
    boxes, _, up = from_bridge(35.0)
    lifter, count = SizePriorLifter(["car"]), len(boxes)
    tracks = tracks_of(np.arange(count), np.zeros(count, np.int64), np.ones(count), boxes.boxes)
    lifted, _ = lifter.lift_tracks(tracks, CAMERA, 0.0, BoxMemory(), CameraMount(0.0, up))
    towards = np.tile(np.array([0.0, 0.0, -9.0]) @ boxes3d.level_axes(up), (count, 1))  # along the road
    turned = lifter.turn_by_motion(replace(lifted, detections=replace(lifted.detections, velocities=towards)))
    assert np.abs(boxes3d.wrapped(turned.detections.rotations_y + AXIS)) == pytest.approx(0.0, abs=0.3)


def pose(pitch: float, height: float) -> CameraPoses:
    """Of a camera that looks along x of a target frame on the ground."""
    axes = boxes3d.level_axes(CameraMount.of_pitch(0.0, pitch).up)
    to_ground = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]) @ axes
    return CameraPoses(Transform(to_ground, np.array([0.0, 0.0, height])), Transform.identity())


def results(config: SessionConfig, poses: CameraPoses | None, frames: int = 3) -> list[Detections]:
    """What a session of the camera says of a car, frame by frame."""
    session, found = TrackingSession(RectangleEngine(), config), []
    camera = Camera.from_focal(WIDTH, HEIGHT, 150.0)
    for step in range(frames):
        image = paint([Thing(1, (60 + step, 70, 90 + step, 90))])
        result = session.step({name: Frame(image, 0.1 * step, camera) for name in config.cameras}, lambda *_: poses)
        found.append(result.cameras[-1].result.tracks.detections)
    return found


GROUND = OutputFrames("base_link")


def test_a_pose_tells_the_pitch_from_the_first_frame_on_and_a_parameter_wins():
    config = SessionConfig(frames=GROUND)
    by_pose = results(config, pose(20.0, 3.0))
    given = results(SessionConfig(tracker=TrackerConfig(camera_pitch=20.0)), None)
    for one, other in zip(by_pose, given, strict=True):
        assert one.locations == pytest.approx(other.locations, rel=1e-5)
        assert one.ups == pytest.approx(other.ups)
    explicit = results(replace(config, camera_pitches=(20.0,)), pose(5.0, 3.0))
    assert explicit[-1].ups == pytest.approx(given[-1].ups)


def test_the_height_is_taken_from_a_pose_only_if_asked_for():
    plain = results(SessionConfig(frames=GROUND), pose(20.0, 3.0))
    asked = results(SessionConfig(frames=GROUND, camera_heights=(FROM_POSE,)), pose(20.0, 3.0))
    given = results(SessionConfig(tracker=TrackerConfig(camera_height=3.0, camera_pitch=20.0)), None)
    assert asked[-1].locations == pytest.approx(given[-1].locations, rel=1e-5)
    assert plain[-1].locations != pytest.approx(asked[-1].locations, rel=1e-3)


def test_every_camera_has_a_height_of_its_own():
    both = SessionConfig(("low", "high"), camera_heights=(1.5, 3.0), tracker=TrackerConfig(camera_pitch=20.0))
    alone = SessionConfig(tracker=TrackerConfig(camera_height=3.0, camera_pitch=20.0))
    assert results(both, None)[-1].locations == pytest.approx(results(alone, None)[-1].locations)
    with pytest.raises(ValueError, match="one height for each camera is needed, got 1 for 2"):
        replace(both, camera_heights=(1.5,))
    with pytest.raises(ValueError, match="camera_pitch must be between -75 and 75"):
        replace(both, camera_pitches=(0.0, 90.0))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_frame_whose_z_axis_is_not_up_tells_nothing(axis):
    """That of another camera's optics, for example."""
    turned = Transform(np.roll(np.eye(3), axis, axis=0), np.array([0.0, 0.0, 2.0]))
    found = results(SessionConfig(frames=GROUND), CameraPoses(turned, Transform.identity()))
    assert found[-1].ups is None


def test_the_memory_of_a_camera_starts_anew_when_its_direction_becomes_known():
    boxes, _, up = from_bridge(25.0)
    tracks = tracks_of(np.arange(len(boxes)), np.zeros(len(boxes), np.int64), np.ones(len(boxes)), boxes.boxes)
    lifter, memory = SizePriorLifter(["car"], BRIDGE), BoxMemory()
    for step in range(5):
        _, memory = lifter.lift_tracks(tracks, CAMERA, 0.1 * step, memory)
    known = CameraMount(BRIDGE, up)
    later, _ = lifter.lift_tracks(tracks, CAMERA, 0.5, memory, known)
    first, _ = lifter.lift_tracks(tracks, CAMERA, 0.5, BoxMemory(), known)
    assert later.detections.locations == pytest.approx(first.detections.locations)
