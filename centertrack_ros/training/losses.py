# SPDX-License-Identifier: Apache-2.0
"""The official losses: focal for heatmaps, L1 at the objects' cells for regressions, bins for the angle.

Maps are (B, C, h, w); objects are padded to K slots per image: `index` (B, K) flat cells y * w + x, `mask` zero for
empty slots.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from centertrack_ros.network.decode import metric_depth
from centertrack_ros.network.heads import gather_cells

# Weight of each head in the sum.
WEIGHTS = {
    "hm": 1.0,
    "reg": 1.0,
    "wh": 0.1,
    "tracking": 1.0,
    "ltrb": 0.1,
    "ltrb_amodal": 0.1,
    "dep": 1.0,
    "dim": 1.0,
    "rot": 1.0,
    "amodel_offset": 1.0,
    "nuscenes_att": 1.0,
    "velocity": 1.0,
    "hps": 1.0,
    "hm_hp": 1.0,
    "hp_offset": 1.0,
    "static": 0.0,  # not in the paper: displacement of any cell of a static image, see `targets.static_targets`
}
JOINTS = ("hm_hp", "hp_offset")  # heads whose losses are taken at the joints, not at the objects
CLAMP = 1e-4


def focal_loss(logits: Tensor, truth: Tensor, index: Tensor, channels: Tensor, mask: Tensor) -> Tensor:
    """Focal loss of a heatmap over the whole batch, divided by the number of objects.

    Cells with a target of 1 that are no object's add nothing: so regions are ignored.

    Args:
        logits: (B, C, h, w), before the sigmoid.
        truth: (B, C, h, w), 1 at objects and Gaussian around them.
        index: (B, K) flat cells of the objects.
        channels: (B, K) classes of the objects.
        mask: (B, K), 0 for empty slots.
    """
    # float32 throughout: 1 - 1e-4 is 1 in half precision, and its logarithm 0.
    score = torch.sigmoid(logits.float()).clamp(CLAMP, 1 - CLAMP)
    negative = (torch.log1p(-score) * score**2 * (1 - truth) ** 4).sum()
    at_objects = gather_cells(score, index).gather(2, channels[..., None]).squeeze(2)
    positive = (torch.log(at_objects) * (1 - at_objects) ** 2 * mask).sum()
    return -(positive + negative) / mask.sum().clamp(min=1.0)


def l1_loss(values: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the unmasked entries of (B, K, C)."""
    return ((values - target).abs() * mask).sum() / (mask.sum() + 1e-4)


def attribute_loss(values: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of logits over the unmasked entries of (B, K, C)."""
    loss = F.binary_cross_entropy_with_logits(values, target, reduction="none")
    return (loss * mask).sum() / (mask.sum() + 1e-4)


def rotation_loss(values: Tensor, bins: Tensor, residuals: Tensor, mask: Tensor) -> Tensor:
    """Two bins of the observation angle: which of them hold it, and its sine and cosine from their middles.

    The classification is a mean over all slots; an empty one adds ln 2 for each bin, as in the official code.

    Args:
        values: (B, K, 8), raw.
        bins: (B, K, 2) int64, 1 where the bin holds the angle.
        residuals: (B, K, 2) rad, from the middle of the bin.
        mask: (B, K), 0 for empty slots.
    """
    flat, bins, residuals = values.flatten(0, 1), bins.flatten(0, 1), residuals.flatten(0, 1)
    weight = mask.flatten()[:, None]
    total = values.new_zeros(())
    for k in range(2):
        logits, sine_cosine = flat[:, 4 * k : 4 * k + 2], flat[:, 4 * k + 2 : 4 * k + 4]
        total = total + F.cross_entropy(logits * weight, bins[:, k])
        inside = bins[:, k].nonzero()[:, 0]
        if len(inside):
            angle = residuals[inside, k]
            target = torch.stack([torch.sin(angle), torch.cos(angle)], dim=1)
            total = total + 2 * F.smooth_l1_loss(sine_cosine[inside], target)
    return total


def relative_depth_loss(raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of the depths' logarithms: a tenth too far costs the same at 5 m and at 50 m.

    Args:
        raw: (B, K, 1) of head 'dep', whose depth is 1 / sigmoid - 1 = exp(-raw).
        target: (B, K, 1), m.
        mask: (B, K, 1), 0 where the depth is unknown.
    """
    return l1_loss(-raw, target.clamp(min=0.1).log(), mask)


def head_losses(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], relative_depth: bool = False
) -> dict[str, Tensor]:
    """Unweighted loss of every head of `outputs` that has targets.

    Args:
        outputs: Head -> raw map (B, C, h, w), or values at the objects' cells (B, K, C); hm and JOINTS are always maps.
        targets: Of `targets.make_targets`, with a batch axis.
        relative_depth: Use `relative_depth_loss`; else the loss in metres, as in the paper.

    Returns:
        Head -> scalar.
    """
    index = targets["index"]
    losses = {}
    for name, dense in outputs.items():
        if name == "hm":
            losses[name] = focal_loss(dense, targets[name], index, targets["channels"], targets["mask"])
            continue
        if name not in targets and name != "rot":
            continue
        if name in JOINTS:
            losses[name] = _joint_loss(name, dense, targets)
            continue
        values = (gather_cells(dense, index) if dense.dim() == 4 else dense).float()
        if name == "rot":
            losses[name] = rotation_loss(values, targets["rot_bins"], targets["rot_residuals"], targets["rot_mask"])
        elif name == "nuscenes_att":
            losses[name] = attribute_loss(values, targets[name], targets[f"{name}_mask"])
        elif name == "velocity" and "velocity_interval" in targets:
            interval = targets["velocity_interval"]
            interval = interval.where(interval != 0, 1.0)  # of an empty slot
            losses[name] = l1_loss(values[..., :3] / interval + values[..., 3:], targets[name], targets[f"{name}_mask"])
        elif name == "dep" and relative_depth:
            losses[name] = relative_depth_loss(values, targets[name], targets[f"{name}_mask"])
        else:
            values = metric_depth(values) if name == "dep" else values
            losses[name] = l1_loss(values, targets[name], targets[f"{name}_mask"])
    return losses


def _joint_loss(name: str, dense: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    """Loss of the joints' heatmaps, or of the offsets at their cells (`joint_index`, (B, K J))."""
    cells = targets["joint_index"]
    if name == "hm_hp":
        return focal_loss(dense, targets[name], cells, targets["joint_channels"], targets["joint_mask"])
    return l1_loss(gather_cells(dense, cells).float(), targets[name], targets[f"{name}_mask"])


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    """The loss that is minimized. Raises KeyError for a head without a weight."""
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
