# SPDX-License-Identifier: Apache-2.0
"""Image files as sources of frames: one image, a folder of them, an animated image."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image

from centertrack_ros.io import sequence_info
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import (
    IMAGE_SUFFIXES,
    bgr_of,
    check_size,
    frame_count,
    frame_numbers,
    load_image,
    natural_order,
    numbers_in_names,
    reason,
    visible,
)
from centertrack_ros.io.rosbag import is_bag
from centertrack_ros.io.sequence_info import SequenceInfo
from centertrack_ros.io.source_base import DEFAULT_RATE, CameraOf, LeftOut, default_rate
from centertrack_ros.types import Frame

_VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")

_LOG = logging.getLogger(__name__)


@dataclass
class ImageSource:
    """One image, or a folder of them: numbered by the numbers in their names, which also tell the time."""

    path: Path
    camera_of: CameraOf
    requested_rate: float | None = None

    def __post_init__(self) -> None:
        self._one = one = self.path.is_file()
        self.name = self.path.resolve().stem if one else self.path.resolve().name or "root"
        self.files = [self.path] if one else visible(self.path, IMAGE_SUFFIXES, broken=True)
        if not self.files:
            raise ValueError(f"{self.path}: {_instead_of_images(self.path)}")
        self.numbers = self._numbers()
        self.length: int | None = len(self.files)
        self.rate: float = DEFAULT_RATE
        self._number_rate = self._rates()

    @property
    def first_name(self) -> int | None:
        """The number in the name of the first image; None: the names do not number them."""
        return next(iter(numbers_in_names(self.files) or ()), None)

    def _numbers(self) -> list[int]:
        """The numbers of the images; where what is no file spoils them, it is left out."""
        numbers = frame_numbers(self.files)
        if numbers is None and not self._one and not all(file.is_file() for file in self.files):
            files = visible(self.path, IMAGE_SUFFIXES)
            if numbers := frame_numbers(files):
                self.files = files
        if numbers is None and not self._one:
            _LOG.warning("%s: the names do not number the images: they are counted in their order", self.path)
        return numbers or list(range(1, len(self.files) + 1))

    def _rates(self) -> float:
        """Sets the rate of the images, and returns that of their numbers: each tenth may be there."""
        steps = [two - one for one, two in pairwise(self.numbers)]
        step = math.gcd(*steps) if len(steps) > 1 else 1
        told = None if self.requested_rate or self.length == 1 else _sequence_rate(self.path)
        if told:
            self.rate = told / step
        elif self.requested_rate or self.length != 1:
            self.rate = self.requested_rate or default_rate(self.path)
        first, last, count = self.numbers[0], self.numbers[-1], len(self.numbers)
        if (last - first) // step + 1 > 2 * count:
            text = "%s: %d images are numbered from %d to %d: holes in the numbers are holes in time"
            _LOG.warning(text, self.path, count, first, last)
        return self.rate * step

    def __iter__(self) -> Iterator[Frame]:
        left_out, tried, animated = LeftOut(self.path), 0, 0
        try:
            for index, file in zip(self.numbers, self.files, strict=True):
                tried += 1
                try:
                    image = load_image(file)
                except DataError as error:
                    if file == self.path:
                        raise
                    left_out.add(f"frame {index}: {str(error).replace(str(file), file.name, 1)}")
                    continue
                animated += frame_count(file) > 1
                stamp = (index - self.numbers[0]) / self._number_rate  # a hole in the numbers is one in time
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
        with Image.open(self.path) as animation:
            check_size(self.path, animation.width, animation.height)
        self.length: int = frame_count(self.path)
        if self.requested_rate:
            self._durations = [1 / self.requested_rate] * self.length
        else:
            self._durations = _durations(self.path)
        self.rate: float = self.requested_rate or self.length / sum(self._durations)

    def __iter__(self) -> Iterator[Frame]:
        left_out, stamp = LeftOut(self.path), 0.0
        try:
            with Image.open(self.path) as animation:
                for index in range(1, self.length + 1):
                    try:
                        animation.seek(index - 1)
                        image = bgr_of(animation)
                    except Exception as error:  # whatever a malformed file makes Pillow raise
                        left_out.add(f"frame {index} cannot be decoded ({reason(error)})")
                    else:
                        yield Frame(image, stamp, self.camera_of(*image.shape[:2]), index=index)
                    stamp += self._durations[index - 1]
        finally:
            left_out.report(self.length)
        if left_out.count == self.length:
            raise ValueError(f"{self.path}: not one frame of this image can be read; the last: {left_out.last}")


def _durations(path: Path) -> list[float]:
    """How long each frame of an animation is shown, s; where the file does not say a default, which is logged."""
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
    if all(found):
        return found
    assumed = 1 / default_rate(path)  # that of browsers as well
    return [duration or assumed for duration in found]


def _sequence_rate(folder: Path) -> float | None:
    """The frameRate of a MOTChallenge sequence whose images lie in `folder`; None when nothing tells it."""
    for place in (folder.resolve().parent, folder):
        if not (place / sequence_info.FILE).is_file():
            continue
        try:
            rate = SequenceInfo(place).number("frameRate")
        except (OSError, ValueError) as error:
            _LOG.warning("%s", error)
            return None
        if rate is None:
            _LOG.warning("%s: tells no frameRate", place / sequence_info.FILE)
        return rate
    return None


def _instead_of_images(folder: Path) -> str:
    """Says what a folder without images has that may be meant."""
    text = f"no images in this folder; expected {', '.join(IMAGE_SUFFIXES)}"
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural_order)
    kinds = {
        "images in": [p for p in entries if p.is_dir() and _has_images(p)],
        "bags:": [p for p in entries if p.suffix == ".bag" or _is_bag(p)],
        "videos:": [p for p in entries if p.suffix.lower() in _VIDEO_SUFFIXES],
    }
    for kind, found in kinds.items():
        if found:
            names = ", ".join(p.name for p in found[:3])
            return f"{text}; there are {kind} {names}{', …' if len(found) > 3 else ''}; name one"
    return text


def _is_bag(path: Path) -> bool:
    try:
        return is_bag(path)
    except OSError:  # a folder that may not be read
        return False


def _has_images(folder: Path) -> bool:
    try:
        return any(p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") for p in folder.iterdir())
    except OSError:
        return False
