# SPDX-License-Identifier: Apache-2.0
"""What users of the messages rely on: one header, one id, class names, boxes with extents, covariance along the ray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (make builds it from compat/vision_msgs)")

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.boxes3d import oriented_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import matrix_to_quaternion, quaternion_to_matrix
from centertrack_ros.ros import messages
from centertrack_ros.ros.markers import NAMESPACES, MarkerWriter
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import STATE_LOST, Detections, Tracks

HEADER = Header(stamp=Time(sec=12, nanosec=345), frame_id="camera_front_optical")
NAMES = ("car", "pedestrian", "")


def writer(types=None) -> messages.MessageWriter:
    return messages.MessageWriter(NAMES, types)


def make_tracks(count: int = 4, lifted: bool = True, heads: bool = True, seed: int = 0) -> Tracks:
    """`count` tracks, the last of them lost."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 800, (count, 2))
    boxes = np.hstack([corner, corner + random.uniform(5, 200, (count, 2))]).astype(np.float32)
    values = {}
    if lifted:
        values = {
            "dimensions": random.uniform(0.5, 5, (count, 3)).astype(np.float32),
            "locations": random.uniform((-10, 0, 5), (10, 2, 60), (count, 3)).astype(np.float32),
            "location_covariances": np.tile(np.diag([0.1, 0.1, 4.0]), (count, 1, 1)),
        }
        values["rotations_y"] = random.uniform(-np.pi, np.pi, count).astype(np.float32)
        if heads:
            values["alphas"] = random.uniform(-np.pi, np.pi, count).astype(np.float32)
            values["velocities"] = random.uniform(1, 9, (count, 3)).astype(np.float32)
            values["attributes"] = random.normal(size=(count, 8)).astype(np.float32)
            values["amodal_centers"] = random.uniform(0, 800, (count, 2)).astype(np.float32)
    detections = Detections(
        scores=random.uniform(0.1, 1, count).astype(np.float32),
        class_ids=np.arange(count) % len(NAMES),
        boxes=boxes,
        centers=((boxes[:, :2] + boxes[:, 2:]) / 2),
        displacements=random.normal(size=(count, 2)).astype(np.float32),
        **values,
    )
    hits = np.arange(1, count + 1)
    hits[-1] = 0
    return Tracks(detections, np.arange(count) * 3 + 1, np.ones(count, np.int64), hits, np.full(count, 10.0))


def test_every_output_has_the_same_header_ids_and_order() -> None:
    tracks = make_tracks()
    index, boxes = boxes3d_of_tracks(tracks)
    two = writer().detections_2d(HEADER, tracks)
    three = writer().detections_3d(HEADER, tracks, index, boxes)
    assert two.header == three.header == HEADER
    assert [d.id for d in two.detections] == [d.id for d in three.detections] == ["1", "4", "7"]
    for detection in (*two.detections, *three.detections):
        assert detection.header == HEADER
        assert len(detection.results) == 1
    assert [d.results[0].hypothesis.class_id for d in two.detections] == ["car", "pedestrian", "object"]


def test_a_box_message_has_the_corners_of_the_tracked_box() -> None:
    """Corners built from pose and size equal the corners of the KITTI-style box: conventions agree end to end."""
    tracks = make_tracks(20)
    index, boxes = boxes3d_of_tracks(tracks)
    message = writer().detections_3d(HEADER, tracks, index, boxes)
    found = tracks.detections
    expected = boxes3d.corners(found.dimensions, found.locations, found.rotations_y)
    for detection, corners in zip(message.detections, expected, strict=False):
        center, size = detection.bbox.center, detection.bbox.size
        q = center.orientation
        turn = quaternion_to_matrix(np.array([q.x, q.y, q.z, q.w]))
        signs = np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).reshape(3, 8).T
        local = signs * np.array([size.x, size.y, size.z]) / 2
        middle = np.array([center.position.x, center.position.y, center.position.z])
        got = local @ turn.T + middle
        distance = np.linalg.norm(got[:, None] - corners[None], axis=2).min(axis=0)
        assert distance.max() < 1e-5
        assert detection.results[0].pose.pose == center
        up = turn @ [0, 0, 1]
        np.testing.assert_allclose(up, [0, -1, 0], atol=1e-9)


def test_every_box_has_positive_extents() -> None:
    tracks = make_tracks(3)
    tracks.detections.dimensions[:] = 0.0
    tracks.detections.boxes[:, 2:] = tracks.detections.boxes[:, :2]
    index, boxes = boxes3d_of_tracks(tracks)
    for d in writer().detections_3d(HEADER, tracks, index, boxes).detections:
        assert min(d.bbox.size.x, d.bbox.size.y, d.bbox.size.z) > 0.0
    for d in writer().detections_2d(HEADER, tracks).detections:
        assert min(d.bbox.size_x, d.bbox.size_y) > 0.0


def test_the_covariance_is_along_the_ray_and_large_for_an_unknown_heading() -> None:
    tracks = make_tracks(heads=False)
    index, boxes = boxes3d_of_tracks(tracks)
    detection = writer().detections_3d(HEADER, tracks, index, boxes).detections[0]
    covariance = np.array(detection.results[0].pose.covariance).reshape(6, 6)
    np.testing.assert_allclose(covariance[:3, :3], np.diag([0.1, 0.1, 4.0]))
    assert covariance[4, 4] > 3.0 > 0.1 > covariance[3, 3]


def test_without_uncertainties_the_covariance_is_zero() -> None:
    boxes = oriented_boxes(np.ones((1, 3)), np.array([[0.0, 1.0, 9.0]]), np.zeros(1))
    assert not boxes.covariances.any()


def test_a_transform_rotates_boxes_velocities_and_covariances() -> None:
    tracks = make_tracks(5)
    _, boxes = boxes3d_of_tracks(tracks)
    body = boxes3d.BODY_FROM_OPTICAL
    moved = boxes.transformed(matrix_to_quaternion(body), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(moved.centers, boxes.centers @ body.T + [1, 2, 3])
    np.testing.assert_allclose(moved.velocities, boxes.velocities @ body.T)
    # The long axis of uncertainty was depth (z), which is x in a body frame.
    np.testing.assert_allclose(moved.covariances[:, :3, :3], np.tile(np.diag([4.0, 0.1, 0.1]), (5, 1, 1)), atol=1e-9)
    for quaternion, rot_y in zip(moved.quaternions, tracks.detections.rotations_y, strict=True):
        forward = quaternion_to_matrix(quaternion) @ [1, 0, 0]
        yaw = np.arctan2(forward[1], forward[0])
        assert abs(np.angle(np.exp(1j * (yaw - (-rot_y - np.pi / 2))))) < 1e-5
        np.testing.assert_allclose(quaternion_to_matrix(quaternion) @ [0, 0, 1], [0, 0, 1], atol=1e-9)


def test_without_lifting_there_are_2d_detections_only() -> None:
    tracks = make_tracks(lifted=False)
    index, boxes = boxes3d_of_tracks(tracks)
    assert len(writer().detections_2d(HEADER, tracks).detections) == 3
    assert writer().detections_3d(HEADER, tracks, index, boxes).detections == []
    assert not MarkerWriter(NAMES).write(HEADER, tracks, index, boxes, 0.5, 10).markers


def test_an_object_that_cannot_be_lifted_is_missing_in_3d_only() -> None:
    tracks = make_tracks()
    tracks.detections.locations[1] = np.nan
    index, boxes = boxes3d_of_tracks(tracks)
    assert [d.id for d in writer().detections_3d(HEADER, tracks, index, boxes).detections] == ["1", "7"]


def test_a_track_array_contains_lost_tracks() -> None:
    types = pytest.importorskip("centertrack_ros.msg", reason="the interfaces of this package are not built")
    tracks = make_tracks()
    index, boxes = boxes3d_of_tracks(tracks)
    write = writer(types)
    message = write.track_array(HEADER, tracks, index, boxes, (900, 1600), 12.5, "stamp went back")
    assert [t.id for t in message.tracks] == [1, 4, 7, 10]
    assert [t.state for t in message.tracks] == [0, 1, 1, 2]
    assert (message.image_height, message.image_width) == (900, 1600)
    assert message.reset and message.reset_reason == "stamp went back"
    first = message.tracks[0]
    assert (first.lifetime.sec, first.lifetime.nanosec) == (2, 500_000_000)
    assert first.attribute.startswith("vehicle.") and 0.0 < first.attribute_score < 1.0
    assert first.lift == types.Track.LIFT_HEADS
    np.testing.assert_allclose([first.velocity.x, first.velocity.z], tracks.detections.velocities[0, [0, 2]])
    flat = make_tracks(lifted=False)
    unlifted = write.track_array(HEADER, flat, *boxes3d_of_tracks(flat), (900, 1600), 12.5).tracks[0]
    assert unlifted.lift == types.Track.LIFT_NONE and np.isnan(unlifted.velocity.x) and not unlifted.bbox_3d.size.x


def test_the_amodal_centre_of_a_size_prior_is_where_its_box_projects_to() -> None:
    """Off the middle of the 2D box where that is cut off, and in px of the raw image where the lens distorts."""
    types = pytest.importorskip("centertrack_ros.msg", reason="the interfaces of this package are not built")
    plain = Camera.from_focal(640, 480, 600.0)
    barrel = replace(plain, distortion_model="plumb_bob", distortion=np.array([-0.2, 0.05, 0.0, 0.0]))
    detections = make_tracks(heads=False, lifted=False).detections
    detections.boxes[:3] = [[100, 100, 160, 250], [500, 300, 560, 479], [10, 10, 90, 200]]
    for camera in (plain, barrel):
        lifted = SizePriorLifter(NAMES).lift(detections, camera)
        tracks = replace(make_tracks(heads=False), detections=lifted)
        index, boxes = boxes3d_of_tracks(tracks)
        message = writer(types).track_array(HEADER, tracks, index, boxes, (480, 640), 12.5)
        assert len(index) >= 2
        for row, i in enumerate(index.tolist()):
            track = message.tracks[i]
            assert track.lift == types.Track.LIFT_SIZE_PRIOR
            expected = camera.distort(camera.project(boxes.centers[row][None]))[0]
            np.testing.assert_allclose([track.amodal_center.x, track.amodal_center.y], expected, atol=0.01)
        for i in set(range(len(tracks))) - set(index.tolist()):
            track = message.tracks[i]
            assert track.lift == types.Track.LIFT_NONE
            values = (track.amodal_center.x, track.velocity.x, track.velocity.y, track.velocity.z)
            assert np.isnan(values).all()


def test_joints_of_people_are_in_the_track_array_with_their_names_and_scores() -> None:
    """A message is used again: what a model of poses wrote into it must not stay for the tracks of another."""
    types = pytest.importorskip("centertrack_ros.msg", reason="the interfaces of this package are not built")
    tracks, write = make_tracks(), writer(types)
    joints = np.random.default_rng(1).uniform(0, 500, (4, 17, 2)).astype(np.float32)
    scores = np.where(np.arange(17) % 2, 0.8, 0.0).astype(np.float32) * np.ones((4, 1), np.float32)
    posed = replace(tracks, detections=replace(tracks.detections, keypoints=joints, joint_scores=scores))
    for one, names in ((posed, 17), (tracks, 0)):
        message = write.track_array(HEADER, one, *boxes3d_of_tracks(one), (900, 1600), 12.5)
        assert len(message.joint_names) == names
        assert [len(track.joints) for track in message.tracks] == [names] * 4
        assert [len(track.joint_scores) for track in message.tracks] == [names] * 4
        if names:
            nose, elbow = (message.joint_names.index(name) for name in ("nose", "left_elbow"))
            track = message.tracks[2]
            np.testing.assert_allclose([track.joints[elbow].x, track.joints[elbow].y], joints[2, 7])
            assert track.joint_scores[nose] == 0.0 and track.joint_scores[elbow] == pytest.approx(0.8)


def test_label_info_names_every_channel() -> None:
    info = messages.label_info(HEADER, NAMES, 0.3)
    assert [(c.class_id, c.class_name) for c in info.class_map] == [(0, "car"), (1, "pedestrian"), (2, "object")]


def test_markers_of_ended_tracks_are_deleted() -> None:
    writer, tracks = MarkerWriter(NAMES), make_tracks(4)
    index, boxes = boxes3d_of_tracks(tracks)
    for _ in range(3):
        boxes.centers[:] += 2.0
        shown = writer.write(HEADER, tracks, index, boxes, 0.5, 10).markers
    assert {m.ns for m in shown} == set(NAMESPACES)
    assert {m.id for m in shown} == {1, 4, 7}
    assert all(m.lifetime.nanosec == 500_000_000 and m.header == HEADER for m in shown)
    assert max(len(m.points) for m in shown if m.ns == "trails") == 3
    for _ in range(20):  # a trail grows only while its object moves, up to the requested length
        shown = writer.write(HEADER, tracks, index, boxes, 0.5, 10).markers
    assert max(len(m.points) for m in shown if m.ns == "trails") <= 4
    for _ in range(20):
        boxes.centers[:] += 0.5
        shown = writer.write(HEADER, tracks, index, boxes, 0.5, 10).markers
    [trail] = [m.points for m in shown if m.ns == "trails" and m.id == 1]
    assert len(trail) == 10 and [trail[-1].x, trail[-1].z] == boxes.centers[0, [0, 2]].tolist()
    rest = tracks.select(np.array([1, 2]))
    after = writer.write(HEADER, rest, *boxes3d_of_tracks(rest), 0.5, 10).markers
    deleted = {(m.ns, m.id) for m in after if m.action == Marker.DELETE}
    assert deleted == {(ns, 1) for ns in NAMESPACES}
    assert writer.clear(HEADER).markers[0].action == Marker.DELETEALL


def test_markers_have_a_footprint_with_a_nose_and_a_name_above_the_roof() -> None:
    tracks = make_tracks(4)
    index, boxes = boxes3d_of_tracks(tracks)
    shown = {(m.ns, m.id): m for m in MarkerWriter(NAMES).write(HEADER, tracks, index, boxes, 0.5, 10).markers}
    turns = quaternion_to_matrix(boxes.quaternions)
    for row, track in enumerate(tracks.ids[index].tolist()):
        if tracks.states[index[row]] == STATE_LOST:
            continue
        length, width, height = boxes.sizes[row]
        line = shown["footprints", track]
        assert line.pose == shown["boxes", track].pose
        assert {p.z for p in line.points} == {-height / 2}
        assert max(p.x for p in line.points) == pytest.approx(length / 2 + width / 2)  # ahead of the front alone
        assert min(p.x for p in line.points) == pytest.approx(-length / 2)
        assert {abs(p.y) for p in line.points} == {0.0, width / 2}
        at = shown["labels", track].pose.position
        local = turns[row].T @ (np.array([at.x, at.y, at.z]) - boxes.centers[row])
        assert local[2] > height / 2 and np.abs(local[:2]).max() < 1e-6


def test_what_stands_and_trembles_has_no_trail_marker() -> None:
    random, writer, tracks = np.random.default_rng(0), MarkerWriter(NAMES), make_tracks(4)
    index, boxes = boxes3d_of_tracks(tracks)
    boxes.sizes[:, 0] = 4.0
    places = boxes.centers.copy()
    for _ in range(40):
        boxes.centers[:] = places + random.uniform(-0.5, 0.5, places.shape)
        assert "trails" not in {m.ns for m in writer.write(HEADER, tracks, index, boxes, 0.5, 10).markers}


def test_a_reused_writer_keeps_nothing_of_the_previous_frame() -> None:
    """The writer reuses message objects: its second message must equal that of a new writer."""
    types = pytest.importorskip("centertrack_ros.msg", reason="the interfaces of this package are not built")
    used = writer(types)
    for tracks in (make_tracks(6), make_tracks(2, seed=1), make_tracks(5, lifted=False), make_tracks(7, heads=False)):
        index, boxes = boxes3d_of_tracks(tracks)
        new = writer(types)
        assert used.detections_2d(HEADER, tracks) == new.detections_2d(HEADER, tracks)
        assert used.detections_3d(HEADER, tracks, index, boxes) == new.detections_3d(HEADER, tracks, index, boxes)
        got, expected = (w.track_array(HEADER, tracks, index, boxes, (9, 16), 12.5) for w in (used, new))
        assert str(got) == str(expected)  # NaN equals NaN in text
