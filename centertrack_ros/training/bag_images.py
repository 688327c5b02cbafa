# SPDX-License-Identifier: Apache-2.0
"""The images of a bag as files: training reads them in any order, a bag only in its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import write_image
from centertrack_ros.io.json_files import JsonValue, read_document, write_json
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.sources import BagSource, camera_names, image_topics

_LOG = logging.getLogger(__name__)
MANIFEST = "bag.json"  # written last: the folder is complete


@dataclass(frozen=True)
class BagImage:
    """One image of a bag.

    Attributes:
        path: The file.
        stamp: s.
        camera: None when the bag has no calibration.
    """

    path: Path
    stamp: float
    camera: Camera | None


def extract(bag: Path, folder: Path) -> dict[str, list[BagImage]]:
    """Write a bag's images as `folder`/CAMERA/NUMBER.jpg, unless they exist already.

    Args:
        bag: A rosbag2.
        folder: For the images of this bag alone.

    Returns:
        Camera name -> its images. The only camera of a bag has the name ''.

    Raises:
        DataError: The bag is broken.
        ValueError: The folder holds the images of another bag, or the bag has none.
        OSError: The images cannot be written.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        _LOG.info("writing the images of %s into %s", bag, folder)
        write_json(manifest, {"bag": bag.resolve().name, "cameras": _write(bag, folder)})
    document = read_document(manifest)
    if document["bag"].value != bag.resolve().name:
        raise ValueError(
            f"{folder}: holds the images of '{document['bag'].value}'; give another folder for '{bag.name}'"
        )
    images = {
        name: [
            BagImage(folder / row["file"].text(), row["stamp"].number(), _camera(row["camera"])) for row in rows.items()
        ]
        for name, rows in document["cameras"].entries()
    }
    if not any(images.values()):
        raise ValueError(f"{bag}: none of its images could be decoded")
    return images


def _write(bag: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    with BagReader(bag) as reader:
        topics = [topic.name for topic in image_topics(reader)]
    if not topics:
        raise ValueError(f"{bag}: no images in this bag")
    cameras: dict[str, list[dict[str, Any]]] = {}
    for name, topic in zip(camera_names(topics), topics, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = cameras.setdefault(name, [])
        for number, frame in enumerate(BagSource(bag, image_topic=topic)):
            file = Path(name) / f"{number:06d}.jpg"
            write_image(folder / file, frame.image)
            rows.append({"file": file.as_posix(), "stamp": frame.stamp, "camera": _camera_values(frame.camera)})
    return cameras


def _camera_values(camera: Camera | None) -> dict[str, Any] | None:
    if camera is None:
        return None
    return {
        "width": camera.width, "height": camera.height, "projection": camera.projection.tolist(),
        "distortion_model": camera.distortion_model, "distortion": camera.distortion.tolist(),
    }  # fmt: skip


def _camera(values: JsonValue) -> Camera | None:
    if values.value is None:
        return None
    try:
        return Camera(
            values["width"].integer(1), values["height"].integer(1), values["projection"].numbers(3, 4),
            values["distortion_model"].text(), np.array([one.number() for one in values["distortion"].items()]),
        )  # fmt: skip
    except DataError:
        raise
    except ValueError as error:
        raise values.error(str(error)) from None
