# SPDX-License-Identifier: Apache-2.0
"""The one place where models are named, built, embedded and fetched.

Three tables: architectures (how a profile becomes a network), embedded models (files in `weights/`) and the official
models of github.com/xingyizhou/CenterTrack with the facts that their files do not hold. The facts are those of the
official experiment scripts and of readme/MODEL_ZOO.md.

A new architecture is one factory function with the decorator `register_architecture`. This module does not import
torch: an engine of an exported file starts without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.network.profile import ModelProfile, Thresholds

if TYPE_CHECKING:
    from centertrack_ros.network.base import TrackingNetwork

NetworkFactory = Callable[[ModelProfile], "TrackingNetwork"]

ARCHITECTURES: dict[str, NetworkFactory] = {}


def register_architecture(*names: str) -> Callable[[NetworkFactory], NetworkFactory]:
    """Decorator: registers a factory under the values of `ModelProfile.architecture` that it builds.

    The factory imports its network inside its body, and raises TypeError for `head_options` that the network does not
    have.

    Args:
        names: Values of `ModelProfile.architecture`.

    Returns:
        A decorator that gives the factory back unchanged.

    Raises:
        ValueError: A name is registered already.
    """

    def register(factory: NetworkFactory) -> NetworkFactory:
        for name in names:
            if name in ARCHITECTURES:
                raise ValueError(f"architecture '{name}' is registered already")
            ARCHITECTURES[name] = factory
        return factory

    return register


@register_architecture("dla_34", "dla_34_conv")
def _dla_34(profile: ModelProfile) -> TrackingNetwork:
    from centertrack_ros.network.dla import DLA34

    return DLA34(
        profile.heads,
        previous_image=profile.previous_image,
        prior_heatmap=profile.prior_heatmap,
        deformable=profile.architecture == "dla_34",
        **profile.head_options,
    )


@register_architecture("mobilenetv3_centernet")
def _mobilenetv3_centernet(profile: ModelProfile) -> TrackingNetwork:
    from centertrack_ros.network.mobilenetv3 import MobileNetV3CenterNet

    return MobileNetV3CenterNet(
        profile.heads,
        previous_image=profile.previous_image,
        prior_heatmap=profile.prior_heatmap,
        **profile.head_options,
    )


def build(profile: ModelProfile) -> TrackingNetwork:
    """Build the network that a profile describes.

    Args:
        profile: Architecture, heads, stems and head options.

    Returns:
        An initialized, untrained network in evaluation mode.

    Raises:
        ValueError: The architecture is unknown, or does not have one of the head options.
    """
    if profile.architecture not in ARCHITECTURES:
        raise ValueError(
            f"model '{profile.name}': unknown architecture '{profile.architecture}', "
            f"expected one of {', '.join(ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[profile.architecture](profile).eval()
    except TypeError as error:
        raise ValueError(f"model '{profile.name}': head options do not fit {profile.architecture}: {error}") from None


# Embedded models: each is `weights/<name>.safetensors`, with a card in `weights/README.md`.

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_MODEL = "mobilenetv3-coco-track"


def embedded_models() -> tuple[str, ...]:
    """Names of all models inside this package."""
    return tuple(sorted(path.stem for path in WEIGHTS_FOLDER.glob("*.safetensors")))


def weights_path(weights: str | Path | None) -> Path:
    """Resolve a weights argument to a file.

    Args:
        weights: None, '' or 'default' for the default model; the name of an embedded model; or a path.

    Returns:
        The file of that model, or the path with `~` expanded.

    Raises:
        FileNotFoundError: There is no such file.
    """
    requested = DEFAULT_MODEL if weights is None or str(weights) in ("", "default") else str(weights)
    embedded = embedded_models()
    if requested in embedded:
        return WEIGHTS_FOLDER / f"{requested}.safetensors"
    path = Path(os.path.expanduser(requested))  # Path.expanduser fails without a home
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights file at {path}, nor an embedded model of that name ({', '.join(embedded)})"
            + (f"; `centertrack weights fetch {requested}` downloads that official model" if requested in ZOO else "")
        )
    return path


# Official models.

# Official nuScenes weights saw cameras of about 1266 px focal length at 1600 px width, which is this at 800 px.
NUSCENES_FOCAL_LENGTH = 633.0


@dataclass(frozen=True)
class Task:
    """What the official options set for one data set.

    Attributes:
        input_height: Height of the network input, px.
        input_width: Width of the network input, px.
        thresholds: Scores of the official experiment script.
        trained_focal_length: Focal length at input size that depths belong to, px; None without a depth head.
    """

    input_height: int
    input_width: int
    thresholds: Thresholds
    trained_focal_length: float | None = None


COCO = Task(512, 512, Thresholds(track=0.3, pre=0.3, new=0.3))
MOT = Task(544, 960, Thresholds(track=0.4, pre=0.5, new=0.4))
KITTI = Task(384, 1280, Thresholds(track=0.4, pre=0.4, new=0.4))
KITTI_HALF_SC = Task(384, 1280, Thresholds(track=0.4, pre=0.5, new=0.4))
NUSCENES = Task(448, 800, Thresholds(track=0.1, pre=0.1, new=0.3), NUSCENES_FOCAL_LENGTH)
# Detection only: all K boxes are kept.
NUSCENES_DETECTION = Task(448, 800, Thresholds(track=-1.0, new=0.3), NUSCENES_FOCAL_LENGTH)


@dataclass(frozen=True)
class ZooModel:
    """One official model: its public Google Drive file, its task and its licence."""

    drive_id: str
    task: Task
    licence: str


_CODE = "CenterTrack's code is MIT; trained on "
_COCO = _CODE + "COCO (annotations CC BY 4.0)"
_MOT = _CODE + "CrowdHuman and MOT17 (non-commercial)"
_MOT_ONLY = _CODE + "MOT17 (CC BY-NC-SA 3.0)"
_CROWDHUMAN = _CODE + "CrowdHuman (non-commercial)"
_KITTI = _CODE + "nuScenes (CC BY-NC-SA 4.0) and KITTI (CC BY-NC-SA 3.0)"
_KITTI_ONLY = _CODE + "KITTI (CC BY-NC-SA 3.0)"
_NUSCENES = _CODE + "nuScenes (CC BY-NC-SA 4.0)"

ZOO: dict[str, ZooModel] = {
    "coco_tracking": ZooModel("11DEfWa0TKYzNqY3CXR51WVvjMb4oRl08", COCO, _COCO),
    "coco_pose_tracking": ZooModel("1yGFC_Q9wzSHL1d4eZW_44EBB2H42YKYt", COCO, _COCO),
    "crowdhuman": ZooModel("1SD31FLwbXArcX3LXnRCqh6RF-q38nO7f", MOT, _CROWDHUMAN),
    "mot17_fulltrain": ZooModel("1JYqO_IEoHpd7JEzZRXZSVesnEL4e-tnf", MOT, _MOT),
    "mot17_fulltrain_sc": ZooModel("17rtVMuFOnRzXj0_3egrFI5j-wc8XviDZ", MOT, _MOT_ONLY),
    "mot17_half": ZooModel("1rJ0fzRcpRQPjaN17lcqfKgsz-wJRifHh", MOT, _MOT),
    "mot17_half_sc": ZooModel("1o_cCo92WiVg8mgwyESd1Gg1AZYnq1iAJ", MOT, _MOT_ONLY),
    "kitti_fulltrain": ZooModel("13oUEpeZ8bVQ6z7A6SH88de4SwLgh_kMB", KITTI, _KITTI),
    "kitti_half": ZooModel("1AZiFG0p3VxB2pA_5XIkbue4ASfxaA3e1", KITTI, _KITTI),
    "kitti_half_sc": ZooModel("13rmdfi1rX3X7yFOndzyARTYO51uSNW0Z", KITTI_HALF_SC, _KITTI_ONLY),
    "nuScenes_3Ddetection_e140": ZooModel("1o989b1tANh49uHhNbsCCJ5J57FGiaFut", NUSCENES_DETECTION, _NUSCENES),
    "nuScenes_3Dtracking": ZooModel("1gPQFzqneDtT_PjJRRuyskRsNTRHXovw1", NUSCENES, _NUSCENES),
}


def infer_task(heads: Mapping[str, int]) -> Task:
    """The most probable training task of weights with these heads; COCO's where the heads do not tell.

    Args:
        heads: Head name -> channels.
    """
    if "dep" in heads and heads["hm"] == 10:
        return NUSCENES if "tracking" in heads else NUSCENES_DETECTION
    if heads["hm"] == 3:
        return KITTI
    if heads["hm"] == 1 and "ltrb_amodal" in heads:
        return MOT
    return COCO


def with_zoo_facts(profile: ModelProfile) -> ModelProfile:
    """Add input size, thresholds, focal length, licence and source of an official model to a profile.

    Args:
        profile: With the name of an official model; any other profile gets the facts of its heads' task.

    Returns:
        The completed profile.
    """
    model = ZOO.get(profile.name)
    task = model.task if model else infer_task(profile.heads)
    profile = replace(
        profile,
        input_height=task.input_height,
        input_width=task.input_width,
        thresholds=task.thresholds,
        trained_focal_length=task.trained_focal_length,
    )
    if model is None:
        return profile
    return replace(profile, licence=model.licence, source="github.com/xingyizhou/CenterTrack, readme/MODEL_ZOO.md")


def download(name: str, folder: Path) -> Path:
    """Download the checkpoint of an official model from Google Drive, with a progress bar.

    `checkpoints.fetch` downloads, checks and converts in one call.

    Args:
        name: Key of `ZOO`.
        folder: Existing folder for the file.

    Returns:
        The downloaded file, `folder`/<name>.pth.

    Raises:
        KeyError: The name is not in `ZOO`.
        ImportError: gdown is not installed.
        OSError: The download failed.
    """
    model = ZOO[name]
    try:
        import gdown
    except ImportError:
        raise ImportError("fetching official models needs gdown: pip install 'centertrack_ros[zoo]'") from None
    file = folder / f"{name}.pth"
    try:
        downloaded = gdown.download(id=model.drive_id, output=str(file), quiet=False)
    except Exception as error:  # gdown's own exceptions differ from version to version
        raise OSError(f"could not download {name}: {error}") from None
    if downloaded is None or not file.is_file():
        raise OSError(f"could not download {name}: Google Drive gave no file")
    return file
