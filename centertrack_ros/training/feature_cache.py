"""Features of a frozen network at the objects, computed once: heads learn from them some forty times faster than from
pictures.
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
_COMMON = ("index", "channels", "mask")


def learning_heads(network: nn.Module) -> dict[str, nn.Module]:
    """The heads that are not frozen. Raises ValueError when something else learns, or a head that needs whole maps."""
    heads: Mapping[str, nn.Module] = network.heads  # type: ignore[assignment]
    for name, parameter in network.named_parameters():
        head = name.partition(".")[0]
        if parameter.requires_grad and (head not in heads or head in HEATMAPS or head in JOINTS):
            raise ValueError(f"recipe: remember: '{name}' learns; freeze all but heads that are read at the objects")
    return {name: head for name, head in heads.items() if next(head.parameters()).requires_grad}


class RememberedSamples(Dataset[dict[str, Tensor]]):
    """What heads learn from: patches (N, k * k * F) of the features around the N objects of an image, and their targets
    (N, …); images without objects are left out.
    """

    def __init__(
        self,
        network: nn.Module,
        features_of: Callable[[Mapping[str, Tensor]], Tensor],
        heads: Iterable[str],
        kernel: int,
        batches: Iterable[Mapping[str, Tensor]],
    ) -> None:
        """Asks the network, in evaluation mode, about all samples of the batches; keeps what these heads learn from.

        features_of  what the network makes of a batch, (B, F, h, w)
        """
        self._items: list[dict[str, Tensor]] = []
        begin = tuple(f"{head}_" for head in heads)
        was_training = network.training
        network.eval()
        with torch.no_grad():
            for batch in batches:
                patches = gather_patches(features_of(batch), batch["index"], kernel).half()
                told = {n: v for n, v in batch.items() if n in _COMMON or f"{n}_".startswith(begin)}
                told[PATCHES] = patches
                for row, count in enumerate(batch["mask"].sum(dim=1).long().tolist()):
                    if count:
                        self._items.append({name: values[row, :count].clone() for name, values in told.items()})
        network.train(was_training)
        if not self._items:
            raise ValueError("recipe: remember: there is no object in any of these samples")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        return self._items[draw.index]


def padded(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of images with as many slots as the fullest has objects; an empty slot's mask is 0."""
    return {name: pad_sequence([item[name] for item in items], batch_first=True) for name in items[0]}
