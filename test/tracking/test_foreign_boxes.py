# SPDX-License-Identifier: Apache-2.0
"""3D boxes of another detector: checked, named, and stood upright."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.geometry.boxes3d import BODY_FROM_OPTICAL
from centertrack_ros.geometry.transform import Transform, box_quaternions, quaternion_to_matrix
from centertrack_ros.tracking.foreign_boxes import MOST, GrowingNames, in_common_frame, usable_boxes
from centertrack_ros.tracking.multi_camera.records import ANY_KIND, kinds_of
from support.boxes import CAR, found, oriented

MODEL = ("person", "car", "truck", "motorcycle")


def test_names_are_the_models_or_kept():
    names = GrowingNames(MODEL)
    assert [names.id_of(name) for name in ("Pedestrian", "CAR", "Van", "motorbike")] == [0, 1, 1, 3]
    forklift = names.id_of("forklift")
    assert forklift == 4 == names.id_of("forklift") and names[forklift] == "forklift" and len(names) == 5
    for number in range(5000):
        names.id_of(f"made up {number}")
    assert len(names) < 1100 and names[names.id_of("one more")] == "unknown"
    kinds = kinds_of(names, names.of_model)
    assert kinds[1] == kinds[2] != kinds[0] and (kinds[4:] == ANY_KIND).all()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("centers", np.nan, "1 not finite"),
        ("centers", np.inf, "1 not finite"),
        ("centers", 1e9, "1 beyond all measure"),
        ("sizes", 0.0, "1 without a size"),
        ("sizes", -2.0, "1 without a size"),
        ("quaternions", 0.0, "1 with a quaternion that is no rotation"),
        ("quaternions", np.nan, "1 not finite"),
    ],
)
def test_a_box_that_cannot_be_used_costs_itself_only(field, value, words):
    boxes = oriented([(5.0, 0, 1), (9.0, 0, 1)])
    values = getattr(boxes, field).copy()
    values[0] = value
    usable = usable_boxes(found(replace(boxes, **{field: values})), GrowingNames(MODEL), 0.3)
    assert usable.boxes.centers.tolist() == [[9.0, 0, 1]]
    assert usable.notes == (f"1 of 2 boxes are left out: {words}",)


def test_scores_and_numbers_of_boxes_have_limits():
    many = found(oriented([(float(n), 0, 0) for n in range(MOST + 100)]))
    usable = usable_boxes(many, GrowingNames(MODEL), 0.3)
    assert len(usable.boxes) == MOST and f"100 weaker than the {MOST} best" in usable.notes[0]
    [sure] = usable_boxes(found(oriented([(5.0, 0, 0)]), 87.0), GrowingNames(MODEL), 0.3).scores
    unscored = usable_boxes(found(oriented([(5.0, 0, 0)]), 0.0), GrowingNames(MODEL), 0.3)
    assert sure == unscored.scores[0] == 1.0 and "all scores are 0" in unscored.notes[0]


def test_covariances_of_the_message_hold_where_they_are_some():
    told = np.zeros((4, 6, 6))
    told[0] = np.diag([0.04, 0.01, 0.01, 0, 0, 0.001])
    told[1, 0, 0] = np.nan
    told[2] = np.diag([1.0, -1, 1, 0, 0, 0])
    boxes = replace(oriented([(float(n), 0, 0) for n in range(4)]), covariances=told)
    usable = usable_boxes(found(boxes), GrowingNames(MODEL), 0.3)
    variances = np.einsum("nii->ni", usable.boxes.covariances)
    np.testing.assert_allclose(variances[0], [0.04, 0.01, 0.01, 0, 0, 0.001])
    np.testing.assert_allclose(variances[1:, :3], 0.09)
    assert usable.notes == ("2 covariances are none: 0.3 m is taken instead",)


def test_one_object_is_the_same_from_every_frame():
    """A car that looks to the left, in the vehicle's frame, in that of a tilted LiDAR, and in a camera's."""
    turned = (0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4))
    wanted = oriented([(10.0, 2.0, 0.75)], quaternion=turned)
    tilt = Transform.from_quaternion((0.05, 0.1, 0, 0.99), np.array([1.0, 0, 1.8]))
    optical = Transform(BODY_FROM_OPTICAL, np.array([1.5, 0.0, 1.6]))
    for pose in (Transform.identity(), tilt, optical):
        seen = in_common_frame(pose.inverse().boxes(wanted), pose, upright=True)
        np.testing.assert_allclose(seen.centers, wanted.centers, atol=1e-9)
        np.testing.assert_allclose(np.abs(seen.quaternions @ turned), 1.0, atol=1e-6)
    own = replace(wanted, quaternions=box_quaternions([0.0]))  # as this package writes boxes in the optical frame
    axes = quaternion_to_matrix(in_common_frame(own, optical, upright=True).quaternions[0])
    np.testing.assert_allclose(axes[:, 2], [0, 0, 1], atol=1e-9)


def test_boxes_stand_upright_whatever_axis_is_their_height():
    optical = Transform(BODY_FROM_OPTICAL, np.zeros(3))
    flat = oriented([(0.0, 0.0, 8.0)], size=(1.8, 1.5, 4.2))  # not turned: width, height, length along x, y, z
    [size] = in_common_frame(flat, optical, upright=True).sizes
    assert size[2] == 1.5 and sorted(size) == sorted(CAR)
    leaning = Transform.from_quaternion((0.1, 0.0, 0.0, 0.995), np.zeros(3))
    seen = in_common_frame(oriented([(3.0, 0, 0)]), leaning, upright=True)
    np.testing.assert_allclose(quaternion_to_matrix(seen.quaternions)[0, :, 2], [0, 0, 1], atol=1e-9)
    as_it_is = in_common_frame(oriented([(3.0, 0, 0)]), leaning, upright=False)
    assert abs(quaternion_to_matrix(as_it_is.quaternions)[0, 2, 2]) < 0.99
