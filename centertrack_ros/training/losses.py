"""The losses of CenterTrack's heads (arXiv 2004.01177, after CornerNet 1808.01244 and Deep3DBox 1612.00496)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from centertrack_ros.network.heads import gather_cells

# Keeps a division by the number of objects defined when there are none (official code).
EPSILON = 1e-4


def focal_loss(scores: Tensor, target: Tensor, cells: Tensor, class_ids: Tensor, mask: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a heatmap, per object.

    scores, target  (B, C, h, w): predicted scores, strictly between 0 and 1, and Gaussians in 0..1
    cells           (B, N) flat cell y * w + x of each object's peak;  class_ids, mask  (B, N): its channel, 1 where it exists
    """
    empty = (torch.log(1 - scores) * scores**2 * (1 - target) ** 4).sum()
    peaks = gather_cells(scores, cells).gather(2, class_ids[..., None])[..., 0]
    found = (torch.log(peaks) * (1 - peaks) ** 2 * mask).sum()
    return -(found + empty) / torch.where(mask.sum() > 0, mask.sum(), torch.ones_like(mask.sum()))


def masked_l1(output: Tensor, target: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of a regression head at the objects' cells.

    output  (B, C, h, w);  cells  (B, N);  target, mask  (B, N, C): the mask counts every channel
    """
    values = gather_cells(output, cells)
    return F.l1_loss(values * mask, target * mask, reduction="sum") / (mask.sum() + EPSILON)


def attribute_loss(output: Tensor, target: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross entropy of the attribute logits (B, 8, h, w); target (0 or 1) and mask (B, N, 8)."""
    losses = F.binary_cross_entropy_with_logits(gather_cells(output, cells), target, reduction="none")
    return (losses * mask).sum() / (mask.sum() + EPSILON)


def rotation_loss(output: Tensor, bins: Tensor, residuals: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
    """Loss of the rot head (B, 8, h, w): for each of two overlapping bins whether it holds the angle, and the angle in it.

    bins  (B, N, 2) int64, 1 where the bin holds alpha;  residuals  (B, N, 2) rad from the bin's centre;  mask  (B, N)
    The classification is averaged over all slots, empty ones too, as in the official code.
    """
    values = gather_cells(output, cells).flatten(0, 1)
    bins, residuals, mask = bins.flatten(0, 1), residuals.flatten(0, 1), mask.flatten()[:, None]
    total = values.new_zeros(())
    for index in range(2):
        no_yes, sine, cosine = values[:, 4 * index : 4 * index + 2], values[:, 4 * index + 2], values[:, 4 * index + 3]
        total = total + F.cross_entropy(no_yes * mask, bins[:, index])
        held = bins[:, index] > 0
        if held.any():
            angle = residuals[held, index]
            total = total + F.smooth_l1_loss(sine[held], angle.sin()) + F.smooth_l1_loss(cosine[held], angle.cos())
    return total
