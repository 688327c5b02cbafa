# SPDX-License-Identifier: Apache-2.0
"""One training run: from a recipe to logs, checkpoints and a weights file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from centertrack_ros.io.whole_files import whole_file
from centertrack_ros.network import checkpoints
from centertrack_ros.training.callbacks import BEST, LAST, AtomicCheckpointIO, CheckpointCallback, MovingAverage
from centertrack_ros.training.data_module import TrainingData
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.lightning_base import pl
from centertrack_ros.training.module import TrackingModule
from centertrack_ros.training.recipe import Recipe


def train(
    recipe: Recipe, folder: Path, resume: bool = True, progress: bool = True, stop_after: int | None = None
) -> Path:
    """Train a network, or continue a run that was interrupted.

    Args:
        recipe: What to train on what.
        folder: Of the run; gets logs, checkpoints and the weights file.
        resume: Continue from `folder`/last.ckpt where it exists; otherwise rename it to last.ckpt.old and start.
        progress: Show a progress bar.
        stop_after: End early at this optimizer step, with a last.ckpt to continue from; the learning rate follows the
            recipe's schedule all the same.

    Returns:
        The weights file, `folder`/<name>.safetensors.

    Raises:
        ValueError: `stop_after` is below 1, or the recipe does not fit the data or the checkpoint.
        FloatingPointError: The loss is not finite.
        OSError: A file cannot be read or written.
    """
    from lightning.pytorch.utilities import rank_zero_only

    if stop_after is not None and stop_after < 1:
        raise ValueError(f"a run can be stopped after step 1 or later, got {stop_after}")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    network, profile = initialize_network(recipe)
    module = TrackingModule(network, profile, recipe)
    data = TrainingData(recipe, profile, module)
    last, best = folder / f"{LAST}.ckpt", folder / f"{BEST}.ckpt"
    resumed = resume and last.is_file()
    if not resumed and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        for old in (last, best):  # of another run: kept, but not this run's
            if old.is_file():
                os.replace(old, old.with_name(f"{old.name}.old"))
    trainer = _trainer(recipe, folder, last if resumed else None, progress, stop_after)
    trainer.fit(module, data, ckpt_path=str(last) if resumed else None, weights_only=False)
    output = folder / f"{recipe.name}.safetensors"
    if trainer.is_global_zero:
        export(module, best if recipe.val else None, output)
    return output


def _trainer(
    recipe: Recipe, folder: Path, checkpoint: Path | None, progress: bool, stop_after: int | None
) -> pl.Trainer:
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    callbacks: list[pl.Callback] = [CheckpointCallback(folder, "val/score" if recipe.val else None)]
    if recipe.ema:
        callbacks.append(MovingAverage(recipe.ema))
    return pl.Trainer(
        default_root_dir=folder,
        max_steps=min(recipe.steps, stop_after or recipe.steps),
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
        benchmark=not recipe.cache_features,  # all batches have one size: cuDNN may try what is fastest for it
        log_every_n_steps=max(1, min(20, recipe.validate_every)),
        logger=[
            CSVLogger(folder, "csv", version=_log_name(checkpoint)),
            TensorBoardLogger(folder, "tensorboard", version=""),
        ],
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def _log_name(checkpoint: Path | None) -> str:
    """The folder of a run's table, so that a resumed run keeps the table before."""
    step = 0
    if checkpoint is not None:
        step = _read_checkpoint(checkpoint)["global_step"]
    return f"from_step_{step}"


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint that a run of this package has written. Raises ValueError for a damaged one."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes torch raise
        raise ValueError(f"{path}: not a whole checkpoint of a run ({type(error).__name__}); remove it") from None
    if not isinstance(content, dict) or not {"global_step", "state_dict"} <= set(content):
        raise ValueError(f"{path}: not a checkpoint of a run; remove it")
    return content


def export(module: TrackingModule, best: Path | None, output: Path) -> None:
    """Write a weights file.

    Args:
        module: After training, when its network has the averaged weights (if the recipe asks for an average).
        best: The checkpoint whose averaged weights are written; None, or no such file: the weights of the module.
        output: The safetensors file, which also holds the profile.
    """
    if best is not None and best.is_file():
        module.load_state_dict(_read_checkpoint(best)["state_dict"])
    with whole_file(output) as unfinished:
        checkpoints.save(unfinished, module.network, module.profile)
