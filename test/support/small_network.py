# SPDX-License-Identifier: Apache-2.0
"""A network of a few layers: what engines, caches and exports do around a network needs no large one.

It has all that engines ask of a network: stems, a stride of 4, batch norms to fold, and the package's own heads. The
real architectures are exported in `test_export.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from centertrack_ros.network.base import TrackingNetwork, check_input_size
from centertrack_ros.network.heads import make_head
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import ARCHITECTURES, build, register_architecture
from support.network_reference import profile_for, seeded_state

ARCHITECTURE = "small_for_tests"
_FEATURES = 16
_HEATMAP_SCALE = 0.1  # scores between 0 and 1 that differ


class SmallNetwork(TrackingNetwork):
    """Stems of one convolution, and two more.

    Args:
        heads: Head name -> channels, hm first.
        previous_image: Whether there is a stem for the previous image.
        prior_heatmap: Whether there is a stem for the prior heatmap.
        head_options: Those of `heads.make_head`.
    """

    def __init__(
        self, heads: Mapping[str, int], *, previous_image: bool = True, prior_heatmap: bool = True, **head_options: Any
    ) -> None:
        super().__init__(heads)
        self.image_stem = _layer(3)
        self.previous_stem = _layer(3) if previous_image else None
        self.prior_stem = _layer(1) if prior_heatmap else None
        self.body = nn.Sequential(
            *_layer(_FEATURES, 2), nn.ReLU(), *_layer(_FEATURES), nn.ReLU(), *_layer(_FEATURES), nn.ReLU()
        )
        for name, channels in heads.items():
            self.add_module(name, make_head(name, _FEATURES, channels, **head_options))

    def features(self, image: Tensor, previous: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """See `TrackingNetwork.features`."""
        check_input_size(image)
        joined = self.image_stem(image)
        for stem, other in ((self.previous_stem, previous), (self.prior_stem, prior)):
            if stem is not None and other is not None:
                joined = joined + stem(other)
        return self.body(torch.relu(joined))


def _layer(channels: int, stride: int = 1) -> nn.Sequential:
    first = 2 if channels < _FEATURES else stride
    return nn.Sequential(nn.Conv2d(channels, _FEATURES, 5, first, 2, bias=False), nn.BatchNorm2d(_FEATURES))


def small_network(heads: dict[str, int], **fields: Any) -> tuple[TrackingNetwork, ModelProfile]:
    """One with seeded weights; `fields` are those of `ModelProfile`."""
    if ARCHITECTURE not in ARCHITECTURES:
        register_architecture(ARCHITECTURE)(
            lambda profile: SmallNetwork(
                profile.heads,
                previous_image=profile.previous_image,
                prior_heatmap=profile.prior_heatmap,
                **profile.head_options,
            )
        )
    profile = profile_for(heads, ARCHITECTURE, **fields)
    network = build(profile)
    shapes = [(key, list(value.shape)) for key, value in network.state_dict().items()]
    network.load_state_dict(seeded_state(shapes, {"hm": _HEATMAP_SCALE}))
    return network, profile
