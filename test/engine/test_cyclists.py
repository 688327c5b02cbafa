# SPDX-License-Identifier: Apache-2.0
"""Riders and their cycles as one object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.engine.cyclists import CYCLIST, CyclistEngine, pairs_of
from centertrack_ros.network.class_groups import select_classes
from centertrack_ros.network.classes import COCO_CLASSES
from centertrack_ros.tracking import Tracker
from support.peaks import SIZE, PeakEngine, Seen

PERSON, BICYCLE, CAR = (COCO_CLASSES.index(name) for name in ("person", "bicycle", "car"))
RIDER, CYCLE = (50.0, 20.0, 66.0, 70.0), (40.0, 48.0, 80.0, 84.0)


def tracks_of(video: list[list[Seen]]) -> list[list[tuple[int, str, list[float]]]]:
    """(id, class, box) of the live tracks of each frame."""
    engine = CyclistEngine(PeakEngine(video))
    tracker, names, found = Tracker(engine), engine.profile.classes, []
    for number in range(len(video)):
        tracks = tracker.step(np.zeros((*SIZE, 3), np.uint8), stamp=number / 10).tracks
        live = tracks.select(tracks.hits > 0)
        rows = zip(live.ids.tolist(), live.detections.class_ids.tolist(), live.detections.boxes.tolist(), strict=True)
        found.append([(track_id, names[kind], box) for track_id, kind, box in rows])
    return found


def test_a_rider_and_the_bicycle_are_one_cyclist_with_the_box_around_both() -> None:
    [[(track_id, name, box)]] = tracks_of([[(PERSON, 0.7, RIDER), (BICYCLE, 0.6, CYCLE)]])
    assert (track_id, name) == (1, CYCLIST)
    np.testing.assert_allclose(box, (40, 20, 80, 84), atol=1e-3)


def test_a_cyclist_seen_from_behind_whose_bicycle_is_missed_in_some_frames_stays_one() -> None:
    both: list[Seen] = [(PERSON, 0.7, RIDER), (BICYCLE, 0.2, (48.0, 48.0, 68.0, 84.0))]
    frames = tracks_of([both, both, both, [(PERSON, 0.7, RIDER)], both, [(PERSON, 0.7, RIDER)], both])
    assert [[(track_id, name) for track_id, name, _ in frame] for frame in frames] == [[(1, CYCLIST)]] * 7


@pytest.mark.parametrize(
    "other",
    [
        (PERSON, 0.7, (110.0, 20.0, 126.0, 84.0)),  # beside it
        (PERSON, 0.7, (50.0, 70.0, 60.0, 100.0)),  # before it, below
        (PERSON, 0.7, (55.0, 40.0, 62.0, 55.0)),  # far behind it
        (CAR, 0.7, RIDER),
        (PERSON, 0.35, (56.0, 52.0, 64.0, 80.0)),  # a child behind the frame
    ],
)
def test_who_does_not_ride_stays_apart(other: Seen) -> None:
    [tracks] = tracks_of([[other, (BICYCLE, 0.6, CYCLE), (PERSON, 0.5, (150.0, 20.0, 160.0, 60.0))]])
    assert CYCLIST not in {name for _, name, _ in tracks} and "bicycle" in {name for _, name, _ in tracks}


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 60)), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 60)), min_size=1, max_size=6),
)
def test_nobody_rides_two_cycles_and_no_cycle_has_two_riders(people: list, cycles: list) -> None:
    riders = np.array([(x, y, x + 16, y + 50) for x, y in people])
    below = np.array([(x - 10, y + 28, x + 30, y + 64) for x, y in cycles])
    pairs = pairs_of(riders, below)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)


def test_the_one_class_more_belongs_to_the_usual_sets_and_models_that_cannot_join_say_so() -> None:
    names = CyclistEngine(PeakEngine([])).profile.classes
    assert names == (*COCO_CLASSES, CYCLIST)
    assert CYCLIST in select_classes(("auto",), names) and "tie" not in select_classes(("auto",), names)
    for classes in (("car", "truck"), ("person", "cyclist", "bicycle")):
        with pytest.raises(ValueError, match="cyclists cannot be joined for 'peaks': it needs"):
            CyclistEngine(PeakEngine([], classes))
