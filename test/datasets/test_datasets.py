# SPDX-License-Identifier: Apache-2.0
"""Dataset readers and result writers: what is written is read again, what is wrong is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.datasets import coco_video, kitti, mot, nuscenes
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, frames_of, tracks_of
from centertrack_ros.io.errors import DataError


def _sequence(classes: tuple[str, ...], first: int, with_3d: bool) -> VideoSequence:
    """Three frames of objects with awkward numbers; the middle one is empty."""
    rng = np.random.default_rng(5)
    count = 7
    low = rng.uniform(-30, 500, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 200, (count, 2))], axis=1)
    extra = {}
    if with_3d:
        extra = {
            "dimensions": rng.uniform(0.5, 5, (count, 3)),
            "locations": rng.uniform(2, 60, (count, 3)),
            "rotations_y": rng.uniform(-3, 3, count),
            "alphas": rng.uniform(-3, 3, count),
        }
        extra["depths"] = extra["locations"][:, 2].copy()
    kinds = np.arange(count) % len(classes)
    tracks = tracks_of(np.arange(count) + 3, kinds, rng.uniform(0, 1, count), boxes, **extra)
    frames = frames_of(np.array([0, 0, 0, 0, 2, 2, 2]) + first, tracks, rate=10.0, first=first)
    return VideoSequence("one", classes, frames, first, 3, 10.0, (375, 1242))


def _same(one: VideoSequence, two: VideoSequence, fields: tuple[str, ...]) -> None:
    filled = [frame for frame in two if len(frame.tracks)]
    assert [frame.index for frame in one] == [frame.index for frame in filled]
    for a, b in zip(one, filled, strict=True):
        assert (a.tracks.ids == b.tracks.ids).all()
        for field in fields:
            expected, found = getattr(a.tracks.detections, field), getattr(b.tracks.detections, field)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9, err_msg=field)


def _snapshot(sequence: VideoSequence) -> list[bytes]:
    return [frame.tracks.detections.boxes.tobytes() for frame in sequence]


def test_kitti_results_are_read_as_they_were_written(tmp_path):
    sequence = _sequence(("Car", "Pedestrian", "Cyclist"), 0, with_3d=True)
    before = _snapshot(sequence)
    kitti.write_results(tmp_path / "one.txt", sequence)
    assert _snapshot(sequence) == before
    again = kitti.read_labels(tmp_path / "one.txt", length=3)
    fields = ("boxes", "scores", "dimensions", "locations", "rotations_y", "alphas", "depths")
    _same(sequence, again, fields)
    names = [again.classes[kind] for frame in again for kind in frame.tracks.detections.class_ids]
    assert names == [sequence.classes[kind] for frame in sequence for kind in frame.tracks.detections.class_ids]


def test_kitti_writes_coco_and_nuscenes_names_as_its_own_and_leaves_out_the_rest(tmp_path):
    sequence = _sequence(("person", "car", "dog", "truck", "bicycle"), 0, with_3d=False)
    kitti.write_results(tmp_path / "one.txt", sequence)
    words = [line.split()[2] for line in (tmp_path / "one.txt").read_text().splitlines()]
    assert words == ["Pedestrian", "Car", "Truck", "Cyclist", "Pedestrian", "Car"]


def test_mot_results_are_read_as_they_were_written(tmp_path):
    sequence = _sequence(("pedestrian",), 1, with_3d=False)
    before = _snapshot(sequence)
    mot.write_results(tmp_path / "one.txt", sequence)
    assert _snapshot(sequence) == before
    _same(sequence, mot.read_results(tmp_path / "one.txt"), ("boxes", "scores"))


def test_mot_results_keep_their_classes(tmp_path):
    sequence = _sequence(("car", "person", "dog"), 1, with_3d=False)
    mot.write_results(tmp_path / "one.txt", sequence)
    found = mot.read_results(tmp_path / "one.txt")
    named = {"person": "pedestrian", "dog": "class 103"}
    before = [
        [named.get(sequence.classes[k], sequence.classes[k]) for k in f.tracks.detections.class_ids] for f in sequence
    ]
    after = [[found.classes[k] for k in frame.tracks.detections.class_ids] for frame in found]
    assert after == [names for names in before if names]


@pytest.mark.parametrize("end", ["-1,-1,-1", "3.5,1,0", "3,1.5,0", "3", "0,-1,-1"])
def test_a_place_in_the_world_is_not_taken_for_a_class(end, tmp_path):
    (tmp_path / "one.txt").write_text(f"1,1,0,0,9,9,0.5,{end}\n1,2,0,0,9,9,0.5,-1,-1,-1\n")
    assert mot.read_results(tmp_path / "one.txt").classes == ("pedestrian",)


def test_coco_videos_are_read_as_they_were_written(tmp_path):
    sequence = _sequence(("car", "person"), 1, with_3d=True)
    before = _snapshot(sequence)
    coco_video.write_videos(tmp_path / "one.json", [sequence])
    assert _snapshot(sequence) == before
    [again] = coco_video.read_videos(tmp_path / "one.json", rate=10.0)
    assert (again.name, again.classes, again.image_size) == ("one", ("car", "person"), (375, 1242))
    _same(sequence, again, ("boxes", "scores", "class_ids", "dimensions", "locations", "rotations_y", "depths"))
    results = coco_video.detections_document([sequence])
    assert [entry["bbox"][:2] for entry in results[:1]] == [sequence.frames[0].tracks.detections.boxes[0, :2].tolist()]


def test_kitti_dontcare_becomes_ignore_and_not_an_object(tmp_path):
    (tmp_path / "0001.txt").write_text(
        "0 -1 DontCare -1 -1 -10 10 20 30 40 -1 -1 -1 -1000 -1000 -1000 -10\n"
        "0 4 Van 0 1 -1.5 50 60 90 100 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n"
    )
    [frame] = kitti.read_labels(tmp_path / "0001.txt")
    assert frame.ignore.tolist() == [[10, 20, 30, 40]]
    assert frame.tracks.ids.tolist() == [4] and frame.flags["occlusion"].tolist() == [1]
    detections = frame.tracks.detections
    assert detections.dimensions.tolist() == [[1.9, 1.8, 4.5]] and detections.locations.tolist() == [[2.0, 1.6, 12.0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 4 Van 0 1 -1.5 50 60 90\n", "0001.txt:1: 9 columns"),
        ("0 4 Boat 0 1 -1.5 50 60 90 100 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n", "0001.txt:1: type 'Boat'"),
        ("\n0 4 Car 0 1 -1.5 50 60 90 nan 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n", "0001.txt:2: 'nan'"),
        ("0 1.5 Car 0 1 -1.5 50 60 90 100 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n", "0001.txt:1: '1.5' is not a whole number"),
        ("7 1 Car 0 1 -1.5 50 60 90 100 1.9 1.8 4.5 2.0 1.6 12.0 -1.4\n", "0001.txt:1: frame 7, the recording has 5"),
    ],
)
def test_a_broken_kitti_line_is_named(tmp_path, text, words):
    (tmp_path / "0001.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        kitti.read_labels(tmp_path / "0001.txt", length=5)


def test_kitti_calibrations_of_tracking_and_raw(shared_data, tmp_path):
    tracking = kitti.read_calibration(shared_data / "kitti_tracking_mini/training/calib/0001.txt")
    assert tracking.projection[0, 3] == pytest.approx(44.85728)
    raw = kitti.read_calibration(shared_data / "kitti_raw_2011_09_26/calib_kitti_2011_09_26.txt")
    assert raw.projection[0, 0] == pytest.approx(721.5377)
    (tmp_path / "calib.txt").write_text("P0: 1 2 3\nP2: 1 2 3\n")
    with pytest.raises(DataError, match=r"calib.txt:2: 3 numbers after 'P2:', expected 12"):
        kitti.read_calibration(tmp_path / "calib.txt")
    (tmp_path / "calib.txt").write_text("P0: 1 2 3\n")
    with pytest.raises(DataError, match="no projection of camera 2"):
        kitti.read_calibration(tmp_path / "calib.txt")


def test_kitti_recordings_have_images_camera_and_ground_truth(shared_data):
    mini = kitti.read_tracking(shared_data / "kitti_tracking_mini" / "training", "0001")
    assert [frame.index for frame in mini] == [10, 15, 20]
    assert mini.image_size == (375, 1242) and all(frame.camera and frame.image for frame in mini)
    projected = mini.frames[0].camera.project(mini.frames[0].tracks.detections.locations)
    boxes = mini.frames[0].tracks.detections.boxes
    inside = (projected[:, 0] > boxes[:, 0] - 5) & (projected[:, 0] < boxes[:, 2] + 5)
    assert inside[mini.frames[0].flags["truncation"] == 0].all()
    raw = kitti.read_raw(shared_data / "kitti_raw_2011_09_26")
    assert raw.length == 78 or len(raw.frames) == 78
    assert raw.frames[1].stamp - raw.frames[0].stamp == pytest.approx(0.1)


def test_mot_folders_have_images_rate_and_ground_truth(shared_data):
    recording = mot.read_sequence(shared_data / "mot17" / "images" / "MOT17-05-FRCNN")
    assert (recording.rate, recording.image_size, recording.classes) == (14.0, (480, 640), mot.CLASSES)
    assert [frame.index for frame in recording] == [1, 2, 3, 4, 5, 6]
    assert all(frame.image.is_file() and len(frame.tracks) for frame in recording)
    mot15 = mot.read_truth(shared_data / "pets09_s2l1" / "gt_frames_001_069.txt")
    assert (mot15.length, mot15.classes) == (69, ("pedestrian",))


def test_the_true_boxes_of_the_nuscenes_sample_project_into_their_2d_boxes(shared_data):
    for sequence in nuscenes.read_sample_info(shared_data / "nuscenes_sample_6cam" / "sample_info.json"):
        [frame] = sequence.frames
        detections = frame.tracks.detections
        middles = detections.locations - np.stack(
            [np.zeros(len(detections)), detections.dimensions[:, 0] / 2, np.zeros(len(detections))], 1
        )
        assert frame.camera.project(middles) == pytest.approx(detections.amodal_centers, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": None}, "'images' must be a list"),
        ({"annotations": [{"image_id": 9, "bbox": [0, 0, 1, 1], "category_id": 1}]}, "no image has the id 9"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1], "category_id": 1}]}, "bbox must be"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 8}]}, "no category has the id 8"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}, "'category_id' is missing"),
    ],
)
def test_a_broken_coco_entry_is_named(tmp_path, change, words):
    document = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "a.json").write_text(json.dumps(document | change))
    with pytest.raises(DataError, match=words):
        coco_video.read_videos(tmp_path / "a.json")


def test_coco_crowds_and_ignored_categories_become_regions(tmp_path):
    crowd = {"image_id": 1, "bbox": [0, 0, 9, 9], "category_id": 1, "iscrowd": 1}
    other = {"image_id": 1, "bbox": [5, 5, 9, 9], "category_id": -1}
    document = {"images": [{"id": 1}], "annotations": [crowd, other], "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    [[frame]] = coco_video.read_videos(tmp_path / "a.json")
    assert frame.ignore.tolist() == [[0, 0, 9, 9], [5, 5, 14, 14]] and not len(frame.tracks)


def test_missing_folders_are_named(tmp_path):
    for read in (mot.read_sequence, kitti.read_raw):
        with pytest.raises(DataError, match="none"):
            read(tmp_path / "none")
    with pytest.raises(DataError, match=r"neither image_02/0001 nor label_02/0001\.txt"):
        kitti.read_tracking(tmp_path, "0001")
    (tmp_path / "seqinfo.ini").write_text("seqLength=5\n")
    with pytest.raises(DataError, match=r"seqinfo\.ini"):
        mot.read_sequence(tmp_path)


def test_frames_without_pose_cannot_be_written_for_nuscenes():
    frame = AnnotatedFrame(3, 0.0, _sequence(("car",), 0, with_3d=True).frames[0].tracks)
    with pytest.raises(ValueError, match="frame 3: nuScenes results need the camera's pose"):
        nuscenes.global_boxes(frame, ("car",))


def test_the_database_of_nuscenes_must_be_there(tmp_path: Path):
    pytest.importorskip("nuscenes")
    with pytest.raises(DataError, match=r"no nuScenes database v1\.0-mini"):
        nuscenes.read_database(tmp_path)
