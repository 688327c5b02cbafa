# SPDX-License-Identifier: Apache-2.0
"""Synthetic streets as training data: rendered on first use."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from centertrack_ros.io.whole_files import write_text
from centertrack_ros.typed_records import construct, convert

if TYPE_CHECKING:
    from centertrack_ros.synthetic import StreetConfig

_LOG = logging.getLogger(__name__)
MOST_SEQUENCES = 100_000
MANIFEST = "street.json"  # written last, holds the options of what was rendered


def street_configs(options: Mapping[str, Any]) -> list[StreetConfig]:
    """The `StreetConfig` of each sequence of a recipe's `street` section; from a list each sequence draws a value.

    Raises ValueError for a key that `StreetConfig` does not have, and for a value of another type.
    """
    from centertrack_ros.synthetic import StreetConfig

    values = dict(options)
    count = convert(values.pop("sequences", 1), int, "street: sequences")
    first = convert(values.pop("seed", 0), int, "street: seed")
    if not 0 <= count <= MOST_SEQUENCES or first < 0:
        raise ValueError(
            f"street: sequences must be from 0 to {MOST_SEQUENCES} and seed at least 0, got {count}, {first}"
        )
    if empty := [key for key, value in values.items() if value == []]:
        raise ValueError(f"street: {empty[0]}: an empty list has no value to draw")
    configs = []
    for seed in range(first, first + count):
        rng = np.random.default_rng((seed, 99))
        drawn = {k: (v[int(rng.integers(len(v)))] if isinstance(v, list) else v) for k, v in values.items()}
        configs.append(construct(StreetConfig, {**drawn, "seed": seed}, "street"))
    return configs


def render_streets(folder: Path, options: Mapping[str, Any], jobs: int = 1) -> None:
    """Render a recipe's streets into `folder`, with `jobs` processes, unless the folder holds these already."""
    from centertrack_ros.synthetic.coco_video import write_streets

    manifest = folder / MANIFEST
    text = json.dumps(dict(options), sort_keys=True)
    if manifest.is_file():
        if manifest.read_text(encoding="utf-8") == text:
            return
        raise ValueError(f"{folder}: holds streets of another recipe; give another folder or remove it")
    configs = street_configs(options)
    _LOG.info("rendering %d street sequences into %s", len(configs), folder)
    write_streets(folder, configs, jobs=jobs)
    write_text(manifest, text)
