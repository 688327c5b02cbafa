"""One training run: from a recipe to logs, checkpoints and a weights file."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from centertrack_ros.network import checkpoints
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build, weights_path
from centertrack_ros.training import sources
from centertrack_ros.training.augmentation import NONE
from centertrack_ros.training.feature_cache import RememberedSamples, padded
from centertrack_ros.training.module import TrackingModule, common_kernel, features_of
from centertrack_ros.training.recipe import Recipe
from centertrack_ros.training.samples import ResumableBatches, TrackingSamples

_LOG = logging.getLogger(__name__)
LAST, BEST = "last", "best"


class SafeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are complete or not there: written beside, then renamed; a full disk costs the new one, never
    the old.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises OSError that says which file could not be written."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise OSError(
                f"{target}: the checkpoint could not be written ({error}); the one before is untouched"
            ) from error


class Keeper(Callback):
    """Writes the checkpoints of a run: the best by `monitor` when it has been judged, then the last one, which knows of
    both, so that a run that is killed at any moment loses steps and nothing else.
    """

    def __init__(self, folder: Path, monitor: str | None) -> None:
        self.folder, self.monitor = folder, monitor
        self.best = -math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.monitor is None:
            return
        score = float(trainer.callback_metrics[self.monitor])
        if score > self.best:
            self.best = score
            trainer.save_checkpoint(self.folder / f"{BEST}.ckpt")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{LAST}.ckpt")


class Data(pl.LightningDataModule):
    """Loaders whose batches depend on the number of steps done, and on nothing else."""

    def __init__(self, recipe: Recipe, profile: ModelProfile, module: TrackingModule | None = None) -> None:
        """`module`: whose network is asked when the recipe remembers features."""
        super().__init__()
        self.recipe, self.profile, self.module = recipe, profile, module

    def prepare_data(self) -> None:
        """Renders missing streets and takes pictures out of bags, once per machine."""
        for entry in (*self.recipe.train, *self.recipe.val):
            sources.prepare(entry, jobs=max(1, self.recipe.workers))

    def setup(self, stage: str = "") -> None:
        """Reads the annotations."""
        import cv2

        # A forked loader waits for ever for OpenCV's threads, of which it has only the memory: end them before.
        cv2.setNumThreads(1)
        recipe = self.recipe
        profile = self.profile
        if recipe.sample_size:
            height, width = recipe.sample_size
            profile = replace(profile, input_height=height, input_width=width)
        found = [sources.load(entry, profile.classes) for entry in recipe.train]
        self.train = TrackingSamples(found, profile, recipe.augmentation, recipe.max_objects, recipe.still)
        self.weights = np.concatenate(
            [np.full(len(c.images), e.repeat) for c, e in zip(found, recipe.train, strict=True)]
        )
        held_out = [sources.load(entry, profile.classes) for entry in recipe.val]
        self.val = TrackingSamples(held_out, self.profile, NONE, recipe.max_objects) if held_out else None

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        trainer = self.trainer
        assert trainer is not None
        return DataLoader(
            dataset,
            num_workers=self.recipe.workers,
            persistent_workers=False,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            worker_init_fn=_one_thread,
            **options,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """See `ResumableBatches`."""
        recipe, trainer = self.recipe, self.trainer
        assert trainer is not None
        if recipe.remember:
            return self._remembering()
        batches = ResumableBatches(
            self.weights,
            recipe.batch,
            recipe.validate_every * recipe.accumulate,
            recipe.seed,
            trainer.global_rank,
            trainer.world_size,
            position=lambda: trainer.global_step * recipe.accumulate,
        )
        return self._loader(self.train, batch_sampler=batches)

    def _remembering(self) -> DataLoader[Any]:
        """Batches of this process's share of the remembered samples, which are drawn as others are."""
        recipe, trainer = self.recipe, self.trainer
        assert trainer is not None and self.module is not None
        network = self.module.network
        draws = ResumableBatches(
            self.weights, recipe.batch, recipe.steps, recipe.seed, trainer.global_rank, trainer.world_size
        )
        count = max(1, recipe.remember // (recipe.batch * trainer.world_size))
        found = self._loader(self.train, batch_sampler=[draws.batch_at(number) for number in range(count)])
        heads, device = self.module.learning_heads, self.module.device
        watched = tqdm(found, "features", unit="batch", disable=None if trainer.is_global_zero else True)
        batches = ({name: value.to(device) for name, value in batch.items()} for batch in watched)
        look = partial(features_of, network, self.profile)
        samples = RememberedSamples(network, look, heads, common_kernel(heads), batches)
        order = ResumableBatches(
            np.ones(len(samples), int),
            recipe.batch,
            recipe.validate_every * recipe.accumulate,
            recipe.seed,
            position=lambda: trainer.global_step * recipe.accumulate,
        )
        return DataLoader(samples, batch_sampler=order, collate_fn=padded)

    def val_dataloader(self) -> Any:
        """Every image once, shared out among the ranks."""
        trainer = self.trainer
        assert trainer is not None
        if self.val is None:
            return []
        if len(self.val) < trainer.world_size:
            raise ValueError(
                f"recipe: val has {len(self.val)} images for {trainer.world_size} processes; each needs at least one"
            )
        mine = Subset(self.val, range(trainer.global_rank, len(self.val), trainer.world_size))  # type: ignore[arg-type]
        return self._loader(mine, batch_size=self.recipe.batch)


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def start_network(recipe: Recipe) -> tuple[nn.Module, ModelProfile]:
    """The network to begin with: the start's weights wherever names and shapes fit the wanted profile, fresh ones
    elsewhere.

    Raises ValueError when the profile is incomplete or nothing of the start fits.
    """
    torch.manual_seed(recipe.seed)
    changes = _profile_changes(recipe.profile)
    if not recipe.start:
        try:
            profile = ModelProfile(**{"name": recipe.name, **changes})
        except TypeError as error:
            raise ValueError(f"recipe: profile is incomplete: {error}") from None
        return build(profile), profile
    old, known = checkpoints.load(weights_path(recipe.start))
    profile = replace(known, **{"name": recipe.name, **changes})
    network = build(profile)
    _carry_over(old, known, network, profile, recipe.fresh)
    return network, profile


def _profile_changes(raw: Mapping[str, Any]) -> dict[str, Any]:
    changes = dict(raw)
    if unknown := sorted(set(changes) - set(ModelProfile.__dataclass_fields__)):
        raise ValueError(f"recipe: profile: unknown key '{unknown[0]}'")
    for key in ("classes", "mean", "std"):
        if key in changes:
            changes[key] = tuple(changes[key])
    if "thresholds" in changes:
        from centertrack_ros.network.profile import Thresholds

        try:
            changes["thresholds"] = Thresholds(**changes["thresholds"])
        except TypeError as error:
            raise ValueError(f"recipe: profile: thresholds: {error}") from None
    return changes


def _carry_over(
    old: nn.Module, known: ModelProfile, network: nn.Module, profile: ModelProfile, fresh: tuple[str, ...] = ()
) -> None:
    """Copy what fits, but for names that begin as in `fresh`; of a heatmap for other classes the channels of the
    classes that both know. A head that sees more than before, or has more hidden channels, answers as before.
    """
    source, target = old.state_dict(), network.state_dict()
    if unused := [b for b in fresh if not any(name.startswith(b) for name in target)]:
        raise ValueError(f"recipe: fresh: no parameter's name begins with '{unused[0]}'")
    source = {name: value for name, value in source.items() if not name.startswith(fresh)} if fresh else source
    shared = [
        (profile.classes.index(name), known.classes.index(name)) for name in profile.classes if name in known.classes
    ]
    alike = {head for head in profile.heads if _same_layers(source, target, f"{head}.")}
    if not known.trained_tracking:
        alike.discard("tracking")
    copied = 0
    with torch.no_grad():
        for name, value in target.items():
            if name not in source:
                continue
            if source[name].shape == value.shape and not (
                name.startswith("hm.") and known.classes != profile.classes and len(value) == len(profile.classes)
            ):
                value.copy_(source[name])
                copied += 1
            elif name.startswith("hm.") and source[name].shape[1:] == value.shape[1:]:
                for new, was in shared:
                    value[new].copy_(source[name][was])
                copied += 1
            elif name.partition(".")[0] in alike and _has_grown(source[name], value):
                # What is new of an old channel's inputs is 0; a new channel keeps its fresh weights, unheard at first.
                value[: len(source[name])] = 0
                value[tuple(slice(size) for size in source[name].shape)] = source[name]
                copied += 1
    if not copied:
        raise ValueError(f"recipe: nothing of the start '{known.name}' fits the architecture '{profile.architecture}'")


def _same_layers(old: Mapping[str, Tensor], new: Mapping[str, Tensor], head: str) -> bool:
    """Whether a head has as many layers and answers in as many channels as before."""
    before, after = ([name for name in state if name.startswith(head)] for state in (old, new))
    return before == after and len(before) > 0 and len(old[before[-1]]) == len(new[after[-1]])


def _has_grown(old: Tensor, new: Tensor) -> bool:
    """Whether a convolution's weights or biases differ only in that further channels come after those there were."""
    more = all(was <= now for was, now in zip(old.shape, new.shape, strict=False))
    return old.dim() == new.dim() in (1, 4) and more and old.shape[2:] == new.shape[2:]


def train(
    recipe: Recipe, folder: Path, resume: bool = True, progress: bool = True, stop_after: int | None = None
) -> Path:
    """Train, or go on where `folder`/last.ckpt stopped; returns the weights file `folder`/<name>.safetensors.

    stop_after  end early at this step (the learning schedule stays that of the recipe), leaving last.ckpt to go on from
    """
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"a run can be stopped after step 1 or later, got {stop_after}")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    network, profile = start_network(recipe)
    module = TrackingModule(network, profile, recipe)
    data = Data(recipe, profile, module)
    last, best = folder / f"{LAST}.ckpt", folder / f"{BEST}.ckpt"
    going_on = resume and last.is_file()
    if not going_on and rank_zero_only.rank == 0:
        for old in (last, best):  # of another run: not this one's, and not lost
            if old.is_file():
                os.replace(old, old.with_name(f"{old.name}.old"))
    steps = min(recipe.steps, stop_after or recipe.steps)
    trainer = pl.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        num_nodes=recipe.nodes,
        strategy=recipe.strategy,
        precision=recipe.precision,  # type: ignore[arg-type]
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_gradient or None,
        limit_train_batches=recipe.validate_every * recipe.accumulate,
        limit_val_batches=recipe.val_batches or 1.0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        benchmark=not recipe.remember,  # all batches have one size: cuDNN may try what is fastest for it
        log_every_n_steps=max(1, min(20, recipe.validate_every)),
        logger=[
            CSVLogger(folder, "csv", version=_run_name(last if going_on else None)),
            TensorBoardLogger(folder, "tensorboard", version=""),
        ],
        callbacks=[Keeper(folder, "val/score" if recipe.val else None)],
        enable_checkpointing=False,
        plugins=[SafeCheckpoints()],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=str(last) if going_on else None, weights_only=False)
    output = folder / f"{recipe.name}.safetensors"
    if trainer.is_global_zero:
        export(module, best if recipe.val else None, output)
    return output


def _run_name(checkpoint: Path | None) -> str:
    """Where a run's table goes, so that going on keeps the one before."""
    step = (
        0
        if checkpoint is None
        else torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)["global_step"]
    )
    return f"from_step_{step}"


def export(module: TrackingModule, best: Path | None, output: Path) -> None:
    """Write the averaged weights of the best checkpoint (or, without one, of the module as it is) with the profile."""
    if best is not None and best.is_file():
        state = torch.load(best, map_location="cpu", weights_only=False)["state_dict"]
        module.load_state_dict(state)
    part = output.with_name(output.name + ".part")
    checkpoints.save(part, module.best_network, module.profile)
    os.replace(part, output)
