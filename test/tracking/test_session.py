# SPDX-License-Identifier: Apache-2.0
"""The session: owner of all state of every camera, from frames and poses to results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.tracking.results import ERROR, POSE, STAMP, CameraPoses, OutputFrames
from centertrack_ros.tracking.session import SessionConfig, TrackingSession
from centertrack_ros.types import Frame, FrameHeader
from support.rectangles import HEIGHT, WIDTH, RectangleEngine, Thing, paint

CAMERA = Camera.from_focal(WIDTH, HEIGHT, 150.0)
HERE = CameraPoses(Transform.identity(), Transform.identity())
MERGED = SessionConfig(("left", "right"), frames=OutputFrames("base_link", "map"))


def frame(step: int, *columns: int, stamp: float | None = None, camera: Camera | None = None) -> Frame:
    """Cars at these columns; they move by 2 px a step."""
    things = [Thing(number, (x + 2 * step, 40, x + 2 * step + 20, 80)) for number, x in enumerate(columns, start=1)]
    at = 10.0 + 0.1 * step if stamp is None else stamp
    return Frame(paint(things), at, camera, header=FrameHeader(round(at * 1e9), "optical"))


def ids(result, camera: str = "") -> list[int]:
    return next(one.result.tracks.ids.tolist() for one in result.cameras if one.camera == camera)


def test_one_camera_gives_what_a_tracker_gives():
    session, tracker = TrackingSession(RectangleEngine()), Tracker(RectangleEngine())
    for step in range(5):
        one = frame(step, 20, 90)
        [result] = session.step({"": one}).cameras
        expected = tracker.step(one.image, stamp=one.stamp)
        np.testing.assert_array_equal(result.result.tracks.ids, expected.tracks.ids)
        np.testing.assert_array_equal(result.result.tracks.detections.boxes, expected.tracks.detections.boxes)
        assert result.header == one.header and result.poses is None


def test_a_late_frame_and_a_frame_that_is_no_image_cost_only_themselves():
    session = TrackingSession(RectangleEngine())
    first = ids(session.step({"": frame(0, 20)}))
    session.step({"": frame(2, 20)})
    [late] = session.step({"": frame(1, 20)}).rejected
    assert late.kind == STAMP and "older than the image before" in late.reason
    broken = replace(frame(3, 20), image=np.zeros((4, 4), np.uint8))
    result = session.step({"": broken})
    assert not result.cameras and result.rejected[0].kind == ERROR and "uint8 array" in result.rejected[0].reason
    assert ids(session.step({"": frame(4, 20)})) == first


def test_one_camera_that_fails_does_not_stop_the_others():
    session = TrackingSession(RectangleEngine(), SessionConfig(("left", "right")))
    result = session.step({"left": replace(frame(0, 20), image=np.zeros((4, 4), np.uint8)), "right": frame(0, 20)})
    assert [one.camera for one in result.cameras] == ["right"] and [one.camera for one in result.rejected] == ["left"]


def test_every_reset_is_reported_once_with_its_reason():
    """Whoever asks for it, and whether or not the frame in which it takes place has a result."""
    session = TrackingSession(RectangleEngine(), SessionConfig(frames=OutputFrames("base_link")))
    reasons = []

    def step(one: Frame, *, known: bool = True) -> None:
        result = session.step({"": one}, {"": HERE} if known else None)
        reasons.extend(camera.result.reset for camera in result.cameras)
        assert known or result.rejected[0].kind == POSE

    step(frame(0, 20))
    step(frame(1, 20))
    step(frame(2, 20, stamp=20.0), known=False)  # a gap, in a frame without a pose
    step(frame(3, 20, stamp=20.1))
    session.reset("requested by a test")
    step(frame(4, 20, stamp=20.2))
    step(frame(5, 20, stamp=20.3))
    step(frame(6, 20, stamp=5.0))
    assert [bool(reason) for reason in reasons] == [False, False, True, True, False, True]
    assert "no image for" in reasons[2] and reasons[3] == "requested by a test" and "went back" in reasons[5]


def test_ids_go_on_after_a_gap_and_start_again_after_a_requested_reset():
    session = TrackingSession(RectangleEngine())
    assert ids(session.step({"": frame(0, 20, 90)})) == [1, 2]
    assert ids(session.step({"": frame(1, 20, 90, stamp=99.0)})) == [3, 4]
    session.reset("requested by a test")
    assert ids(session.step({"": frame(2, 20, 90, stamp=99.1)})) == [1, 2]


def test_a_reset_before_the_first_frame_is_none():
    session = TrackingSession(RectangleEngine())
    session.reset("the node was activated")
    assert session.step({"": frame(0, 20)}).cameras[0].result.reset == ""


def test_poses_are_asked_for_after_the_network_and_only_with_a_target_frame():
    engine = RectangleEngine()
    session = TrackingSession(engine, SessionConfig(frames=OutputFrames("base_link")))
    asked = []

    def poses(name: str, one: Frame) -> CameraPoses:
        asked.append((name, len(engine.batches)))
        return HERE

    [result] = session.step({"": frame(0, 20)}, poses).cameras
    assert asked == [("", 1)]
    assert result.header == FrameHeader(10_000_000_000, "base_link") and result.image_header.frame_id == "optical"
    session.configure(SessionConfig())
    session.step({"": frame(1, 20)}, poses)
    assert len(asked) == 1


def test_two_cameras_of_one_object_are_one_view():
    """The same object in both images, by cameras in the same place: one box, one id, in the target frame."""
    session = TrackingSession(RectangleEngine(), MERGED)
    for step in range(3):
        for name in ("left", "right"):
            one = frame(step, 60, stamp=10.0 + 0.1 * step + 0.01 * (name == "right"), camera=CAMERA)
            result = session.step({name: one}, {name: HERE})
    assert result.merged is not None and len(result.merged.boxes) == 1
    assert result.merged.tracks.ids.tolist() == ids(result, "right") == [1]
    assert result.merged.header == FrameHeader(round(10.21 * 1e9), "base_link")


@pytest.mark.parametrize("appearance", ["color", "none"])
@pytest.mark.parametrize("which", [0, 1])
def test_colors_tell_which_of_two_cars_comes_into_the_next_camera(which, appearance):
    """One camera loses two cars; another one sees a car between them, by 2 px nearer to the one of another colour."""
    cars = [Thing(5, (40, 40, 60, 80)), Thing(250, (80, 40, 100, 80))]
    session = TrackingSession(RectangleEngine(), replace(MERGED, tracker=TrackerConfig(appearance=appearance)))
    for step in range(4):
        before = session.step({"left": Frame(paint(cars), 10 + 0.1 * step, CAMERA)}, {"left": HERE})
    column = (62, 58)[which]
    between = Thing(cars[which].number, (column, 40, column + 20, 80))
    after = session.step({"right": Frame(paint([between]), 10.35, CAMERA)}, {"right": HERE})
    order = [ids(before, "left").index(one) for one in ids(after, "right")]
    assert [int(before.cameras[0].result.tracks.detections.boxes[row, 0] > 60) for row in order] == [
        which if appearance == "color" else 1 - which
    ]


def test_without_a_target_frame_nothing_is_merged():
    session = TrackingSession(RectangleEngine(), SessionConfig(("left", "right")))
    assert session.step({"left": frame(0, 20)}).merged is None


def test_merging_and_not_merging_count_ids_apart():
    session = TrackingSession(RectangleEngine(), MERGED)
    session.step({"left": frame(0, 20, 90, camera=CAMERA)}, {"left": HERE})
    session.configure(replace(MERGED, frames=OutputFrames()))
    result = session.step({"left": frame(1, 20, 90, camera=CAMERA)})
    assert "tracked apart" in result.cameras[0].result.reset and ids(result, "left") == [1, 2]


def test_a_configuration_that_the_model_cannot_give_changes_nothing():
    session = TrackingSession(RectangleEngine())
    before = session.config
    with pytest.raises(ValueError, match="needs a model with heads"):
        session.configure(replace(before, tracker=TrackerConfig(lift="heads")))
    with pytest.raises(ValueError, match="cannot change"):
        session.configure(replace(before, cameras=("other",)))
    assert session.config is before and ids(session.step({"": frame(0, 20)})) == [1]


def test_wrong_calls_are_named():
    with pytest.raises(ValueError, match="a name of its own, got a, a"):
        SessionConfig(("a", "a"))
    with pytest.raises(ValueError, match="camera 'b' is not one of"):
        TrackingSession(RectangleEngine()).step({"b": frame(0, 20)})
