# SPDX-License-Identifier: Apache-2.0
"""What a training run adds to Lightning: averaged weights, and checkpoints that survive a kill at any moment."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from centertrack_ros.io.whole_files import whole_file
from centertrack_ros.training.lightning_base import ModelCheckpoint, TorchCheckpointIO, WeightAveraging, pl

LAST, BEST = "last", "best"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it, so that the target is always a complete checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint file.

        Args:
            checkpoint: What the trainer collected.
            path: The file to write or to replace.
            storage_options: Not used; a part of Lightning's interface.

        Raises:
            OSError: The file could not be written, for instance because the disk is full. The old file is unchanged.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole_file(target) as unfinished, unfinished.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OSError(
                f"{target}: the checkpoint could not be written ({reason}); the one before is untouched"
            ) from error


class CheckpointCallback(ModelCheckpoint):
    """Writes `best.ckpt` after a validation with a new highest score, then `last.ckpt` at the end of the epoch.

    `last.ckpt` is written second and holds the best score, so a run that is killed between the two repeats the
    validation and loses no result.
    """

    def __init__(self, folder: Path, monitor: str | None) -> None:
        """Prepare to write into `folder`.

        Args:
            folder: Of the run.
            monitor: Name of the validation score, higher is better; None for a run without validation, which has no
                `best.ckpt`.
        """
        super().__init__(
            folder, BEST, monitor, mode="max", save_top_k=0 if monitor is None else 1, save_last=False,
            save_on_train_epoch_end=False, auto_insert_metric_name=False, enable_version_counter=False,
        )  # fmt: skip

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Accept a folder with files: a resumed run continues in its own folder."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score, also when the folder of the run has moved."""
        assert self.dirpath is not None
        scores = {os.path.join(self.dirpath, Path(path).name): s for path, s in state_dict["best_k_models"].items()}
        best = next(iter(scores), "")
        super().load_state_dict(
            {
                **state_dict, "dirpath": self.dirpath, "best_k_models": scores, "best_model_path": best,
                "kth_best_model_path": best,
            }
        )  # fmt: skip

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write `last.ckpt`."""
        assert self.dirpath is not None
        trainer.save_checkpoint(os.path.join(self.dirpath, f"{LAST}.ckpt"))


class MovingAverage(WeightAveraging):
    """The exponential moving average of parameters and buffers, which is validated and exported.

    After step n the average moves by 1 - min(decay, (1 + n) / (10 + n)) towards the weights, so that the first steps
    do not weigh for long (the schedule of TensorFlow's ExponentialMovingAverage). Checkpoints hold the average as
    `state_dict` and the weights in training as `current_model_state`.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_move_average, decay=decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put the average on the trainer's device; the module itself is moved there only after this hook."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # Counted from 1, so that the initial weights are a part of the average: from 0 the first step replaces it.
            self._average_model.n_averaged.fill_(1)


@torch.no_grad()
def _move_average(average: Sequence[Tensor], current: Sequence[Tensor], step: Tensor, *, decay: float) -> None:
    """Move tensors of one type towards the current ones; counts, which are whole numbers, are copied."""
    if average[0].dtype.is_floating_point:
        count = int(step)
        torch._foreach_lerp_(list(average), list(current), 1 - min(decay, (1 + count) / (10 + count)))
    else:
        torch._foreach_copy_(list(average), list(current))
