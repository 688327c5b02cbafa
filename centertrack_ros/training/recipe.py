# SPDX-License-Identifier: Apache-2.0
"""A training recipe: the YAML file that `centertrack train` reads, checked before anything is computed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from centertrack_ros.io.yaml_files import load_yaml
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.training.augmentation import Augmentation
from centertrack_ros.training.losses import WEIGHTS
from centertrack_ros.training.streets import street_configs
from centertrack_ros.typed_records import construct, converted, shown

_LOG = logging.getLogger(__name__)

# Kind of data -> keys that an entry of this kind needs.
REQUIRED_KEYS: dict[str, tuple[str, ...]] = {
    "coco_video": ("annotations", "images"),
    "yolo": ("images", "labels", "names"),
    "street": ("folder",),
    "kitti": ("folder",),
    "nuscenes": (),
    "mot": ("folder",),
    "crowdhuman": ("annotations", "images"),
    "dgp": ("folder",),
    "bag": ("folder", "images"),
}


@dataclass(frozen=True)
class DataEntry:
    """One source of training images; docs/training.md has the keys of each kind.

    Attributes:
        kind: One of REQUIRED_KEYS.
        annotations: Annotation file.
        images: Folder of the images, or where a bag's images are written.
        labels: Folder of YOLO's text files.
        folder: Of the data set, or the bag.
        names: Class names of the numbers in YOLO's files.
        class_map: Class of the data -> class of the model, None (ignored region), or a pair for a cyclist's bicycle
            and rider.
        labelled: Model classes that are annotated throughout; others are ignored. Not for coco_video and street.
        repeat: How often each image is drawn per round.
        limit: At most so many images, evenly distributed; 0: all.
        street: Keys of `StreetConfig`, with lists from which each sequence draws, and `sequences`.
        sequences: Names of the sequences (kitti, mot) or scenes (nuscenes); empty: all.
        version: Of a nuScenes database.
        box: Of CrowdHuman: 'fbox' (whole body) or 'vbox' (visible part).
        prefix: Of a bag's topics with ground truth.
    """

    kind: str
    annotations: str = ""
    images: str = ""
    labels: str = ""
    folder: str = ""
    names: tuple[str, ...] = ()
    class_map: Mapping[str, Any] | None = None
    labelled: tuple[str, ...] | None = None
    repeat: int = 1
    limit: int = 0
    street: Mapping[str, Any] = field(default_factory=dict)
    sequences: tuple[str, ...] = ()
    version: str = "v1.0-trainval"
    box: str = "fbox"
    prefix: str = "/truth"

    def __post_init__(self) -> None:
        if self.kind not in REQUIRED_KEYS:
            raise ValueError(f"recipe: data kind must be one of {', '.join(REQUIRED_KEYS)}, got {shown(self.kind)}")
        for key in REQUIRED_KEYS[self.kind]:
            if not getattr(self, key):
                raise ValueError(f"recipe: data of kind '{self.kind}' needs '{key}'")
        if self.kind == "nuscenes" and bool(self.folder) == bool(self.annotations):
            raise ValueError(
                "recipe: data of kind 'nuscenes' needs 'folder' (a database) or 'annotations' (a JSON file)"
            )
        if self.box not in ("fbox", "vbox"):
            raise ValueError(f"recipe: box must be fbox or vbox, got {shown(self.box)}")
        self._check_class_map()
        if self.repeat < 0 or self.limit < 0:
            raise ValueError("recipe: repeat and limit must not be negative")

    def _check_class_map(self) -> None:
        for name, target in (self.class_map or {}).items():
            pair = target if isinstance(target, list | tuple) and len(target) == 2 else [target]
            if not all(one is None or isinstance(one, str) for one in pair):
                where = f"recipe: class_map: {str(name)[:60]}"
                raise ValueError(f"{where} must lead to a class, null, or a pair of classes, got {shown(target)}")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides on a training run.

    Attributes:
        name: Of the model.
        train: Training data.
        val: Validation data.
        init_from: Weights to start from: an embedded model's name, a safetensors file, an official checkpoint; '':
            random weights.
        profile: Fields of the model profile that differ from that of `init_from` (without one: all of them).
        augmentation: Of the training images.
        static: Every image is its own previous frame.
        batch: Images per step and device.
        accumulate: Batches per optimizer step.
        max_objects: Slots per image.
        steps: Optimizer steps.
        validate_every: Optimizer steps from one validation to the next.
        val_batches: Limit of one validation; 0: all.
        learning_rate: Of Adam, reached after `warmup` steps, divided by 10 at each step of `drop_at`.
        warmup: Optimizer steps.
        drop_at: Optimizer steps.
        clip_gradient: Largest norm of the gradient; 0: not limited.
        ema: Decay of the averaged weights that are validated and exported; 0: no average.
        freeze: Prefixes of the names of parameters that do not learn.
        reinitialize: Prefixes of the names of parameters that do not get the weights of `init_from`.
        relative_rates: Prefix of parameter names -> factor on the learning rate, times the tensor's root mean square:
            for trained weights with folded batch norms, whose sizes differ by orders of magnitude.
        cache_features: So many samples, of all processes together, whose features at the objects are computed once
            and learnt from repeatedly; `freeze` must name everything but heads. 0: each step sees new samples.
        sample_size: Of the training images, as 'WIDTHxHEIGHT' px; '': the model's input size.
        loss_weights: Head -> weight, where it differs from the official one; 0: the head is not trained.
        relative_depth: The depth's loss is relative to the depth, not in metres.
        precision: As in Lightning's Trainer; so are `accelerator`, `devices`, `nodes` and `strategy`.
        workers: Processes that load data.
        threads: Of torch per process; 0: torch's default.
        seed: Of all randomness.
    """

    name: str
    train: tuple[DataEntry, ...]
    val: tuple[DataEntry, ...] = ()
    init_from: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    static: bool = False
    batch: int = 8
    accumulate: int = 1
    max_objects: int = 128
    steps: int = 1000
    validate_every: int = 200
    val_batches: int = 0
    learning_rate: float = 1.25e-4
    warmup: int = 0
    drop_at: tuple[int, ...] = ()
    clip_gradient: float = 0.0
    ema: float = 0.999
    freeze: tuple[str, ...] = ()
    reinitialize: tuple[str, ...] = ()
    relative_rates: Mapping[str, float] = field(default_factory=dict)
    cache_features: int = 0
    sample_size: str = ""
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    relative_depth: bool = False
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    workers: int = 2
    threads: int = 0
    seed: int = 317

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "steps", "validate_every", "max_objects", "devices", "nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup", "val_batches", "workers", "threads", "clip_gradient", "cache_features"):
            if getattr(self, name) < 0:
                raise ValueError(f"recipe: {name} must not be negative, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"recipe: learning_rate must be above 0, got {self.learning_rate}")
        if self.sample_size and any(side < 32 or side % 32 for side in self.sample_width_height):
            raise ValueError(f"recipe: sample_size must be two multiples of 32, got {self.sample_size}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"recipe: ema must be from 0 to below 1, got {self.ema}")
        if not self.train:
            raise ValueError("recipe: 'train' names no data")
        self._check_mappings()

    def _check_mappings(self) -> None:
        if unknown := sorted(set(self.loss_weights) - set(WEIGHTS)):
            raise ValueError(f"recipe: loss_weights: no loss '{unknown[0][:60]}'; there are {', '.join(WEIGHTS)}")
        for head, weight in self.loss_weights.items():
            if not weight >= 0:
                raise ValueError(f"recipe: loss_weights: {head} must not be negative, got {weight}")
        for prefix, factor in self.relative_rates.items():
            if not factor > 0:
                raise ValueError(f"recipe: relative_rates: {prefix} must be above 0 (or frozen), got {factor}")

    @property
    def sample_width_height(self) -> tuple[int, int]:
        """`sample_size` as numbers, px. Raises ValueError for another text than 'WIDTHxHEIGHT'."""
        match = re.fullmatch(r"(\d+)x(\d+)", self.sample_size)
        if match is None:
            raise ValueError(
                f"recipe: sample_size must be WIDTHxHEIGHT, such as 384x224, got {shown(self.sample_size)}"
            )
        return int(match[1]), int(match[2])


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file; relative paths in it are relative to the working directory.

    Args:
        path: The file.
        overrides: Keys that differ; 'augmentation.lost' is a key inside a mapping.

    Returns:
        The checked recipe.

    Raises:
        ValueError: A key is unknown or its value wrong; the text names it.
        OSError: The file cannot be read.
    """
    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected a mapping of recipe keys, got {shown(raw)}")
    try:
        for key, value in (overrides or {}).items():
            raw = _override(raw, key.split("."), value)
        recipe = from_mapping(raw)
        converted(ModelProfile, recipe.profile, "recipe: profile")
        for entry in (*recipe.train, *recipe.val):
            street_configs(entry.street)
        return recipe
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _override(raw: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    if len(path) == 1:
        return {**raw, path[0]: value}
    inside = raw.get(path[0]) or {}
    if not isinstance(inside, Mapping):
        raise ValueError(f"recipe: '{path[0]}' has no keys inside, so there is no '{'.'.join(path)}'")
    return {**raw, path[0]: _override(inside, path[1:], value)}


def from_mapping(raw: Mapping[str, Any]) -> Recipe:
    """A recipe from plain dictionaries. Raises ValueError as `read_recipe`."""
    values = _with_current_keys(raw, RENAMED_KEYS, "recipe")
    if isinstance(values.get("loss_weights"), Mapping):
        values["loss_weights"] = _with_current_keys(values["loss_weights"], RENAMED_LOSSES, "recipe: loss_weights")
    if isinstance(values.get("sample_size"), list | tuple):
        size = "x".join(shown(side) for side in reversed(values["sample_size"][:2]))
        raise ValueError(f"recipe: sample_size is written as WIDTHxHEIGHT now: {size}")
    for part in ("train", "val"):
        entries = values.get(part) or ()
        if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ValueError(f"recipe: {part} must be a list of data entries, got {shown(entries)}")
        values[part] = tuple(_entry(entry) for entry in entries)
    augmentation = values.get("augmentation") or {}
    if not isinstance(augmentation, Mapping):
        raise ValueError(f"recipe: augmentation must be a mapping, got {shown(augmentation)}")
    values["augmentation"] = construct(Augmentation, augmentation, "augmentation")
    return construct(Recipe, values, "recipe")


# Keys of earlier versions, which still work, -> keys of today.
RENAMED_KEYS = {
    "start": "init_from", "fresh": "reinitialize", "remember": "cache_features", "still": "static",
}  # fmt: skip
RENAMED_LOSSES = {"still": "static"}


def _with_current_keys(raw: Mapping[str, Any], renamed: Mapping[str, str], where: str) -> dict[str, Any]:
    """The mapping with the keys of today; an old key is logged. Raises ValueError when both are there."""
    values = dict(raw)
    for old, new in renamed.items():
        if old not in values:
            continue
        if new in values:
            raise ValueError(f"{where}: '{old}' is the old name of '{new}'; give only '{new}'")
        _LOG.warning("%s: the key '%s' is now called '%s'", where, old, new)
        values[new] = values.pop(old)
    return values


def _entry(raw: Mapping[str, Any]) -> DataEntry:
    values = dict(raw)
    if isinstance(names := values.get("names"), dict):  # as YOLO's files have them: number -> name
        if set(names) != set(range(len(names))):
            raise ValueError(f"data entry: names must have the numbers 0 to {len(names) - 1}, got {shown(list(names))}")
        values["names"] = tuple(str(names[number]) for number in range(len(names)))
    return construct(DataEntry, values, "data entry")


def as_mapping(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for logs and checkpoints."""
    return asdict(recipe)
