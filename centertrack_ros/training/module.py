"""A CenterTrack network in training, for Lightning."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from centertrack_ros.network.decode import metric_depth
from centertrack_ros.network.heads import HEATMAPS, gather_cells, gather_patches
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.training.feature_cache import PATCHES, learning_heads
from centertrack_ros.training.losses import JOINTS, WEIGHTS, head_losses, weighted_sum
from centertrack_ros.training.recipe import Recipe, as_mapping
from centertrack_ros.training.samples import normalised

_LOG = logging.getLogger(__name__)
LEAST_SIZE = 1e-3  # a tensor of zeros can still learn


class TrackingModule(pl.LightningModule):
    """Loss, optimizer, averaged weights and validation figures of one network.

    `network` is what is optimised, `averaged` its exponential moving average, which is validated and exported.
    """

    def __init__(self, network: nn.Module, profile: ModelProfile, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.profile, self.recipe = network, profile, recipe
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False) if recipe.ema else None
        self.weights = {**WEIGHTS, **recipe.loss_weights}
        self.unweighted = tuple(name for name, weight in self.weights.items() if not weight)
        # Faster on processors and tensor cores alike; the numbers are the same.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.averaged is not None:
            self.averaged.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        # Without weight, without gradient: several processes wait for the gradients of all that could have one.
        idle = tuple(f"{name}." for name in self.unweighted if name in self.network.heads)  # type: ignore[operator]
        self.frozen = freeze(self.network, recipe.freeze + idle)

    @property
    def best_network(self) -> nn.Module:
        """What is validated and exported."""
        return self.network if self.averaged is None else self.averaged

    @cached_property
    def learning_heads(self) -> dict[str, nn.Module]:
        """What learns from remembered features; see `remembered.learning_heads`."""
        return learning_heads(self.network)

    def _run(self, network: nn.Module, batch: Mapping[str, Tensor], skipped: Collection[str] = ()) -> dict[str, Tensor]:
        features = features_of(network, self.profile, batch)
        # Heads in float32, whatever the precision: what they say is finer than 16 bits are.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            outputs = outputs_at_objects(network, features, batch["index"], batch["mask"], skipped)
            if "tracking" in outputs and "still" not in skipped:
                others, cells = [n for n in network.heads if n != "tracking"], batch["still_index"]  # type: ignore
                anywhere = torch.ones_like(cells)
                outputs["still"] = outputs_at_objects(network, features, cells, anywhere, others)["tracking"]
        return outputs

    def _from_patches(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The learning heads' values (B, K, C) at the objects of `RememberedSamples`."""
        patches, kernel = batch[PATCHES].to(self.dtype).flatten(0, 1), common_kernel(self.learning_heads)
        square, mask = patches.view(len(patches), kernel, kernel, -1).permute(0, 3, 1, 2), batch["mask"][..., None]
        return {
            name: _middle(head, square).view(*mask.shape[:2], -1) * mask for name, head in self.learning_heads.items()
        }

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Weighted loss of one batch."""
        remembered = PATCHES in batch
        outputs = self._from_patches(batch) if remembered else self._run(self.network, batch, self.unweighted)
        losses = head_losses(outputs, batch, self.recipe.relative_depth)
        total = weighted_sum(losses, self.weights)
        if not torch.isfinite(total):
            parts = ", ".join(f"{name} {float(loss):.3g}" for name, loss in losses.items())
            raise FloatingPointError(f"the loss is not finite at step {self.global_step}: {parts}")
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, sync_dist=False)
        self.log("train/loss", total, prog_bar=True)
        self.log("train/rate_factor", self._rate_factor(self.global_step))
        skipped = 0.0 if remembered else batch["skipped"].sum().float()
        self.log("train/skipped_images", skipped, reduce_fx="sum", on_step=False, on_epoch=True)
        return total

    def on_train_start(self) -> None:
        """Frozen parts keep their statistics; a run that goes on within an epoch begins no epoch."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Frozen parts keep their statistics."""
        self.network.train()
        for module in self.frozen:
            module.eval()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, and the average with its weights: together, so that no checkpoint has one without the other."""
        super().optimizer_step(*args, **kwargs)
        if self.averaged is None:
            return
        done = self.global_step + 1
        decay = min(self.recipe.ema, (1 + done) / (10 + done))
        with torch.no_grad():
            pairs = [*zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)]
            means, current = zip(*(pair for pair in pairs if pair[0].dtype.is_floating_point), strict=True)
            torch._foreach_lerp_(means, current, 1 - decay)  # a few kernels instead of one for each tensor
            for count, now in (pair for pair in pairs if not pair[0].dtype.is_floating_point):
                count.copy_(now)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Losses, and what the network says at the true objects' cells."""
        outputs = self._run(self.best_network, batch, ("still",))
        losses = head_losses(outputs, batch, self.recipe.relative_depth)
        figures = {f"val/{name}": loss for name, loss in losses.items()}
        figures["val/loss"] = weighted_sum(losses, self.weights)
        self.log_dict(figures, sync_dist=True, batch_size=len(outputs["hm"]))
        # Processes add up their figures in the order in which they came: all say the same ones, each time.
        found = batch["mask"] > 0
        cells = gather_cells(outputs["hm"].sigmoid(), batch["index"])
        scores = cells.gather(2, batch["channels"][..., None]).squeeze(2)
        self._log_mean("val/recall", (scores[found] > 0.3).float())
        if "tracking" in outputs:
            error = (outputs["tracking"].float() - batch["tracking"])[batch["tracking_mask"][..., 0] > 0]
            self._log_mean("val/displacement_px", error.norm(dim=1) * self.profile.down_ratio)
        if "dep" in outputs:
            error = (metric_depth(outputs["dep"].float()) - batch["dep"]).abs() / batch["dep"].clamp(min=0.1)
            self._log_mean("val/depth_error", error[batch["dep_mask"][..., 0] > 0])
        self.log("val/score", -figures["val/loss"], sync_dist=True, prog_bar=True, batch_size=len(outputs["hm"]))

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
        """The generators' states go along, though samples do not depend on them, and what the run was asked for."""
        checkpoint["random"] = {
            "torch": torch.get_rng_state(),
            "profile": self.profile.to_json(),
            "recipe": as_mapping(self.recipe),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the checkpoint of another model; says in which other keys the recipe differs."""
        kept = checkpoint.get("random", {})
        if kept.get("profile") != self.profile.to_json():
            raise ValueError("the checkpoint belongs to a model with another profile; train into another folder")
        before, now = kept.get("recipe", {}), as_mapping(self.recipe)
        changed = [key for key in before if key in now and before[key] != now[key]]
        if "ema" in changed and not (before["ema"] and now["ema"]):
            raise ValueError("recipe: ema cannot be switched on or off within a run; train into another folder")
        if changed:
            _LOG.warning("going on with another recipe than before: %s differ", ", ".join(sorted(changed)))
        if any(key in changed for key in ("learning_rate", "relative_rates", "freeze")):
            raise ValueError(
                "recipe: learning_rate, relative_rates and freeze stay as they are within a run, whose optimizer has "
                "them; train into another folder, with these weights as 'start'"
            )
        torch.set_rng_state(kept["torch"])


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What learns, for the optimizer, by learning rate; the first beginning of a name that fits decides.

    Raises ValueError for a beginning that no parameter has.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    unused = set(recipe.relative_rates)
    for name, parameter in network.named_parameters():
        beginning = next((b for b in recipe.relative_rates if name.startswith(b)), None)
        unused.discard(beginning)  # type: ignore[arg-type]
        if not parameter.requires_grad:
            continue
        rate = recipe.learning_rate
        if beginning is not None:
            # Sizes to the next power of two, so that groups are few.
            size = max(float(parameter.detach().square().mean().sqrt()), LEAST_SIZE)
            rate *= recipe.relative_rates[beginning] * 2.0 ** round(math.log2(size))
        groups.setdefault(rate, []).append(parameter)
    if unused:
        raise ValueError(f"recipe: relative_rates: no parameter's name begins with '{sorted(unused)[0]}'")
    return [{"params": group, "lr": rate} for rate, group in groups.items()]


def features_of(network: nn.Module, profile: ModelProfile, batch: Mapping[str, Tensor]) -> Tensor:
    """What the heads read of a batch of `TrackingSamples`, (B, F, h, w)."""
    return network.features(  # type: ignore[operator]
        normalised(batch["image"], profile),
        normalised(batch["previous"], profile) if profile.previous_image else None,
        batch["prior"] if profile.prior_heatmap else None,
    )


def outputs_at_objects(
    network: nn.Module, features: Tensor, index: Tensor, mask: Tensor, skipped: Collection[str] = ()
) -> dict[str, Tensor]:
    """What the losses read: heatmaps (B, C, h, w), and every other head's values at the objects' cells (B, K, C).

    The same values and gradients as whole maps give, at a small part of their cost. index, mask (B, K); empty slots,
    which come last, get 0. Heads of JOINTS are maps, too; those in `skipped` are left out.
    """
    heads: Mapping[str, nn.Module] = network.heads  # type: ignore[assignment]
    slots = index.shape[1]
    # On a GPU all of them: the same sizes in each step, and nobody waits for a count.
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
        values = _middle(head, patches[kernel]).view(*index[:, :used].shape, -1)
        outputs[name] = F.pad(values, (0, 0, 0, slots - used)) * mask[..., None]
    return outputs


def common_kernel(heads: Mapping[str, nn.Module]) -> int:
    """The side of the patches that all these heads read. Raises ValueError when there is no such."""
    sides = {_patch_kernel(head) for head in heads.values()}
    side = sides.pop() if len(sides) == 1 else None
    if side is None:
        raise ValueError(f"recipe: remember: the heads {', '.join(heads)} do not all read patches of one size")
    return side


def _patch_kernel(head: nn.Module) -> int | None:
    """The side of the patch that a cell's value depends on; None if that is not known."""
    if isinstance(head, nn.Sequential) and isinstance(head[0], nn.Conv2d):
        pointwise = all(not isinstance(layer, nn.Conv2d) or layer.kernel_size == (1, 1) for layer in head[1:])
        return head[0].kernel_size[0] if pointwise else None
    return getattr(head, "patch_kernel", None)


def _middle(head: nn.Module, patches: Tensor) -> Tensor:
    """(M, C) of a head in the middle of patches (M, F, k, k)."""
    if not isinstance(head, nn.Sequential):
        middle = patches.shape[-1] // 2
        return head(patches)[:, :, middle, middle]
    first = head[0]
    assert isinstance(first, nn.Conv2d)
    return head[1:](F.conv2d(patches, first.weight, first.bias)).flatten(1)


def freeze(network: nn.Module, beginnings: tuple[str, ...]) -> list[nn.Module]:
    """Keep parameters whose names begin so from learning; returns the modules whose statistics must stay, too.

    Raises ValueError for a beginning that no parameter has, or when nothing is left to learn.
    """
    for beginning in beginnings:
        matching = [p for name, p in network.named_parameters() if name.startswith(beginning)]
        if not matching:
            raise ValueError(f"recipe: freeze: no parameter's name begins with '{beginning}'")
        for parameter in matching:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError("recipe: freeze leaves nothing to train")
    return [
        module
        for name, module in network.named_modules()
        if name and any(f"{name}.".startswith(b) or name.startswith(b) for b in beginnings)
    ]
