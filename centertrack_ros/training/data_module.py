# SPDX-License-Identifier: Apache-2.0
"""The data of a training run for Lightning: loaders whose batches depend on the number of steps done alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.training import sources
from centertrack_ros.training.augmentation import NO_AUGMENTATION
from centertrack_ros.training.feature_cache import CachedFeatures, pad_batch
from centertrack_ros.training.lightning_base import pl
from centertrack_ros.training.module import TrackingModule, common_kernel, features_of
from centertrack_ros.training.recipe import Recipe
from centertrack_ros.training.samples import ResumableBatches, TrackingSamples


class TrainingData(pl.LightningDataModule):
    """Training and validation samples of a recipe.

    Which samples a batch holds depends on the recipe's seed and the number of steps done, and on nothing else.
    """

    def __init__(self, recipe: Recipe, profile: ModelProfile, module: TrackingModule | None = None) -> None:
        """Describe the data; nothing is read yet.

        Args:
            recipe: Its `train`, `val` and loader settings.
            profile: Of the model.
            module: Whose network computes the features of a recipe with `cache_features`.
        """
        super().__init__()
        self.recipe, self.profile, self.module = recipe, profile, module

    def prepare_data(self) -> None:
        """Render missing streets and extract the images of bags, once on each machine."""
        for entry in (*self.recipe.train, *self.recipe.val):
            sources.prepare(entry, jobs=max(1, self.recipe.workers))

    def setup(self, stage: str = "") -> None:
        """Read the annotations."""
        # A forked worker would wait for OpenCV's threads, which do not exist in it. End them first.
        cv2.setNumThreads(1)
        recipe, profile = self.recipe, self.profile
        if recipe.sample_size:
            width, height = recipe.sample_width_height
            profile = replace(profile, input_height=height, input_width=width)
        train = [sources.load(entry, profile.classes) for entry in recipe.train]
        self.train = TrackingSamples(train, profile, recipe.augmentation, recipe.max_objects, recipe.static)
        self.weights = np.concatenate(
            [np.full(len(source.images), e.repeat) for source, e in zip(train, recipe.train, strict=True)]
        )
        val = [sources.load(entry, profile.classes) for entry in recipe.val]
        self.val = TrackingSamples(val, self.profile, NO_AUGMENTATION, recipe.max_objects) if val else None

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the current step on, of images or of cached features; see `ResumableBatches`."""
        trainer = self._trainer()
        if self.recipe.cache_features:
            features = self._cached_features()  # already this process's share
            return DataLoader(features, batch_sampler=self._batches(np.ones(len(features), int)), collate_fn=pad_batch)
        batches = self._batches(self.weights, trainer.global_rank, trainer.world_size)
        return self._loader(self.train, batch_sampler=batches)

    def _batches(self, weights: NDArray[Any], rank: int = 0, ranks: int = 1) -> ResumableBatches:
        recipe, trainer = self.recipe, self._trainer()
        steps = recipe.validate_every * recipe.accumulate
        return ResumableBatches(
            weights, recipe.batch, steps, recipe.seed, rank, ranks, lambda: trainer.global_step * recipe.accumulate
        )

    def val_dataloader(self) -> Any:
        """Every image once, divided among the processes."""
        trainer = self._trainer()
        if self.val is None:
            return []
        if len(self.val) < trainer.world_size:
            raise ValueError(
                f"recipe: val has {len(self.val)} images for {trainer.world_size} processes; each needs at least one"
            )
        share = Subset(self.val, range(trainer.global_rank, len(self.val), trainer.world_size))
        return self._loader(share, batch_size=self.recipe.batch)

    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None
        return self.trainer

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            num_workers=self.recipe.workers,
            persistent_workers=False,
            pin_memory=self._trainer().strategy.root_device.type == "cuda",
            worker_init_fn=_use_one_thread,
            **options,
        )

    def _cached_features(self) -> CachedFeatures:
        """This process's share of the cached features, of samples that are drawn like those of other recipes."""
        recipe, trainer, module = self.recipe, self._trainer(), self.module
        assert module is not None
        draws = ResumableBatches(
            self.weights, recipe.batch, recipe.steps, recipe.seed, trainer.global_rank, trainer.world_size
        )
        count = max(1, recipe.cache_features // (recipe.batch * trainer.world_size))
        loader = self._loader(self.train, batch_sampler=[draws.batch_at(number) for number in range(count)])
        shown = tqdm(loader, "features", unit="batch", disable=None if trainer.is_global_zero else True)
        batches = ({name: value.to(module.device) for name, value in batch.items()} for batch in shown)
        heads = module.trainable_heads
        compute = partial(features_of, module.network, self.profile)
        return CachedFeatures(module.network, compute, heads, common_kernel(heads), batches)


def _use_one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
