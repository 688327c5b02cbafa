# SPDX-License-Identifier: Apache-2.0
"""From camera to camera: looks decide between objects that are about equally near, whatever the cameras' exposure."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.datasets import nuscenes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking import appearance
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.multi_camera import looks
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import GAINS, CameraTracks, LooksMemory, ObjectLooks
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from support.sightings import OVERLAP, sighting, tracker

ASIDE = np.array([-OVERLAP[1], OVERLAP[0], 0.0]) / np.linalg.norm(OVERLAP[:2])
RED, BLUE, WHITE, GREY = (40, 40, 200), (180, 90, 30), (225, 225, 225), (110, 110, 110)
seeds = st.integers(0, 2**32 - 1)


def painted(*colors: tuple[int, int, int], stops: float = 0.0, seed: int = 0) -> np.ndarray:
    """(N, SIZE) appearances of cars in these colours (BGR), by a camera that exposes longer by `stops`."""
    rng = np.random.default_rng(seed)
    image = np.full((60, 100 * len(colors), 3), 128.0)
    for index, color in enumerate(colors):
        image[:, 100 * index : 100 * index + 80] = color
        image[:18, 100 * index : 100 * index + 80] = 45  # windows
    image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255) / 255
    exposed = 255 * np.clip(image**2.2 * 2**stops, 0, 1) ** (1 / 2.2)
    lefts = 100 * np.arange(len(colors))[:, None]
    return appearance.appearances(exposed.astype(np.uint8), np.hstack([lefts, 0 * lefts, lefts + 80, 0 * lefts + 60]))


def looking(observation: CameraTracks, found: np.ndarray) -> CameraTracks:
    """The observation with what its tracks look like."""
    stamps = np.full(len(found), observation.stamp)
    return replace(observation, tracks=replace(observation.tracks, appearances=found, appearance_stamps=stamps))


def continued(around: MultiCameraTracker, first: np.ndarray, seen: np.ndarray, middle: float = 0.0) -> int:
    """Which of two cars, seen 1 m to either side by one camera, goes on as the car that the next one sees."""
    where = [OVERLAP - ASIDE, OVERLAP + ASIDE]
    before = around.step([looking(sighting("front", 1.0, where, [1, 2]), first)]).ids["front"].tolist()
    after = around.step([looking(sighting("front_left", 1.04, [OVERLAP + middle * ASIDE], [1]), seen)])
    return before.index(int(after.ids["front_left"][0]))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("stops", [-0.5, 0.0, 0.5])
def test_of_two_that_are_equally_near_the_one_that_looks_like_it_goes_on(which, stops):
    seen = painted((RED, BLUE)[which], stops=stops, seed=1)
    assert continued(tracker(), painted(RED, BLUE), seen) == which
    nearer = 0.1 if which else -0.1  # also if the other one is a little nearer
    assert continued(tracker(), painted(RED, BLUE), seen, -nearer) == which
    assert continued(tracker(appearance=False), painted(RED, BLUE), seen, -nearer) != which


@pytest.mark.parametrize("which", [0, 1])
def test_who_is_clearly_nearer_goes_on_whatever_it_looks_like(which):
    unlike = painted((BLUE, RED)[which], seed=1)
    assert continued(tracker(), painted(RED, BLUE), unlike, 1.0 if which else -1.0) == which


@given(seeds, st.sampled_from(["unknown", "all alike", "unlike all"]))
@settings(max_examples=25)
def test_position_decides_where_looks_say_nothing(seed, kind):
    rng = np.random.default_rng(seed)
    found = {
        "unknown": (np.zeros((2, appearance.SIZE), np.float32), painted(RED)),
        "all alike": (np.repeat(painted(RED), 2, axis=0), painted(RED, seed=2)),
        "unlike all": (np.repeat(painted(RED), 2, axis=0), painted(BLUE)),
    }[kind]
    middle = rng.uniform(0.05, 1.5) * rng.choice([-1, 1])
    assert (
        continued(tracker(), *found, middle) == int(middle > 0) == continued(tracker(appearance=False), *found, middle)
    )


def test_a_gain_is_learnt_from_cars_that_are_sure_and_changes_who_looks_alike():
    """A camera sees a white car as another one sees a grey one: nobody can tell before other cars told its gain."""
    stops = -1.5
    darkened = painted(WHITE, stops=stops, seed=5)
    # To the brighter camera, a grey car looks as the white one does to the darker camera.
    level = 255 * (2**stops) ** (1 / 2.2) * WHITE[0] / 255
    candidates = painted(WHITE, (level, level, level))
    assert continued(tracker(), candidates, darkened) == 1
    taught = tracker()
    for index, color in enumerate([RED, BLUE, GREY, (60, 120, 60), (30, 140, 190), WHITE] * 2):
        stamp = 3.0 * index
        taught.step(
            [looking(sighting("front", stamp, [OVERLAP], [index + 9], births=[stamp]), painted(color, seed=index))]
        )
        seen = painted(color, stops=stops, seed=index + 50)
        taught.step([looking(sighting("front_left", stamp + 0.04, [OVERLAP], [index + 9], births=[stamp]), seen)])
    probable = looks.gain_probabilities(taught.state.looks.gains)
    names = list(taught.setup.cameras)
    pair = names.index("front"), names.index("front_left")
    assert abs(GAINS[probable[pair].argmax()] - stops) <= 0.5
    np.testing.assert_allclose(probable[pair], probable[pair[::-1]][::-1])
    taught.state = replace(tracker().state, looks=replace(taught.state.looks, objects=ObjectLooks.empty()))
    assert continued(taught, candidates, darkened) == 0


def test_nothing_is_learnt_of_gains_where_position_leaves_a_choice():
    around = tracker()
    continued(around, painted(RED, BLUE), painted(RED, stops=-1.0))
    assert not around.state.looks.gains.any()


@given(seeds, st.floats(-1.5, 1.5))
@settings(max_examples=25)
def test_an_appearance_under_a_gain_is_what_a_camera_with_it_sees(seed, stops):
    color = tuple(np.random.default_rng(seed).integers(50, 130, 3).tolist())
    plain, exposed = painted(color), painted(color, stops=stops, seed=1)
    moved = appearance.under_gain(plain, np.array([0.0, stops]))[0]
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(moved[0], plain[0], atol=1e-3)
    distances = 1 - moved @ exposed[0]
    assert distances[1] < max(0.06, distances[0])
    assert not appearance.under_gain(np.zeros_like(plain), GAINS).any()


def test_evidence_is_bounded_and_falls_with_distance():
    """Looks alone must neither join what lies apart nor separate what lies together."""
    first = ObjectLooks(np.array([1, 2, 3]), np.zeros(3, int), np.zeros(3), painted(RED, RED, RED))
    second = replace(first, cameras=np.ones(3, int), looks=np.vstack([first.looks[:1], painted((70, 60, 170), BLUE)]))
    nats = looks.compare(first, second).nats(LooksMemory.empty(2), 3)
    assert (np.diff(nats) < 0).all() and nats[0] <= looks.MOST_EVIDENCE and nats[2] > -1.2
    unknown = replace(second, looks=np.zeros_like(second.looks))
    assert not looks.compare(first, unknown).nats(LooksMemory.empty(2), 3).any()


def test_official_trackers_tell_no_looks_and_so_nothing_is_compared():
    assert TrackerConfig.official().appearance == "none"
    around = tracker()
    around.step([sighting("front", 1.0, [OVERLAP], [1])])
    around.step([sighting("front_left", 1.04, [OVERLAP], [1])])
    assert not len(around.state.looks.objects) and not around.state.looks.gains.any()


def test_the_memory_holds_each_object_once_and_only_those_that_there_are():
    around = tracker()
    for step in range(4):
        for camera in ("front", "front_left"):
            stamp = step * 0.1 + 0.04 * (camera == "front_left")
            around.step([looking(sighting(camera, stamp, [OVERLAP], [1]), painted(RED))])
    assert around.state.looks.objects.ids.tolist() == around.state.objects.ids.tolist() == [1]
    assert around.state.looks.objects.cameras.tolist() == [list(around.setup.cameras).index("front_left")]
    around.step([looking(sighting("front", 9.0, [OVERLAP], [7], births=[9.0]), painted(BLUE))])
    assert around.state.looks.objects.ids.tolist() == [2]


def test_real_objects_look_more_alike_in_two_cameras_than_different_ones(shared_data):
    """NuScenes: overlapping cameras that take their images at almost the same time."""
    seen = []
    for sequence in nuscenes.read_sample_info(shared_data / "nuscenes_sample_6cam" / "sample_info.json"):
        frame = sequence.frames[0]
        index, boxes = boxes3d_of_tracks(frame.tracks)
        image = np.asarray(cv2.imread(str(frame.image)), np.uint8)
        rectangles = frame.tracks.detections.boxes[index]
        large = rectangles[:, 3] - rectangles[:, 1] >= 30
        found = appearance.appearances(image, rectangles)[large]
        centers = Transform.from_matrix(frame.pose).boxes(boxes).centers[large]
        seen.append((centers, frame.tracks.detections.class_ids[index][large], found))
    same, other = [], []
    for first, second in combinations(seen, 2):
        rows, columns = np.nonzero(first[1][:, None] == second[1][None, :])
        tables = [
            ObjectLooks(np.arange(len(rows)), np.full(len(rows), number), np.zeros(len(rows)), one[2][chosen])
            for number, one, chosen in ((0, first, rows), (1, second, columns))
        ]
        nats = looks.compare(*tables).nats(LooksMemory.empty(2), len(rows))
        equal = np.linalg.norm(first[0][rows] - second[0][columns], axis=1) < 0.3
        same += nats[equal].tolist()
        other += nats[~equal].tolist()
    assert len(same) > 10 and np.median(same) > 0.5 and np.mean(same) > 0.3 and np.median(other) < -0.5
