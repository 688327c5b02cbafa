# SPDX-License-Identifier: Apache-2.0
"""The comparison on real frames: boxes of several data sets by one rule, motion models on equal detections."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from experiments.image_boxes import CLASSES, coco_forms, count_above, people_and_cars
from experiments.real_tracks import MotionRow, conclusions

ROOT = Path(__file__).resolve().parents[2]


def _images() -> VideoSequence:
    """Two KITTI images with a pedestrian, a car, a van and an ignored region; one frame has no image."""
    boxes = np.array([[10.0, 10, 30, 70], [100, 10, 160, 50], [200, 10, 280, 60]])
    tracks = tracks_of(np.array([1, 2, 3]), np.array([0, 1, 2]), np.ones(3), boxes)
    frames = tuple(
        AnnotatedFrame(
            index, 0.0, tracks, ignore=np.array([[300.0, 0, 400, 90]]), image=Path("a.png") if index else None
        )
        for index in range(3)
    )
    return VideoSequence("k", ("Pedestrian", "Car", "Van"), frames, 0, 3)


def test_other_classes_are_ignored() -> None:
    truth = people_and_cars(_images())
    assert truth.classes == CLASSES and len(truth.frames) == 2
    for frame in truth:
        assert frame.tracks.detections.class_ids.tolist() == [0, 1]
        assert frame.ignore.tolist() == [[300, 0, 400, 90], [200, 10, 280, 60]]
    on_the_van = tracks_of(np.arange(3), np.array([0, 1, 1]), np.ones(3), _images().frames[0].tracks.detections.boxes)
    results = replace(truth, frames=tuple(AnnotatedFrame(f.index, 0.0, on_the_van) for f in truth))
    assert count_above([SequencePair(truth, results)], 0.5) == {"person": (2, 2, 0), "car": (2, 2, 0)}


def test_a_weak_detection_is_a_miss_and_a_displaced_one_a_false_positive() -> None:
    truth = people_and_cars(_images())
    weak = tuple(
        replace(f, tracks=replace(f.tracks, detections=replace(f.tracks.detections, scores=np.array([0.4, 0.9]))))
        for f in truth
    )
    assert count_above([SequencePair(truth, replace(truth, frames=weak))], 0.5) == {
        "person": (2, 0, 0),
        "car": (2, 2, 0),
    }
    moved = tuple(
        replace(
            f, tracks=replace(f.tracks, detections=replace(f.tracks.detections, boxes=f.tracks.detections.boxes + 500))
        )
        for f in truth
    )
    assert count_above([SequencePair(truth, replace(truth, frames=moved))], 0.5) == {
        "person": (2, 0, 2),
        "car": (2, 0, 2),
    }


def test_the_truth_as_results_has_full_precision_by_pycocotools() -> None:
    pytest.importorskip("pycocotools")
    from benchmarks import coco_ap

    truth = people_and_cars(_images())
    for kind in range(2):
        assert coco_ap.evaluate(*coco_forms([SequencePair(truth, truth)], kind))["ap50"] == pytest.approx(1.0)
        annotations, results = coco_forms([SequencePair(truth, truth)], kind)
        far = [{**one, "bbox": [900.0, 900.0, 5.0, 5.0]} for one in results]
        assert coco_ap.evaluate(annotations, far)["ap50"] == 0.0


def test_a_conclusion_names_the_motion_that_is_ahead_and_counts_switches() -> None:
    figures = {
        "displacement": {"MOTA": 70.0, "IDF1": 60.0, "IDSW": 2},
        "zero": {"MOTA": 69.0, "IDF1": 61.0, "IDSW": 4},
        "kalman": {"MOTA": 70.0, "IDF1": 50.0, "IDSW": 1},
    }
    rows = [MotionRow("PETS", 3, "paper", "same", motion, one) for motion, one in figures.items()]
    assert conclusions(rows) == [
        "PETS 1/3, paper, same detections: against zero: MOTA ahead, IDF1 behind, IDSW ahead; "
        "against kalman: MOTA equal, IDF1 ahead, IDSW behind; 2 switches, zero displacement 4"
    ]
    true = MotionRow("PETS", 3, "paper", "same", "true", {**figures["zero"], "IDSW": 0})
    assert conclusions([*rows, true])[0].endswith("2 switches, zero displacement 4, true displacements 0")


@pytest.mark.slow
def test_the_command_on_the_embedded_model(shared_data) -> None:
    """Its displacement is untrained, so that it must be exactly as good as none; its AP is that of its card."""
    pytest.importorskip("trackeval")
    pytest.importorskip("pycocotools")
    weights = ROOT / "centertrack_ros" / "weights" / "mobilenetv3-coco.safetensors"
    command = [sys.executable, "-m", "experiments.real_frames", str(shared_data)]
    command += ["--start", "", "--engine", "torch"]
    done = subprocess.run([*command, "--weights", str(weights)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    [model] = json.loads(done.stdout.splitlines()[-1])["models"]
    rows = {
        tuple(row[k] for k in ("data", "every", "settings", "detections", "motion")): row for row in model["tracks"]
    }
    assert len(rows) == 2 * 2 * 2 * 2 * 4
    for (*group, motion), row in rows.items():
        if motion == "displacement":
            assert row["figures"] == rows[(*group, "zero")]["figures"]
    assert rows["PETS 1-69", 1, "paper", "same", "displacement"]["figures"]["MOTA"] > 60
    assert model["coco"]["ap"] == pytest.approx(0.319, abs=0.002)
    assert model["boxes"]["kitti_object_000008"]["car"]["recall"] > 0.8
