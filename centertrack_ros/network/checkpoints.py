"""Weights in files: official CenterTrack checkpoints are read, safetensors with a model profile are read and written.

Nothing is dropped silently: what does not fit a model is an error that lists the keys.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from centertrack_ros.network.classes import known_classes
from centertrack_ros.network.heads import HEAD_CHANNELS, order_heads
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build
from centertrack_ros.network.zoo import with_zoo_facts

SUFFIX = ".safetensors"
_FORMAT = "centertrack_ros 1"
_BACKBONE = ("base", "dla_up", "ida_up")
_LISTED = 40  # keys that an error message names before it says how many more there are


class CheckpointError(ValueError):
    """A file that is not usable as weights; the message says why and what was expected."""


@dataclass(frozen=True)
class Weights:
    """Parameters, the profile of their network, and what else the file held."""

    state: dict[str, Tensor]
    profile: ModelProfile
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class OfficialCheckpoint:
    """An official file's parameters with their plain names, and what it held beside them."""

    state: dict[str, Tensor]
    ignored: tuple[str, ...]


def load(path: str | Path) -> tuple[nn.Module, ModelProfile]:
    """The network in evaluation mode and float32, and its profile, from either kind of file.

    An official checkpoint gets the profile that its keys and its file name tell (`infer_profile`). Raises
    CheckpointError for every file that is not weights of a known network, FileNotFoundError and the like as `open`.
    """
    weights = read(path)
    return build_loaded(weights.profile, weights.state, str(path)), weights.profile


def read(path: str | Path, name: str | None = None) -> Weights:
    """What a file of either kind holds; `name` replaces the model's. Raises as `load`, but checks no shapes."""
    path = Path(path)
    if _is_safetensors(path):
        state, profile = _read_safetensors(path)
        return Weights(state, replace(profile, name=name or profile.name), ())
    official = read_official(path)
    profile = infer_profile(official.state, name or path.name.split(".")[0], str(path))
    return Weights(official.state, profile, official.ignored)


def save(
    path: str | Path, weights: nn.Module | Mapping[str, Tensor], profile: ModelProfile, half: bool = False
) -> None:
    """Write a safetensors file with the profile in its metadata; `half` stores float16 (it is read as float32).

    Raises CheckpointError when the weights do not fit the profile, or do not fit into float16.
    """
    from safetensors.torch import save as to_bytes

    state = dict(weights.state_dict() if isinstance(weights, nn.Module) else weights)
    build_loaded(profile, state, f"weights for '{profile.name}'")
    if half:
        state = {key: _to_half(key, value) for key, value in state.items()}
    state = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    # Not by `save_file`, whose files nobody but their owner may read: a node can be another user.
    Path(path).write_bytes(to_bytes(state, metadata={"format": _FORMAT, "profile": profile.to_json()}))


def build_loaded(profile: ModelProfile, state: Mapping[str, Tensor], where: str) -> nn.Module:
    """The profile's network with exactly these parameters. Raises CheckpointError that lists every key that differs."""
    try:
        network = build(profile)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    expected = network.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in state]
    problems += [f"{key} is not a part of it" for key in state if key not in expected]
    problems += [
        f"{key} is {list(state[key].shape)}, expected {list(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    if problems:
        raise CheckpointError(f"{where} does not fit {profile.architecture}: {_list(problems, '; ')}")
    network.load_state_dict(dict(state), strict=True)
    return network


def read_official(path: str | Path) -> OfficialCheckpoint:
    """Read a .pth or .pth.tar file; no code in it is ever run. Raises CheckpointError if it holds no parameters."""
    path = Path(path)
    content = _unpickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        beside = [str(key) for key in content if key != "state_dict"]
        content = content["state_dict"]
    else:
        beside = []
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path} is not a checkpoint: expected a dictionary of tensors, or one under 'state_dict', "
            f"got {_describe(content)}"
        )
    plain = {_plain_name(str(key)): value for key, value in content.items()}
    if len(plain) != len(content):
        raise CheckpointError(f"{path}: some parameters are there twice, with and without the prefix 'module.'")
    # The ImageNet classifier that upstream leaves attached when it trains from an ImageNet start.
    classifier = [key for key in plain if key.startswith("base.fc.")]
    state = {key: value for key, value in plain.items() if key not in classifier}
    return OfficialCheckpoint(state, (*beside, *classifier))


def infer_profile(state: Mapping[str, Tensor], name: str, where: str = "the checkpoint") -> ModelProfile:
    """Architecture, heads, stems and classes from the parameters' names and shapes; the rest from `network.zoo`.

    Raises CheckpointError when the keys are not those of a DLA-34 CenterTrack.
    """
    architecture = _architecture(state, where)
    convolutions = _head_convolutions(state, where)
    heads = {head: int(convolutions[head][-1].shape[0]) for head in order_heads(list(convolutions))}
    for head, channels in heads.items():
        if channels != HEAD_CHANNELS.get(head, channels):
            raise CheckpointError(f"{where}: head '{head}' has {channels} channels, expected {HEAD_CHANNELS[head]}")
    profile = ModelProfile(
        name=name,
        architecture=architecture,
        classes=known_classes(heads["hm"]),
        heads=heads,
        previous_image="base.pre_img_layer.0.weight" in state,
        prior_heatmap="base.pre_hm_layer.0.weight" in state,
        trained_tracking="tracking" in heads,
        head_options=_head_options(convolutions),
    )
    return with_zoo_facts(profile)


def _architecture(state: Mapping[str, Tensor], where: str) -> str:
    if "base.level5.root.conv.weight" in state and "ida_up.proj_1.conv.conv_offset_mask.weight" in state:
        return "dla_34"
    if "base.level5.root.conv.weight" in state and "ida_up.node_1.conv.0.weight" in state:
        return "dla_34_conv"
    expected = build(ModelProfile("", "dla_34", ("",), {"hm": 1})).state_dict()
    strangers = [key for key in state if key not in expected and key.partition(".")[0] not in ("hm", *HEAD_CHANNELS)]
    missing = [key for key in expected if key not in state and not key.startswith(("hm.", "base.pre_"))]
    raise CheckpointError(
        f"{where} is of another architecture than DLA-34; keys that DLA-34 does not have: "
        f"{_list(strangers, ', ') or 'none'}; keys that are missing: {_list(missing, ', ')}"
    )


def _head_convolutions(state: Mapping[str, Tensor], where: str) -> dict[str, list[Tensor]]:
    """Head -> weights of its convolutions, first to last."""
    found: dict[str, dict[int, Tensor]] = {}
    strangers = []
    for key, value in state.items():
        head, _, rest = key.partition(".")
        if head in _BACKBONE:
            continue
        layer = re.fullmatch(r"(?:(\d+)\.)?(weight|bias)", rest)
        if layer is None or (head != "hm" and head not in HEAD_CHANNELS) or value.dim() not in (1, 4):
            strangers.append(key)
        elif layer[2] == "weight" and value.dim() == 4:
            found.setdefault(head, {})[int(layer[1] or 0)] = value
    if strangers:
        raise CheckpointError(f"{where} has keys that belong to no head of CenterTrack: {_list(strangers, ', ')}")
    if "hm" not in found:
        raise CheckpointError(f"{where} has no heatmap head: hm.0.weight is missing, heads found: {sorted(found)}")
    return {head: [layers[i] for i in sorted(layers)] for head, layers in found.items()}


def _head_options(convolutions: Mapping[str, list[Tensor]]) -> dict[str, int]:
    hidden = convolutions["hm"][:-1]
    if not hidden:
        return {"head_conv": 0}
    return {"head_conv": int(hidden[0].shape[0]), "num_head_conv": len(hidden), "head_kernel": int(hidden[0].shape[2])}


# The options `--arch generic --backbone dla34 --neck dlaup` make the same network under other names.
_OTHER_NAMES = {"backbone.": "base.", "neck.dla_up.": "dla_up.", "neck.ida_up.": "ida_up."}


def _plain_name(key: str) -> str:
    if key.startswith("module.") and not key.startswith("module_list"):
        key = key[len("module.") :]
    for other, ours in _OTHER_NAMES.items():
        if key.startswith(other):
            return ours + key[len(other) :]
    return key


def _unpickle(path: Path) -> object:
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: expected a checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what matters is whether the content is tensors
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises whatever its unpickler stumbles over
        raise CheckpointError(f"{path} is not usable: {_why_unreadable(path, error)}") from None


def _why_unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if (start == b"PK" and not zipfile.is_zipfile(path)) or isinstance(error, EOFError):
        return "it is truncated"
    stranger = re.search(r"GLOBAL ([\w.]+)", str(error))
    if stranger:
        return f"it holds Python code or objects ({stranger[1]}), and only tensors are read"
    if isinstance(error, pickle.UnpicklingError) and start[:1] == b"\x80":
        return "it is a pickle that holds Python code or objects, and only tensors are read"
    return "it is truncated, or neither a PyTorch checkpoint nor a safetensors file"


def _is_safetensors(path: Path) -> bool:
    """By its content: a length of 8 bytes, then JSON; a suffix can lie."""
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == SUFFIX or (len(head) == 9 and head[8:] == b"{")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelProfile]:
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: expected a safetensors file")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, struct.error) as error:
        raise CheckpointError(f"{path} is not usable: it is truncated or not a safetensors file ({error})") from None
    if "profile" not in metadata:
        raise CheckpointError(
            f"{path} has no model profile in its metadata: write such files with `centertrack weights convert`"
        )
    try:
        profile = ModelProfile.from_json(metadata["profile"])
    except (ValueError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: its model profile cannot be read: {error}") from None
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, profile


def _to_half(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    stored = value.detach().half()
    if not torch.isfinite(stored).all():
        raise CheckpointError(f"{key} does not fit into float16 (largest value {value.abs().max().item():.3g})")
    return stored


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with the keys {_list([str(key) for key in content], ', ')}" if content else "an empty one"
    return f"a {type(content).__name__}"


def _list(items: list[str], separator: str) -> str:
    more = f"{separator}and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return separator.join(items[:_LISTED]) + more
