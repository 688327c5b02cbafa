# SPDX-License-Identifier: Apache-2.0
"""Training on joints: the targets decode to the joints that they were made from, and what is not known is not asked."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.network.decode import MIRRORED_JOINTS
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build
from centertrack_ros.training.augmentation import NO_AUGMENTATION
from centertrack_ros.training.coco_images import read_coco_video
from centertrack_ros.training.joints import ABSENT, HIDDEN, MIRRORED, VISIBLE, mirrored_joints
from centertrack_ros.training.losses import focal_loss, head_losses, l1_loss
from centertrack_ros.training.module import features_of, outputs_at_objects
from centertrack_ros.training.samples import TrackingSamples
from centertrack_ros.training.targets import GridObjects, make_targets

GRID, SLOTS, JOINTS = (32, 48), 4, 17
HEADS = {"hm": 1, "reg": 2, "wh": 2, "tracking": 2, "hps": 34, "hm_hp": 17, "hp_offset": 2}
BOX = (10.0, 6.0, 30.0, 26.0)


def person(places, state) -> GridObjects:
    joints = np.concatenate([np.asarray(places, float), np.full((JOINTS, 1), float(state))], axis=1)
    return GridObjects(np.array([BOX]), np.zeros(1, int), np.full((1, 2), np.nan), joints=joints[None])


places_inside = st.lists(
    st.tuples(st.floats(0, 47.9, allow_nan=False), st.floats(0, 31.9, allow_nan=False)), min_size=17, max_size=17
)


@given(places_inside)
def test_joints_come_back_from_the_persons_cell_and_from_their_own_peaks(places):
    targets = make_targets(person(places, VISIBLE), HEADS, GRID, SLOTS)
    y, x = divmod(int(targets["index"][0]), GRID[1])
    np.testing.assert_allclose((x, y) + targets["hps"][0].reshape(-1, 2), places, atol=1e-4)
    rows, columns = np.divmod(targets["joint_index"][:JOINTS], GRID[1])
    cells = np.stack([columns, rows], axis=1)
    np.testing.assert_allclose(cells + targets["hp_offset"][:JOINTS], places, atol=1e-4)
    assert (targets["hm_hp"][targets["joint_channels"][:JOINTS], rows, columns] == 1).all()
    assert targets["joint_mask"].sum() == JOINTS and targets["hps_mask"].sum() == 2 * JOINTS


def test_hidden_joints_are_regressed_but_are_no_peaks_and_joints_outside_are_nothing():
    places = np.tile([20.5, 16.5], (JOINTS, 1))
    places[3] = (-1.0, 5.0)
    hidden = make_targets(person(places, HIDDEN), HEADS, GRID, SLOTS)
    assert hidden["hps_mask"][0].reshape(-1, 2)[:, 0].tolist() == [j != 3 for j in range(JOINTS)]
    assert hidden["joint_mask"].sum() == 0 and hidden["hp_offset_mask"].sum() == 0
    assert hidden["hm_hp"][0, 16, 20] == 1  # and nothing wrong is found there


def test_joints_that_are_not_annotated_ask_for_nothing_within_the_person():
    heat = make_targets(person(np.zeros((JOINTS, 2)), ABSENT), HEADS, GRID, SLOTS)["hm_hp"]
    assert (heat[:, 6:27, 10:31] == 1).all() and heat.sum() == JOINTS * 21 * 21
    unknown = replace(person(np.zeros((JOINTS, 2)), ABSENT), joints=None)
    assert (make_targets(unknown, HEADS, GRID, SLOTS)["hm_hp"] == 1).all()
    crowd = replace(person(np.full((JOINTS, 2), 20.0), VISIBLE), ignored=np.array([[40.0, 1, 45, 9]]))
    assert (make_targets(crowd, HEADS, GRID, SLOTS)["hm_hp"][:, 1:10, 40:46] == 1).all()
    with pytest.raises(ValueError, match="17 joints"):
        make_targets(replace(crowd, joints=np.zeros((1, 5, 3))), HEADS, GRID, SLOTS)


def test_losses_are_the_official_ones_at_the_joints():
    """`hm_hp` is the focal loss, whose figures are held against the reference, of all joints; offsets are L1 there."""
    rng = np.random.default_rng(0)
    made = make_targets(person(rng.uniform(5, 30, (JOINTS, 2)), VISIBLE), HEADS, GRID, SLOTS)
    targets = {name: torch.from_numpy(np.asarray(array))[None] for name, array in made.items()}
    outputs = {name: torch.randn(1, channels, *GRID) for name, channels in HEADS.items()}
    losses = head_losses(outputs, targets)
    assert set(losses) == set(HEADS)
    cells, channels = targets["joint_index"], targets["joint_channels"]
    expected = focal_loss(outputs["hm_hp"], targets["hm_hp"], cells, channels, targets["joint_mask"])
    assert losses["hm_hp"] == expected
    read = outputs["hp_offset"].flatten(2).transpose(1, 2)[0, cells[0]][None]
    torch.testing.assert_close(losses["hp_offset"], l1_loss(read, targets["hp_offset"], targets["hp_offset_mask"]))
    perfect = outputs | {"hm_hp": torch.logit(targets["hm_hp"].clamp(1e-6, 1 - 1e-6) ** 4)}
    assert head_losses(perfect, targets)["hm_hp"] < 0.1 * losses["hm_hp"]


def test_a_left_hand_is_a_right_one_in_the_mirror():
    assert MIRRORED == MIRRORED_JOINTS
    joints = np.random.default_rng(1).normal(size=(2, 17, 3))
    np.testing.assert_array_equal(mirrored_joints(mirrored_joints(joints)), joints)


PROFILE = ModelProfile(
    "pose", "mobilenetv3_centernet", ("person",), HEADS, input_height=64, input_width=96, head_options={"head_conv": 16}
)


def test_cocos_keypoints_follow_the_image_through_the_mirror_into_a_networks_loss(tmp_path):
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:24, 70:74] = 255  # the left wrist
    cv2.imwrite(str(tmp_path / "a.png"), image)
    keypoints = np.zeros((17, 3))
    keypoints[9] = 71.5, 21.5, 2
    rows = [{"image_id": 1, "category_id": 1, "bbox": [30, 4, 56, 56], "keypoints": keypoints.ravel().tolist()}]
    rows.append({"image_id": 1, "category_id": 1, "bbox": [2, 2, 9, 9], "keypoints": [float("nan")] * 51})
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 64}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": rows,
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    collection = read_coco_video(tmp_path / "a.json", tmp_path, ("person",))
    assert (collection.images[0].joints[1] == 0).all()
    for flip, joint in ((0.0, 9), (1.0, MIRRORED[9])):
        sample = TrackingSamples([collection], PROFILE, replace(NO_AUGMENTATION, flip=flip), max_objects=4)[0]
        assert sample["joint_mask"].nonzero().ravel().tolist() == [joint]
        y, x = divmod(int(sample["joint_index"][joint]), 24)
        shown = np.array([x, y]) * 4 + sample["hp_offset"][joint].numpy() * 4
        bright = np.argwhere(sample["image"].numpy().min(axis=2) > 128)
        np.testing.assert_allclose(shown, bright.mean(axis=0)[::-1], atol=1.0)
        batch = torch.utils.data.default_collate([sample])
        network = build(PROFILE)
        features = features_of(network, PROFILE, batch)
        losses = head_losses(outputs_at_objects(network, features, batch["index"], batch["mask"]), batch)
        assert set(losses) == set(HEADS) and all(torch.isfinite(loss) for loss in losses.values())
