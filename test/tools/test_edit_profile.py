# SPDX-License-Identifier: Apache-2.0
"""The profile in a file of weights can be changed; the weights, and the file when the change is bad, stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from centertrack_ros.network.checkpoints import load
from centertrack_ros.network.registry import weights_path
from tools.edit_profile import edit


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return Path(shutil.copy(weights_path("mobilenetv3-coco"), tmp_path / "model.safetensors"))


def test_a_changed_field_is_in_the_file_and_the_weights_are_the_same(weights: Path) -> None:
    before, _ = load(weights)
    edit(weights, ["max_detections=50"])
    after, profile = load(weights)
    assert profile.max_detections == 50
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())


@pytest.mark.parametrize("change", ["max_detections", "max_detections=0", "no_such_field=1", "classes=["])
def test_a_bad_change_leaves_the_file_as_it_was(weights: Path, change: str) -> None:
    before = weights.read_bytes()
    with pytest.raises(ValueError, match=r"."):
        edit(weights, [change])
    assert weights.read_bytes() == before


def test_a_field_that_is_taken_out_has_its_default(weights: Path) -> None:
    edit(weights, ["max_detections=50"])
    edit(weights, ["max_detections="])
    assert load(weights)[1].max_detections == 100
