# SPDX-License-Identifier: Apache-2.0
"""The losses against numbers that the official code gives, and what they must do beyond."""

from pathlib import Path

import numpy as np
import pytest
import torch

from centertrack_ros.network.heads import gather_cells
from centertrack_ros.training.losses import (
    WEIGHTS,
    attribute_loss,
    focal_loss,
    head_losses,
    l1_loss,
    relative_depth_loss,
    rotation_loss,
    weighted_sum,
)

REFERENCE = Path(__file__).parents[1] / "data" / "parity" / "losses.npz"


@pytest.fixture(scope="module")
def given():
    with np.load(REFERENCE) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def at(given, name):
    return gather_cells(given[f"in_{name}"], given["in_ind"])


def test_focal_loss_is_the_official_one(given):
    logits, truth, index, channels, mask = (given[f"in_{n}"] for n in ("logit", "gt", "ind", "cat", "mask"))
    torch.testing.assert_close(focal_loss(logits, truth, index, channels, mask), given["focal"], rtol=1e-5, atol=0)
    nothing = torch.zeros_like(mask)  # without objects the official figure is for an empty heatmap
    torch.testing.assert_close(
        focal_loss(logits, torch.zeros_like(truth), index, channels, nothing), given["focal_nopos"], rtol=1e-5, atol=0
    )


def test_regressions_are_the_official_ones(given):
    found = l1_loss(at(given, "reg"), given["in_reg_target"], given["in_reg_mask"])
    torch.testing.assert_close(found, given["regl1"], rtol=1e-5, atol=0)
    found = attribute_loss(at(given, "att"), given["in_att_target"], given["in_att_mask"])
    torch.testing.assert_close(found, given["bce"], rtol=1e-5, atol=0)


def test_rotation_loss_is_the_official_one(given):
    found = rotation_loss(at(given, "rot"), given["in_rotbin"], given["in_rotres"], given["in_mask"])
    torch.testing.assert_close(found, given["binrot"], rtol=1e-5, atol=0)


def test_an_ignored_region_asks_for_nothing(given):
    logits = given["in_logit"].clone().requires_grad_()
    truth = given["in_gt"].clone()
    truth[:, :, :8, :8] = 1.0
    empty = torch.zeros_like(given["in_mask"])
    focal_loss(logits, truth, given["in_ind"], given["in_cat"], empty).backward()
    assert logits.grad[:, :, :8, :8].abs().max() == 0 and (logits.grad[truth < 1] > 0).all()


def test_confident_mistakes_stay_finite():
    logits = torch.tensor([[[[80.0, -80.0]]]], dtype=torch.float16)
    one = torch.ones(1, 1)
    loss = focal_loss(logits, torch.tensor([[[[0.0, 1.0]]]]), one.long(), torch.zeros(1, 1).long(), one)
    assert torch.isfinite(loss) and loss > 15


def test_heads_without_targets_are_left_out(given):
    outputs = {"hm": given["in_logit"], "reg": given["in_reg"][:, :2], "dep": given["in_reg"][:, :1]}
    targets = {
        "hm": given["in_gt"], "index": given["in_ind"], "channels": given["in_cat"], "mask": given["in_mask"],
        "reg": given["in_reg_target"][..., :2], "reg_mask": given["in_reg_mask"][..., :2],
    }  # fmt: skip
    losses = head_losses(outputs, targets)
    assert set(losses) == {"hm", "reg"}
    torch.testing.assert_close(weighted_sum(losses), losses["hm"] + losses["reg"])
    assert WEIGHTS["wh"] == 0.1


def test_a_depth_loss_may_be_relative_instead_of_metric():
    raw = torch.tensor([[[-np.log(5.5)], [-np.log(55.0)], [-np.log(3.0)]]], dtype=torch.float32)
    depths = torch.tensor([[[5.0], [50.0], [float(2**20)]]])
    mask = torch.tensor([[[1.0], [1.0], [0.0]]])
    # A tenth too far costs the same near and far; what is masked costs nothing.
    torch.testing.assert_close(
        relative_depth_loss(raw, depths, mask), torch.tensor(np.log(1.1), dtype=torch.float32), atol=1e-4, rtol=0
    )
    targets = {"index": torch.zeros(1, 3, dtype=torch.int64), "mask": mask[..., 0], "dep": depths, "dep_mask": mask}
    metres, parts = (float(head_losses({"dep": raw}, targets, relative)["dep"]) for relative in (False, True))
    assert metres == pytest.approx(2.75, rel=1e-3) and parts == pytest.approx(np.log(1.1), rel=1e-3)
