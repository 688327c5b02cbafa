# SPDX-License-Identifier: Apache-2.0
"""Detections of another detector: what the network tells of them, and what becomes of bad and missing ones."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.engine.no_network import NoNetworkEngine, with_classes
from centertrack_ros.tracking.class_names import COMMON_CLASSES, ClassNames, classes_with
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Pipeline, Tracker
from centertrack_ros.types import ForeignDetections, Frame, TrackState
from support.rectangles import WIDTH, RectangleEngine, Thing, paint

pytest.importorskip("cv2")
STEP = 0.1
EXTERNAL = TrackerConfig(detector_source="external")


class CellEngine(RectangleEngine):
    """Reads the displacement of the rectangle that covers a cell; elsewhere its heads give 0."""

    def infer(self, images, previous, priors, cells=None):
        found = super().infer(images, previous, priors)
        if cells is None:
            return found
        return [replace(peaks, asked=self._values(peaks, asked)) for peaks, asked in zip(found, cells, strict=True)]

    def _values(self, peaks, asked):
        middles, sizes = peaks.cells + peaks.values["reg"], peaks.values["wh"]
        tracking = np.zeros((len(asked), 2), np.float32)
        for row, cell in enumerate(asked):
            covers = (np.abs(cell + 0.5 - middles) <= sizes / 2).all(axis=1)
            if covers.any():
                tracking[row] = peaks.values["tracking"][covers][0]
        return {"tracking": tracking, "reg": np.full((len(asked), 2), 9, np.float32), "wh": np.ones_like(tracking)}


def given(things, names=None, **changes) -> ForeignDetections:
    boxes = np.array([thing.box for thing in things], np.float32).reshape(-1, 4)
    scores = np.array([thing.score for thing in things], np.float32)
    called = np.array(names or ["car", "person"], np.str_)
    classes = called if names else called[[thing.class_id for thing in things]]
    return replace(ForeignDetections(boxes, scores, np.asarray(classes, np.str_)), **changes)


def jumping(frame: int) -> list[Thing]:
    """Two rectangles that jump by more than their own width."""
    x = 10 + 40 * frame
    return [Thing(1, (x, 30, x + 24, 70)), Thing(2, (WIDTH - x - 24, 75, WIDTH - x, 115))]


def test_the_networks_displacement_tracks_the_other_detectors_boxes() -> None:
    tracker = Tracker(CellEngine(), TrackerConfig.official(detector_source="external"))
    for frame in range(4):
        things = jumping(frame)
        foreign = given(things)
        result = tracker.step(paint(things), stamp=frame * STEP, foreign=foreign)
        order = np.argsort(result.tracks.ids)
        assert result.tracks.ids[order].tolist() == [1, 2]
        np.testing.assert_array_equal(result.tracks.detections.boxes[order], foreign.boxes)


def test_the_network_sees_the_tracks_of_the_other_detector_in_its_prior() -> None:
    engine = CellEngine()
    tracker, things = Tracker(engine, EXTERNAL), [Thing(1, (40, 40, 80, 100), score=0.9)]
    moved = [Thing(1, (44, 40, 84, 100), score=0.9)]
    for _ in range(2):
        tracker.step(paint(things), foreign=given(moved))
    ((x, y, radius),) = engine.priors[-1]
    assert (abs(x - 64), abs(y - 70)) <= (1, 1) and radius > 0


def test_without_detections_the_network_is_not_run_and_tracks_coast() -> None:
    engine = CellEngine()
    tracker = Tracker(engine, EXTERNAL)
    for frame in range(4):
        things = [Thing(1, (20 + 4 * frame, 30, 60 + 4 * frame, 70), score=0.9)]
        tracker.step(paint(things), stamp=frame * STEP, foreign=given(things))
    runs = len(engine.batches)
    result = tracker.step(paint([]), stamp=4 * STEP)
    assert len(engine.batches) == runs and result.tracks.hits.tolist() == [0]
    later = [Thing(1, (40, 30, 80, 70), score=0.9)]
    assert tracker.step(paint(later), stamp=5 * STEP, foreign=given(later)).tracks.ids.tolist() == [1]


def test_a_frame_that_nobody_looked_at_speaks_against_no_object() -> None:
    """A weak track outlives frames without a message; frames in which the detector found nothing end it."""

    def found_again(gap: ForeignDetections | None) -> bool:
        tracker, things = Tracker(CellEngine(), EXTERNAL), [Thing(1, (20, 30, 60, 70), score=0.6)]
        for frame in range(8):
            tracker.step(paint(things), stamp=frame * STEP, foreign=given(things) if frame < 2 else gap)
        weak = [Thing(1, (20, 30, 60, 70), score=0.26)]
        tracks = tracker.step(paint(weak), stamp=8 * STEP, foreign=given(weak)).tracks
        return tracks.ids[tracks.hits > 0].tolist() == [1]

    assert found_again(None) and not found_again(ForeignDetections.empty())


@pytest.mark.parametrize("side", [0.0, 0.05])
def test_both_report_each_object_once_with_the_other_detectors_box(side) -> None:
    seen = [Thing(1, (20, 30, 60, 70)), Thing(2, (100, 30, 150, 90), class_id=1)]
    missed = Thing(3, (70, 80, 90, 120), score=0.9)
    foreign = given([seen[0], missed])
    foreign.boxes[0, 2] += 40 * side
    tracker = Tracker(CellEngine(), TrackerConfig(detector_source="both"))
    result = tracker.step(paint(seen), stamp=0.0, foreign=foreign)
    boxes = {tuple(box) for box in result.tracks.detections.boxes.tolist()}
    assert boxes == {tuple(foreign.boxes[0]), (100, 30, 150, 90), (70, 80, 90, 120)}
    alone = Tracker(CellEngine(), TrackerConfig(detector_source="both")).step(paint(seen), stamp=0.0)
    assert len(alone.tracks) == 2  # without a message the network's own count


def test_public_is_the_protocol_with_given_centers() -> None:
    things = [Thing(1, (20, 30, 60, 70)), Thing(2, (100, 30, 150, 90), class_id=1)]
    by_file = Tracker(CellEngine(), TrackerConfig.official(detector_source="public"))
    by_centers = Tracker(CellEngine(), TrackerConfig.official())
    for frame, known in enumerate(([], things[1:], things)):
        foreign = given(known)
        one = by_file.step(paint(things), stamp=frame * STEP, foreign=foreign)
        other = by_centers.step(
            paint(things),
            stamp=frame * STEP,
            public_centers=(foreign.boxes[:, :2] + foreign.boxes[:, 2:]) / 2,
        )
        assert one.tracks.ids.tolist() == other.tracks.ids.tolist() == [1, 2][: len(known)]
        np.testing.assert_array_equal(one.tracks.detections.boxes, other.tracks.detections.boxes)


def test_without_a_network_motion_tracks() -> None:
    engine = NoNetworkEngine(classes_with(("car",), ["forklift"]))
    tracker = Tracker(engine, EXTERNAL)
    for frame in range(8):
        things = [
            Thing(1, (10 + 12 * frame, 30, 40 + 12 * frame, 60), 0.9),
            Thing(2, (150 - 12 * frame, 32, 180 - 12 * frame, 62), 0.8),
        ]
        foreign = given(things, ["forklift", "sedan"])
        tracks = tracker.step(paint(things), stamp=frame * STEP, foreign=foreign).tracks
        order = np.argsort(tracks.ids)
        assert tracks.ids[order].tolist() == [1, 2]
        assert [engine.profile.classes[index] for index in tracks.detections.class_ids[order]] == ["forklift", "car"]
        np.testing.assert_array_equal(tracks.detections.boxes[order], foreign.boxes)


BAD = {
    "not finite": [np.nan, 10, 40, 50],
    "without an area": [40, 10, 20, 50],
    "outside the image": [WIDTH + 5, 10, WIDTH + 50, 50],
}


@pytest.mark.parametrize(("reason", "box"), BAD.items())
def test_a_bad_box_is_left_out_in_one_sentence(reason, box) -> None:
    things = [Thing(1, (20, 30, 60, 70), 0.9)] * 2
    foreign = given(things)
    foreign.boxes[1] = box
    result = Tracker(CellEngine(), EXTERNAL).step(paint(things[:1]), foreign=foreign)
    assert len(result.tracks) == 1
    assert result.notes == (f"1 of 2 detections of the other detector are left out: 1 {reason}",)


def test_scores_in_other_units_and_names_of_no_class_are_told() -> None:
    things = [Thing(1, (20, 30, 60, 70))]
    foreign = given(things, ["zeppelin"], scores=np.array([87.0], np.float32))
    known = with_classes(CellEngine(), ("car", "person", "unknown"))
    result = Tracker(known, EXTERNAL).step(paint(things), foreign=foreign)
    assert len(result.tracks) == 1 and result.tracks.detections.scores[0] == 1
    assert result.notes == (
        "1 scores of the other detector are not in 0..1: they were limited to it",
        "'zeppelin' of the other detector are no classes here and are tracked as 'unknown'",
    )
    (note,) = Tracker(CellEngine(), EXTERNAL).step(paint(things), foreign=given(things, ["zeppelin"])).notes
    assert note.endswith("1 of a class that the model does not have ('zeppelin')")


def test_ten_thousand_boxes_take_bounded_time_and_the_best_count() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 100, (10_000, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 60, (10_000, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 0.5, 10_000).astype(np.float32)
    boxes[7], scores[7] = (20, 30, 60, 70), 0.99
    pipeline = Pipeline(CellEngine(), EXTERNAL)
    foreign = ForeignDetections(boxes, scores, np.full(10_000, "car"))
    frame = Frame(paint([]), 0.0, foreign=foreign)
    prepared = pipeline.prepare(frame, TrackState())
    assert prepared.foreign is not None and len(prepared.foreign.scores) == 100
    assert prepared.foreign.boxes[0].tolist() == [20, 30, 60, 70]
    assert "9900 weaker than the 100 best" in prepared.foreign.notes[0]
    both = Pipeline(CellEngine(), TrackerConfig(detector_source="both")).prepare(frame, TrackState()).foreign
    assert both is not None and len(both.scores) == 50
    assert "9950 weaker than the 50 best (with 'both' the network keeps 50 of its 100 places" in both.notes[0]


def test_tables_of_another_shape_are_an_error_and_the_next_frame_works() -> None:
    tracker, things = Tracker(CellEngine(), EXTERNAL), [Thing(1, (20, 30, 60, 70), 0.9)]
    with pytest.raises(ValueError, match=r"boxes \(N, 4\), scores \(N,\) and N class names"):
        tracker.step(paint(things), foreign=given(things, scores=np.ones(3, np.float32)))
    assert len(tracker.step(paint(things), foreign=given(things)).tracks) == 1


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("Pedestrian", ("person", "car"), "person"),
        ("person", ("car", "pedestrian"), "pedestrian"),
        ("human.pedestrian.adult", ("person",), "person"),
        ("vehicle.bus.rigid", ("car", "bus"), "bus"),
        ("vehicle.emergency.police", ("car",), "car"),
        ("motorbike", ("motorcycle",), "motorcycle"),
        ("aeroplane", COMMON_CLASSES, "airplane"),
        ("tvmonitor", COMMON_CLASSES, "tv"),
        ("Van", ("car", "truck"), "car"),
        ("Van", ("car", "Van"), "Van"),
        ("Tram", COMMON_CLASSES, "train"),
        ("Cyclist", ("person", "car"), "person"),
        ("Cyclist", COMMON_CLASSES, "cyclist"),
        ("Taxi", ("truck", "car"), "car"),
        ("construction_vehicle", ("construction vehicle",), "construction vehicle"),
        ("zeppelin", COMMON_CLASSES, "unknown"),
    ],
)
def test_names_of_other_data_sets_are_known(name, classes, expected) -> None:
    assert classes[ClassNames(classes).id_of(name)] == expected


def test_told_names_become_classes_unless_the_model_has_them() -> None:
    assert classes_with(("person", "car"), ["Pedestrian", "Cyclist", "forklift"]) == (
        "person", "car", "Cyclist", "forklift", "unknown",
    )  # fmt: skip


class TestBridge:
    """What the other detector misses in a frame, and the network sees."""

    @staticmethod
    def reported(missed: set[int], frames: int = 16, strays: bool = False, **config) -> list[list[int]]:
        """Ids in each frame of a thing that the other detector finds but in the `missed` frames; the network always."""
        tracker, ids = Tracker(CellEngine(), TrackerConfig(detector_source="external", **config)), []
        for frame in range(frames):
            thing = Thing(1, (10 + 3 * frame, 30, 50 + 3 * frame, 70), score=0.9)
            seen = [thing, Thing(2, (100, 80, 130, 110), score=0.9)] if strays else [thing]
            result = tracker.step(paint(seen), stamp=frame * STEP, foreign=given([] if frame in missed else [thing]))
            assert len(result.detections) == (frame not in missed), "detections are the other detector's"
            ids.append(result.tracks.ids[result.tracks.hits > 0].tolist())
        return ids

    def test_a_miss_is_bridged_by_what_the_network_sees(self) -> None:
        assert self.reported({5, 9, 10}) == [[1]] * 16
        assert self.reported({5, 9, 10}, bridge_misses=False) == [[] if n in (5, 9, 10) else [1] for n in range(16)]

    def test_what_the_other_detector_never_found_is_never_reported(self) -> None:
        assert self.reported({5, 9, 10}, strays=True) == [[1]] * 16

    def test_the_other_detectors_misses_end_a_track(self) -> None:
        """However long the network goes on to see the thing."""
        ids = self.reported(set(range(8, 40)), frames=40)
        assert ids[8] == [1] and ids[20:] == [[]] * 20

    def test_without_a_message_nothing_is_bridged(self) -> None:
        tracker = Tracker(CellEngine(), EXTERNAL)
        for frame in range(6):
            things = [Thing(1, (20, 30, 60, 70), score=0.9)]
            tracks = tracker.step(
                paint(things), stamp=frame * STEP, foreign=given(things) if frame < 5 else None
            ).tracks
        assert tracks.hits.tolist() == [0]
