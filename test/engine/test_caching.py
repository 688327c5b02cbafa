# SPDX-License-Identifier: Apache-2.0
"""A caching engine gives the same results, and runs the network less often."""

import numpy as np
import pytest

from centertrack_ros.engine import load_engine
from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.tracking.prior_heatmap import EMPTY


def _images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.repeat(np.repeat(rng.integers(0, 255, (8, 8, 3), np.uint8), 12, 0), 12, 1) for _ in range(4)]


def _tracks(engine, config: TrackerConfig) -> list[tuple]:
    tracker = Tracker(engine, config)
    return [
        (found.ids.tolist(), found.detections.boxes.tolist(), found.detections.scores.tolist())
        for found in (tracker.step(image).tracks for image in _images())
    ]


def test_trackers_get_the_results_of_the_engine_itself_and_the_network_runs_once() -> None:
    plain = load_engine(engine="torch", threads=1)
    engine = CachingEngine(plain)
    configs = [
        TrackerConfig.official(track_threshold=0.02, new_threshold=0.02, association=name)
        for name in ("greedy", "hungarian")
    ]
    found = [_tracks(engine, config) for config in configs]
    assert found == [_tracks(plain, config) for config in configs]
    assert sum(len(ids) for ids, _, _ in found[0]) > 0
    assert (engine.requests, engine.runs) == (8, 4)
    engine.clear()
    assert _tracks(engine, configs[0]) == found[0]
    assert engine.runs == 8


def test_single_images_have_no_past() -> None:
    engine = CachingEngine(load_engine(engine="torch", threads=1)).for_single_images()
    config = TrackerConfig.official(track_threshold=0.02, new_threshold=0.02)
    size, affine = (96, 96), np.eye(2, 3)
    image, other = (engine.prepare(image, affine, size) for image in _images()[:2])
    prior = np.array([[40, 40, 9]])
    one, two = engine.infer([image], [other], [prior])[0], engine.infer([image], [image], [prior[:0]])[0]
    assert (one.scores == two.scores).all()
    assert (engine.requests, engine.runs) == (2, 1)
    assert len(_tracks(engine, config)) == 4


def test_a_repeater_gives_each_image_the_result_that_it_got_last() -> None:
    engine = CachingEngine(load_engine(engine="torch", threads=1))
    size, affine = (96, 96), np.eye(2, 3)
    image, other = (engine.prepare(image, affine, size) for image in _images()[:2])
    repeater = engine.repeater()
    with pytest.raises(KeyError):
        repeater.infer([image], [image], [EMPTY])
    result = engine.infer([other], [image], [np.array([[40, 40, 9]])])
    assert repeater.infer([other], [other], [EMPTY])[0] is result[0]
    engine.for_single_images().infer([other], [other], [EMPTY])  # another request, which is not repeated
    assert repeater.infer([other], [image], [EMPTY])[0] is result[0]
    assert repeater.runs == 0
