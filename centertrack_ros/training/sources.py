# SPDX-License-Identifier: Apache-2.0
"""The training data that a recipe names: reads files, and renders the synthetic streets that do not exist yet."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.training import dataset_sources
from centertrack_ros.training.annotations import TrainingImages
from centertrack_ros.training.bag_images import extract
from centertrack_ros.training.coco_images import read_coco_video
from centertrack_ros.training.recipe import DataEntry
from centertrack_ros.training.yolo_images import read_yolo

_LOG = logging.getLogger(__name__)
MANIFEST = "street.json"  # written last, holds the options of what was rendered


def prepare(entry: DataEntry, jobs: int = 1) -> None:
    """Write the files that `load` needs, so that several processes do not do so at once.

    Args:
        entry: Of a recipe.
        jobs: Processes that render streets.
    """
    if entry.kind == "street":
        render_streets(Path(entry.folder), entry.street, jobs)
    elif entry.kind == "bag":
        extract(Path(entry.folder), Path(entry.images))


def load(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    """The images of a recipe's entry; what was left out is logged, with counts.

    Args:
        entry: Of a recipe.
        classes: Of the model.

    Raises:
        DataError: The data cannot be read, or its classes do not fit the model's.
        FileNotFoundError: A file or folder does not exist.
    """
    if entry.kind == "yolo":
        source = read_yolo(
            Path(entry.images), Path(entry.labels), entry.names, classes, entry.class_map, entry.labelled
        )
    elif entry.kind == "coco_video":
        source = read_coco_video(Path(entry.annotations), Path(entry.images), classes, entry.class_map)
    elif entry.kind != "street":
        source = dataset_sources.read(entry, classes)
    else:
        folder = Path(entry.folder)
        render_streets(folder, entry.street)
        source = read_coco_video(folder / "annotations.json", folder / "images", classes, entry.class_map)
    for problem, count in source.problems.items():
        _LOG.warning("%s: left out %d times: %s", source.name, count, problem)
    if entry.limit and entry.limit < len(source.images):
        keep = np.linspace(0, len(source.images) - 1, entry.limit).astype(int)
        source = replace(source, images=tuple(source.images[i] for i in keep))
    return source


def street_configs(options: Mapping[str, Any]) -> list[Any]:
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
