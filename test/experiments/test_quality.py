# SPDX-License-Identifier: Apache-2.0
"""What `experiments.quality` counts, on tracks of which the answer is known, and that its settings stay as they are."""

from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.engine import load_engine
from centertrack_ros.io.errors import DataError
from centertrack_ros.types import Tracks
from experiments import real_tracks
from experiments.clip_measures import coverage, figures, gaps, leaps, read_labels
from experiments.quality import TRUCK, score_people
from experiments.quality_settings import BEFORE, settings

CLASSES = ("car", "truck")


def _tracks(*rows: tuple[int, int, float]) -> Tracks:
    """Tracks of (id, class, left): boxes of 40x40 px."""
    boxes = np.array([[left, 0, left + 40, 40] for _, _, left in rows], float).reshape(-1, 4)
    return tracks_of(
        np.array([r[0] for r in rows], int), np.array([r[1] for r in rows], int), np.ones(len(rows)), boxes
    )


def test_an_id_that_jumps_to_another_object_leaps_and_one_that_walks_does_not() -> None:
    walking = [_tracks((1, 0, 10.0 * k)) for k in range(8)]  # a quarter of the box in each frame
    assert leaps(walking) == []
    assert leaps([_tracks((1, 0, 0)), _tracks((1, 0, 15))]) == [(1, 1)]
    away = [_tracks((1, 0, 0)), _tracks(), _tracks(), _tracks((1, 0, 100))]
    assert leaps(away) == [(3, 1)]
    assert leaps([*away[:3], _tracks(), _tracks((1, 0, 100))]) == []  # gone for long enough to have come far


def test_a_gap_is_short_and_ends_with_the_same_track() -> None:
    def seen(*frames: int) -> list[Tracks]:
        return [_tracks((1, 0, 0)) if k in frames else _tracks() for k in range(20)]

    assert gaps(seen(0, 1, 2)) == 0
    assert gaps(seen(0, 2, 13, 14)) == 2  # missing for 1 and for 10 frames
    assert gaps(seen(0, 12)) == 0  # for 11


def test_two_boxes_on_one_car_and_a_changed_class_are_counted() -> None:
    found = figures([_tracks((1, 0, 0), (2, 1, 3)), _tracks((1, 1, 0), (2, 1, 100)), _tracks()])
    assert (found.frames, found.boxes, found.ids, found.reclassified) == (3, 4, 2, 1)
    assert found.doubled == pytest.approx(1 / 3)


def test_an_object_is_found_where_a_box_overlaps_its_interpolated_label() -> None:
    labels = {0: np.array([0.0, 0, 40, 40]), 2: np.array([200.0, 0, 240, 40])}
    found = coverage([_tracks((1, 0, 0)), _tracks((3, 1, 105), (1, 0, 0)), _tracks((1, 0, 0))], labels, CLASSES)
    assert (found.frames, found.found, found.ids, found.classes) == (3, 2, (1, 3), ("car", "truck"))


def test_labels_are_boxes(tmp_path: Path) -> None:
    labels = read_labels(TRUCK)
    assert min(labels) == 0 and max(labels) == 300 and len(labels) == 31
    path = tmp_path / "labels.json"
    for text in ('{"boxes": {}}', '{"boxes": {"0": [1, 2, 3]}}', '{"boxes": {"a": [1, 2, 3, 4]}}', "[]"):
        path.write_text(text)
        with pytest.raises(DataError, match="expected"):
            read_labels(path)


def test_before_sees_an_image_fitted_into_512_whatever_the_profile_says() -> None:
    engine = load_engine(engine="torch")
    profile = settings()["before"].engine(engine).profile
    assert (profile.input_width, profile.input_height, profile.resize) == (512, 512, "keep_aspect")
    assert profile.thresholds.new == BEFORE["new_threshold"]
    assert settings()["after"].engine(engine).profile == engine.profile


@pytest.mark.slow
def test_before_stays_what_it_was(shared_data: Path, tmp_path: Path) -> None:
    """Whatever the defaults become: the figures of the video of PETS."""
    if not (shared_data / "pets09_s2l1").is_dir():
        pytest.skip("needs pets09_s2l1")  # a data folder may hold only some of the sets
    pets = real_tracks.read_pets(shared_data / "pets09_s2l1", tmp_path)
    figures = score_people([pets], load_engine(engine="torch"), settings()["before"])
    assert figures["switches"] == 6
    assert (figures["IDF1"], figures["MOTA"]) == pytest.approx((72.5, 67.4), abs=0.1)
