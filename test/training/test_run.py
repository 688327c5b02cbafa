# SPDX-License-Identifier: Apache-2.0
"""Training runs from a recipe to weights."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.training.data_module import TrainingData
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.run import train
from support.moving_square import PROFILE, make_recipe, weights


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path, video):
    one = make_recipe(
        video,
        steps=2,
        batch=4,
        ema=0.0,
        val=[],
        profile={**make_recipe(video).profile, "head_options": {"head_conv": 16}},
    )
    two = replace(one, batch=2, devices=2, strategy="ddp_spawn")
    initial = initialize_network(one)[0].state_dict()
    alone = weights(train(one, tmp_path / "one", progress=False))
    together = weights(train(two, tmp_path / "two", progress=False))
    names = [name for name, value in initial.items() if value.dtype.is_floating_point and "running" not in name]
    steps = [torch.cat([(end[name] - initial[name]).flatten() for name in names]) for end in (alone, together)]
    # Each process divides by its own number of objects, and Adam's first steps are all of one size: alike, not equal.
    assert float(torch.cosine_similarity(*steps, dim=0)) > 0.8


@pytest.mark.slow
def test_two_processes_validate_together_what_only_one_of_them_sees(tmp_path, video):
    """Objects in the second process's images only, and a head that does not learn."""
    document = json.loads((video / "annotations.json").read_text())
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] % 2]
    (video / "seen.json").write_text(json.dumps(document))
    seen = [{"kind": "coco_video", "annotations": str(video / "seen.json"), "images": str(video / "images")}]
    profile = {**make_recipe(video).profile, "head_options": {"head_conv": 16}}
    made = make_recipe(
        video, steps=2, val=seen, loss_weights={"wh": 0.0}, profile=profile, devices=2, strategy="ddp_spawn"
    )
    train(made, tmp_path / "run", progress=False)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)["global_step"] == 2
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "from_step_0" / "metrics.csv").open()))
    (validation,) = [row for row in rows if row["val/loss"]]
    figures = {name: float(value) for name, value in validation.items() if name.startswith("val/") and value}
    assert figures["val/score"] == pytest.approx(-figures["val/loss"], rel=1e-5)
    assert 0 <= figures["val/recall"] <= 1
    assert np.isnan(figures["val/displacement_px"])  # no object is in two frames that follow each other
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="val has 1 images for 2 processes"):
        train(replace(made, val=(replace(made.val[0], limit=1),)), tmp_path / "few", progress=False)


@pytest.mark.slow
def test_one_batch_can_be_overfitted(tmp_path, video):
    """100 steps on the same images bring the loss near 0."""
    no_augmentation = {
        "flip": 0,
        "crop": False,
        "color": 0,
        "lighting": 0,
        "shift": 0,
        "scale": 0,
        "heatmap_jitter": 0,
        "lost": 0,
        "false_peaks": 0,
        "same_crop": True,
        "max_frame_distance": 0,
    }
    made = make_recipe(
        video,
        steps=100,
        validate_every=50,
        batch=6,
        learning_rate=2e-3,
        drop_at=[80],
        augmentation=no_augmentation,
        ema=0.5,
    )
    train(made, tmp_path / "run", progress=False)
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "from_step_0" / "metrics.csv").open()))
    last = [float(row["train/loss"]) for row in rows if row["train/loss"]][-1]
    assert last < 0.15  # near 10 before training


def test_only_what_is_not_frozen_learns(tmp_path, video):
    made = make_recipe(video, steps=1, freeze=["stem.", "blocks.", "last.", "neck.", "hm"], ema=0.0, val=[])
    before = weights(train(replace(made, learning_rate=1e-12), tmp_path / "a", progress=False))
    after = weights(train(replace(made, learning_rate=1e-2), tmp_path / "b", progress=False))
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed and changed <= {"reg", "wh", "tracking", "previous_stem", "prior_stem"}
    with pytest.raises(ValueError, match="no_such"):
        train(replace(made, freeze=("no_such",)), tmp_path / "c", progress=False)


def test_a_head_without_weight_costs_no_time_and_learns_nothing(tmp_path, video):
    made = make_recipe(video, loss_weights={"wh": 0.0}, steps=1, ema=0.0, val=[])
    before = weights(train(replace(made, learning_rate=1e-12), tmp_path / "a", progress=False))
    after = weights(train(replace(made, learning_rate=1e-2), tmp_path / "b", progress=False))
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "wh" not in changed and {"hm", "reg", "tracking"} <= changed


def test_images_of_another_size_than_the_models_can_be_learnt_from(tmp_path, video):
    made = make_recipe(video, sample_size="64x32")
    data = TrainingData(made, PROFILE)
    data.setup()
    assert data.train[0]["image"].shape == (32, 64, 3) and data.val[0]["image"].shape == (64, 96, 3)
