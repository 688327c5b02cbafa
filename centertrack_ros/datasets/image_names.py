# SPDX-License-Identifier: Apache-2.0
"""The files of a data set by their names: images by the number of their frame, or as annotations call them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import IMAGE_SUFFIXES, MOST_FRAMES, frame_numbers, visible


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """`visible` for a folder that may be missing: it has no files."""
    return visible(folder, suffixes) if os.path.isdir(folder) else []


def is_hidden(path: Path) -> bool:
    """Whether a relative path leads through a folder or to a file whose name begins with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


def numbered_images(folder: Path, first: str = "") -> dict[int, Path]:
    """The images of a folder by the number that is their name, or else that `frame_numbers` finds in it.

    Args:
        folder: A missing one has no images.
        first: A suffix; if there are images with it, others are left out.

    Raises:
        DataError: The names do not tell numbers, or two files have the same one.
    """
    files = files_in(folder, IMAGE_SUFFIXES)
    files = [path for path in files if path.suffix.lower() == first.lower()] or files
    strangers = [path for path in files if not (path.stem.isascii() and path.stem.isdigit())]
    found = frame_numbers(files) if strangers else [int(path.stem) for path in files]
    if found is None:
        raise DataError(strangers[0], "an image's name must be its frame number")
    if found and max(found) >= MOST_FRAMES:
        raise DataError(files[found.index(max(found))], "a time or date as name; expected the number of a frame")
    numbers: dict[int, Path] = {}
    for number, path in zip(found, files, strict=True):
        other = numbers.setdefault(number, path)
        if other is not path:
            raise DataError(path, f"is frame {number}, and so is {other.name}")
    return dict(sorted(numbers.items()))


class ImageFinder:
    """Finds images by the names that annotations have for them; each folder is listed once."""

    def __init__(self, folder: Path) -> None:
        """Looks in `folder`, to which the names are relative."""
        self.folder = folder
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, name: str) -> Path | None:
        """The file, also with backslashes between folders or its suffix in another case; None without a file."""
        if not name or "\0" in name:
            return None
        for text in dict.fromkeys((name, name.replace("\\", "/"))):
            if os.path.isfile(self.folder / text):  # False also for a name that is too long
                return self.folder / text
        path = self.folder / name.replace("\\", "/")
        if path.parent not in self._listed:
            self._listed[path.parent] = {_key(file): file for file in files_in(path.parent, IMAGE_SUFFIXES)}
        return self._listed[path.parent].get(_key(path))


def _key(path: Path) -> str:
    return path.stem + path.suffix.lower()
