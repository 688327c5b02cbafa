# SPDX-License-Identifier: Apache-2.0
"""Objects around the vehicle: each once, with one id from camera to camera, whatever single cameras do."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import multi_camera_rig
from centertrack_ros.datasets import nuscenes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, MultiCameraConfig, MultiCameraResult
from support.sightings import AHEAD, CAMERAS, CAR, OVERLAP, PEDESTRIAN, TRUCK, sighting, tracker

# A vehicle that drives and turns, six unsynchronised cameras at 12 Hz, full passes around it


def drive(scene: tuple[multi_camera_rig.Scene, float], depth: float, seed: int) -> multi_camera_rig.Counts:
    noise = multi_camera_rig.Noise.of_depth(depth) if depth else multi_camera_rig.Noise()
    counts = multi_camera_rig.run(*scene, noise, seed)
    print(
        f"\ndepth noise {depth:.0%}: {counts.objects} things, {counts.frames} merged views, {counts.published} boxes, "
        f"{counts.handovers} changes of camera; ids changed {counts.changes}, published twice {counts.duplicates}, "
        f"ids mixed up {counts.mixed}, not published {counts.missing}; mean error {np.mean(counts.errors):.2f} m"
    )
    return counts


def assert_nothing_wrong(counts: multi_camera_rig.Counts) -> None:
    wrong = {name: getattr(counts, name) for name in ("changes", "duplicates", "mixed", "missing")}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("depth", [0.0, 0.05, 0.1])
def test_ids_stay_while_the_vehicle_goes_around_a_roundabout(depth):
    """All that stands around it passes through every camera, and a car goes around the vehicle."""
    counts = drive(multi_camera_rig.roundabout(0), depth, 0)
    assert counts.handovers > 100 and counts.objects == 10
    assert_nothing_wrong(counts)


@pytest.mark.parametrize("depth", [0.0, 0.05])
def test_ids_stay_in_a_street_full_of_things(depth):
    counts = drive(multi_camera_rig.street(1), depth, 1)
    assert counts.handovers > 200 and counts.objects > 40
    assert_nothing_wrong(counts)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("seed", range(1, 9))
def test_ids_stay_in_other_roundabouts(depth, seed):
    assert_nothing_wrong(drive(multi_camera_rig.roundabout(seed), depth, seed))


def test_a_box_is_given_out_where_its_object_is_at_the_time_of_the_view():
    """Cameras tick one after the other: a box that is 40 ms old is moved on by the object's own motion."""
    scene = multi_camera_rig.Scene(
        multi_camera_rig.winding_drive(), (multi_camera_rig.driving(CAR, multi_camera_rig.CAR, -20.0, 6.0, 14.0, 0.0),)
    )
    late: list[float] = []

    def look(result: MultiCameraResult, _: dict[str, multi_camera_rig.CameraSimulation]) -> None:
        if result.tracks.stamp > 2.0 and len(result.tracks):
            late.append(result.tracks.stamp - result.tracks.stamps[0])

    counts = multi_camera_rig.run(scene, 6.0, multi_camera_rig.Noise(), 3, on_result=look)
    assert np.mean(late) > 0.02
    assert max(counts.errors[len(counts.errors) // 2 :]) < 0.1  # unmoved they would be off by 14 m/s * 40 ms = 0.56 m


# Two cameras, one object


@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_what_two_cameras_see_at_one_place_is_one_detection_the_surer_one(seed, at_once, covariances):
    random = np.random.default_rng(seed)
    scores = random.uniform(0.3, 0.9, 2).tolist()
    around, ray = tracker(), OVERLAP - [1.6, 0.25, 1.5]
    points = [OVERLAP + random.normal() * 0.07 * ray for _ in range(2)]  # depths are off by 7 %
    parts = [
        sighting(camera, 1.0 + 0.04 * i, [points[i]], [i + 5], scores=[scores[i]], covariances=covariances)
        for i, camera in enumerate(("front", "front_left"))
    ]
    results = [around.step(parts)] if at_once else [around.step([part]) for part in parts]
    result, ids = results[-1], {name: ids.tolist() for r in results for name, ids in r.ids.items()}
    assert len(result.tracks) == 1
    assert ids["front"] == ids["front_left"] == result.tracks.ids.tolist()
    best = int(np.argmax(scores))
    if abs(scores[0] - scores[1]) > 0.1:  # else the box shown already may stay
        assert result.tracks.scores[0] == pytest.approx(scores[best])
        assert CAMERAS[result.tracks.cameras[0]] == ("front", "front_left")[best]


def test_the_box_shown_stays_until_another_camera_is_clearly_surer():
    around, shown = tracker(), []
    for i, score in enumerate((0.6, 0.65, 0.55, 0.65, 0.8, 0.75)):
        camera = ("front", "front_left")[i % 2]
        result = around.step([sighting(camera, 1 + 0.04 * i, [OVERLAP], [1], scores=[score])])
        shown.append(CAMERAS[result.tracks.cameras[0]])
    assert shown == ["front"] * 6
    result = around.step([sighting("front_left", 1.24, [OVERLAP], [1], scores=[0.95])])
    assert CAMERAS[result.tracks.cameras[0]] == "front_left"


def test_classes_that_are_mistaken_for_each_other_are_one_object_others_are_not():
    for other, count in ((TRUCK, 1), (PEDESTRIAN, 2)):
        around = MultiCameraTracker(CAMERAS, multi_camera_rig.CLASSES, MultiCameraConfig(max_size_ratio=10))
        around.step([sighting("front", 1.0, [OVERLAP], [1], [CAR])])
        assert len(around.step([sighting("front_left", 1.04, [OVERLAP], [1], [other])]).tracks) == count


def test_things_of_very_different_size_are_two():
    around = tracker(max_size_ratio=1.5)
    around.step([sighting("front", 1.0, [OVERLAP], [1], [CAR])])
    assert len(around.step([sighting("front_left", 1.04, [OVERLAP], [1], [TRUCK])]).tracks) == 2


def test_bearings_must_agree_where_distances_need_not():
    sideways = np.array([-OVERLAP[1], OVERLAP[0], 0.0]) / np.linalg.norm(OVERLAP[:2])
    away = np.array([*OVERLAP[:2], 0.0]) / np.linalg.norm(OVERLAP[:2])
    for offset, count in ((4.0 * away, 1), (4.0 * sideways, 2)):
        around = tracker()
        around.step([sighting("front", 1.0, [OVERLAP], [1])])
        assert len(around.step([sighting("front_left", 1.04, [OVERLAP + offset], [1])]).tracks) == count


def test_two_that_one_camera_saw_at_once_are_never_taken_for_one():
    near = OVERLAP * [1.1, 1.1, 1.0]
    around = tracker()
    first = around.step([sighting("front", 1.0, [OVERLAP, near], [1, 2])])
    result = around.step([sighting("front_left", 1.04, [OVERLAP, near], [1, 2])])
    assert len(result.tracks) == 2
    # Now each is in one camera only, and they are as near as two sightings of one object.
    around.step([sighting("front", 1.08, [OVERLAP], [1])])
    result = around.step([sighting("front_left", 1.12, [near], [2])])
    assert sorted(result.tracks.ids.tolist()) == sorted(first.ids["front"].tolist())


def test_two_that_were_taken_for_one_part_when_they_move_apart_and_the_first_keeps_the_id():
    around, ids = tracker(), []
    for i in range(30):
        stamp, apart = 1.0 + i / 12, 0.35 * i
        side = np.array([-0.5, 0.9, 0.0])
        around.step([sighting("front", stamp, [OVERLAP - apart * side], [1])])
        result = around.step([sighting("front_left", stamp + 0.04, [OVERLAP + apart * side], [1])])
        ids.append(now := result.tracks.ids.tolist())
    assert len(ids[0]) == 1 and len(ids[-1]) == 2
    assert now[0] == ids[0][0]
    front = around.step([sighting("front", 4.0, [OVERLAP - 0.35 * 29 * side], [1])])
    assert front.ids["front"].tolist() == ids[0]


def test_two_that_were_begun_as_two_become_one_when_they_prove_to_be_at_one_place():
    sideways = np.array([-0.5, 0.9, 0.0])
    around = tracker()
    first = around.step([sighting("front", 1.0, [OVERLAP], [1])]).ids["front"]
    far = around.step([sighting("front_left", 1.04, [OVERLAP + 5 * sideways], [1])])
    assert len(far.tracks) == 2
    for i in range(1, 15):
        around.step([sighting("front", 1.0 + i / 12, [OVERLAP], [1])])
        result = around.step([sighting("front_left", 1.04 + i / 12, [OVERLAP], [1])])
    assert result.tracks.ids.tolist() == first.tolist() == result.ids["front_left"].tolist()


# From one camera to the next


@given(st.floats(0.0, 1.2), st.floats(-12, 12), st.booleans())
@settings(max_examples=40)
def test_an_object_is_known_again_in_the_next_camera_after_a_gap(gap, speed, covariances):
    """It drives on unseen, and its motion says where it is."""
    motion, around = speed * np.array([-0.4, 0.6, 0.0]), tracker()
    for i in range(24):
        stamp = i / 12
        before = around.step([sighting("front", stamp, [OVERLAP + motion * (stamp - 2)], [1], covariances=covariances)])
    there = OVERLAP + motion * (23 / 12 + gap - 2)
    around.step([sighting("front", 23.5 / 12, [], [])])
    after = around.step([sighting("front_left", 23.5 / 12 + gap, [there], [4], covariances=covariances)])
    assert after.ids["front_left"].tolist() == before.ids["front"].tolist()


def test_an_object_that_is_gone_for_longer_than_the_window_is_a_new_one():
    around = tracker(window_s=1.0)
    around.step([sighting("front", 1.0, [OVERLAP], [1])])
    around.step([sighting("front", 1.5, [], [])])
    after = around.step([sighting("front_left", 2.2, [OVERLAP], [1])])
    assert after.ids["front_left"].tolist() == [2]


def test_a_camera_says_itself_what_it_has_lost_and_what_is_new():
    """Its tracker still looks for track 1, so track 2 at that place is somebody else."""
    around = tracker()
    around.step([sighting("front", 1.0, [AHEAD], [1])])
    result = around.step([sighting("front", 1.1, [AHEAD, AHEAD], [2, 1], hits=[1, 0])])
    assert result.ids["front"].tolist() == [2, 1]
    assert result.tracks.ids.tolist() == [2]
    result = around.step([sighting("front", 1.2, [AHEAD + [1, 4, 0], AHEAD], [2, 1])])
    assert result.ids["front"].tolist() == [2, 1]


def test_an_object_that_the_next_camera_kept_comes_back_with_its_id():
    around = tracker()
    around.step([sighting("front", 1.0, [OVERLAP], [1])])
    around.step([sighting("front_left", 1.04, [OVERLAP], [1])])
    around.step([sighting("front", 1.08, [], [])])
    around.step([sighting("front_left", 1.12, [OVERLAP], [1])])
    assert around.step([sighting("front", 1.16, [OVERLAP], [2])]).ids["front"].tolist() == [1]


# Cameras that stop, start again, disagree about time


def test_a_camera_that_stops_leaves_nothing_behind_and_holds_nobody():
    around = tracker(hold_s=0.3)
    around.step([sighting("front", 1.0, [AHEAD], [1])])
    behind = np.array([-20.0, 0.0, 0.8])
    shown = []
    for i in range(40):
        result = around.step([sighting("back", 1.02 + i / 12, [behind], [1])])
        assert 2 in result.tracks.ids
        shown.append(1 in result.tracks.ids)
    assert shown == [1.02 + i / 12 - 1.0 <= 0.3 for i in range(40)]
    assert 1 not in around.state.objects.ids and len(around.state.local_tracks) == 1
    assert around.step([sighting("front", 5.0, [AHEAD], [7])]).ids["front"].tolist() == [3]


def test_what_a_camera_lost_in_its_newest_frame_is_not_published_but_keeps_its_id():
    around = tracker()
    around.step([sighting("front", 1.0, [AHEAD], [1])])
    result = around.step([sighting("front", 1.1, [AHEAD], [1], hits=[0])])
    assert len(result.tracks) == 0 and result.ids["front"].tolist() == [1]
    assert around.step([sighting("front", 1.2, [AHEAD], [1])]).tracks.ids.tolist() == [1]


def test_stamps_that_jump_back_begin_anew_with_new_ids_and_a_reason():
    around = tracker()
    around.step([sighting("front", 100.0, [AHEAD], [1])])
    result = around.step([sighting("front", 3.0, [AHEAD], [1])])
    assert "behind" in result.reset and result.tracks.ids.tolist() == [2]
    assert result.tracks.stamp == 3.0
    assert around.step([sighting("front", 3.1, [AHEAD], [1])]).reset == ""


def test_ids_are_not_given_again_after_a_reset():
    around = tracker()
    around.step([sighting("front", 1.0, [AHEAD], [1])])
    around.reset()
    result = around.step([sighting("front", 1.1, [AHEAD], [1])])
    assert result.ids["front"].tolist() == [2]


def test_a_camera_whose_tracker_counts_from_1_again_does_not_inherit_ids():
    around = tracker()
    around.step([sighting("front", 1.0, [AHEAD], [1], births=[0.5])])
    result = around.step([sighting("front", 1.1, [AHEAD + [0, 8, 0]], [1], births=[1.1])])
    assert result.ids["front"].tolist() == [2]


# What always holds

worlds = st.integers(0, 10_000)


def wild(seed: int) -> list[list[CameraTracks]]:
    """Random reports of random cameras: crowds, lost tracks, tracks without a box, doubled places, late stamps."""
    random = np.random.default_rng(seed)
    places = np.column_stack([random.uniform(-25, 25, (8, 2)), np.full(8, 0.8)])
    stamp, steps = 1.0, []
    for _ in range(random.integers(2, 10)):
        stamp += random.choice([0.03, 0.1, 0.4, 2.0, -0.05, -5.0], p=[0.4, 0.3, 0.15, 0.05, 0.07, 0.03])
        names = random.choice(CAMERAS, random.integers(1, 4), replace=False)
        batch = []
        for name in names:
            count = int(random.integers(0, 6))
            points = [places[i] + random.normal(0, 0.5, 3) for i in random.integers(0, 8, count)]
            batch.append(
                sighting(
                    str(name), stamp + random.normal(0, 0.02), points, (1 + random.permutation(8)[:count]).tolist(),
                    random.choice([CAR, TRUCK, PEDESTRIAN], count).tolist(), random.uniform(0.3, 1, count).tolist(),
                    random.integers(0, 3, count).tolist(), random.choice([0.0, 1.0], count).tolist(),
                    covariances=bool(random.random() < 0.7), lifted=bool(random.random() < 0.9),
                )
            )  # fmt: skip
        steps.append(batch)
    return steps


@given(worlds, st.booleans())
@settings(max_examples=60)
def test_every_track_has_an_id_and_no_camera_has_one_twice(seed, cross_camera):
    around = tracker(cross_camera=cross_camera)
    for batch in wild(seed):
        result = around.step(batch)
        assert set(result.ids) == {o.camera for o in batch}
        for observation in batch:
            ids = result.ids[observation.camera].tolist()
            assert len(ids) == len(observation.tracks) == len(set(ids)) and all(i > 0 for i in ids)
        published = result.tracks
        assert len(set(published.ids.tolist())) == len(published)
        for row, camera in enumerate(published.cameras.tolist()):
            # The id is the one that this camera's own output has.
            if (name := CAMERAS[camera]) in result.ids:
                tracks = next(o.tracks for o in batch if o.camera == name)
                assert published.ids[row] in result.ids[name][tracks.ids == published.local_ids[row]]
        for values in (published.boxes.centers, published.boxes.sizes, published.motions):
            assert np.isfinite(values).all()


@given(worlds)
@settings(max_examples=40)
def test_no_id_comes_back_after_its_object_was_forgotten(seed):
    around = tracker()
    gone: set[int] = set()
    for batch in wild(seed):
        before = set(around.state.objects.ids.tolist()) | set(around.state.local_tracks.object_ids.tolist())
        around.step(batch)
        after = set(around.state.objects.ids.tolist()) | set(around.state.local_tracks.object_ids.tolist())
        assert not gone & after
        gone |= before - after


@given(worlds)
@settings(max_examples=30)
def test_a_step_changes_nothing_that_it_was_given(seed):
    one, other = tracker(), tracker()
    for batch in wild(seed):
        state, before = one.state, tables(one.state)
        result = one.step(batch)
        for old, new in zip(before, tables(state), strict=True):
            np.testing.assert_array_equal(old, new)
        again = other.step(list(reversed(batch)))  # the order of cameras in a batch does not matter
        np.testing.assert_array_equal(result.tracks.ids, again.tracks.ids)
        np.testing.assert_array_equal(result.tracks.boxes.centers, again.tracks.boxes.centers)


def tables(record: object) -> list[np.ndarray]:
    """Copies of all arrays of a record and the records in it."""
    found: list[np.ndarray] = []
    for f in fields(record):  # type: ignore[arg-type]
        value = getattr(record, f.name)
        found += [np.array(value)] if isinstance(value, np.ndarray | int) else tables(value)
    return found


@given(worlds, st.floats(-3, 3), st.floats(-1e4, 1e4))
@settings(max_examples=30)
def test_where_the_common_frame_begins_and_looks_does_not_matter(seed, yaw, distance):
    there = Transform(multi_camera_rig.turn(yaw), np.array([distance, -distance, 3.0]))
    here, moved = tracker(), tracker()
    for batch in wild(seed):
        result = here.step(batch)
        other = moved.step([replace(o, to_fixed=there @ o.to_fixed) for o in batch])
        np.testing.assert_array_equal(result.tracks.ids, other.tracks.ids)
        expected = result.tracks.transformed(there)
        np.testing.assert_allclose(other.tracks.boxes.centers, expected.boxes.centers, atol=1e-5)
        np.testing.assert_allclose(other.tracks.boxes.covariances, expected.boxes.covariances, atol=1e-5)
        np.testing.assert_allclose(other.tracks.motions, expected.motions, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_without_ids_across_cameras_each_camera_has_its_own_and_objects_are_still_published_once(seed):
    around = tracker(cross_camera=False)
    given_to: dict[int, tuple[str, int]] = {}
    for i in range(12):
        stamp = 1.0 + i / 12
        parts = [sighting("front", stamp, [OVERLAP, AHEAD], [1, 2]), sighting("front_left", stamp, [OVERLAP], [1])]
        result = around.step(parts[seed == 1 :][: 2 - (seed == 2)])
        for name, ids in result.ids.items():
            for local, track_id in enumerate(ids.tolist()):
                assert given_to.setdefault(track_id, (name, local)) == (name, local)
        assert len(result.tracks) == (1 if seed == 1 else 2)


def test_records_select_and_join_by_rows():
    around = tracker()
    around.step([sighting("front", 1.0, [AHEAD, OVERLAP], [1, 2])])
    for table in (around.state.local_tracks, around.state.objects):
        parts = [table.select(np.array([i])) for i in range(2)]
        for old, new in zip(tables(table), tables(type(table).concatenate(parts)), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("camera", "stamp", "message"), [("roof", 1.0, "'roof' is not one of front"), ("front", np.nan, "finite")]
)
def test_what_cannot_be_used_is_refused_and_the_next_is_not(camera, stamp, message):
    around = tracker()
    good = sighting("front", 1.0, [AHEAD], [1])
    with pytest.raises(ValueError, match=message):
        around.step([good, replace(good, camera=camera, stamp=stamp)])
    assert around.step([good]).tracks.ids.tolist() == [1]


@pytest.mark.parametrize(
    "changes",
    [{"window_s": 0.1}, {"gate_sigma": 0}, {"floor_m": 0.0, "floor_of_size": 0.0}, {"release_sigma": 1.0},
     {"max_size_ratio": 0.5}, {"process_noise": -1.0}, {"hold_s": float("nan")}],
)  # fmt: skip
def test_a_configuration_that_cannot_work_is_refused(changes):
    with pytest.raises(ValueError, match="must"):
        MultiCameraConfig(**changes)
    with pytest.raises(ValueError, match="name of its own"):
        MultiCameraTracker(["front", "front"], multi_camera_rig.CLASSES)


def test_the_true_objects_of_the_nuscenes_sample_are_one_each_whichever_cameras_see_them(shared_data):
    """84 boxes in six pictures of a crowded crossing are 68 objects, many of them less than a metre apart."""
    sequences = nuscenes.read_sample_info(shared_data / "nuscenes_sample_6cam" / "sample_info.json")
    frames = [sequence.frames[0] for sequence in sequences]
    names = [f"camera {i}" for i in range(len(frames))]
    around = MultiCameraTracker(names, sequences[0].classes)
    result = around.step(
        [
            CameraTracks(name, frame.stamp, frame.tracks, Transform.from_matrix(frame.pose))
            for name, frame in zip(names, frames, strict=True)
        ]
    )
    views = around.state.local_tracks
    centers = views.boxes.centers
    at_one_place = np.linalg.norm(centers[:, None] - centers, axis=2) < 0.3
    np.testing.assert_array_equal(views.object_ids[:, None] == views.object_ids, at_one_place)
    assert (len(views), len(result.tracks)) == (84, 68)
