# SPDX-License-Identifier: Apache-2.0
"""Streets on disk: images and one annotation file in the format that the official CenterTrack trains on.

COCO's JSON with `videos`, `images[].video_id, frame_id, calib` and `annotations[].track_id, dim, depth, alpha, …`.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from centertrack_ros.io.image_files import write_image
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.synthetic.actors import CLASSES
from centertrack_ros.synthetic.annotations import StreetFrame
from centertrack_ros.synthetic.config import StreetConfig
from centertrack_ros.synthetic.street import Street

ANNOTATIONS = "annotations.json"
JPEG_QUALITY = 92
_stop: Event | None = None  # in a worker: whether its work is no longer wanted


def write_streets(
    folder: Path,
    configs: Iterable[StreetConfig],
    suffix: str = ".jpg",
    progress: Callable[[int], None] = lambda frames: None,
    jobs: int = 1,
) -> Path:
    """Renders every street into `folder`/images and annotates all of them in `folder`/annotations.json.

    Each camera of a rig is a video of its own; a road user keeps its track_id in all of them.

    Args:
        folder: Where to write; it is made.
        configs: The streets.
        suffix: '.jpg' (quality 92) or '.png'.
        progress: Called with the number of images so far.
        jobs: Processes that render, each a whole street at a time; the files do not depend on it. A script that asks
            for several needs `if __name__ == "__main__":`, since each process imports it.

    Returns:
        The path of the annotation file.

    Raises:
        ValueError: Another suffix, or jobs below 1.
        OSError: An image cannot be written.
        BrokenProcessPool: A process was killed.
    """
    if suffix not in (".jpg", ".png"):
        raise ValueError(f"street: images can be written as .jpg or .png, not '{suffix}'")
    if jobs < 1:
        raise ValueError(f"street: jobs must be at least 1, got {jobs}")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    writer = AnnotationWriter()
    with closing(_render_streets(folder, configs, suffix, jobs)) as entries:
        for entry in entries:
            writer.add(entry)
            progress(len(writer.images))
    path = folder / ANNOTATIONS
    write_text(path, json.dumps(writer.document()))
    return path


@dataclass(frozen=True)
class _ImageEntry:
    """An image that has been written and its annotations, without numbers; its `video_id` is the video's name."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]


def _render_streets(
    folder: Path, configs: Iterable[StreetConfig], suffix: str, jobs: int
) -> Generator[_ImageEntry, None, None]:
    """Renders every street; the images come in the order of the streets."""
    if jobs == 1:
        for config in configs:
            yield from _render_street(folder, config, suffix)
        return
    # Spawned: a forked process would wait for ever for OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(jobs, context, _start_worker, (stop,)) as pool:
        try:
            waiting = deque(pool.submit(_render_in_worker, folder, config, suffix) for config in configs)
            while waiting:
                yield from waiting.popleft().result()
        finally:
            stop.set()  # after an error or a signal the streets that are being rendered are not wanted either
            pool.shutdown(cancel_futures=True)


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    # There are as many processes as are wanted: OpenCV's threads would only compete with them.
    cv2.setNumThreads(1)


def _render_in_worker(folder: Path, config: StreetConfig, suffix: str) -> list[_ImageEntry]:
    return list(takewhile(lambda _: _stop is None or not _stop.is_set(), _render_street(folder, config, suffix)))


def _render_street(folder: Path, config: StreetConfig, suffix: str) -> Iterator[_ImageEntry]:
    """Writes a street's images one by one."""
    for frame in Street(config):
        video = f"{config.name}_{frame.camera_name}"
        name = f"{video}/{frame.index + 1:06d}{suffix}"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, frame.image, JPEG_QUALITY)
        image = {
            "file_name": name,
            "width": frame.camera.width,
            "height": frame.camera.height,
            "video_id": video,
            "frame_id": frame.index + 1,
            "sensor_id": 1,
            "calib": frame.camera.projection.tolist(),
            "stamp": frame.stamp,
            "pose": frame.pose.tolist(),
        }
        yield _ImageEntry(image, [annotation(frame, row) for row in range(len(frame.tracks))])


class AnnotationWriter:
    """Collects the annotation file; numbers videos, images and annotations from 1 on."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.videos: dict[str, int] = {}

    def add(self, entry: _ImageEntry) -> None:
        """Adds an image with its annotations."""
        video_id = self.videos.setdefault(entry.image["video_id"], len(self.videos) + 1)
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, **entry.image, "video_id": video_id})
        for annotation_ in entry.annotations:
            self.annotations.append({"id": len(self.annotations) + 1, "image_id": image_id, **annotation_})

    def document(self) -> dict[str, Any]:
        """The whole annotation file."""
        return {
            "videos": [{"id": number, "file_name": name} for name, number in self.videos.items()],
            "categories": [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)],
            "images": self.images,
            "annotations": self.annotations,
        }


def annotation(frame: StreetFrame, row: int) -> dict[str, Any]:
    """One road user as an annotation without its numbers; those that can hardly be seen are marked as a crowd."""
    detections, tracks = frame.tracks.detections, frame.tracks
    x1, y1, x2, y2 = detections.boxes[row].tolist()
    entry: dict[str, Any] = {
        "category_id": int(detections.class_ids[row]) + 1,
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
        assert detections.dimensions is not None and detections.depths is not None and detections.locations is not None
        assert (
            detections.alphas is not None and detections.rotations_y is not None and detections.velocities is not None
        )
        assert detections.amodal_centers is not None
        entry |= {
            "dim": detections.dimensions[row].tolist(),
            "depth": float(detections.depths[row]),
            "alpha": float(detections.alphas[row]),
            "rotation_y": float(detections.rotations_y[row]),
            "location": detections.locations[row].tolist(),
            "amodel_center": detections.amodal_centers[row].tolist(),
            "velocity": detections.velocities[row].tolist(),
        }
    return entry
