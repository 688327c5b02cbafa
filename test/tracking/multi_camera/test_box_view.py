# SPDX-License-Identifier: Apache-2.0
"""3D detections of a LiDAR in one view with a camera: one id for what both see, and neither stops the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import camera_and_lidar
from centertrack_ros.geometry.boxes3d import BODY_FROM_OPTICAL
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.multi_camera.records import MultiCameraConfig
from centertrack_ros.tracking.results import CameraPoses, OutputFrames
from centertrack_ros.tracking.session import SessionConfig, TrackingSession
from centertrack_ros.types import LIFT_POINTS, Frame, FrameHeader
from support.boxes import found, oriented, scan
from support.rectangles import HEIGHT, WIDTH, RectangleEngine, Thing, paint

CAMERA = Camera.from_focal(WIDTH, HEIGHT, 150.0)
MOUNT = Transform(BODY_FROM_OPTICAL, np.array([0.0, 0.0, 1.5]))
HERE = {"": CameraPoses(MOUNT, MOUNT)}
CONFIG = SessionConfig(frames=OutputFrames("base_link", "map"), boxes=True)
BEHIND = (-12.0, 3.0, 0.75)


def session(**changes) -> TrackingSession:
    return TrackingSession(RectangleEngine(), replace(CONFIG, **changes))


def image(stamp: float, *columns: int) -> dict[str, Frame]:
    things = [Thing(number, (x, 40, x + 20, 80)) for number, x in enumerate(columns, start=1)]
    return {"": Frame(paint(things), stamp, CAMERA, header=FrameHeader(round(stamp * 1e9), "optical"))}


def watched(one: TrackingSession, start: float = 10.0) -> np.ndarray:
    """Shows the camera a car a few times; where it takes it to be."""
    for step in range(3):
        result = one.step(image(start + step / 30, 60), HERE)
    return result.merged.boxes.centers[0]


def test_what_both_see_is_one_object_at_the_lidars_place():
    one = session()
    place = watched(one) + [0.4, 0.1, 0.0]
    for step in range(1, 5):
        one.step({}, boxes=[scan(10.1 + step / 10 - 0.02, [place, BEHIND])])
        result = one.step(image(10.1 + step / 10, 60, 10), HERE)
    merged = result.merged
    [camera] = result.cameras
    assert len(merged.boxes) == 3 and merged.tracks.ids.tolist() == sorted(set(merged.tracks.ids.tolist()))
    near = np.linalg.norm(merged.boxes.centers - place, axis=1).argmin()
    np.testing.assert_allclose(merged.boxes.centers[near], place, atol=1e-3)
    assert merged.tracks.ids[near] == camera.result.tracks.ids[0] == 1
    assert merged.tracks.detections.lifts[near] == LIFT_POINTS
    behind = np.linalg.norm(merged.boxes.centers - BEHIND, axis=1).argmin()
    assert merged.tracks.ids[behind] not in camera.result.tracks.ids  # and the second car is the camera's alone
    assert set(camera.result.tracks.ids.tolist()) < set(merged.tracks.ids.tolist())


def test_a_box_of_doubtful_place_does_not_replace_the_cameras():
    one = session()
    place = watched(one)
    boxes = oriented([place + [1.0, 0, 0]])
    unsure = replace(boxes, covariances=np.diag([400.0, 400, 400, 1, 1, 1])[None])
    for step in range(1, 4):
        frame = replace(scan(10.1 + step / 10, [place]), found=found(unsure))
        result = one.step(image(10.1 + step / 10, 60), HERE, [frame])
    assert len(result.merged.boxes) == 1
    assert np.linalg.norm(result.merged.boxes.centers[0] - place) < 0.5


@pytest.mark.parametrize(("score", "messages"), [(0.95, 2), (0.5, 4), (0.2, 11)])
def test_births_need_several_boxes_and_the_weaker_the_more(score, messages):
    one = session()
    seen = [len(one.step({}, boxes=[scan(step / 10, [BEHIND], score)]).merged.boxes) for step in range(15)]
    assert seen == [0] * (messages - 1) + [1] * (16 - messages)


def test_a_gap_is_bridged_with_the_motion_and_a_longer_one_keeps_the_id():
    one = session()
    views = []
    for step in range(16):
        places = [] if step in (8, 11, 12) else [(-20.0 + 1.5 * step, 3.0, 0.75)]
        views.append(one.step({}, boxes=[scan(step / 10, places)]).merged)
    assert [len(view.boxes) for view in views[2:]] == [1] * 10 + [0] + [1] * 3
    np.testing.assert_allclose(views[8].boxes.centers[0], (-8.0, 3.0, 0.75), atol=0.4)
    np.testing.assert_allclose(views[15].boxes.velocities[0], (15.0, 0, 0), atol=0.5)
    assert {view.tracks.ids.tolist()[0] for view in views[2:] if len(view.boxes)} == {1}


def test_what_the_lidar_misses_for_a_moment_does_not_jump_to_the_cameras_distance():
    one = session()
    place = watched(one) + [0.8, 0.0, 0.0]  # by which the camera is wrong
    offsets = []
    for step in range(1, 40):
        stamp = 10.1 + step / 30
        seen = [place] if step < 18 or step > 30 else []
        result = one.step(image(stamp, 60), HERE, [scan(stamp - 0.01, seen)] if step % 3 == 0 else [])
        offsets.append(np.linalg.norm(result.merged.boxes.centers - place, axis=1).min())
        assert len(result.merged.boxes) == 1 or step < 7
    assert max(offsets[6:22]) < 0.2 and result.merged.tracks.ids.tolist() == [1]


def test_without_a_fixed_frame_what_stands_is_followed_as_the_vehicle_drives():
    one = session(frames=OutputFrames("base_link"), multi_camera=MultiCameraConfig(measured_velocities=False))
    for step in range(12):
        view = one.step({}, boxes=[scan(step / 10, [(60.0 - 1.8 * step, 4.0, 0.7), (50.0 - 1.8 * step, -4, 0.7)])])
    assert view.merged.tracks.ids.tolist() == [1, 2]
    assert view.merged.tracks.motion_states.tolist() == [0, 0]  # who moves over ground is not known


def test_a_lidar_that_stops_leaves_the_camera_as_it_was():
    one, alone = session(), session(boxes=False)
    place = watched(one)
    for step in range(3):
        alone.step(image(10.0 + step / 30, 60), HERE)
    for step in range(1, 40):
        stamp = 10.1 + step / 30
        boxes = [scan(stamp - 0.01, [place, BEHIND])] if step % 3 == 0 and step < 15 else []
        result, plain = (s.step(image(stamp, 60), HERE, b) for s, b in ((one, boxes), (alone, [])))
        np.testing.assert_array_equal(result.cameras[0].result.tracks.ids, plain.cameras[0].result.tracks.ids)
        if step == 15:
            assert len(result.merged.boxes) == 2
    assert result.merged.tracks.ids.tolist() == [1]


def test_the_view_never_goes_back_and_a_late_message_is_in_the_next_one():
    one = session()
    watched(one)
    stamps, late = [], []
    for step in range(1, 7):
        result = one.step({}, boxes=[scan(10.05 + step / 10, [BEHIND])])  # between two images, after both
        late.append(result.merged)
        stamps.append(one.step(image(10.1 + step / 10, 60), HERE).merged.stamp)
        assert one.step({}, boxes=[scan(10.08 + step / 10, [BEHIND])]).merged is None
    assert stamps == sorted(stamps)
    assert [view.header.stamp_ns for view in late] == [round((10.05 + step / 10) * 1e9) for step in range(1, 7)]
    assert len(one.step(image(10.75, 60), HERE).merged.boxes) == 2


@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_another_clock_is_one_sentence_and_no_reset(shift):
    one = session()
    watched(one)
    for step in range(1, 30):
        stamp = 10.1 + step / 10
        result = one.step(image(stamp, 60), HERE, [scan(stamp + shift, [BEHIND])])
        assert "newest image" in result.box_notes[0] and not result.merged.reset
        assert result.merged.tracks.ids.tolist() == [1]
    one.step({}, boxes=[scan(13.1, [BEHIND])])
    assert len(one.step({}, boxes=[scan(13.2, [BEHIND])]).merged.boxes) == 2


def test_one_wrong_stamp_among_a_lidars_messages_is_left_out():
    one = session()
    views = [one.step({}, boxes=[scan(stamp, [BEHIND])]) for stamp in (1.0, 1.1, 99.0, 1.2, -50.0, 2e9, 1.3)]
    assert [view.merged is None for view in views] == [False, False, True, False, True, True, False]
    assert "97.9 s after the newest message" in views[2].box_notes[0] and not views[6].merged.reset
    assert views[6].merged.tracks.ids.tolist() == [1]


def test_stamps_that_repeat_cost_their_message_only():
    one = session()
    results = [one.step({}, boxes=[scan(stamp, [BEHIND])]) for stamp in (1.0, 1.1, 1.1, 1.05, 1.2)]
    notes = ["".join(result.box_notes) for result in results]
    assert ["not after that of the message before" in note for note in notes] == [False, False, True, True, False]
    assert results[-1].merged.tracks.ids.tolist() == [1]


def test_a_lidar_alone_goes_on_when_the_cameras_have_ended():
    one = session()
    watched(one)
    for step in range(1, 60):
        result = one.step({}, boxes=[scan(10.1 + step / 10, [BEHIND])])
    assert not result.box_notes and result.merged.stamp == pytest.approx(16.0)
    assert len(result.merged.boxes) == 1
    for step in range(60, 90):  # and a recording that begins again is a reset, not the end
        result = one.step({}, boxes=[scan(step / 10 - 5.0, [BEHIND])])
    assert len(result.merged.boxes) == 1 and result.merged.stamp == pytest.approx(3.9)


def test_without_a_transform_the_images_go_on():
    def nowhere() -> CameraPoses:
        raise ValueError("nobody has published a frame 'lidar'")

    one = session()
    watched(one)
    frame = replace(scan(10.1, [BEHIND]), poses=nowhere)
    result = one.step(image(10.1, 60), HERE, [frame])
    assert result.box_notes == ("no transform: nobody has published a frame 'lidar'",)
    assert result.merged.tracks.ids.tolist() == [1]


def test_what_the_model_has_no_name_for_may_be_what_a_camera_sees():
    one = session()
    place = watched(one)
    for step in range(1, 5):
        result = one.step(image(10.1 + step / 10, 60), HERE, [scan(10.1 + step / 10, [place, BEHIND], name="forklift")])
    names = [one.class_names[class_id] for class_id in result.merged.tracks.detections.class_ids.tolist()]
    assert sorted(names) == sorted([one.class_names[0], "forklift"]) and len(result.merged.boxes) == 2


def test_ids_start_again_after_a_requested_reset():
    one = session()
    for step in range(4):
        one.step({}, boxes=[scan(step / 10, [BEHIND, (5.0, 9.0, 0.7)])])
    one.reset("by a test")
    views = [one.step({}, boxes=[scan(step / 10, [(9.0, -9.0, 0.7)])]).merged for step in range(4, 8)]
    assert views[0].reset == "by a test" and views[-1].tracks.ids.tolist() == [1]


def test_with_a_lidar_ids_last_and_objects_are_found():
    """True boxes with noise, 10 % missing, 3 % false: both together are not worse than the better one."""
    scene, _ = camera_and_lidar.street(100)
    scores = {by: camera_and_lidar.run(scene, 4.0, 100, by, 1) for by in camera_and_lidar.SENSORS}
    assert scores["cameras"].idf1 < 30 < 92 < min(scores["lidar"].idf1, scores["both"].idf1)
    assert scores["both"].changes <= 1 and np.mean(scores["both"].errors) < 0.3
    assert scores["both"].matched >= 0.99 * scores["lidar"].matched
