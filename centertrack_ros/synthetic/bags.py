# SPDX-License-Identifier: Apache-2.0
"""Streets as rosbag2, one bag a street, with images, camera_info, tf and the ground truth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.io.image_files import write_image
from centertrack_ros.synthetic.actors import CLASSES
from centertrack_ros.synthetic.annotations import StreetFrame
from centertrack_ros.synthetic.coco_video import JPEG_QUALITY
from centertrack_ros.synthetic.config import StreetConfig
from centertrack_ros.synthetic.sensor_messages import (
    DEPTH_TOPIC,
    POINTS_TOPIC,
    depth_file,
    depth_message,
    depth_png,
    lidar_frame,
    lidar_pose,
    points_file,
    points_message,
)
from centertrack_ros.synthetic.street import Street


def render_sequences(config: StreetConfig, folder: Path, suffix: str = ".jpg") -> dict[str, VideoSequence]:
    """Renders a street; the images are written to `folder`, and beside them what sensors measured.

    The ground truth holds the road users that a detector may be asked to find: those that are seen well enough.

    Returns:
        Camera name in lower case -> its sequence.

    Raises:
        OSError: An image cannot be written.
    """
    frames: dict[str, list[AnnotatedFrame]] = {}
    for frame in Street(config):
        camera = frame.camera_name.lower()
        path = folder / camera / f"{frame.index:06d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, frame.image, JPEG_QUALITY)
        if frame.depth is not None:
            depth_file(path).write_bytes(depth_png(frame.depth))
        if frame.points is not None:
            np.save(points_file(path), frame.points)
        frames.setdefault(camera, []).append(_ground_truth(frame, path))
    size = (config.height, config.width)
    return {
        camera: VideoSequence(camera, tuple(CLASSES), tuple(one), 0, config.frames, config.rate, size)
        for camera, one in frames.items()
    }


def _ground_truth(frame: StreetFrame, path: Path) -> AnnotatedFrame:
    tracks = frame.tracks.select(np.flatnonzero(frame.clear()))
    if not frame.has_3d:
        tracks = replace(tracks, detections=replace(tracks.detections, locations=None, dimensions=None))
    return AnnotatedFrame(frame.index, frame.stamp, tracks, image=path, camera=frame.camera, pose=frame.pose)


def sensor_messages(types: Any, header: Any, camera: str, frame: AnnotatedFrame) -> Iterator[tuple[str, Any]]:
    """What sensors measured of a frame of `render_sequences`, as topics and messages.

    Args:
        types: Of `message_types()`.
        header: Of the image.
        camera: Name.
        frame: The frame.
    """
    assert frame.image is not None
    if (file := depth_file(frame.image)).exists():
        yield f"/{camera}/{DEPTH_TOPIC}", depth_message(types, header, file.read_bytes())
    if (file := points_file(frame.image)).exists():
        own = types["std_msgs/msg/Header"](stamp=header.stamp, frame_id=lidar_frame(camera))
        yield f"/{camera}/{POINTS_TOPIC}", points_message(types, own, np.load(file))


def write_street_bags(
    folder: Path,
    configs: Iterable[StreetConfig],
    suffix: str = ".jpg",
    storage: str = "mcap",
    progress: Callable[[int], None] = lambda images: None,
) -> list[Path]:
    """Renders each street into a bag `folder`/LOOK_SEED.

    Topics and tf are those of `bag_writer.write_bag`; each camera's pose is in `map`. Depth images and points, where
    the configuration has them, are on the topics of `synthetic.sensor_messages`.

    Args:
        folder: Where the bags go.
        configs: The streets.
        suffix: '.jpg' or '.png': how the images are compressed.
        storage: 'mcap' or 'sqlite3'.
        progress: Called with the number of images so far.

    Returns:
        The bags.

    Raises:
        FileExistsError: There is a bag of that name.
        OSError: A file cannot be written.
    """
    written, images = [], 0
    for config in configs:
        target = folder / config.name
        if target.exists():
            raise FileExistsError(f"{target}: exists already, a bag is not overwritten")
        with tempfile.TemporaryDirectory() as scratch:
            cameras = render_sequences(config, Path(scratch), suffix)
            mounts = {f"{name}_optical": (lidar_frame(name), lidar_pose()) for name in cameras if config.points}
            images += write_bag(target, cameras, storage=storage, beside=sensor_messages, mounts=mounts)
        progress(images)
        written.append(target)
    return written
