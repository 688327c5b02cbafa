# SPDX-License-Identifier: Apache-2.0
"""Held-out sequences of the synthetic street: rendered once into a folder, read with cameras and poses."""

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

# No recipe renders these: other seeds, and textures and shapes of the look 'test', which no model is trained on.
FIRST_SEED = 5_000_000
LOOK = "test"


@dataclass(frozen=True)
class Clip:
    """One sequence.

    Attributes:
        seed: Of the street, from `FIRST_SEED` on.
        rate: Frames per second.
        frames: Number of frames.
        width: Of the images, px.
        height: Of the images, px.
    """

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
        """The name of its folder."""
        return f"{LOOK}_{self.seed}_{self.rate:g}Hz_{self.frames}x{self.width}x{self.height}"


def read_clip(clip: Clip, folder: Path) -> VideoSequence:
    """The clip with images, cameras and poses; it is rendered into `folder` if it is not there yet.

    Road users that are hardly visible (see `StreetFrame.clear`) become the frames' `ignore`.

    Raises:
        ImportError: Panda3D is not installed.
        OSError: The disk is full.
        DataError: The folder is damaged.
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
    """Frame index -> (4, 4) camera to world.

    Raises:
        ValueError: A frame has no pose.
    """
    poses = {}
    for frame in sequence:
        if frame.pose is None:
            raise ValueError(f"{sequence.name}: frame {frame.index} has no pose")
        poses[frame.index] = frame.pose
    return poses
