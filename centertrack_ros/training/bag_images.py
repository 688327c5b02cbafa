"""The pictures of a bag as files, since training needs them in any order and a bag gives them in one."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.image_files import write_image
from centertrack_ros.io.json_files import write_json
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.sources import BagSource, camera_names, image_topics

_LOG = logging.getLogger(__name__)
NOTE = "bag.json"  # written last, tells what lies there


@dataclass(frozen=True)
class Picture:
    """One picture: its file, its stamp in s, and the camera if it is known."""

    path: Path
    stamp: float
    camera: Camera | None


def extract(bag: Path, folder: Path) -> dict[str, list[Picture]]:
    """Camera name -> its pictures, in `folder`/CAMERA as JPEG; written unless they are there already.

    The only camera of a bag has the name ''. Raises DataError for a broken bag, ValueError when the folder holds the
    pictures of another one, OSError when they cannot be written.
    """
    note = folder / NOTE
    if not note.is_file():
        _LOG.info("writing the pictures of %s into %s", bag, folder)
        document = {"bag": bag.resolve().name, "cameras": _write(bag, folder)}
        write_json(note, document)
    document = json.loads(note.read_text(encoding="utf-8"))
    if document["bag"] != bag.resolve().name:
        raise ValueError(f"{folder}: holds the pictures of '{document['bag']}'; give another folder for '{bag.name}'")
    return {
        name: [Picture(folder / row["file"], row["stamp"], _camera(row["camera"])) for row in rows]
        for name, rows in document["cameras"].items()
    }


def _write(bag: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    with BagReader(bag) as reader:
        topics = [topic.name for topic in image_topics(reader)]
    if not topics:
        raise ValueError(f"{bag}: no images in this bag")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, topic in zip(camera_names(topics), topics, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = found.setdefault(name, [])
        for number, frame in enumerate(BagSource(bag, image_topic=topic)):
            file = Path(name) / f"{number:06d}.jpg"
            write_image(folder / file, frame.image)
            rows.append({"file": file.as_posix(), "stamp": frame.stamp, "camera": _values(frame.camera)})
    return found


def _values(camera: Camera | None) -> dict[str, Any] | None:
    if camera is None:
        return None
    return {
        "width": camera.width, "height": camera.height, "projection": camera.projection.tolist(),
        "distortion_model": camera.distortion_model, "distortion": camera.distortion.tolist(),
    }  # fmt: skip


def _camera(values: dict[str, Any] | None) -> Camera | None:
    return None if values is None else Camera(**{**values, "projection": np.array(values["projection"])})
