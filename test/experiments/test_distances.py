# SPDX-License-Identifier: Apache-2.0
"""The table of distances: true boxes in, and figures that mean what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import Detections
from experiments.distance_baseline import by_contact
from experiments.distance_cases import Case, box_bias, label_recordings
from experiments.distances import by_labels, errors_of, lines_of

CAMERA = Camera.from_focal(1000, 500, 500.0)


def case_of(boxes: np.ndarray, truth: np.ndarray) -> Case:
    return Case(Detections.from_boxes(boxes), np.arange(len(boxes)), Detections.from_boxes(truth), CAMERA, 0.0)


def test_the_bias_is_how_much_smaller_whole_boxes_are() -> None:
    truth = np.array([[100.0, 100, 200, 180], [300, 100, 400, 180], [500, 120, 600, 200], [0, 100, 100, 180]])
    found = truth + [10, 5, -10, -5]
    found[3] = [0, 100, 20, 110]  # cut by the border: it does not count
    assert box_bias([case_of(found, truth)]) == {"car": (0.8, 0.875, 0.0)}


def test_the_contact_tells_the_distance_of_what_stands_on_level_ground() -> None:
    boxes = np.array([[480.0, 200, 520, 250 + 500 * 1.5 / 20], [480, 100, 520, 240]])
    depths = by_contact(Detections.from_boxes(boxes), CAMERA, 1.5).depths
    assert depths is not None and depths[0] == pytest.approx(20.0) and np.isnan(depths[1])


def test_errors_are_relative_to_the_truth_and_to_the_stated_deviation() -> None:
    count = 6
    truth = Detections.from_boxes(np.tile([400.0, 200, 500, 260], (count, 1)))
    covariances = np.tile(np.eye(3) * 4.0, (count, 1, 1))
    case = case_of(truth.boxes, truth.boxes)
    case = replace(
        case, truth=replace(truth, locations=np.tile([0.0, 1.0, 20.0], (count, 1)), rotations_y=np.zeros(count))
    )
    found = replace(case.truth, locations=np.tile([0.0, 1.0, 22.0], (count, 1)), location_covariances=covariances)
    errors = errors_of([case], [found])
    [line] = lines_of("way", errors)
    assert line[:5] == ["car, whole", "way", "6", "10.0", "1.00"]


@pytest.mark.slow
def test_tracks_with_a_known_height_beat_mean_sizes_on_kitti(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "kitti_tracking_labels"
    assert len(list(label_recordings(folder))) == 20
    by_labels(folder, 1.65)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    text = {" ".join(row): row for row in rows}
    whole = next(row for name, row in text.items() if name.startswith("car, whole tracked, height"))
    cut = next(row for name, row in text.items() if name.startswith("car, cut tracked, height"))
    assert float(whole[5]) <= 8.0 and float(cut[5]) <= 15.0
    assert 0.8 < float(whole[6]) < 1.2 and 0.8 < float(cut[6]) < 1.2
