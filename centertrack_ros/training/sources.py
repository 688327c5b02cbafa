"""The data of a recipe: reads what is on disk and renders streets that are not there yet."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.training import dataset_sources
from centertrack_ros.training.annotations import Collection, read_coco_video, read_yolo
from centertrack_ros.training.bag_images import extract
from centertrack_ros.training.recipe import DataEntry

_LOG = logging.getLogger(__name__)
DONE = "street.json"  # written last, holds what was rendered


def prepare(entry: DataEntry, jobs: int = 1) -> None:
    """Make what `load` would make on disk, so that several processes do not do so at once.

    jobs  processes that render streets
    """
    if entry.kind == "street":
        render_streets(Path(entry.folder), entry.street, jobs)
    elif entry.kind == "bag":
        extract(Path(entry.folder), Path(entry.images))


def load(entry: DataEntry, classes: Sequence[str]) -> Collection:
    """The collection that an entry describes, for a model with `classes`; what was left out is logged, with counts."""
    if entry.kind == "yolo":
        found = read_yolo(Path(entry.images), Path(entry.labels), entry.names, classes, entry.class_map, entry.labelled)
    elif entry.kind == "coco_video":
        found = read_coco_video(Path(entry.annotations), Path(entry.images), classes, entry.class_map)
    elif entry.kind != "street":
        found = dataset_sources.read(entry, classes)
    else:
        folder = Path(entry.folder)
        render_streets(folder, entry.street)
        found = read_coco_video(folder / "annotations.json", folder / "images", classes, entry.class_map)
    for problem, count in found.problems.items():
        _LOG.warning("%s: left out %d times: %s", found.name, count, problem)
    if entry.limit and entry.limit < len(found.images):
        keep = np.linspace(0, len(found.images) - 1, entry.limit).astype(int)
        found = replace(found, images=tuple(found.images[i] for i in keep))
    return found


def street_configs(wish: Mapping[str, Any]) -> list[Any]:
    """The sequences of a recipe's `street` section: of each list the value that the sequence's seed draws.

    Raises ValueError for a key that `StreetConfig` does not have.
    """
    from centertrack_ros.synthetic import StreetConfig

    values = dict(wish)
    count, first = int(values.pop("sequences", 1)), int(values.pop("seed", 0))
    if unknown := sorted(set(values) - set(StreetConfig.__dataclass_fields__)):
        raise ValueError(f"street: unknown key '{unknown[0]}'")
    configs = []
    for seed in range(first, first + count):
        rng = np.random.default_rng((seed, 99))
        drawn = {k: (v[int(rng.integers(len(v)))] if isinstance(v, list) else v) for k, v in values.items()}
        configs.append(StreetConfig(seed=seed, **drawn))
    return configs


def render_streets(folder: Path, wish: Mapping[str, Any], jobs: int = 1) -> None:
    """Render a recipe's streets into `folder`, by so many processes, unless just these are there already."""
    from centertrack_ros.synthetic.coco_video import write_streets

    note = folder / DONE
    text = json.dumps(dict(wish), sort_keys=True)
    if note.is_file():
        if note.read_text(encoding="utf-8") == text:
            return
        raise ValueError(f"{folder}: holds streets of another recipe; give another folder or remove it")
    configs = street_configs(wish)
    _LOG.info("rendering %d street sequences into %s", len(configs), folder)
    write_streets(folder, configs, jobs=jobs)
    note.write_text(text, encoding="utf-8")
