# SPDX-License-Identifier: Apache-2.0
"""Labels from tracks: what is certain teaches, what is doubtful is not asked about, and training reads it as it is."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.mot import read_truth
from centertrack_ros.datasets.records import AnnotatedFrame, tracks_of
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.io.sources import open_source
from centertrack_ros.training.coco_images import read_coco_video
from centertrack_ros.training.pseudo_labels import Certainty, certain_labels

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "demo" / "pets09_s2l1"


def recording(*frames: dict[int, tuple[float, float]]) -> list[AnnotatedFrame]:
    """Frames of {id: (left edge, score)}; boxes are 10 px wide."""
    made = []
    for index, objects in enumerate(frames):
        boxes = np.array([[left, 0.0, left + 10, 20.0] for left, _ in objects.values()]).reshape(-1, 4)
        scores = np.array([score for _, score in objects.values()])
        ids = np.array(list(objects), np.int64)
        made.append(AnnotatedFrame(index, float(index), tracks_of(ids, np.zeros(len(ids), np.int64), scores, boxes)))
    return made


def test_short_and_faint_tracks_become_regions_that_are_ignored():
    frames = recording(
        *[{1: (0.0, 0.9), 2: (100.0, 0.2), **({3: (200.0, 0.9)} if index < 2 else {})} for index in range(4)]
    )
    labels = certain_labels(frames, Certainty(score=0.5, length=3))
    assert [frame.tracks.ids.tolist() for frame in labels] == [[1]] * 4
    assert [sorted(frame.ignore[:, 0].tolist()) for frame in labels] == [[100, 200], [100, 200], [100], [100]]
    assert [len(frame.ignore) for frame in certain_labels(frames, Certainty(0.1, 0.1, 1))] == [0] * 4


def test_a_certain_track_is_a_label_where_it_is_clear_and_ignored_where_it_is_not_or_was_not_seen():
    frames = recording({1: (0.0, 0.9)}, {}, {1: (20.0, 0.9)}, {1: (30.0, 0.1)}, {1: (40.0, 0.8)})
    labels = certain_labels(frames, Certainty(score=0.5, box_score=0.3, length=3))
    assert [len(frame.tracks) for frame in labels] == [1, 0, 1, 0, 1]
    np.testing.assert_allclose(labels[1].ignore, [[10, 0, 20, 20]])  # half way
    np.testing.assert_allclose(labels[3].ignore, [[30, 0, 40, 20]])


@pytest.mark.parametrize("wrong", [{"score": 1.2}, {"box_score": -0.1}, {"length": 0}])
def test_thresholds_that_nothing_meets_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Certainty(**wrong)


def pseudo_label(*arguments: object) -> int:
    return main(["pseudo-label", *map(str, arguments), "--threads", "1"])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "clip"
    assert pseudo_label(CLIP, "--classes", "person", "--frames", 12, "--output", folder) == 0
    return folder


def test_a_bag_becomes_a_video_that_training_reads(labelled):
    found = read_coco_video(labelled / "annotations.json", labelled / "images", ("person", "car"))
    assert [image.frame for image in found.images] == list(range(1, 13)) and not found.problems
    assert found.unlabelled.tolist() == [1]  # cars were not looked for
    assert all(cv2.imread(str(image.path)).shape[:2] == image.size for image in found.images)
    assert all(image.focal == pytest.approx(1185.0, abs=0.1) and image.depths is None for image in found.images)
    assert len({identity for image in found.images for identity in image.track_ids.tolist()}) == 3
    assert sum(len(image.ignored) for image in found.images) > 0


def test_labels_are_right_where_ignored_regions_often_are_not(shared_data, tmp_path):
    """Against the true boxes of the recording's first frames."""
    truth = {frame.index: frame for frame in read_truth(shared_data / "pets09_s2l1" / "gt_frames_001_069.txt")}
    assert pseudo_label(CLIP, "--classes", "person", "--frames", 30, "--output", tmp_path) == 0
    found = read_coco_video(tmp_path / "annotations.json", tmp_path / "images", ("person",))

    def right(boxes_of):
        hits = [iou(boxes_of(i), truth[i.frame].tracks.detections.boxes).max(axis=1) > 0.3 for i in found.images]
        return np.concatenate([hit for hit in hits if len(hit)]).mean()

    assert right(lambda image: image.boxes) > 0.9
    assert right(lambda image: image.ignored) < right(lambda image: image.boxes) - 0.2


def test_static_images_have_neither_videos_nor_ids_and_serve_as_their_own_previous_image(tmp_path):
    assert (
        pseudo_label(CLIP, "--frames", 6, "--every", 3, "--length", 2, "--stills", "--png", "--output", tmp_path) == 0
    )
    document = json.loads((tmp_path / "annotations.json").read_text())
    assert "videos" not in document and not any("track_id" in entry for entry in document["annotations"])
    found = read_coco_video(tmp_path / "annotations.json", tmp_path / "images", ("person",))
    assert [(image.video, image.path.suffix) for image in found.images] == [(-1, ".png")] * 2
    first = next(iter(open_source(CLIP))).image
    np.testing.assert_array_equal(cv2.imread(str(found.images[0].path)), first)


def test_impossible_requests_are_errors_and_nothing_is_overwritten(labelled, tmp_path, capsys):
    assert pseudo_label(CLIP, "--output", labelled) == 1
    assert "not overwritten" in capsys.readouterr().err
    assert pseudo_label(CLIP, "--frames", 2, "--score", 1, "--output", tmp_path) == 1
    assert "--score" in capsys.readouterr().err and not (tmp_path / "annotations.json").exists()
    assert pseudo_label(tmp_path / "none", "--output", tmp_path) == 1
    assert "no such file" in capsys.readouterr().err


def test_images_that_are_left_out_keep_their_place_and_are_counted(tmp_path, caplog):
    """The images of a folder are numbered 10 to 17; one has another size, another cannot be read."""
    (tmp_path / "in").mkdir()
    for number, frame in zip(range(10, 18), open_source(CLIP), strict=False):
        image = frame.image[::2, ::2] if number == 13 else frame.image
        cv2.imwrite(str(tmp_path / "in" / f"{number:06d}.jpg"), image)
    (tmp_path / "in" / "000015.jpg").write_bytes(b"\xff\xd8 no more")
    options = ["--classes", "person", "--length", 2, "--score", 0.1, "--box-score", 0.1]
    assert pseudo_label(tmp_path / "in", "--output", tmp_path / "out", *options) == 0
    assert "1 images of another size than 768x576 are left out" in caplog.text
    found = read_coco_video(tmp_path / "out" / "annotations.json", tmp_path / "out" / "images", ("person",))
    assert [image.frame for image in found.images] == [1, 2, 3, 5, 7, 8]
    assert [image.path.stem for image in found.images] == [f"{image.frame:06d}" for image in found.images]
