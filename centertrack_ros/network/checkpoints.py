# SPDX-License-Identifier: Apache-2.0
"""Files of weights: reads official CenterTrack checkpoints, reads and writes safetensors with a model profile.

Nothing is dropped silently: a key that does not fit the model is an error that lists the keys.
"""

from __future__ import annotations

import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from centertrack_ros.network.base import TrackingNetwork
from centertrack_ros.network.classes import known_classes
from centertrack_ros.network.heads import HEAD_CHANNELS, order_heads
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build, download, with_zoo_facts
from centertrack_ros.network.weights_file import CheckpointError, is_safetensors, listed, opened

_FORMAT = "centertrack_ros 1"
_BACKBONE = ("base", "dla_up", "ida_up")


@dataclass(frozen=True)
class Weights:
    """The content of a weights file.

    Attributes:
        state: Parameter name -> tensor.
        profile: Describes the network of these parameters.
        ignored: Names of the entries of the file that are not used, such as an optimizer's state.
    """

    state: dict[str, Tensor]
    profile: ModelProfile
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The content of an official checkpoint.

    Attributes:
        state: Parameter name, without DataParallel's prefix -> tensor.
        ignored: Names of the other entries of the file.
    """

    state: dict[str, Tensor]
    ignored: tuple[str, ...]


def load(path: str | Path) -> tuple[TrackingNetwork, ModelProfile]:
    """Load a network and its profile from either kind of file.

    An official checkpoint gets the profile that `infer_profile` reads from its keys and its file name.

    Args:
        path: A safetensors file of this package or an official checkpoint.

    Returns:
        The network in evaluation mode and float32, and its profile.

    Raises:
        CheckpointError: The file does not hold weights of a known network.
        OSError: The file cannot be read.
    """
    weights = read(path)
    return build_loaded(weights.profile, weights.state, str(path)), weights.profile


def read(path: str | Path, name: str | None = None) -> Weights:
    """Read a file of either kind without building its network, so that shapes stay unchecked.

    Args:
        path: A safetensors file of this package or an official checkpoint.
        name: Replaces the name of the model.

    Returns:
        Parameters, profile and the names of unused entries.

    Raises:
        CheckpointError: The file does not hold weights of a known network.
        OSError: The file cannot be read.
    """
    path = Path(path)
    if is_safetensors(path):
        state, profile = _read_safetensors(path)
        return Weights(state, replace(profile, name=name or profile.name), ())
    official = read_official(path)
    profile = infer_profile(official.state, name or path.name.split(".")[0], str(path))
    return Weights(official.state, profile, official.ignored)


def save(
    path: str | Path, weights: nn.Module | Mapping[str, Tensor], profile: ModelProfile, half: bool = False
) -> None:
    """Write a safetensors file with the profile in its metadata.

    Args:
        path: The file to write.
        weights: A network, or its parameters by name.
        profile: Describes the network.
        half: Store float16; `load` gives float32 again.

    Raises:
        CheckpointError: The weights do not fit the profile, or a value does not fit into float16.
        OSError: The file cannot be written.
    """
    from safetensors.torch import save as to_bytes

    state = dict(weights.state_dict() if isinstance(weights, nn.Module) else weights)
    build_loaded(profile, state, f"weights for '{profile.name}'")
    if half:
        state = {key: _to_half(key, value) for key, value in state.items()}
    state = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    # `safetensors.torch.save_file` makes files that only their owner may read, but the node can run as another user.
    Path(path).write_bytes(to_bytes(state, metadata={"format": _FORMAT, "profile": profile.to_json()}))


def fetch(name: str, output: Path) -> None:
    """Download an official model, check that it loads, and write it as safetensors.

    Args:
        name: Key of `registry.ZOO`.
        output: The file to write; it is written only when everything succeeded.

    Raises:
        KeyError: The name is not in the zoo.
        ImportError: gdown is not installed.
        OSError: The download failed.
        CheckpointError: The downloaded file is not that model.
    """
    with tempfile.TemporaryDirectory() as folder:
        network, profile = load(download(name, Path(folder)))
        save(output, network, profile)


def build_loaded(profile: ModelProfile, state: Mapping[str, Tensor], where: str) -> TrackingNetwork:
    """Build the network of a profile and load exactly these parameters.

    Args:
        profile: Describes the network.
        state: Parameter name -> tensor.
        where: Names the source of the parameters in error messages.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: Keys or shapes differ; the message lists every one.
    """
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
        raise CheckpointError(f"{where} does not fit {profile.architecture}: {listed(problems, '; ')}")
    network.load_state_dict(dict(state), strict=True)
    return network


def read_official(path: str | Path) -> OfficialCheckpoint:
    """Read a .pth or .pth.tar file. Code in it is never run.

    Args:
        path: The file.

    Returns:
        Its parameters under their plain names.

    Raises:
        CheckpointError: The file holds no parameters, or anything but tensors.
        OSError: The file cannot be read.
    """
    path = Path(path)
    content = _unpickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        other_entries = [str(key) for key in content if key != "state_dict"]
        content = content["state_dict"]
    else:
        other_entries = []
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path} is not a checkpoint: expected a dictionary of tensors, or one under 'state_dict', "
            f"got {_describe(content)}"
        )
    plain = {_plain_name(str(key)): value for key, value in content.items()}
    if len(plain) != len(content):
        raise CheckpointError(f"{path}: some parameters are there twice, with and without the prefix 'module.'")
    # The official code leaves the ImageNet classifier attached when it trains from ImageNet weights.
    classifier = [key for key in plain if key.startswith("base.fc.")]
    state = {key: value for key, value in plain.items() if key not in classifier}
    return OfficialCheckpoint(state, (*other_entries, *classifier))


def infer_profile(state: Mapping[str, Tensor], name: str, where: str = "the checkpoint") -> ModelProfile:
    """Infer a profile from the names and shapes of official parameters.

    Args:
        state: Parameter name -> tensor; gives architecture, heads, stems and classes.
        name: Name of the model; gives the facts of `registry.ZOO`.
        where: Names the source of the parameters in error messages.

    Returns:
        The profile.

    Raises:
        CheckpointError: The keys are not those of a DLA-34 CenterTrack.
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
    unknown_keys = [key for key in state if key not in expected and key.partition(".")[0] not in ("hm", *HEAD_CHANNELS)]
    missing = [key for key in expected if key not in state and not key.startswith(("hm.", "base.pre_"))]
    raise CheckpointError(
        f"{where} is of another architecture than DLA-34; keys that DLA-34 does not have: "
        f"{listed(unknown_keys, ', ') or 'none'}; keys that are missing: {listed(missing, ', ')}"
    )


def _head_convolutions(state: Mapping[str, Tensor], where: str) -> dict[str, list[Tensor]]:
    """Head name -> weights of its convolutions, first to last."""
    layers_of: dict[str, dict[int, Tensor]] = {}
    unknown_keys = []
    for key, value in state.items():
        head, _, rest = key.partition(".")
        if head in _BACKBONE:
            continue
        layer = re.fullmatch(r"(?:(\d+)\.)?(weight|bias)", rest)
        if layer is None or (head != "hm" and head not in HEAD_CHANNELS) or value.dim() not in (1, 4):
            unknown_keys.append(key)
        elif layer[2] == "weight" and value.dim() == 4:
            layers_of.setdefault(head, {})[int(layer[1] or 0)] = value
    if unknown_keys:
        raise CheckpointError(f"{where} has keys that belong to no head of CenterTrack: {listed(unknown_keys, ', ')}")
    if "hm" not in layers_of:
        raise CheckpointError(f"{where} has no heatmap head: hm.0.weight is missing, heads found: {sorted(layers_of)}")
    return {head: [layers[i] for i in sorted(layers)] for head, layers in layers_of.items()}


def _head_options(convolutions: Mapping[str, list[Tensor]]) -> dict[str, int]:
    hidden = convolutions["hm"][:-1]
    if not hidden:
        return {"head_conv": 0}
    return {"head_conv": int(hidden[0].shape[0]), "num_head_conv": len(hidden), "head_kernel": int(hidden[0].shape[2])}


# The official options `--arch generic --backbone dla34 --neck dlaup` make the same network under other names.
_GENERIC_PREFIXES = {"backbone.": "base.", "neck.dla_up.": "dla_up.", "neck.ida_up.": "ida_up."}


def _plain_name(key: str) -> str:
    if key.startswith("module.") and not key.startswith("module_list"):
        key = key[len("module.") :]
    for generic, plain in _GENERIC_PREFIXES.items():
        if key.startswith(generic):
            return plain + key[len(generic) :]
    return key


def _unpickle(path: Path) -> object:
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: expected a checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; only tensors are read anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.filename is None:  # not of the file, but of a place beyond its end
            raise CheckpointError(f"{path} is not usable: {_why_unreadable(path, error)}") from None
        raise
    except Exception as error:  # torch's unpickler raises many types
        raise CheckpointError(f"{path} is not usable: {_why_unreadable(path, error)}") from None


def _why_unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if (start == b"PK" and not zipfile.is_zipfile(path)) or isinstance(error, EOFError):
        return "it is truncated"
    unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
    if unsafe:
        return f"it holds Python code or objects ({unsafe[1]}), and only tensors are read"
    if isinstance(error, pickle.UnpicklingError) and start[:1] == b"\x80":
        return "it is a pickle that holds Python code or objects, and only tensors are read"
    return "it is truncated, or neither a PyTorch checkpoint nor a safetensors file"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelProfile]:
    with opened(path, "pt") as (file, profile):
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
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
        return (
            f"a dictionary with the keys {listed([str(key) for key in content], ', ')}" if content else "an empty one"
        )
    return f"a {type(content).__name__}"
