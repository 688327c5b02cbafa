# SPDX-License-Identifier: Apache-2.0
"""Autoware's objects: what its nodes read is what was tracked, in its conventions."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("autoware_perception_msgs.msg", reason="not installed (make builds it from compat/)")
pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (make builds it from compat/vision_msgs)")

import autoware_perception_msgs.msg as types
from std_msgs.msg import Header

from centertrack_ros.geometry.boxes3d import UNKNOWN_HEADING_VARIANCE
from centertrack_ros.geometry.transform import Transform, quaternion_to_matrix
from centertrack_ros.network.class_groups import ANIMALS, CYCLES, PEOPLE
from centertrack_ros.ros.autoware import AutowareWriter, label_of, track_uuid
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import MOTION_MOVING, MOTION_STANDING, Detections, Tracks

HEADER = Header(frame_id="base_link")
NAMES = ("car", "pedestrian", "traffic_cone")
TO_BODY = Transform(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.5, 0.0, 1.6]))


def make_tracks(**changes) -> Tracks:
    """Three tracks, the last of them lost, whose first moves ahead of itself at 5 m/s."""
    turn = np.array([0.4, -1.0, 2.0], np.float32)
    ahead = np.stack([np.cos(turn), np.zeros(3), -np.sin(turn)], axis=1)
    spread = 0.04 * np.eye(3) + 0.21 * ahead[:, :, None] * ahead[:, None, :]
    detections = replace(
        Detections.from_boxes(np.tile([10.0, 10.0, 50.0, 90.0], (3, 1)), np.array([0.9, 0.6, 0.5]), np.arange(3)),
        dimensions=np.array([[1.5, 1.8, 4.4], [1.7, 0.6, 0.7], [0.8, 0.3, 0.3]], np.float32),
        locations=np.array([[0.0, 1.6, 10.0], [-3.0, 1.6, 8.0], [1.0, 1.6, 6.0]], np.float32),
        location_covariances=np.tile(np.diag([0.1, 0.1, 4.0]), (3, 1, 1)),
        rotations_y=turn,
        alphas=turn,
        velocities=(5.0 * ahead).astype(np.float32),
        velocity_covariances=spread,
    )
    detections = replace(detections, **changes)
    motion = np.array([MOTION_MOVING, MOTION_STANDING, MOTION_STANDING], np.uint8)
    ages, hits = np.array([1, 1, 3]), np.array([5, 2, 0])
    return Tracks(detections, np.array([7, 9, 11]), ages, hits, np.zeros(3), motion_states=motion)


def written(tracks: Tracks, kind: str = "tracked_objects", writer: AutowareWriter | None = None):
    index, boxes = boxes3d_of_tracks(tracks)
    return getattr(writer or AutowareWriter(NAMES, types, "drive"), kind)(HEADER, tracks, index, TO_BODY.boxes(boxes))


def test_matched_objects_are_written_with_labels_boxes_and_rest() -> None:
    message = written(make_tracks())
    assert message.header == HEADER and len(message.objects) == 2
    labels = [item.classification[0].label for item in message.objects]
    assert labels == [types.ObjectClassification.CAR, types.ObjectClassification.PEDESTRIAN]
    car, person = message.objects
    from rclpy.serialization import deserialize_message, serialize_message

    assert deserialize_message(serialize_message(message), types.TrackedObjects) == message
    size = car.shape.dimensions
    np.testing.assert_allclose([size.x, size.y, size.z], [4.4, 1.8, 1.5], rtol=1e-6)
    position = car.kinematics.pose_with_covariance.pose.position
    np.testing.assert_allclose([position.x, position.y, position.z], [11.5, 0.0, 0.75], atol=1e-6)
    assert (car.kinematics.is_stationary, person.kinematics.is_stationary) == (False, True)
    assert car.existence_probability == pytest.approx(0.9)


def test_the_twist_is_in_the_axes_of_the_object() -> None:
    """It moves along its own length, and along its length its speed is least known."""
    for item in written(make_tracks()).objects:
        twist = item.kinematics.twist_with_covariance
        linear = twist.twist.linear
        np.testing.assert_allclose([linear.x, linear.y, linear.z], [5.0, 0.0, 0.0], atol=1e-6)
        np.testing.assert_allclose(
            np.array(twist.covariance).reshape(6, 6)[:3, :3], np.diag([0.25, 0.04, 0.04]), atol=1e-6
        )
        q = item.kinematics.pose_with_covariance.pose.orientation
        np.testing.assert_allclose(quaternion_to_matrix(np.array([q.x, q.y, q.z, q.w]))[2], [0, 0, 1], atol=1e-6)


def test_what_is_not_known_is_not_claimed() -> None:
    """Neither a heading from a size prior nor the velocity of an object that was just found."""
    nothing = np.full((3, 3), np.nan, np.float32)
    tracks = make_tracks(
        heading_variances=np.array([0.01, UNKNOWN_HEADING_VARIANCE, 0.01]),
        velocities=nothing,
        velocity_covariances=None,
    )
    tracked, detected = written(tracks).objects, written(tracks, "detected_objects").objects
    for items in (tracked, detected):
        kinematics = [item.kinematics for item in items]
        assert [k.orientation_availability for k in kinematics] == [kinematics[0].AVAILABLE, kinematics[0].UNAVAILABLE]
        for k in kinematics:
            linear, covariance = k.twist_with_covariance.twist.linear, k.twist_with_covariance.covariance
            assert (linear.x, linear.y, linear.z) == (0.0, 0.0, 0.0) and covariance[0] >= 100.0
    assert not any(item.kinematics.has_twist or item.kinematics.has_twist_covariance for item in detected)
    known = written(make_tracks(), "detected_objects").objects[0].kinematics
    assert known.has_twist and known.has_twist_covariance and known.has_position_covariance


def test_a_uuid_belongs_to_one_object() -> None:
    """The same for each frame of a track; another for another id, session, and after ids have started again."""
    writer = AutowareWriter(NAMES, types, "drive")
    first, again = (written(make_tracks(), writer=writer).objects for _ in range(2))
    known = [bytes(item.object_id.uuid) for item in first]
    assert known == [bytes(item.object_id.uuid) for item in again]
    writer.reset()
    after = [bytes(item.object_id.uuid) for item in written(make_tracks(), writer=writer).objects]
    other = [bytes(i.object_id.uuid) for i in written(make_tracks(), writer=AutowareWriter(NAMES, types)).objects]
    assert len({*known, *after, *other}) == 6
    assert uuid.UUID(bytes=known[0]).version == 5 and track_uuid("a", 1) == track_uuid("a", 1)


def test_evidence_of_the_whole_track_makes_its_existence() -> None:
    tracks = replace(make_tracks(), evidence=np.array([3.0, np.nan, 0.0]))
    tracked, detected = written(tracks).objects, written(tracks, "detected_objects").objects
    assert tracked[0].existence_probability == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert [item.existence_probability for item in detected] == pytest.approx([0.9, 0.6])
    assert tracked[1].existence_probability == pytest.approx(0.6)


def test_every_person_cycle_and_animal_of_the_known_datasets_has_a_label() -> None:
    assert all(label_of(name) in ("PEDESTRIAN", "BICYCLE", "MOTORCYCLE") for name in (*PEOPLE, *CYCLES))
    assert {label_of(name) for name in ANIMALS} == {"ANIMAL"}
    assert label_of("Construction_Vehicle") == "TRUCK" and label_of("traffic_cone") == label_of("tram") == "UNKNOWN"
    assert all(hasattr(types.ObjectClassification, label_of(name)) for name in (*PEOPLE, *CYCLES, *ANIMALS, "van"))
