# SPDX-License-Identifier: Apache-2.0
"""Scores of 3D boxes: TrackEval's figures of rotated IoU, and AB3DMOT's averages over recall."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.boxes3d_metrics import RECALLS, score_boxes3d
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_boxes, summary

pytest.importorskip("trackeval")
FRAMES, CLASSES = 12, ("car", "van")


def frame(index: int, ids, boxes, scores=None, kinds=None, **flags) -> AnnotatedFrame:
    """Objects as flat boxes on the ground: x and y of a 2D box are x and z in space, all are 1 m high."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    middles, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    count = len(boxes)
    tracks = tracks_of(
        np.asarray(ids, np.int64),
        np.zeros(count, np.int64) if kinds is None else np.asarray(kinds, np.int64),
        np.ones(count) if scores is None else np.asarray(scores, float),
        boxes,
        dimensions=np.stack([np.ones(count), sizes[:, 1], sizes[:, 0]], axis=1),
        locations=np.stack([middles[:, 0], np.full(count, 1.5), middles[:, 1]], axis=1),
        rotations_y=np.zeros(count),
    )
    return AnnotatedFrame(index, index / 10, tracks, {name: np.asarray(value) for name, value in flags.items()})


def sequence(frames) -> VideoSequence:
    return VideoSequence("0000", CLASSES, tuple(frames), 1, FRAMES)


def moving(seed: int, objects: int = 4) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    start, step = random.uniform(0, 60, (objects, 2)), random.uniform(-1, 1, (objects, 2))
    corner = [start + step * index for index in range(FRAMES)]
    return [np.hstack([low, low + [4.0, 2.0]]) for low in corner]


def perturbed(seed: int) -> SequencePair:
    """A truth, and results with misses, false boxes, a change of id and boxes that are off."""
    random = np.random.default_rng(seed)
    truth, results = [], []
    for index, boxes in enumerate(moving(seed), start=1):
        truth.append(frame(index, [1, 2, 3, 4], boxes))
        keep = random.random(4) > 0.15
        ids = np.array([1, 2, 3 if index < 6 else 7, 4])
        found = np.vstack([boxes[keep] + random.normal(0, 0.2, (keep.sum(), 1)), [[80, 80, 84, 82]]])
        results.append(frame(index, [*ids[keep], 9], found, random.uniform(0.1, 1, len(found))))
    return SequencePair(sequence(truth), sequence(results))


@pytest.mark.parametrize("seed", range(3))
def test_flat_boxes_of_one_height_score_as_their_2d_boxes_do(seed) -> None:
    pair = perturbed(seed)
    flat = summary(score_boxes([pair]).combined["car"])
    solid = score_boxes3d([pair], ["car"], min_iou=0.5)["car"]
    for name in ("HOTA", "DetA", "AssA", "MOTA", "MOTP", "IDF1"):
        assert solid[name] == pytest.approx(flat[name], abs=0.02), name
    assert (solid["FP"], solid["FN"], solid["IDSW"]) == (flat["CLR_FP"], flat["CLR_FN"], flat["IDSW"])


def test_perfect_results_have_full_scores_and_no_results_have_none() -> None:
    truth = sequence(frame(index, [1, 2, 3, 4], boxes) for index, boxes in enumerate(moving(5), start=1))
    perfect = score_boxes3d([SequencePair(truth, truth)], ["Car"])["Car"]
    for name in ("sAMOTA", "AMOTA", "AMOTP", "HOTA", "MOTA", "IDF1"):  # all scores are equal: one threshold takes all
        assert perfect[name] == pytest.approx(100), name
    nothing = score_boxes3d([SequencePair(truth, sequence(()))], ["car"])["car"]
    assert (nothing["sAMOTA"], nothing["MOTA"], nothing["FN"]) == (0.0, 0.0, 4 * FRAMES)


def test_the_averages_follow_from_the_scores_of_the_tracks() -> None:
    """Two of four objects are tracked, one with a higher score: recall 1/4 and 1/2 are all that can be reached."""
    truth, results = [], []
    for index, boxes in enumerate(moving(8), start=1):
        truth.append(frame(index, [1, 2, 3, 4], boxes))
        results.append(frame(index, [1, 2], boxes[:2], [0.9, 0.4 if index % 2 else 0.2]))
    figures = score_boxes3d([SequencePair(sequence(truth), sequence(results))], ["car"])["car"]
    steps = RECALLS // 4  # from recall 0 to 1/4, and from there to 1/2
    assert figures["AMOTA"] == pytest.approx(100 * steps * (0.25 + 0.5) / RECALLS)
    assert figures["AMOTP"] == pytest.approx(100 * 2 * steps / RECALLS)
    assert figures["sAMOTA"] == pytest.approx(100 * 2 * steps / RECALLS)


def test_vans_hidden_cars_and_ignored_regions_count_neither_for_nor_against() -> None:
    pair = perturbed(1)
    alone = score_boxes3d([pair], ["car"])["car"]

    def with_more(one: AnnotatedFrame, is_truth: bool) -> AnnotatedFrame:
        boxes = [*one.tracks.detections.boxes, [100, 100, 104, 102], [120, 100, 124, 102], [140, 100, 144, 102]]
        flags = {"occlusion": [0] * len(one.tracks) + [0, 3, 0], "truncation": [0] * len(boxes)}
        ids, scores = [*one.tracks.ids, 21, 22, 23], [*one.tracks.detections.scores, 1, 1, 1]
        kinds = [0] * len(one.tracks) + [1 if is_truth else 0, 0, 0]
        more = frame(one.index, ids, boxes, scores, kinds, **flags)
        if not is_truth:
            return more
        return replace(more.select(np.arange(len(boxes) - 1)), ignore=np.array([[139.0, 99, 150, 110]]))

    truth = sequence(with_more(one, True) for one in pair.truth)
    results = sequence(with_more(one, False) for one in pair.results)
    assert score_boxes3d([SequencePair(truth, results)], ["car"])["car"] == alone


def test_an_iou_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="least IoU must be above 0 and at most 1, got 0"):
        score_boxes3d([perturbed(0)], ["car"], min_iou=0.0)
