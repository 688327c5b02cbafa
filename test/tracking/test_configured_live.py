# SPDX-License-Identifier: Apache-2.0
"""Another configuration in the middle of a video: tracks go on, and nothing of the old configuration spoils them."""

from __future__ import annotations

import numpy as np
import pytest

from centertrack_ros.network.profile import Thresholds
from centertrack_ros.tracking import TrackerConfig
from centertrack_ros.tracking.session import SessionConfig, TrackingSession
from centertrack_ros.types import Detections, Frame
from support.rectangles import RectangleEngine, Thing, paint, profile

STEP = 1 / 30
KEPT = ("evidence", "class_votes", "occupant_votes", "appearances", "kalman_means", "kalman_covariances")


def things(index: int) -> list[Thing]:
    """A strong one, one that is missed in every third frame, and weak ones that come and go."""
    found = [Thing(1, (20 + index, 10, 50 + index, 50), 0.8, 0)]
    if index % 3:
        found.append(Thing(2, (90, 10 + index, 120, 50 + index), 0.8, 1))
    if index % 2:
        found.append(Thing(3, (20 + 2 * index, 80, 44 + 2 * index, 112), 0.4, 0))
    return found


def assert_sound(session: TrackingSession, index: int, initial: Detections | None = None) -> list[int]:
    """One step; returns the ids that are reported as seen."""
    [one] = session.step({"": Frame(paint(things(index)), index * STEP, initial=initial)}).cameras
    tracks = session._cameras[""].tracks.tracks
    assert tracks is not None and len(np.unique(tracks.ids)) == len(tracks)
    for name in KEPT:
        values = getattr(tracks, name)
        assert values is None or np.isfinite(values).all(), name
    assert (one.result.tracks.ids > 0).all()
    return one.result.tracks.ids[one.result.tracks.hits > 0].tolist()


@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {"birth": "threshold"},
        {"appearance": "none"},
        {"motion": "kalman"},
        {"motion": "none"},
        {"class_groups": False},
        {"report_occupants": True},
        {"duplicate_iou": 1.0},
    ],
    ids=str,
)
def test_what_the_other_configuration_left_behind_spoils_nothing(changes, phase):
    session = TrackingSession(RectangleEngine(profile(thresholds=Thresholds(track=0.3, new=0.45))))
    for index in range(24):
        if index % 6 == phase:  # there, and back again
            other = changes if index % 12 == phase else {}
            session.configure(SessionConfig(tracker=TrackerConfig(**other)))
        assert {1} <= set(assert_sound(session, index))


def test_objects_that_are_known_at_the_first_frame_learn_what_they_look_like():
    """Also one that is not seen at once."""
    known = Detections.from_boxes(np.array([[20, 10, 50, 50], [90, 10, 120, 50]]), None, np.array([0, 1]))
    session = TrackingSession(RectangleEngine())
    for index in range(6):
        assert_sound(session, index, known)
    tracks = session._cameras[""].tracks.tracks
    assert tracks is not None and tracks.appearances is not None
    assert tracks.appearances[np.isin(tracks.ids, [1, 2])].any(axis=1).all()
