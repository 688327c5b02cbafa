# SPDX-License-Identifier: Apache-2.0
"""What a tracker promises: identities that last, results that are the caller's own, and a clear end to every mishap."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.profile import Thresholds
from centertrack_ros.tracking import Detections, Frame, Pipeline, Tracker, TrackerConfig, TrackState
from centertrack_ros.types import STATE_LOST, STATE_NEW, STATE_TRACKED
from support.rectangles import HEIGHT, WIDTH, RectangleEngine, Thing, paint, profile

STEP = 0.1


def thing(number: int, x: int, y: int = 40, score: float = 0.8, class_id: int = 0) -> Thing:
    return Thing(number, (x, y, x + 24, y + 32), score, class_id)


def run(tracker: Tracker, video: list[list[Thing]], start: float = 0.0) -> list[dict[int, int]]:
    """For each frame: id -> the number of the thing at that place."""
    seen = []
    for index, things in enumerate(video):
        tracks = tracker.step(paint(things), stamp=start + index * STEP).tracks
        live = tracks.select(tracks.hits > 0)
        names = {}
        for track_id, box in zip(live.ids.tolist(), live.detections.boxes, strict=True):
            distances = [np.abs(np.array(t.box) - box).max() for t in things]
            assert min(distances) < 2
            names[track_id] = things[int(np.argmin(distances))].number
        seen.append(names)
    return seen


@settings(max_examples=25)
@given(
    st.lists(
        # Rows are 6 px apart, and within 8 frames nothing moves by more than 3 px downwards: none hides another.
        st.tuples(st.integers(0, 2), st.integers(-6, 6), st.integers(-1, 1)),
        min_size=1,
        max_size=3,
        unique_by=lambda r: r[0],
    ),
    st.sampled_from(["greedy", "hungarian"]),
    st.sampled_from(["distance", "iou"]),
)
def test_things_that_stay_in_view_keep_their_ids(movers, association, cost):
    video = [[thing(row + 1, 60 + dx * t, 10 + row * 38 + dy * t // 3) for row, dx, dy in movers] for t in range(8)]
    seen = run(Tracker(RectangleEngine(), TrackerConfig.official(association=association, cost=cost)), video)
    assert all(names == seen[0] for names in seen)
    assert len(seen[0]) == len(movers)


@settings(max_examples=25)
@given(st.lists(st.sets(st.integers(1, 4)), min_size=2, max_size=10), st.sampled_from([-1, 3]))
def test_an_id_is_never_used_for_a_second_thing(appearances, max_age):
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(max_age=max_age))
    owner: dict[int, int] = {}
    for names in run(tracker, [[thing(n, 10 + 40 * (n - 1)) for n in sorted(present)] for present in appearances]):
        for track_id, number in names.items():
            assert owner.setdefault(track_id, number) == number
    assert sorted(owner) == list(range(1, len(owner) + 1))


@pytest.mark.parametrize(("max_age", "missed", "same"), [(-1, 1, False), (3, 2, True), (3, 3, False), (5, 4, True)])
def test_a_track_keeps_its_id_through_missed_frames_when_max_age_allows(max_age, missed, same):
    video = [[thing(1, 50)], *[[]] * missed, [thing(1, 50)]]
    seen = run(Tracker(RectangleEngine(), TrackerConfig.official(max_age=max_age)), video)
    assert (list(seen[0]) == list(seen[-1])) == same


@pytest.mark.parametrize(("rebirth", "missed", "same"), [(0.0, 1, False), (0.55, 4, True), (0.55, 6, False)])
def test_a_lost_track_is_reborn_within_the_stated_time(rebirth, missed, same):
    video = [[thing(1, 50)], *[[]] * missed, [thing(1, 50)]]
    seen = run(Tracker(RectangleEngine(), TrackerConfig.official(rebirth=rebirth)), video)
    assert (list(seen[0]) == list(seen[-1])) == same


def test_a_lost_track_is_neither_drawn_nor_live_and_comes_back_with_its_past():
    engine = RectangleEngine()
    tracker = Tracker(engine, TrackerConfig.official(rebirth=1.0))
    for t, things in enumerate([[thing(1, 50)], [thing(1, 52)], [], []]):
        result = tracker.step(paint(things), stamp=t * STEP)
    assert result.tracks.states.tolist() == [STATE_LOST] and result.tracks.ages.tolist() == [3]
    assert len(engine.priors[3]) == 0 and len(engine.priors[2]) == 1
    result = tracker.step(paint([thing(1, 52)]), stamp=4 * STEP)
    assert result.tracks.hits.tolist() == [1] and result.tracks.lengths.tolist() == [3]
    assert result.tracks.births.tolist() == [0.0] and result.tracks.last_stamps.tolist() == [pytest.approx(0.4)]


def test_states_go_from_new_to_tracked():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official())
    states = [tracker.step(paint([thing(1, 50)]), stamp=t * STEP).tracks.states.tolist() for t in range(3)]
    assert states == [[STATE_NEW], [STATE_TRACKED], [STATE_TRACKED]]


def test_matches_come_first_then_births_then_lost_ones():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(max_age=5))
    tracker.step(paint([thing(1, 10, score=0.7), thing(2, 60, score=0.9), thing(3, 110)]), stamp=0)
    tracks = tracker.step(
        paint([thing(4, 150, score=0.95), thing(1, 12, score=0.9), thing(3, 110, score=0.6)]), stamp=STEP
    ).tracks
    assert tracks.ids.tolist() == [3, 2, 4, 1]  # ids of the first frame go by score: 2 -> 1, 3 -> 2, 1 -> 3
    assert tracks.hits.tolist() == [2, 2, 1, 0]


def test_a_weak_detection_continues_a_track_but_does_not_start_one():
    seen = run(
        Tracker(RectangleEngine(), TrackerConfig.official()),
        [[thing(1, 50), thing(2, 120, score=0.4)], [thing(1, 50, score=0.4)]],
    )
    assert [list(names.values()) for names in seen] == [[1], [1]]


def test_the_prior_heatmap_shows_the_tracks_that_score_enough():
    engine = RectangleEngine(profile(thresholds=Thresholds(track=0.3, pre=0.6, new=0.3)))
    tracker = Tracker(engine, TrackerConfig.official())
    things = [thing(1, 40, 40), thing(2, 120, 40, score=0.5)]
    tracker.step(paint(things), stamp=0)
    result = tracker.step(paint(things), stamp=STEP)
    assert len(engine.priors[0]) == 0
    assert result.prior[:, :2].tolist() == [[52, 56]]
    assert result.prior[0, 2] > 0


@pytest.mark.parametrize(
    "engine", [RectangleEngine(profile(prior_heatmap=False)), RectangleEngine()], ids=["no stem", "asked for"]
)
def test_a_prior_heatmap_can_be_left_empty(engine):
    tracker = Tracker(engine, TrackerConfig.official(zero_prior_heatmap=engine.profile.prior_heatmap))
    for t in range(3):
        tracker.step(paint([thing(1, 50)]), stamp=t * STEP)
    assert all(len(prior) == 0 for prior in engine.priors)


def test_results_do_not_share_memory_with_the_state():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(rebirth=1.0))
    other = Tracker(RectangleEngine(), TrackerConfig.official(rebirth=1.0))
    video = [[thing(1, 50), thing(2, 100)], [thing(1, 52)], [thing(1, 54), thing(2, 100)]]
    for t, things in enumerate(video):
        image = paint(things)
        result, expected = tracker.step(image, stamp=t * STEP), other.step(paint(things), stamp=t * STEP)
        assert result.tracks.ids.tolist() == expected.tracks.ids.tolist()
        np.testing.assert_array_equal(result.tracks.detections.boxes, expected.tracks.detections.boxes)
        image[:] = 7
        _spoil(result)


def _spoil(record: object) -> None:
    """Overwrite every array in a record."""
    for f in fields(record):  # type: ignore[arg-type]
        value = getattr(record, f.name)
        if isinstance(value, np.ndarray):
            value[...] = 99
        elif hasattr(value, "__dataclass_fields__"):
            _spoil(value)


def test_the_pipeline_leaves_the_states_that_it_is_given_alone():
    pipeline = Pipeline(RectangleEngine(), TrackerConfig.official())
    [(_, first)] = pipeline.step([Frame(paint([thing(1, 50)]), 0.0)], [TrackState()])
    frame = Frame(paint([thing(1, 55), thing(2, 110)]), STEP)
    once, again = (pipeline.step([frame], [first])[0] for _ in range(2))
    assert once[0].tracks.ids.tolist() == again[0].tracks.ids.tolist() == [1, 2]
    assert first.next_id == 2 and len(first.tracks) == 1


def test_cameras_are_tracked_apart_and_run_together_by_input_size():
    engine = RectangleEngine(profile(resize="keep_resolution"))
    pipeline = Pipeline(engine, TrackerConfig.official())
    sizes = [(96, 160), (128, 192), (96, 160)]
    states = [TrackState()] * 3
    for t in range(3):
        frames = [Frame(paint([thing(n + 1, 20 + 10 * n + t)], size), t * STEP) for n, size in enumerate(sizes)]
        results = pipeline.step(frames, states)
        states = [state for _, state in results]
    assert sorted(engine.batches) == [1, 1, 1, 2, 2, 2]
    for (result, _), size in zip(results, sizes, strict=True):
        assert result.tracks.ids.tolist() == [1] and result.tracks.hits.tolist() == [3]
        assert result.input_size == ((size[0] | 31) + 1, (size[1] | 31) + 1)


def test_images_of_a_budget_change_their_size_and_cameras_of_one_size_share_a_batch():
    engine = RectangleEngine(profile(resize="budget", input_pixels=24000))
    pipeline = Pipeline(engine, TrackerConfig.official())
    landscape, portrait = (120, 200), (200, 120)
    states = [TrackState()] * 3
    for t, sizes in enumerate([(landscape,) * 3, (landscape,) * 3, (portrait, landscape, portrait)]):
        frames = [Frame(paint([thing(1, 40)], size), t * STEP) for size in sizes]
        results = pipeline.step(frames, states)
        states = [state for _, state in results]
    assert engine.batches == [3, 3, 2, 1]
    assert [result.input_size for result, _ in results] == [(192, 128), (128, 192), (192, 128)]
    assert [result.tracks.hits.tolist() for result, _ in results] == [[1], [3], [1]]
    assert "image size changed" in results[0][0].reset and not results[1][0].reset


@pytest.mark.parametrize(
    ("stamp", "size", "reason"),
    [
        (-2.0, (HEIGHT, WIDTH), "went back by 2 s"),
        (9.0, (HEIGHT, WIDTH), "no image for 9 s"),
        (0.1, (96, 96), "192x128 to 96x96"),
    ],
)
def test_a_break_in_the_video_resets_the_tracks_and_says_why(stamp, size, reason):
    engine = RectangleEngine()
    tracker = Tracker(engine, TrackerConfig.official(rebirth=100.0))
    tracker.step(paint([thing(1, 50)]), stamp=0.0)
    result = tracker.step(paint([thing(1, 50)], size), stamp=stamp)
    assert reason in result.reset
    assert result.tracks.ids.tolist() == [2]  # the same number does not stand for two objects
    assert len(result.prior) == 0 and result.tracks.hits.tolist() == [1]
    assert tracker.step(paint([thing(1, 50)], size), stamp=stamp + STEP).reset == ""


def test_a_manual_reset_starts_over():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official())
    assert run(tracker, [[thing(1, 50)]]) == [{1: 1}]
    tracker.reset()
    assert run(tracker, [[thing(2, 50)]]) == [{1: 2}]


@pytest.mark.parametrize(
    ("image", "stamp", "message"),
    [
        (np.zeros((0, 10, 3), np.uint8), 0.1, "10x0"),
        (np.zeros((10, 10), np.uint8), 0.1, r"uint8 \(10, 10\)"),
        (np.zeros((10, 10, 3), np.float32), 0.1, "float32"),
        (None, 0.1, "NoneType"),
        (np.zeros((10, 10, 3), np.uint8), float("nan"), "finite"),
    ],
)
def test_an_unusable_image_is_rejected_and_ignored(image, stamp, message):
    tracker = Tracker(RectangleEngine(), TrackerConfig.official())
    tracker.step(paint([thing(1, 50)]), stamp=0.0)
    with pytest.raises(ValueError, match=message):
        tracker.step(image, stamp=stamp)
    result = tracker.step(paint([thing(1, 50)]), stamp=STEP)
    assert result.tracks.hits.tolist() == [2] and result.reset == ""


def test_only_the_wanted_classes_are_kept():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(classes=("person",)))
    tracks = tracker.step(paint([thing(1, 20), thing(2, 90, class_id=1)])).tracks
    assert tracks.detections.class_ids.tolist() == [1]


def test_an_object_of_another_class_does_not_continue_a_track():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official())
    tracker.step(paint([thing(1, 50)]))
    assert tracker.step(paint([thing(1, 50, class_id=1)])).tracks.ids.tolist() == [2]


@pytest.mark.parametrize(
    ("config", "message"),
    [({"lift": "heads"}, "dep, rot, dim"), ({"classes": ("giraffe",)}, "giraffe")],
)
def test_a_configuration_that_the_model_cannot_fulfil_is_rejected(config, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(RectangleEngine(), TrackerConfig.official(**config))


@pytest.mark.parametrize(
    "config",
    [
        {"association": "magic"},
        {"lift": "up"},
        {"motion": "brownian"},
        {"cost": "free"},
        {"new_threshold": 3.0},
        {"min_hits": 0},
        {"rebirth": -1.0},
    ],
)
def test_a_configuration_out_of_range_is_named(config):
    with pytest.raises(ValueError, match=next(iter(config))):
        TrackerConfig.official(**config)


def test_a_fast_thing_needs_the_displacement_or_its_velocity():
    video = [[Thing(1, (4 + 26 * t, 40, 24 + 26 * t, 60))] for t in range(6)]
    constant = {"motion": "constant_velocity", "velocity_smoothing": 1.0}
    assert len({i for names in run(Tracker(RectangleEngine(), TrackerConfig.official()), video) for i in names}) == 1
    assert (
        len(
            {
                i
                for names in run(Tracker(RectangleEngine(), TrackerConfig.official(zero_tracking=True)), video)
                for i in names
            }
        )
        == 6
    )
    slow_start = [[Thing(1, (4 + 15 * t, 40, 24 + 15 * t, 60))] for t in range(3)] + [[Thing(1, (60, 40, 80, 60))]]
    assert (
        len(
            {
                i
                for names in run(Tracker(RectangleEngine(), TrackerConfig.official(**constant)), slow_start)
                for i in names
            }
        )
        == 1
    )


def test_a_model_with_an_untrained_tracking_head_is_not_asked_for_displacements():
    tracker = Tracker(RectangleEngine(profile(trained_tracking=False)), TrackerConfig.official())
    tracker.step(paint([thing(1, 50)]))
    assert not tracker.step(paint([thing(1, 60)])).tracks.detections.displacements.any()


def test_a_lost_track_that_moves_on_is_found_where_it_went():
    hidden = [[Thing(1, (10 + 12 * t, 40, 34 + 12 * t, 64))] if t not in (4, 5, 6) else [] for t in range(9)]
    common = {"rebirth": 2.0, "motion": "constant_velocity"}
    moving = run(Tracker(RectangleEngine(), TrackerConfig.official(**common, propagate_lost=True)), hidden)
    waiting = run(Tracker(RectangleEngine(), TrackerConfig.official(**common)), hidden)
    assert list(moving[-1]) == [1]
    assert list(waiting[-1]) != [1]


@pytest.mark.parametrize(
    ("profiled", "asked", "middle"),
    [("official", "auto", False), ("box", "auto", True), ("official", "box", True), ("box", "official", False)],
)
def test_the_associated_point_is_the_models_unless_one_is_asked_for(profiled, asked, middle):
    engine = RectangleEngine(profile(association_point=profiled))
    tracker = Tracker(engine, TrackerConfig.official(association_point=asked))
    [point] = tracker.step(paint([Thing(1, (20, 20, 62, 62))])).tracks.detections.centers.tolist()
    assert (point == [41.0, 41.0]) is middle and point == pytest.approx([41.0, 41.0], abs=4)
    with pytest.raises(ValueError, match="association_point"):
        profile(association_point="corner")


@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize("step", [0.1, 0.5])
def test_metres_per_frame_become_metres_per_second_at_any_rate(step, channels):
    heads = {"hm": 2, "reg": 2, "wh": 2, "tracking": 2, "velocity": channels}
    tracker = Tracker(RectangleEngine(profile(heads=heads, velocity_per_frame=True)), TrackerConfig.official())
    first, *others = [
        tracker.step(paint([Thing(1, (20 + 8 * k, 20, 60 + 8 * k, 60))]), stamp=5.0 + step * k).tracks for k in range(3)
    ]
    assert np.isnan(first.detections.velocities).all()  # nothing can be seen to move in one image
    for tracks in others:
        second = 4.0 if channels == 6 else 0.0  # m/s to the right, of the head's second part
        np.testing.assert_allclose(tracks.detections.velocities, [[2 / step + second, 0, 0]], atol=1e-4)


def test_image_velocities_are_pixels_per_second():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(velocity_smoothing=1.0))
    for t in range(3):
        tracks = tracker.step(paint([thing(1, 20 + 8 * t)]), stamp=t * 0.2).tracks
    np.testing.assert_allclose(tracks.image_velocities, [[40, 0]], atol=1e-3)


def test_a_track_is_reported_from_the_stated_hit_on():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(min_hits=3, rebirth=5.0))
    counts = [len(tracker.step(paint(things), stamp=t * STEP).tracks) for t, things in enumerate(
        [[thing(1, 50)], [thing(1, 50)], [thing(1, 50)], [thing(1, 50)]]
    )]  # fmt: skip
    assert counts == [0, 0, 1, 1]
    flicker = Tracker(RectangleEngine(), TrackerConfig.official(min_hits=3, rebirth=5.0))
    video = [[thing(1, 50)], [thing(1, 50)], [], [thing(1, 50)], [thing(1, 50)]]
    assert all(not names for names in run(flicker, video))


def test_live_tracks_may_be_served_before_lost_ones():
    video = [[thing(1, 50)], [], [thing(2, 66)], [thing(2, 58)]]
    config = {"rebirth": 5.0, "zero_tracking": True, "gate_scale": 0.3}
    assert list(run(Tracker(RectangleEngine(), TrackerConfig.official(**config, live_first=True)), video)[-1]) == [2]


def test_public_detections_decide_what_may_start():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official())
    things = [thing(1, 30), thing(2, 110)]
    assert len(tracker.step(paint(things), stamp=0, public_centers=np.zeros((0, 2))).tracks) == 0
    tracks = tracker.step(paint(things), stamp=STEP, public_centers=np.array([[120.0, 55.0]])).tracks
    assert tracks.detections.boxes[:, 0].tolist() == [110.0]
    tracks = tracker.step(paint(things), stamp=2 * STEP, public_centers=np.zeros((0, 2))).tracks
    assert tracks.hits.tolist() == [2]


def test_objects_known_at_the_start_have_the_first_ids():
    tracker = Tracker(RectangleEngine(), TrackerConfig.official())
    known = Detections.from_boxes(np.array([[110, 40, 134, 72], [5, 5, 9, 9]]), np.array([0.9, 0.1]))
    tracks = tracker.step(paint([thing(1, 30), thing(2, 110)]), stamp=0.0, initial=known).tracks
    assert dict(zip(tracks.ids.tolist(), tracks.detections.boxes[:, 0].tolist(), strict=True)) == {1: 110.0, 2: 30.0}


def test_a_camera_of_another_size_is_scaled_to_the_image_and_gives_places():
    full, half = (Camera.from_focal(WIDTH * s, HEIGHT * s, 300.0 * s) for s in (1, 2))
    places = []
    for camera in (full, half):
        found = (
            Tracker(RectangleEngine(), TrackerConfig.official()).step(paint([thing(1, 70)]), camera).tracks.detections
        )
        places.append(found.locations)
        assert found.location_covariances.shape == (1, 3, 3) and found.dimensions.shape == (1, 3)
    np.testing.assert_allclose(places[0], places[1], rtol=1e-4)
    assert (
        Tracker(RectangleEngine(), TrackerConfig.official(lift="none"))
        .step(paint([thing(1, 70)]), full)
        .tracks.detections.locations
        is None
    )
    assert (
        Tracker(RectangleEngine(), TrackerConfig.official()).step(paint([thing(1, 70)])).tracks.detections.locations
        is None
    )


def test_places_that_only_some_frames_have_are_unknown_for_the_others():
    camera = Camera.from_focal(WIDTH, HEIGHT, 300.0)
    tracker = Tracker(RectangleEngine(), TrackerConfig.official(rebirth=5.0))
    tracker.step(paint([thing(1, 30)]), None, 0.0)
    tracks = tracker.step(paint([thing(2, 110)]), camera, STEP).tracks
    assert tracks.ids.tolist() == [2, 1]
    assert np.isfinite(tracks.detections.locations[0]).all() and np.isnan(tracks.detections.locations[1]).all()


def test_a_displacement_learnt_for_one_step_is_scaled_to_the_real_one():
    def predicted_match(step: float) -> bool:
        tracker = Tracker(RectangleEngine(), TrackerConfig.official(frame_period_s=0.1, gate_scale=0.02))
        tracker.step(paint([thing(1, 50)]), stamp=0.0)
        return tracker.step(paint([thing(1, 62)]), stamp=step).tracks.ids.tolist() == [1]

    assert predicted_match(0.1)
    assert not predicted_match(0.3)


def test_each_stage_is_timed():
    timing = Tracker(RectangleEngine(), TrackerConfig.official()).step(paint([thing(1, 50)])).timing_ms
    assert set(timing) == {"preprocess", "network", "postprocess", "association"}
    assert all(value >= 0 for value in timing.values())
