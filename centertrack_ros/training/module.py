# SPDX-License-Identifier: Apache-2.0
"""A CenterTrack network in training, for Lightning."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from centertrack_ros.network.decode import metric_depth
from centertrack_ros.network.heads import HEATMAPS, gather_cells, gather_patches
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.training.feature_cache import PATCHES, trainable_heads
from centertrack_ros.training.lightning_base import pl
from centertrack_ros.training.losses import JOINTS, WEIGHTS, head_losses, weighted_sum
from centertrack_ros.training.recipe import Recipe, as_mapping
from centertrack_ros.training.samples import normalised

_LOG = logging.getLogger(__name__)
LEAST_SIZE = 1e-3  # a tensor of zeros can learn, too


class TrackingModule(pl.LightningModule):
    """Loss, optimizer and validation scores of one network.

    `network` is what is optimized. `callbacks.MovingAverage` averages its weights and validates the average.
    """

    def __init__(self, network: nn.Module, profile: ModelProfile, recipe: Recipe) -> None:
        """Prepare a network for training.

        Args:
            network: As `initialize_network` makes it.
            profile: Of the network.
            recipe: Which parts learn, with which losses and rates.

        Raises:
            ValueError: `freeze` names no parameter, or all of them.
        """
        super().__init__()
        self.network, self.profile, self.recipe = network, profile, recipe
        self.loss_weights = {**WEIGHTS, **recipe.loss_weights}
        self.unweighted = tuple(name for name, weight in self.loss_weights.items() if not weight)
        # Faster on processors and tensor cores alike; the numbers are the same.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        # A head without weight gets no gradient: several processes would wait for it.
        idle = tuple(f"{name}." for name in self.unweighted if name in self.network.heads)  # type: ignore[operator]
        self.frozen = freeze(self.network, recipe.freeze + idle)

    @cached_property
    def trainable_heads(self) -> dict[str, nn.Module]:
        """The heads that learn from cached features; see `feature_cache.trainable_heads`."""
        return trainable_heads(self.network)

    def outputs(self, batch: Mapping[str, Tensor], skipped: Collection[str] = ()) -> dict[str, Tensor]:
        """What the losses read, computed from images.

        Args:
            batch: Of `TrackingSamples`.
            skipped: Names of heads that are not computed; 'static' stands for the cells of static images.

        Returns:
            The outputs of `outputs_at_objects`, and 'static' (B, S, 2), displacements at the cells of static images.
        """
        network = self.network
        features = features_of(network, self.profile, batch)
        # Heads in float32, whatever the precision: their values are finer than 16 bits.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            outputs = outputs_at_objects(network, features, batch["index"], batch["mask"], skipped)
            if "tracking" in outputs and "static" not in skipped:
                others = [name for name in network.heads if name != "tracking"]  # type: ignore[union-attr]
                cells = batch["static_index"]
                mask = torch.ones_like(cells)
                outputs["static"] = outputs_at_objects(network, features, cells, mask, others)["tracking"]
        return outputs

    def outputs_from_patches(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The trainable heads' values (B, K, C) at the objects of a batch of `CachedFeatures`."""
        patches, kernel = batch[PATCHES].to(self.dtype).flatten(0, 1), common_kernel(self.trainable_heads)
        square, mask = patches.view(len(patches), kernel, kernel, -1).permute(0, 3, 1, 2), batch["mask"][..., None]
        return {
            name: _center_values(head, square).view(*mask.shape[:2], -1) * mask
            for name, head in self.trainable_heads.items()
        }

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Weighted loss of one batch."""
        cached = PATCHES in batch
        outputs = self.outputs_from_patches(batch) if cached else self.outputs(batch, self.unweighted)
        losses = head_losses(outputs, batch, self.recipe.relative_depth)
        total = weighted_sum(losses, self.loss_weights)
        if not torch.isfinite(total):
            parts = ", ".join(f"{name} {float(loss):.3g}" for name, loss in losses.items())
            raise FloatingPointError(f"the loss is not finite at step {self.global_step}: {parts}")
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, sync_dist=False)
        self.log("train/loss", total, prog_bar=True)
        self.log("train/rate_factor", self._rate_factor(self.global_step))
        skipped = 0.0 if cached else batch["skipped"].sum().float()
        self.log("train/skipped_images", skipped, reduce_fx="sum", on_step=False, on_epoch=True)
        return total

    def on_train_start(self) -> None:
        """As at the start of an epoch: a run that is resumed within an epoch starts none."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Frozen parts keep their statistics."""
        self.network.train()
        for module in self.frozen:
            module.eval()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Losses, and scores of the network's values at the annotated objects' cells."""
        outputs = self.outputs(batch, ("static",))
        losses = head_losses(outputs, batch, self.recipe.relative_depth)
        scores = {f"val/{name}": loss for name, loss in losses.items()}
        scores["val/loss"] = weighted_sum(losses, self.loss_weights)
        self.log_dict(scores, sync_dist=True, batch_size=len(outputs["hm"]))
        # Processes gather their scores in the order of the calls, so each logs the same names every time.
        present = batch["mask"] > 0
        cells = gather_cells(outputs["hm"].sigmoid(), batch["index"])
        confidence = cells.gather(2, batch["channels"][..., None]).squeeze(2)
        self._log_mean("val/recall", (confidence[present] > 0.3).float())
        if "tracking" in outputs:
            error = (outputs["tracking"].float() - batch["tracking"])[batch["tracking_mask"][..., 0] > 0]
            self._log_mean("val/displacement_px", error.norm(dim=1) * self.profile.down_ratio)
        if "dep" in outputs:
            error = (metric_depth(outputs["dep"].float()) - batch["dep"]).abs() / batch["dep"].clamp(min=0.1)
            self._log_mean("val/depth_error", error[batch["dep_mask"][..., 0] > 0])
        self.log("val/score", -scores["val/loss"], sync_dist=True, prog_bar=True, batch_size=len(outputs["hm"]))

    def _log_mean(self, name: str, values: Tensor) -> None:
        """The mean over all objects of a validation; nan where there are none."""
        self.log(name, values.mean() if values.numel() else 0.0, sync_dist=True, batch_size=len(values))

    def configure_optimizers(self) -> Any:
        """Adam; the rate rises over `warmup` steps and falls by 10 at each of `drop_at`."""
        optimizer = torch.optim.Adam(parameter_groups(self.network, self.recipe), self.recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate_factor(self, step: int) -> float:
        recipe = self.recipe
        rise = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
        return rise * 0.1 ** sum(step >= drop for drop in recipe.drop_at)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of torch's random generator, the profile and the recipe."""
        checkpoint["random"] = {
            "torch": torch.get_rng_state(),
            "profile": self.profile.to_json(),
            "recipe": as_mapping(self.recipe),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this run; log the recipe keys that differ.

        Raises:
            ValueError: The checkpoint has another profile, or a key differs that cannot change within a run.
        """
        saved = checkpoint.get("random", {})
        if saved.get("profile") != self.profile.to_json():
            raise ValueError("the checkpoint belongs to a model with another profile; train into another folder")
        before, now = saved.get("recipe", {}), as_mapping(self.recipe)
        if "init_from" not in before:
            raise ValueError("the checkpoint was written by an earlier version; train into another folder")
        changed = [key for key in before if key in now and before[key] != now[key]]
        if "ema" in changed and not (before["ema"] and now["ema"]):
            raise ValueError("recipe: ema cannot be switched on or off within a run; train into another folder")
        if changed:
            _LOG.warning("the run continues with a changed recipe: %s differ", ", ".join(sorted(changed)))
        if any(key in changed for key in ("learning_rate", "relative_rates", "freeze")):
            raise ValueError(
                "recipe: learning_rate, relative_rates and freeze stay as they are within a run, because its "
                "optimizer holds them; train into another folder, with these weights as 'init_from'"
            )
        torch.set_rng_state(saved["torch"])


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What learns, for the optimizer, grouped by learning rate.

    Args:
        network: Whose parameters may be frozen in part.
        recipe: Of its `relative_rates` the first prefix that fits a parameter's name decides.

    Returns:
        Groups with the keys 'params' and 'lr'.

    Raises:
        ValueError: A prefix fits no parameter.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    unused = set(recipe.relative_rates)
    for name, parameter in network.named_parameters():
        prefix = next((prefix for prefix in recipe.relative_rates if name.startswith(prefix)), None)
        if prefix is not None:
            unused.discard(prefix)
        if not parameter.requires_grad:
            continue
        rate = recipe.learning_rate
        if prefix is not None:
            # Sizes are rounded to a power of two, so that groups are few.
            size = max(float(parameter.detach().square().mean().sqrt()), LEAST_SIZE)
            rate *= recipe.relative_rates[prefix] * 2.0 ** round(math.log2(size))
        groups.setdefault(rate, []).append(parameter)
    if unused:
        raise ValueError(f"recipe: relative_rates: no parameter's name begins with '{min(unused)}'")
    return [{"params": group, "lr": rate} for rate, group in groups.items()]


def features_of(network: nn.Module, profile: ModelProfile, batch: Mapping[str, Tensor]) -> Tensor:
    """The features (B, F, h, w) that the heads read, of a batch of `TrackingSamples`."""
    return network.features(  # type: ignore[operator]
        normalised(batch["image"], profile),
        normalised(batch["previous"], profile) if profile.previous_image else None,
        batch["prior"] if profile.prior_heatmap else None,
    )


def outputs_at_objects(
    network: nn.Module, features: Tensor, index: Tensor, mask: Tensor, skipped: Collection[str] = ()
) -> dict[str, Tensor]:
    """What the losses read: heatmaps, and the values of the other heads at the objects' cells.

    Values and gradients equal those of whole maps, at a small part of their cost.

    Args:
        network: A CenterTrack network.
        features: (B, F, h, w), of `features_of`.
        index: (B, K) flat cells y * w + x of the objects.
        mask: (B, K), 0 for empty slots, which come last.
        skipped: Names of heads that are left out.

    Returns:
        Head -> map (B, C, h, w) for heatmaps and the heads of JOINTS, else values (B, K, C), 0 in empty slots.
    """
    heads: Mapping[str, nn.Module] = network.heads  # type: ignore[assignment]
    slots = index.shape[1]
    # On a GPU all of them: sizes stay the same in each step, and no count has to be copied to the CPU.
    used = slots if features.is_cuda else max(1, int(mask.sum(dim=1).max()))
    patches: dict[int, Tensor] = {}
    outputs = {}
    for name, head in heads.items():
        if name in skipped:
            continue
        kernel = _patch_kernel(head)
        if name in HEATMAPS or name in JOINTS or kernel is None:
            outputs[name] = head(features)
            continue
        if kernel not in patches:
            rows = gather_patches(features, index[:, :used], kernel).view(-1, kernel, kernel, features.shape[1])
            patches[kernel] = rows.permute(0, 3, 1, 2)
        values = _center_values(head, patches[kernel]).view(*index[:, :used].shape, -1)
        outputs[name] = F.pad(values, (0, 0, 0, slots - used)) * mask[..., None]
    return outputs


def common_kernel(heads: Mapping[str, nn.Module]) -> int:
    """The side of the patches that all these heads read. Raises ValueError when they differ."""
    sides = {_patch_kernel(head) for head in heads.values()}
    side = sides.pop() if len(sides) == 1 else None
    if side is None:
        raise ValueError(f"recipe: cache_features: the heads {', '.join(heads)} do not all read patches of one size")
    return side


def _patch_kernel(head: nn.Module) -> int | None:
    """The side of the patch that a cell's value depends on; None if that is not known."""
    if isinstance(head, nn.Sequential) and isinstance(head[0], nn.Conv2d):
        pointwise = all(not isinstance(layer, nn.Conv2d) or layer.kernel_size == (1, 1) for layer in list(head)[1:])
        return head[0].kernel_size[0] if pointwise else None
    return getattr(head, "patch_kernel", None)


def _center_values(head: nn.Module, patches: Tensor) -> Tensor:
    """A head's values (M, C) in the middle of patches (M, F, k, k)."""
    if not isinstance(head, nn.Sequential):
        middle = patches.shape[-1] // 2
        return head(patches)[:, :, middle, middle]
    first = head[0]
    assert isinstance(first, nn.Conv2d)
    return head[1:](F.conv2d(patches, first.weight, first.bias)).flatten(1)


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> list[nn.Module]:
    """Exclude parameters from learning.

    Args:
        network: Changed in place.
        prefixes: Of the names of the parameters.

    Returns:
        The modules with such names, whose statistics (batch norm) must not change either.

    Raises:
        ValueError: A prefix fits no parameter, or nothing is left to learn.
    """
    for prefix in prefixes:
        matching = [p for name, p in network.named_parameters() if name.startswith(prefix)]
        if not matching:
            raise ValueError(f"recipe: freeze: no parameter's name begins with '{prefix}'")
        for parameter in matching:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError("recipe: freeze leaves nothing to train")
    return [module for name, module in network.named_modules() if name and f"{name}.".startswith(prefixes)]
