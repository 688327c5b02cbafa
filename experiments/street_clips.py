"""Held-out sequences of the synthetic street: rendered once into a folder, read with all that is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.coco_video import read_videos
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json

# No recipe renders these: other seeds, and textures and shapes of the look 'test', which nothing is trained on.
FIRST_SEED = 5_000_000
LOOK = "test"


@dataclass(frozen=True)
class Clip:
    """One sequence: its seed, frames per second, and how many frames."""

    seed: int
    rate: float
    frames: int
    width: int = 512
    height: int = 288

    def __post_init__(self) -> None:
        if self.seed < FIRST_SEED:
            raise ValueError(f"held-out streets have seeds from {FIRST_SEED} on, got {self.seed}")

    @property
    def name(self) -> str:
        return f"{LOOK}_{self.seed}_{self.rate:g}Hz_{self.frames}x{self.width}x{self.height}"


def read_clip(clip: Clip, folder: Path) -> VideoSequence:
    """The clip with pictures, cameras and poses; rendered into `folder` first where it is not there yet.

    Road users that are hardly visible (see `StreetFrame.clear`) become the frames' `ignore`.
    Raises ImportError without Panda3D, OSError for a full disk, DataError for a folder that somebody has damaged.
    """
    from centertrack_ros.synthetic.coco_video import ANNOTATIONS

    place = folder / clip.name
    if not (place / ANNOTATIONS).is_file():
        _render(clip, place)
    videos = read_videos(place / ANNOTATIONS, place / "images", clip.rate)
    if len(videos) != 1 or len(videos[0].frames) != clip.frames:
        raise DataError(place / ANNOTATIONS, f"expected one video of {clip.frames} frames; remove the folder")
    poses = {str(image["id"]): np.array(image["pose"]) for image in load_json(place / ANNOTATIONS)["images"]}
    frames = tuple(replace(frame, pose=poses[frame.token]) for frame in videos[0])
    return replace(videos[0], name=str(clip.seed), frames=frames)


def _render(clip: Clip, place: Path) -> None:
    from centertrack_ros.synthetic import StreetConfig
    from centertrack_ros.synthetic.coco_video import write_streets

    write_streets(place, [street_config(clip, StreetConfig)])


def street_config(clip: Clip, kind: Any) -> Any:
    """The clip as `StreetConfig`: a drive with one camera."""
    return kind(seed=clip.seed, frames=clip.frames, rate=clip.rate, width=clip.width, height=clip.height, look=LOOK)


def poses_of(sequence: VideoSequence) -> Mapping[int, NDArray[np.float64]]:
    """Frame's index -> (4, 4) camera to world. Raises ValueError when a frame has none."""
    poses = {}
    for frame in sequence:
        if frame.pose is None:
            raise ValueError(f"{sequence.name}: frame {frame.index} has no pose")
        poses[frame.index] = frame.pose
    return poses
