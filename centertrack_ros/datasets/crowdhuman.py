# SPDX-License-Identifier: Apache-2.0
"""CrowdHuman (https://www.crowdhuman.org): single images of crowds, annotations as one JSON object a line (`.odgt`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.io.errors import DataError

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
    path, folder = Path(path), Path(images)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except IsADirectoryError:
        raise DataError(path, "is a folder, expected a text file") from None
    sequences = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            rows = [(_corners(row[box]), _is_person(row)) for row in document["gtboxes"]]
            name = str(document["ID"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(path, f"not a line of CrowdHuman's annotations: {error}", number) from None
        boxes = np.array([corners for corners, person in rows if person], np.float64).reshape(-1, 4)
        ignore = np.array([corners for corners, person in rows if not person], np.float64).reshape(-1, 4)
        count = len(boxes)
        tracks = tracks_of(np.arange(1, count + 1), np.zeros(count, np.int64), np.ones(count), boxes)
        image = next((file for suffix in IMAGE_SUFFIXES if (file := folder / f"{name}{suffix}").is_file()), None)
        frame = AnnotatedFrame(0, 0.0, tracks, ignore=ignore, image=image)
        sequences.append(VideoSequence(name, ("person",), (frame,), 0, 1))
    return tuple(sequences)


def _corners(box: Any) -> list[float]:
    x, y, width, height = (float(value) for value in box)
    return [x, y, x + width, y + height]


def _is_person(row: Mapping[str, Any]) -> bool:
    return row["tag"] == "person" and not int(row.get("extra", {}).get("ignore", 0))
