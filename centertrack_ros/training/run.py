"""One training run: from a recipe to logs, checkpoints and a weights file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from centertrack_ros.network import checkpoints
from centertrack_ros.network.build import build
from centertrack_ros.network.embedded import weights_path
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.training import collections
from centertrack_ros.training.augment import NONE
from centertrack_ros.training.module import TrackingModule
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


class Data(pl.LightningDataModule):
    """Loaders whose batches depend on the number of steps done, and on nothing else."""

    def __init__(self, recipe: Recipe, profile: ModelProfile) -> None:
        super().__init__()
        self.recipe, self.profile = recipe, profile

    def prepare_data(self) -> None:
        """Renders missing streets, once per machine."""
        for entry in (*self.recipe.train, *self.recipe.val):
            if entry.kind == "street":
                collections.render_streets(Path(entry.folder), entry.street)

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
        found = [collections.load(entry, profile.classes) for entry in recipe.train]
        self.train = TrackingSamples(found, profile, recipe.augmentation, recipe.max_objects, recipe.still)
        self.weights = np.concatenate(
            [np.full(len(c.images), e.repeat) for c, e in zip(found, recipe.train, strict=True)]
        )
        held_out = [collections.load(entry, profile.classes) for entry in recipe.val]
        self.val = TrackingSamples(held_out, self.profile, NONE, recipe.max_objects) if held_out else None

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        workers = self.recipe.workers
        return DataLoader(dataset, num_workers=workers, persistent_workers=False, worker_init_fn=_one_thread, **options)

    def train_dataloader(self) -> DataLoader[Any]:
        """See `ResumableBatches`."""
        recipe, trainer = self.recipe, self.trainer
        assert trainer is not None
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

    def val_dataloader(self) -> Any:
        """Every image once, shared out among the ranks."""
        trainer = self.trainer
        assert trainer is not None
        if self.val is None:
            return []
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

        changes["thresholds"] = Thresholds(**changes["thresholds"])
    return changes


def _carry_over(
    old: nn.Module, known: ModelProfile, network: nn.Module, profile: ModelProfile, fresh: tuple[str, ...] = ()
) -> None:
    """Copy what fits, but for names that begin as in `fresh`; of a heatmap for other classes the channels of the
    classes that both know. A head that sees more than before answers as before.
    """
    source, target = old.state_dict(), network.state_dict()
    if unused := [b for b in fresh if not any(name.startswith(b) for name in target)]:
        raise ValueError(f"recipe: fresh: no parameter's name begins with '{unused[0]}'")
    source = {name: value for name, value in source.items() if not name.startswith(fresh)} if fresh else source
    shared = [
        (profile.classes.index(name), known.classes.index(name)) for name in profile.classes if name in known.classes
    ]
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
            elif _sees_more(source[name], value) and (known.trained_tracking or not name.startswith("tracking.")):
                value.zero_()
                value[:, : source[name].shape[1]] = source[name]
                copied += 1
    if not copied:
        raise ValueError(f"recipe: nothing of the start '{known.name}' fits the architecture '{profile.architecture}'")


def _sees_more(old: Tensor, new: Tensor) -> bool:
    """Whether a convolution's weights differ in that further channels come in, after those there were."""
    return old.dim() == 4 == new.dim() and old[:, 0].shape == new[:, 0].shape and old.shape[1] < new.shape[1]


def train(
    recipe: Recipe, folder: Path, resume: bool = True, progress: bool = True, stop_after: int | None = None
) -> Path:
    """Train, or go on where `folder`/last.ckpt stopped; returns the weights file `folder`/<name>.safetensors.

    stop_after  end early at this step (the learning schedule stays that of the recipe), leaving last.ckpt to go on from
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    network, profile = start_network(recipe)
    module = TrackingModule(network, profile, recipe)
    data = Data(recipe, profile)
    last = folder / f"{LAST}.ckpt"
    every = ModelCheckpoint(
        folder,
        filename=LAST,
        every_n_train_steps=recipe.validate_every,
        save_top_k=1,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    keepers: list[Callback] = [every]
    if recipe.val:
        keepers.append(
            ModelCheckpoint(
                folder, filename=BEST, monitor="val/score", mode="max", save_top_k=1, enable_version_counter=False
            )
        )
    going_on = resume and last.is_file()
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
        log_every_n_steps=max(1, min(20, recipe.validate_every)),
        logger=[
            CSVLogger(folder, "csv", version=_run_name(last if going_on else None)),
            TensorBoardLogger(folder, "tensorboard", version=""),
        ],
        callbacks=keepers,
        plugins=[SafeCheckpoints()],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=str(last) if going_on else None, weights_only=False)
    trainer.save_checkpoint(last)
    output = folder / f"{recipe.name}.safetensors"
    if trainer.is_global_zero:
        export(module, folder / f"{BEST}.ckpt", output)
    return output


def _run_name(checkpoint: Path | None) -> str:
    """Where a run's table goes, so that going on keeps the one before."""
    step = (
        0
        if checkpoint is None
        else torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)["global_step"]
    )
    return f"from_step_{step}"


def export(module: TrackingModule, best: Path, output: Path) -> None:
    """Write the averaged weights of the best checkpoint (or, without one, of the module as it is) with the profile."""
    if best.is_file():
        state = torch.load(best, map_location="cpu", weights_only=False)["state_dict"]
        module.load_state_dict(state)
    part = output.with_name(output.name + ".part")
    checkpoints.save(part, module.best_network, module.profile)
    os.replace(part, output)
