# SPDX-License-Identifier: Apache-2.0
"""True displacements at foreign boxes keep the ids of a street's road users, and each error of a detector is there."""

import numpy as np
import pytest

pytest.importorskip("trackeval")

from centertrack_ros.synthetic import Street, StreetConfig
from centertrack_ros.tracking.config import EXTERNAL, TrackerConfig
from experiments.foreign_detections import Errors, TrueMotion, detector, disturbed, lost_ids, spoiled, track


@pytest.fixture(scope="module")
def street():
    return list(Street(StreetConfig(7, frames=12, rate=5.0, width=320, height=192, density=0.4, look="test")))


def test_true_displacements_keep_every_id(street) -> None:
    """Road users move by many pixels from image to image here, at five of them a second."""
    exact = detector(Errors(0.0, 0.0, 0.0), 1)
    config = TrackerConfig(detector_source=EXTERNAL, max_size_ratio=0.0)  # one that drives past grows by more than 2
    pair = track(street, TrueMotion(), config, exact)
    seen = sum(len(frame.tracks) for frame in pair.results)
    assert seen == sum(int(frame.flags["considered"].sum()) for frame in pair.truth) > 20
    assert lost_ids(pair) == 0


def test_a_lost_id_is_counted(street) -> None:
    pair = track(street, TrueMotion(), TrackerConfig.official(detector_source=EXTERNAL), detector(Errors(0, 0, 0), 1))
    frames = pair.results.frames
    middle = next(n for n in range(1, len(frames)) if len(frames[n].tracks) and len(frames[n - 1].tracks))
    frames[middle].tracks.ids[:] += 1000
    assert lost_ids(pair) > 0


def test_a_detector_errs_as_told(street) -> None:
    detect, exact = detector(Errors(0.05, 0.5, 0.5), 3), detector(Errors(0.0, 0.0, 0.0), 3)
    found, known = [detect(frame) for frame in street * 5], [exact(frame) for frame in street * 5]
    count, true = sum(map(len, found)), sum(map(len, known))
    assert count == pytest.approx(true, rel=0.25)  # half is missing, and as many are false
    assert all(np.isfinite(one.boxes).all() for one in found)


def test_errors_are_the_same_alone_and_together(street) -> None:
    """What one kind of error costs can be told from what the others cost."""
    found = detector(Errors(0.0, 0.0, 0.0), 1)(street[-1])
    assert len(found) > 2

    def changed(errors: Errors) -> np.ndarray:
        return disturbed(found, errors, ["car"], (320, 192), np.random.default_rng(5)).boxes

    with_false = changed(Errors(0.0, 0.0, 0.5))
    assert len(with_false) > len(found)
    np.testing.assert_array_equal(with_false[: len(found)], found.boxes)
    off, left = changed(Errors(0.05, 0.0, 0.0)), changed(Errors(0.0, 0.4, 0.0))
    rows = np.flatnonzero((found.boxes[:, None] == left[None]).all(axis=2).any(axis=1))
    assert 0 < len(rows) < len(found)
    np.testing.assert_array_equal(changed(Errors(0.05, 0.4, 0.0)), off[rows])


def test_results_that_are_spoiled_keep_their_ids(street) -> None:
    config = TrackerConfig(detector_source=EXTERNAL, max_size_ratio=0.0)
    pair = track(street, TrueMotion(), config, detector(Errors(0.0, 0.0, 0.0), 1))
    worse = spoiled(pair, Errors(0.05, 0.3, 0.2), 1)
    before, after = ([frame.tracks.ids for frame in one.results] for one in (pair, worse))
    true = [ids[ids < 1_000_000] for ids in after]
    assert all(np.isin(ids, known).all() for ids, known in zip(true, before, strict=True))
    assert sum(map(len, true)) == pytest.approx(0.7 * sum(map(len, before)), rel=0.2)
    made_up = np.concatenate([ids[ids >= 1_000_000] for ids in after])
    assert len(set(made_up.tolist())) == len(made_up) > 0
