#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The speed of training by a recipe: the data loader, the device, and both together, images/s.

    python -m benchmarks.training_speed RECIPE [--set KEY=VALUE ...] [--seconds 10]

Three measurements: the loader alone, with the recipe's workers; steps on one batch that is on the device already; whole
steps as `centertrack train` makes them. The device is busy all the time when the first figure is above the second.
Prints one line of JSON. The start of the workers and the first steps do not count.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from centertrack_ros.cli.train import overrides
from centertrack_ros.training.callbacks import MovingAverage
from centertrack_ros.training.data_module import TrainingData
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.module import TrackingModule
from centertrack_ros.training.recipe import Recipe, read_recipe

WARM_UP = 10  # steps: the workers have started, cuDNN has chosen its algorithms


class _Clock(pl.Callback):
    """Stops training after so many seconds, not counting the first steps."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.steps, self.start, self.elapsed = seconds, 0, 0.0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *unused: Any) -> None:
        self.steps += 1
        if self.steps < WARM_UP:
            return
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = perf_counter()
        self.start = self.start or now
        self.elapsed = now - self.start
        trainer.should_stop = self.elapsed > self.seconds


def _trainer(recipe: Recipe, clock: _Clock) -> pl.Trainer:
    callbacks: list[pl.Callback] = [MovingAverage(recipe.ema)] if recipe.ema else []
    callbacks.append(clock)
    return pl.Trainer(
        accelerator=recipe.accelerator, devices=1, precision=recipe.precision,  # type: ignore[arg-type]
        gradient_clip_val=recipe.clip_gradient or None, max_steps=-1, max_epochs=1, min_epochs=0, logger=False,
        limit_val_batches=0, use_distributed_sampler=False, benchmark=True, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
    )  # fmt: skip


class _RepeatedBatch(torch.utils.data.IterableDataset[Any]):
    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Any:
        return itertools.repeat(self.batch)


def steps_per_second(recipe: Recipe, seconds: float, batch: Any = None) -> float:
    """Steps per second of whole training, or on one batch."""
    network, profile = initialize_network(recipe)
    module, clock = TrackingModule(network, profile, recipe), _Clock(seconds)
    trainer = _trainer(recipe, clock)
    if batch is None:
        trainer.fit(module, TrainingData(recipe, profile, module))
    else:
        on_device = {name: value.to(trainer.strategy.root_device) for name, value in batch.items()}
        trainer.fit(module, DataLoader(_RepeatedBatch(on_device), batch_size=None))
    return (clock.steps - WARM_UP) / clock.elapsed


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the three measurements")
    args = parser.parse_args()
    recipe = replace(read_recipe(args.recipe, overrides(args.set)), val=(), validate_every=1_000_000)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    _, profile = initialize_network(recipe)
    data = TrainingData(recipe, profile)
    data.trainer = _trainer(recipe, _Clock(0))
    data.prepare_data()
    data.setup()
    batches = iter(data.train_dataloader())
    batch = [next(batches) for _ in range(2 * max(1, recipe.workers))][-1]
    start, count = perf_counter(), 0
    while perf_counter() - start < args.seconds:
        next(batches)
        count += 1
    loaded = recipe.batch * count / (perf_counter() - start)
    del batches
    device = torch.cuda.get_device_name() if data.trainer.strategy.root_device.type == "cuda" else "cpu"
    figures = {
        "recipe": recipe.name, "device": device, "precision": recipe.precision, "batch": recipe.batch,
        "workers": recipe.workers, "loader_images_per_s": round(loaded, 1),
        "device_images_per_s": round(recipe.batch * steps_per_second(recipe, args.seconds, batch), 1),
        "training_images_per_s": round(recipe.batch * steps_per_second(recipe, args.seconds), 1),
    }  # fmt: skip
    if device != "cpu":
        figures["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
