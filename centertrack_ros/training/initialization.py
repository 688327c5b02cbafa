# SPDX-License-Identifier: Apache-2.0
"""The network that a training run starts with: built from a recipe's profile, with the weights of another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from centertrack_ros.network import checkpoints
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build, weights_path
from centertrack_ros.training.recipe import Recipe
from centertrack_ros.typed_records import construct, converted


def initialize_network(recipe: Recipe) -> tuple[nn.Module, ModelProfile]:
    """The network of a recipe before its first step.

    It has the weights of `init_from` wherever names and shapes fit the recipe's profile, and random ones elsewhere.

    Args:
        recipe: Its `seed`, `profile`, `init_from` and `reinitialize` decide.

    Returns:
        The network and its complete profile.

    Raises:
        ValueError: The profile is incomplete, or no weight of `init_from` fits.
    """
    torch.manual_seed(recipe.seed)
    changes = converted(ModelProfile, recipe.profile, "recipe: profile")
    if not recipe.init_from:
        profile = construct(ModelProfile, {"name": recipe.name, **changes}, "recipe: profile")
        return build(profile), profile
    source, source_profile = checkpoints.load(weights_path(recipe.init_from))
    profile = replace(source_profile, **{"name": recipe.name, **changes})
    network = build(profile)
    _copy_weights(source, source_profile, network, profile, recipe.reinitialize)
    return network, profile


def _copy_weights(
    source_network: nn.Module,
    source_profile: ModelProfile,
    network: nn.Module,
    profile: ModelProfile,
    reinitialize: Sequence[str] = (),
) -> None:
    """Copy what fits, except for names with a prefix of `reinitialize`.

    Of a heatmap for other classes the channels of the shared classes are copied. A head that reads more inputs than
    before, or has more hidden channels, computes the same values as before.
    """
    prefixes = tuple(reinitialize)
    source, target = source_network.state_dict(), network.state_dict()
    if unused := [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in target)]:
        raise ValueError(f"recipe: reinitialize: no parameter's name begins with '{unused[0]}'")
    source = {name: value for name, value in source.items() if not name.startswith(prefixes)}
    shared = [
        (profile.classes.index(name), source_profile.classes.index(name))
        for name in profile.classes
        if name in source_profile.classes
    ]
    growable = {head for head in profile.heads if _same_layers(source, target, f"{head}.")}
    if not source_profile.trained_tracking:
        growable.discard("tracking")
    copied = 0
    with torch.no_grad():
        for name, value in target.items():
            if name not in source:
                continue
            if source[name].shape == value.shape and not (
                name.startswith("hm.") and source_profile.classes != profile.classes
                and len(value) == len(profile.classes)
            ):  # fmt: skip
                value.copy_(source[name])
                copied += 1
            elif name.startswith("hm.") and source[name].shape[1:] == value.shape[1:]:
                for channel, source_channel in shared:
                    value[channel].copy_(source[name][source_channel])
                copied += 1
            elif name.partition(".")[0] in growable and _has_grown(source[name], value):
                # An old channel ignores its new inputs (weight 0). A new channel keeps its random weights; the next
                # layer ignores it at first.
                value[: len(source[name])] = 0
                value[tuple(slice(size) for size in source[name].shape)] = source[name]
                copied += 1
    if not copied:
        raise ValueError(
            f"recipe: no weight of '{source_profile.name}' (init_from) fits the architecture '{profile.architecture}'"
        )


def _same_layers(source: Mapping[str, Tensor], target: Mapping[str, Tensor], head: str) -> bool:
    """Whether a head has as many layers and output channels as before."""
    before, after = ([name for name in state if name.startswith(head)] for state in (source, target))
    return before == after and len(before) > 0 and len(source[before[-1]]) == len(target[after[-1]])


def _has_grown(source: Tensor, target: Tensor) -> bool:
    """Whether a convolution's weights or biases differ only by further channels after the existing ones."""
    larger = all(old <= new for old, new in zip(source.shape, target.shape, strict=False))
    return source.dim() == target.dim() in (1, 4) and larger and source.shape[2:] == target.shape[2:]
