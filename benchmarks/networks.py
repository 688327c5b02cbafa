# SPDX-License-Identifier: Apache-2.0
"""Networks with the parity reference's seeded weights, and the network that the benchmarks measure."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.classes import known_classes
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build

# The bundled module of the reference that makes weights and frames from seeds.
PARITY_INPUTS = Path(__file__).resolve().parents[1] / "test" / "data" / "parity" / "parity_inputs.py"
# The network that is measured: DLA-34 with nuScenes' heads at 800x448.
NUSCENES_HEADS = {"hm": 10, "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2}
INPUT_SIZE = (448, 800)  # height, width, px
TRAINED_FOCAL_LENGTH = 633.0  # px


@cache
def load_parity_inputs(path: Path = PARITY_INPUTS) -> ModuleType:
    """The reference's module that makes weights and frames from seeds.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: weights and frames cannot be made")
    spec = importlib.util.spec_from_file_location("parity_inputs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seeded_state(
    shapes: Sequence[tuple[str, Sequence[int]]], head_scale: Mapping[str, float] | None = None
) -> dict[str, torch.Tensor]:
    """The reference's weights.

    Args:
        shapes: Key and shape of each array.
        head_scale: Factor on the last layer of a head.
    """
    arrays = load_parity_inputs().make_state_dict({key: tuple(shape) for key, shape in shapes}, head_scale)
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


def profile_for(heads: dict[str, int], architecture: str = "dla_34", **fields: Any) -> ModelProfile:
    """The profile of a model with these heads, DLA-34 by default; `fields` are those of `ModelProfile`."""
    return ModelProfile("test", architecture, known_classes(heads["hm"]), heads, **fields)


def seeded_network(heads: dict[str, int], **fields: Any) -> tuple[TrackingNetwork, ModelProfile]:
    """A network with the reference's kind of weights: not chaotic, and with peaks that differ."""
    profile = profile_for(heads, **fields)
    network = build(profile)
    network.load_state_dict(seeded_state([(key, list(value.shape)) for key, value in network.state_dict().items()]))
    return network, profile


def nuscenes_network() -> tuple[TrackingNetwork, ModelProfile]:
    """The seeded network that the benchmarks measure."""
    height, width = INPUT_SIZE
    return seeded_network(
        NUSCENES_HEADS, input_height=height, input_width=width, trained_focal_length=TRAINED_FOCAL_LENGTH
    )


def moving_rectangles(height: int, width: int, count: int, seed: int) -> list[np.ndarray]:
    """The reference's frames: moving rectangles, uint8 BGR (height, width, 3)."""
    return list(load_parity_inputs().make_frames(height, width, count, seed))
