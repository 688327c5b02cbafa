# SPDX-License-Identifier: Apache-2.0
"""True displacements at foreign boxes keep the ids of a street's road users, and each error of a detector is there."""

import numpy as np
import pytest

pytest.importorskip("trackeval")

from centertrack_ros.synthetic import Street, StreetConfig
from centertrack_ros.tracking.config import EXTERNAL, TrackerConfig
from experiments.foreign_detections import Errors, TrueMotion, detector, lost_ids, track


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
