# SPDX-License-Identifier: Apache-2.0
"""Image files as sources of frames: one image, a folder of them, an animated image."""

from __future__ import annotations

import configparser
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import (
    IMAGE_SUFFIXES,
    bgr_of,
    frame_count,
    frame_numbers,
    load_image,
    natural_order,
    visible,
)
from centertrack_ros.io.source_base import CameraOf, LeftOut, default_rate
from centertrack_ros.types import Frame

_LOG = logging.getLogger(__name__)


@dataclass
class ImageSource:
    """One image, or a folder of them: numbered by the numbers in their names, which also tell the time."""

    path: Path
    camera_of: CameraOf
    requested_rate: float | None = None

    def __post_init__(self) -> None:
        one = self.path.is_file()
        self.name = self.path.resolve().stem if one else _folder_name(self.path.resolve())
        self.files = [self.path] if one else visible(self.path, IMAGE_SUFFIXES)
        self.length: int | None = len(self.files)
        if not self.files:
            raise ValueError(f"{self.path}: {_instead_of_images(self.path)}")
        numbers = frame_numbers(self.files)
        if numbers is None and not one:
            _LOG.warning("%s: the names do not number the images: they are counted in their order", self.path)
        self.numbers = numbers or list(range(1, len(self.files) + 1))
        self.rate = self.requested_rate or (None if one else _sequence_rate(self.path))
        if self.rate is None:
            self.rate = 10.0 if self.length == 1 else default_rate(self.path)

    def __iter__(self) -> Iterator[Frame]:
        left_out, tried, animated = LeftOut(self.path), 0, 0
        try:
            for index, file in zip(self.numbers, self.files, strict=True):
                tried += 1
                try:
                    image = load_image(file)
                except DataError as error:
                    left_out.add(f"frame {index}: {str(error).replace(str(file), file.name, 1)}")
                    continue
                animated += frame_count(file) > 1
                assert self.rate is not None
                stamp = (index - self.numbers[0]) / self.rate  # a hole in the numbers is one in time
                yield Frame(image, stamp, self.camera_of(*image.shape[:2]), index=index)
        finally:
            left_out.report(tried)
            if animated:
                _LOG.warning("%s: %d images have several frames; the first of each was taken", self.path, animated)
        if left_out.count == tried:
            raise ValueError(f"{self.path}: not one image here can be read; the last: {left_out.last}")


@dataclass
class AnimatedSource:
    """An animated image (GIF, WebP, PNG) or a TIFF of several pages; each frame has its own duration."""

    path: Path
    camera_of: CameraOf
    requested_rate: float | None = None

    def __post_init__(self) -> None:
        self.name = self.path.resolve().stem
        self.length: int | None = frame_count(self.path)
        self._durations = [] if self.requested_rate else _durations(self.path)
        total = sum(self._durations)
        if self.requested_rate:
            self.rate = self.requested_rate
        else:
            self.rate = len(self._durations) / total if total > 0 else default_rate(self.path)

    def __iter__(self) -> Iterator[Frame]:
        assert self.length is not None
        left_out, stamp = LeftOut(self.path), 0.0
        told = len(self._durations) == self.length and all(self._durations)
        try:
            with Image.open(self.path) as animation:
                for index in range(1, self.length + 1):
                    try:
                        animation.seek(index - 1)
                        image = bgr_of(animation)
                    except Exception as error:  # whatever a malformed file makes Pillow raise
                        left_out.add(f"frame {index} cannot be decoded ({error})")
                    else:
                        yield Frame(image, stamp, self.camera_of(*image.shape[:2]), index=index)
                    stamp = stamp + self._durations[index - 1] if told else index / self.rate
        finally:
            left_out.report(self.length)
        if left_out.count == self.length:
            raise ValueError(f"{self.path}: not one frame of this image can be read; the last: {left_out.last}")


def _durations(path: Path) -> list[float]:
    """How long each frame of an animation is shown, s; 0 where the file does not say."""
    found = []
    with Image.open(path) as animation:
        for index in range(frame_count(path)):
            try:
                animation.seek(index)
                animation.load()  # WebP knows it only then
            except Exception:  # said when the frames are read
                found.append(0.0)
            else:
                found.append(float(animation.info.get("duration") or 0.0) / 1e3)
    return found


def _sequence_rate(folder: Path) -> float | None:
    """The frameRate of a MOTChallenge sequence whose images lie in `folder`; None when nothing tells it."""
    for place in (folder.resolve().parent, folder):
        file = place / "seqinfo.ini"
        if not file.is_file():
            continue
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(file.read_text(encoding="utf-8-sig"))
            rate = parser.getfloat("Sequence", "frameRate")
        except (OSError, ValueError, configparser.Error) as error:
            _LOG.warning("%s: tells no frameRate (%s)", file, " ".join(str(error).split()))
            return None
        if math.isfinite(rate) and rate > 0:
            return rate
        _LOG.warning("%s: frameRate is %g, expected a number above 0", file, rate)
        return None
    return None


def _instead_of_images(folder: Path) -> str:
    """Says what a folder without images has that may be meant."""
    text = f"no images in this folder; expected {', '.join(IMAGE_SUFFIXES)}"
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural_order)
    inside = [p.name for p in entries if p.is_dir() and _has_images(p)]
    if inside:
        return f"{text}; there are some in {', '.join(inside[:3])}{', …' if len(inside) > 3 else ''}: name one"
    videos = [p.name for p in entries if p.suffix.lower() in (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")]
    if videos:
        return f"{text}; there are videos ({', '.join(videos[:3])}{', …' if len(videos) > 3 else ''}): name one"
    return text


def _has_images(folder: Path) -> bool:
    try:
        return any(p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") for p in folder.iterdir())
    except OSError:
        return False


def _folder_name(folder: Path) -> str:
    """What the recording in a folder is called: every sequence of MOTChallenge has its images in a folder img1."""
    return (folder.parent.name if folder.name == "img1" else folder.name) or "root"
