"""The official numbers in test/data, and networks with the seeded weights that they belong to."""

from __future__ import annotations

import gzip
import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from centertrack_ros.network.classes import known_classes
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build

DATA = Path(__file__).parents[1] / "data"

_spec = importlib.util.spec_from_file_location("parity_inputs", DATA / "parity" / "parity_inputs.py")
assert _spec is not None and _spec.loader is not None
parity_inputs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parity_inputs)


@lru_cache
def read(name: str) -> Any:
    """A gzipped JSON file of test/data/network."""
    return json.loads(gzip.decompress((DATA / "network" / name).read_bytes()))


def seeded_state(shapes: list, head_scale: dict | None = None) -> dict[str, torch.Tensor]:
    """The reference's weights for a list of [key, shape]."""
    arrays = parity_inputs.make_state_dict({key: tuple(shape) for key, shape in shapes}, head_scale)
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


def profile_for(heads: dict[str, int], **facts: Any) -> ModelProfile:
    """A DLA-34 profile with these heads."""
    return ModelProfile("test", facts.pop("architecture", "dla_34"), known_classes(heads["hm"]), heads, **facts)


def seeded_network(heads: dict[str, int], **facts: Any) -> tuple[torch.nn.Module, ModelProfile]:
    """A network with the reference's kind of weights: not chaotic, and with peaks that differ."""
    profile = profile_for(heads, **facts)
    network = build(profile)
    network.load_state_dict(seeded_state([[key, list(value.shape)] for key, value in network.state_dict().items()]))
    return network, profile


def frames(height: int, width: int, count: int, seed: int) -> list[np.ndarray]:
    """The reference's moving rectangles: uint8 BGR."""
    return parity_inputs.make_frames(height, width, count, seed)
