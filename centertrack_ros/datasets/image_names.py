# SPDX-License-Identifier: Apache-2.0
"""The files of a data set by their names: images by the number of their frame, or as annotations call them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from centertrack_ros.io.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def visible(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files of a folder, sorted, with one of the suffixes in upper or lower case; `._x` and folders are none."""
    if not folder.is_dir():
        return []
    wanted = set(suffixes)
    files = (path for path in folder.iterdir() if path.suffix.lower() in wanted and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


def is_hidden(path: Path) -> bool:
    """Whether a relative path leads through a folder or to a file whose name begins with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


def numbered_images(folder: Path, first: str = "") -> dict[int, Path]:
    """The images of a folder by the number that is their name, in its order.

    Args:
        folder: A missing one has no images.
        first: A suffix; if there are images with it, others are left out.

    Raises:
        DataError: A name is no number, or two files have the same one.
    """
    files = visible(folder, SUFFIXES)
    preferred = [path for path in files if path.suffix.lower() == first.lower()]
    numbers: dict[int, Path] = {}
    for path in preferred or files:
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise DataError(path, "an image's name must be its frame number")
        other = numbers.setdefault(int(path.stem), path)
        if other is not path:
            raise DataError(path, f"is frame {int(path.stem)}, and so is {other.name}")
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
            if (self.folder / text).is_file():
                return self.folder / text
        path = self.folder / name.replace("\\", "/")
        if path.parent not in self._listed:
            self._listed[path.parent] = {_key(file): file for file in visible(path.parent, SUFFIXES)}
        return self._listed[path.parent].get(_key(path))


def _key(path: Path) -> str:
    return path.stem + path.suffix.lower()
