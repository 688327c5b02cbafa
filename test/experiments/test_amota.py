# SPDX-License-Identifier: Apache-2.0
"""AMOTA from arrays: the devkit's figure, scene by scene."""

import numpy as np
import pytest

from centertrack_ros.datasets import nuscenes
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation import nuscenes_metrics
from experiments.amota import Curve, amota, curve, ground_paths, image_paths
from experiments.street_clips import poses_of

POSE = np.array([[0, 0, 1, 100.0], [-1, 0, 0, 200.0], [0, -1, 0, 1.5], [0, 0, 0, 1]])  # looks along the world's x
KINDS = ("car", "pedestrian")


def _scene(number: int, noise: float, frames: int = 9) -> VideoSequence:
    """Twelve objects in straight motion, seen now and then; with noise places, scores and some ids are wrong."""
    street, errors = np.random.default_rng(number), np.random.default_rng(100 + number)
    count = 12
    start = np.stack([street.uniform(-12, 12, count), np.full(count, 1.5), street.uniform(5, 55, count)], axis=1)
    speed = street.normal(0, 0.6, (count, 3)) * (1, 0, 1)
    kinds, ids = street.choice([0, 5], count), np.arange(1, count + 1)
    found = []
    for index in range(frames):
        keep = errors.random(count) > 0.25
        places, scores = start + speed * index, np.ones(count)
        if noise:
            places, scores = places + errors.normal(0, noise, places.shape), errors.uniform(0.2, 1, count)
            swapped = np.flatnonzero((kinds == errors.choice([0, 5])) & (errors.random(count) < 0.3))
            ids = ids.copy()
            ids[swapped] = errors.permutation(ids[swapped])
        pose = POSE.copy()
        pose[0, 3] += index
        tracks = tracks_of(
            ids[keep], kinds[keep], scores[keep], np.tile([0.0, 0, 9, 9], (keep.sum(), 1)),
            dimensions=np.tile([1.5, 1.8, 4.5], (keep.sum(), 1)), locations=places[keep],
            rotations_y=np.zeros(keep.sum()), velocities=np.zeros((keep.sum(), 3)),
        )  # fmt: skip
        found.append(AnnotatedFrame(index, index * 0.5, tracks, pose=pose, token=f"{number}/{index}"))
    return VideoSequence(f"s{number}", nuscenes.CLASSES, tuple(found), 0, frames)


def _curves(truth: list[VideoSequence], results: list[VideoSequence]) -> list[Curve]:
    poses = [poses_of(one) for one in truth]
    return [
        curve(
            *(
                [ground_paths(one, kind, pose) for one, pose in zip(side, poses, strict=True)]
                for side in (truth, results)
            )
        )
        for kind in KINDS
    ]


def test_it_is_the_devkits_figure() -> None:
    pytest.importorskip("nuscenes")
    pytest.importorskip("motmetrics")
    truth, results = ([_scene(number, noise) for number in range(2)] for noise in (0.0, 0.6))
    said, answer = (nuscenes.results_document(side)["results"] for side in (truth, results))
    for frame in (frame for one in truth for frame in one):
        for box in said[frame.token]:
            box["ego_translation"] = (np.array(box["translation"]) - frame.pose[:3, 3]).tolist()
    samples = {frame.token: {"scene": one.name, "timestamp": frame.index} for one in truth for frame in one}
    official = nuscenes_metrics.score_boxes(answer, said, samples)
    curves = _curves(truth, results)
    for kind, one in zip(KINDS, curves, strict=True):
        assert amota([one])[0] == pytest.approx(official["classes"][kind]["amota"], abs=1e-12)
    assert 0.1 < amota(curves)[0] < 0.95
    assert amota(curves)[0] == pytest.approx(official["combined"]["amota"], abs=1e-12)


def test_the_truth_as_results_is_perfect_and_nothing_is_worth_nothing() -> None:
    truth = [_scene(number, 0.0) for number in range(3)]
    empty = [VideoSequence(one.name, one.classes, (), 0, one.length) for one in truth]
    assert amota(_curves(truth, truth))[0] == 1.0
    assert amota(_curves(truth, empty))[0] == 0.0


def test_a_draw_of_one_scene_only_is_that_scene_at_the_thresholds_of_all() -> None:
    truth, results = ([_scene(number, noise) for number in range(3)] for noise in (0.0, 0.6))
    curves = _curves(truth, results)
    alone = [Curve(one.objects[1:2], one.counts[1:2], one.thresholds) for one in curves]
    assert amota(curves, np.array([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0]])) == pytest.approx(list(amota(alone)) * 2)


def test_errors_weigh_less_in_the_former_figure() -> None:
    truth, results = ([_scene(number, noise) for number in range(2)] for noise in (0.0, 0.9))
    curves = _curves(truth, results)
    assert amota(curves, alpha=0.2)[0] > amota(curves)[0]


def _boxes(ids: list[list[int]], shift: float = 0.0) -> VideoSequence:
    """Objects of 20 x 20 px, each at its own place."""
    frames = []
    for index, names in enumerate(ids):
        left = np.array(names)[:, None] % 10 * 50 + shift
        boxes = np.concatenate([left, left * 0, left + 20, left * 0 + 20], axis=1)
        frames.append(
            AnnotatedFrame(
                index, 0.0, tracks_of(np.array(names), np.zeros(len(names), np.int64), np.ones(len(names)), boxes)
            )
        )
    return VideoSequence("s", ("car",), tuple(frames), 0, len(ids))


def _flat(truth: VideoSequence, results: VideoSequence) -> Curve:
    return curve([image_paths(truth, "car")], [image_paths(results, "car")])


def test_boxes_in_the_image_match_from_an_overlap_of_half_on() -> None:
    truth = _boxes([[1, 2, 3]] * 4)
    assert amota([_flat(truth, truth)])[0] == 1.0
    assert amota([_flat(truth, _boxes([[1, 2, 3]] * 4, 6.6))])[0] == 1.0  # IoU 0.504
    assert amota([_flat(truth, _boxes([[1, 2, 3]] * 4, 6.8))])[0] == 0.0  # IoU 0.493


def test_a_new_id_on_the_same_object_is_a_switch_and_a_gap_is_not() -> None:
    truth = _boxes([[1, 2]] * 4)
    lowest = _flat(truth, _boxes([[1, 2], [1, 2], [11, 2], [11, 2]])).counts[0]
    assert lowest[np.flatnonzero(lowest.any(axis=1))[0]].tolist() == [7, 1, 0, 0]
    with_gap = _flat(truth, _boxes([[1, 2], [2], [1, 2], [1, 2]])).counts[0]
    assert with_gap[np.flatnonzero(with_gap.any(axis=1))[0]].tolist() == [7, 0, 1, 0]
