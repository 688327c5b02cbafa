# SPDX-License-Identifier: Apache-2.0
"""CrowdHuman (https://www.crowdhuman.org): single images of crowds, annotations as one JSON object a line (`.odgt`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from centertrack_ros.datasets.image_names import ImageFinder
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, checked, tracks_of
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import JsonValue, parse_json
from centertrack_ros.io.text_files import read_lines

IMAGE_SUFFIXES = (".jpg", ".png")
BOXES = ("fbox", "vbox")  # of the whole body, of its visible part


def read_images(path: Path | str, images: Path | str, box: str = "fbox") -> tuple[VideoSequence, ...]:
    """Reads an annotation file; each image is a sequence of its own.

    Crowds (`mask`) and persons that are marked to be ignored become ignored regions.

    Args:
        path: The `.odgt` file.
        images: The folder of the images.
        box: Which of BOXES the objects get.

    Raises:
        DataError: The file is missing, or a line is broken; the text names the line.
    """
    path, finder = Path(path), ImageFinder(Path(images))
    sequences: list[VideoSequence] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            document = JsonValue(path, "", parse_json(line, path, number), number)
            name = str(document["ID"].label())
            rows = [(_corners(row[box]), _is_person(row)) for row in document["gtboxes"].items()]
        except DataError as error:
            reason = str(error).removeprefix(f"{path}:{number}: ")
            raise DataError(path, f"not a line of CrowdHuman's annotations: {reason}", number) from None
        if lines.setdefault(name, number) != number:
            raise DataError(path, f"the image {name} is there twice, first in line {lines[name]}", number)
        sequences.append(_image(path, finder, name, rows))
    if not sequences:
        raise DataError(path, "no images")
    return tuple(sequences)


def _image(path: Path, finder: ImageFinder, name: str, rows: list[tuple[list[float], bool]]) -> VideoSequence:
    boxes = np.array([corners for corners, person in rows if person], np.float64).reshape(-1, 4)
    ignore = np.array([corners for corners, person in rows if not person], np.float64).reshape(-1, 4)
    count = len(boxes)
    tracks = tracks_of(np.arange(1, count + 1), np.zeros(count, np.int64), np.ones(count), boxes)
    image = next((file for suffix in IMAGE_SUFFIXES if (file := finder.find(f"{name}{suffix}"))), None)
    return checked(
        VideoSequence(name, ("person",), (AnnotatedFrame(0, 0.0, tracks, ignore=ignore, image=image),), 0, 1), path
    )


def _corners(box: JsonValue) -> list[float]:
    x, y, width, height = box.numbers(4).tolist()
    if width < 0 or height < 0:
        raise box.expected("left, top, width, height")
    return [x, y, x + width, y + height]


def _is_person(row: JsonValue) -> bool:
    extra = row.get("extra")
    ignore = None if extra is None else extra.get("ignore")
    return row["tag"].text() == "person" and not (ignore is not None and ignore.integer())
