"""Streets on disk: images and one annotation file in the form that the official CenterTrack trains on.

COCO's JSON with `videos`, `images[].video_id, frame_id, calib` and `annotations[].track_id, dim, depth, alpha, …`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.pictures import write_picture
from centertrack_ros.datasets.street.actors import CLASSES
from centertrack_ros.datasets.street.config import StreetConfig
from centertrack_ros.datasets.street.street import Street
from centertrack_ros.datasets.street.truth import StreetFrame

ANNOTATIONS = "annotations.json"
JPEG_QUALITY = 92


def write_streets(
    folder: Path,
    configs: Iterable[StreetConfig],
    suffix: str = ".jpg",
    progress: Callable[[int], None] = lambda frames: None,
) -> Path:
    """Render every street into `folder`/images and describe all of them in `folder`/annotations.json, whose path is
    returned.

    suffix  '.jpg' (quality 92) or '.png';  progress  is told the number of images so far
    Each camera of a rig is a video of its own; a road user keeps its track_id in all of them. Raises ValueError for
    another
    suffix, OSError when an image cannot be written.
    """
    if suffix not in (".jpg", ".png"):
        raise ValueError(f"street: images can be written as .jpg or .png, not '{suffix}'")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    book = _Book(folder, suffix)
    for config in configs:
        for frame in Street(config):
            book.add(config, frame)
            progress(len(book.images))
    path = folder / ANNOTATIONS
    path.write_text(json.dumps(book.document()), encoding="utf-8")
    return path


class _Book:
    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self.suffix = folder, suffix
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.videos: dict[str, int] = {}

    def add(self, config: StreetConfig, frame: StreetFrame) -> None:
        """Write one image and note what is in it."""
        video = f"{config.name}_{frame.camera_name}"
        video_id = self.videos.setdefault(video, len(self.videos) + 1)
        name = f"{video}/{frame.index + 1:06d}{self.suffix}"
        path = self.folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, frame.image, JPEG_QUALITY)
        image_id = len(self.images) + 1
        self.images.append(
            {
                "id": image_id,
                "file_name": name,
                "width": frame.camera.width,
                "height": frame.camera.height,
                "video_id": video_id,
                "frame_id": frame.index + 1,
                "sensor_id": 1,
                "calib": frame.camera.projection.tolist(),
                "stamp": frame.stamp,
                "pose": frame.pose.tolist(),
            }
        )
        for row in range(len(frame.tracks)):
            self.annotations.append({"id": len(self.annotations) + 1, "image_id": image_id, **annotation(frame, row)})

    def document(self) -> dict[str, Any]:
        """The whole file."""
        return {
            "videos": [{"id": number, "file_name": name} for name, number in self.videos.items()],
            "categories": [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)],
            "images": self.images,
            "annotations": self.annotations,
        }


def annotation(frame: StreetFrame, row: int) -> dict[str, Any]:
    """One road user as an annotation without its numbers; those that are hardly to be seen are marked as a crowd."""
    found, tracks = frame.tracks.detections, frame.tracks
    x1, y1, x2, y2 = found.boxes[row].tolist()
    entry: dict[str, Any] = {
        "category_id": int(found.class_ids[row]) + 1,
        "track_id": int(tracks.ids[row]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": int(not frame.clear()[row]),
        "visibility": float(frame.visibility[row]),
        "truncated": float(frame.truncation[row]),
    }
    ax1, ay1, ax2, ay2 = frame.amodal_boxes[row].tolist()
    if np.isfinite(ax1):
        entry["bbox_amodal"] = [ax1, ay1, ax2 - ax1, ay2 - ay1]
    for key, boxes in (("rider_bbox", frame.rider_boxes), ("bicycle_bbox", frame.bicycle_boxes)):
        rx1, ry1, rx2, ry2 = boxes[row].tolist()
        if np.isfinite(rx1):
            entry[key] = [rx1, ry1, rx2 - rx1, ry2 - ry1]
    if frame.has_3d:
        assert found.dimensions is not None and found.depths is not None and found.locations is not None
        assert found.alphas is not None and found.rotations_y is not None and found.velocities is not None
        assert found.amodal_centers is not None
        entry |= {
            "dim": found.dimensions[row].tolist(),
            "depth": float(found.depths[row]),
            "alpha": float(found.alphas[row]),
            "rotation_y": float(found.rotations_y[row]),
            "location": found.locations[row].tolist(),
            "amodel_center": found.amodal_centers[row].tolist(),
            "velocity": found.velocities[row].tolist(),
        }
    return entry
