# SPDX-License-Identifier: Apache-2.0
"""Features of a frozen network at the objects, computed once.

Heads learn from them some forty times faster than from images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from centertrack_ros.network.heads import HEATMAPS, gather_patches
from centertrack_ros.training.losses import JOINTS
from centertrack_ros.training.samples import Draw

PATCHES = "patches"
_SHARED_TARGETS = ("index", "channels", "mask")


def trainable_heads(network: nn.Module) -> dict[str, nn.Module]:
    """The heads that are not frozen.

    Raises:
        ValueError: Something else than a head learns, or a head whose loss needs whole maps.
    """
    heads: Mapping[str, nn.Module] = network.heads  # type: ignore[assignment]
    for name, parameter in network.named_parameters():
        head = name.partition(".")[0]
        if parameter.requires_grad and (head not in heads or head in HEATMAPS or head in JOINTS):
            raise ValueError(
                f"recipe: cache_features: '{name}' learns; freeze all but heads that are read at the objects"
            )
    return {name: head for name, head in heads.items() if next(head.parameters()).requires_grad}


class CachedFeatures(Dataset[dict[str, Tensor]]):
    """Samples of cached features.

    A sample has the patches (N, k * k * F) of the features around the N objects of an image, in float16, and the
    targets (N, ...) of the heads. Images without objects are left out.
    """

    def __init__(
        self,
        network: nn.Module,
        features_of: Callable[[Mapping[str, Tensor]], Tensor],
        heads: Iterable[str],
        kernel: int,
        batches: Iterable[Mapping[str, Tensor]],
    ) -> None:
        """Compute the features of all samples, with the network in evaluation mode.

        Args:
            network: Whose mode is restored afterwards.
            features_of: Batch -> features (B, F, h, w).
            heads: Whose targets are kept.
            kernel: Side k of the patches, cells.
            batches: Of `TrackingSamples`.

        Raises:
            ValueError: No sample has an object.
        """
        self._items: list[dict[str, Tensor]] = []
        prefixes = tuple(f"{head}_" for head in heads)
        was_training = network.training
        network.eval()
        with torch.no_grad():
            for batch in batches:
                patches = gather_patches(features_of(batch), batch["index"], kernel).half()
                kept = {n: v for n, v in batch.items() if n in _SHARED_TARGETS or f"{n}_".startswith(prefixes)}
                kept[PATCHES] = patches
                for row, count in enumerate(batch["mask"].sum(dim=1).long().tolist()):
                    if count:
                        self._items.append({name: values[row, :count].clone() for name, values in kept.items()})
        network.train(was_training)
        if not self._items:
            raise ValueError("recipe: cache_features: there is no object in any of these samples")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        return self._items[draw.index]


def pad_batch(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch with as many slots as the sample with the most objects has; the mask of an empty slot is 0."""
    return {name: pad_sequence([item[name] for item in items], batch_first=True) for name in items[0]}
