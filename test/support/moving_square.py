# SPDX-License-Identifier: Apache-2.0
"""A video of a moving square as training data, and a recipe that trains a tiny network on it."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from centertrack_ros.network import checkpoints
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.training.annotations import TrainingImages
from centertrack_ros.training.coco_images import read_coco_video
from centertrack_ros.training.recipe import Recipe, from_mapping

HEADS = {"hm": 2, "reg": 2, "wh": 2, "tracking": 2}
PROFILE = ModelProfile("test", "mobilenetv3_centernet", ("car", "person"), HEADS, input_height=64, input_width=96)


def write_moving_square(
    folder: Path, frames: int = 6, size: tuple[int, int] = (60, 90), extra: dict[str, Any] | None = None
) -> Path:
    """A bright square of 14 px on dark ground that moves 4 px to the right per frame."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k in range(frames):
        image = np.full((*size, 3), 40, np.uint8)
        image[20:34, 10 + 4 * k : 24 + 4 * k] = 220
        cv2.imwrite(str(folder / "images" / f"{k}.png"), image)
        images.append(
            {"id": k, "file_name": f"{k}.png", "width": size[1], "height": size[0], "video_id": 1, "frame_id": k + 1}
        )
        annotations.append(
            {
                "id": k,
                "image_id": k,
                "category_id": 1,
                "track_id": 5,
                "bbox": [10 + 4 * k, 20, 14, 14],
                "iscrowd": 0,
                **(extra or {}),
            }
        )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "car"}],
        "videos": [{"id": 1, "file_name": "v"}],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def read_images(folder: Path) -> TrainingImages:
    return read_coco_video(folder / "annotations.json", folder / "images", PROFILE.classes)


def make_recipe(video: Path, **changes: Any) -> Recipe:
    data = [{"kind": "coco_video", "annotations": str(video / "annotations.json"), "images": str(video / "images")}]
    profile = {
        "architecture": "mobilenetv3_centernet",
        "classes": ["car", "person"],
        "heads": HEADS,
        "input_height": 64,
        "input_width": 96,
        "head_options": {"head_conv": 16, "batch_norm": True},
    }
    values = {
        "name": "tiny",
        "train": data,
        "val": data,
        "profile": profile,
        "batch": 2,
        "steps": 6,
        "validate_every": 2,
        "workers": 0,
        "threads": 1,
        "accelerator": "cpu",
        "ema": 0.9,
        "drop_at": [4],
    }
    return from_mapping({**values, **changes})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(path)[0].state_dict()
