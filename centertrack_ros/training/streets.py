# SPDX-License-Identifier: Apache-2.0
"""Synthetic streets as training data: rendered on first use."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from centertrack_ros.synthetic import StreetConfig

_LOG = logging.getLogger(__name__)
MANIFEST = "street.json"  # written last, holds the options of what was rendered


def street_configs(options: Mapping[str, Any]) -> list[StreetConfig]:
    """The `StreetConfig` of each sequence of a recipe's `street` section; from a list each sequence draws a value.

    Raises ValueError for a key that `StreetConfig` does not have.
    """
    from centertrack_ros.synthetic import StreetConfig

    values = dict(options)
    count, first = int(values.pop("sequences", 1)), int(values.pop("seed", 0))
    if unknown := sorted(set(values) - set(StreetConfig.__dataclass_fields__)):
        raise ValueError(f"street: unknown key '{unknown[0]}'")
    configs = []
    for seed in range(first, first + count):
        rng = np.random.default_rng((seed, 99))
        drawn = {k: (v[int(rng.integers(len(v)))] if isinstance(v, list) else v) for k, v in values.items()}
        configs.append(StreetConfig(seed=seed, **drawn))
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
    manifest.write_text(text, encoding="utf-8")
