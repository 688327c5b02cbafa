"""A training recipe: the YAML file that `centertrack train` reads, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from centertrack_ros.training.augmentation import Augmentation
from centertrack_ros.training.losses import WEIGHTS

# Kind of data -> keys that it needs.
KINDS: dict[str, tuple[str, ...]] = {
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
    """One collection; docs/training.md has the keys of each kind.

    kind        one of KINDS
    class_map   data class -> model class, None (ignored region), or a pair for a cyclist's bicycle and rider
    labelled    model classes that the set annotates throughout; others are not judged. Not for coco_video and street
    repeat      how often each image comes up per round, a whole number
    limit       only the first so many images, evenly spread; 0: all
    street      keys of `StreetConfig` with lists to choose from per sequence, and `sequences`
    sequences   names of the sequences (kitti, mot) or scenes (nuscenes); empty: all
    version     of a nuScenes database;  box  of CrowdHuman: 'fbox' (whole body) or 'vbox' (what is visible)
    prefix      of a bag's topics with its truth
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
        if self.kind not in KINDS:
            raise ValueError(f"recipe: data kind must be one of {', '.join(KINDS)}, got '{self.kind}'")
        for key in KINDS[self.kind]:
            if not getattr(self, key):
                raise ValueError(f"recipe: data of kind '{self.kind}' needs '{key}'")
        if self.kind == "nuscenes" and bool(self.folder) == bool(self.annotations):
            raise ValueError(
                "recipe: data of kind 'nuscenes' needs 'folder' (a database) or 'annotations' (a JSON file)"
            )
        if self.box not in ("fbox", "vbox"):
            raise ValueError(f"recipe: box must be fbox or vbox, got '{self.box}'")
        if self.repeat < 0 or self.limit < 0:
            raise ValueError("recipe: repeat and limit must not be negative")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides on a training run.

    name          of the model
    start         weights to start from: an embedded model's name, a safetensors file, an official checkpoint; '': from
                  nothing
    profile       fields of the model profile that differ from the start's (all of them without a start)
    train, val    data;  augmentation  of the training images;  still  every image is its own previous frame
    batch         images per step and device;  accumulate  batches per optimizer step;  max_objects  slots per image
    steps         optimizer steps;  validate_every  of them;  val_batches  limit of one validation, 0: all
    learning_rate of Adam, reached after `warmup` steps, divided by 10 at each of `drop_at`
    clip_gradient norm, 0: off;  ema  decay of the averaged weights that are validated and exported, 0: off
    freeze        beginnings of parameter names that stay as they are
    fresh         beginnings of names that do not take the start's weights
    relative_rates  beginning of parameter names -> factor on the learning rate, times the tensor's root mean square:
                  for trained weights with folded batch norms, whose sizes differ by orders of magnitude
    remember      samples, of all processes together, whose features at the objects are computed once and learnt from
                  again and again; `freeze` must leave nothing but heads. 0: each step sees new ones
    sample_size   (height, width) px of the training images, () for the model's input size
    loss_weights  head -> weight, where it differs from the official one; 0: it is not trained
    relative_depth  the depth's loss counts in parts of the depth, not in metres
    precision, devices, nodes, strategy, accelerator   as Lightning knows them
    workers       processes that load data;  seed;  threads  of torch per process, 0: as it is
    """

    name: str
    train: tuple[DataEntry, ...]
    val: tuple[DataEntry, ...] = ()
    start: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    still: bool = False
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
    fresh: tuple[str, ...] = ()
    relative_rates: Mapping[str, float] = field(default_factory=dict)
    remember: int = 0
    sample_size: tuple[int, ...] = ()
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
        for name in ("warmup", "val_batches", "workers", "threads", "clip_gradient", "remember"):
            if getattr(self, name) < 0:
                raise ValueError(f"recipe: {name} must not be negative, got {getattr(self, name)}")
        if unknown := sorted(set(self.loss_weights) - set(WEIGHTS)):
            raise ValueError(f"recipe: loss_weights: no loss '{unknown[0]}'; there are {', '.join(WEIGHTS)}")
        for head, weight in self.loss_weights.items():
            if not weight >= 0:
                raise ValueError(f"recipe: loss_weights: {head} must not be negative, got {weight}")
        if not self.learning_rate > 0:
            raise ValueError(f"recipe: learning_rate must be above 0, got {self.learning_rate}")
        for beginning, factor in self.relative_rates.items():
            if not factor > 0:
                raise ValueError(f"recipe: relative_rates: {beginning} must be above 0 (or frozen), got {factor}")
        if self.sample_size and (
            len(self.sample_size) != 2 or any(side < 32 or side % 32 for side in self.sample_size)
        ):
            raise ValueError(f"recipe: sample_size must be two multiples of 32, got {list(self.sample_size)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"recipe: ema must be from 0 to below 1, got {self.ema}")
        if not self.train:
            raise ValueError("recipe: 'train' names no data")


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file; relative paths in it are relative to the working directory.

    overrides  keys that differ; 'augmentation.lost' is the key inside of a mapping
    Raises ValueError naming an unknown key or a wrong value, OSError when the file cannot be read.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected a mapping of recipe keys, got {type(raw).__name__}")
    try:
        for key, value in (overrides or {}).items():
            raw = _changed(raw, key.split("."), value)
        return from_mapping(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _changed(raw: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    if len(path) == 1:
        return {**raw, path[0]: value}
    inside = raw.get(path[0]) or {}
    if not isinstance(inside, Mapping):
        raise ValueError(f"recipe: '{path[0]}' has no keys inside, so there is no '{'.'.join(path)}'")
    return {**raw, path[0]: _changed(inside, path[1:], value)}


def from_mapping(raw: Mapping[str, Any]) -> Recipe:
    """A recipe from plain dictionaries. Raises ValueError as `read_recipe`."""
    values = dict(raw)
    for part in ("train", "val"):
        entries = values.get(part) or ()
        if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ValueError(f"recipe: {part} must be a list of data entries, got {entries!r}")
        values[part] = tuple(_entry(entry) for entry in entries)
    augmentation = values.get("augmentation") or {}
    if not isinstance(augmentation, Mapping):
        raise ValueError(f"recipe: augmentation must be a mapping, got {augmentation!r}")
    values["augmentation"] = _made(Augmentation, augmentation, "augmentation")
    return _made(Recipe, values, "recipe")


def _entry(raw: Mapping[str, Any]) -> DataEntry:
    values = dict(raw)
    if isinstance(values.get("names"), dict):
        values["names"] = tuple(str(values["names"][k]) for k in sorted(values["names"]))
    return _made(DataEntry, values, "data entry")


def _made(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    known = get_type_hints(kind)
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"{where}: unknown key '{unknown[0]}'; there are {', '.join(sorted(known))}")
    defaults = {entry.name: entry.default for entry in fields(kind)}
    # A key without a value is one that is not there.
    given = {key: value for key, value in values.items() if value is not None or defaults[key] is None}
    try:
        return kind(**{key: _of_kind(value, known[key], f"{where}: {key}") for key, value in given.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def _of_kind(value: Any, kind: Any, where: str) -> Any:
    """The value as the kind that a field is declared with. Raises ValueError for one that is not of it."""
    if get_origin(kind) in (Union, UnionType):  # of None and one other
        return None if value is None else _of_kind(value, next(k for k in get_args(kind) if k is not NoneType), where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {value!r}")
        inner = get_args(kind)
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise ValueError(f"{where} must be a list of {len(inner)}, got {value!r}")
        return tuple(_of_kind(one, inner[0], where) for one in value)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping, got {value!r}")
        return {str(key): _of_kind(one, get_args(kind)[1], f"{where}: {key}") for key, one in value.items()}
    if kind is float:
        return _number(value, where)
    if kind in _KINDS and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ValueError(f"{where} must be {_KINDS[kind]}, got {value!r}")
    return value


_KINDS = {int: "a whole number", bool: "true or false", str: "text"}


def _number(value: Any, where: str) -> float:
    """YAML 1.1 takes 1e-3 for text: it is a number here."""
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not math.isfinite(found):
        raise ValueError(f"{where} must be a number, got {value!r}")
    return found


def as_mapping(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for logs and checkpoints."""
    return asdict(recipe)
