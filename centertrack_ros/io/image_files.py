# SPDX-License-Identifier: Apache-2.0
"""Images as files, and the folders that hold them: one rule for every reader.

Images are upright: turned as their EXIF orientation says. That is how viewers and annotation tools show them, so truth
and results belong to the image as it is shown; intrinsics have to as well. (A compressed image in a bag is not turned:
its camera_info belongs to the sensor's rows and columns.)
"""

from __future__ import annotations

import io
import logging
import re
import stat
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from centertrack_ros.io.errors import DataError, sentence
from centertrack_ros.io.image_decoding import MAX_PIXELS, MAX_SIDE, ImageError, check_png
from centertrack_ros.io.image_headers import JPEG_SIGNATURE, PNG_SIGNATURE, has_end_marker, read_header

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_MAX_BYTES = 10 * MAX_PIXELS  # the largest image, 16 bits a colour with transparency, not compressed
_MAY_MOVE = (".gif", ".apng", ".png", ".webp", ".tif", ".tiff")
MOST_FRAMES = 10**7  # larger numbers in names are dates or times
# The EXIF tag Orientation, and its values that swap rows and columns (EXIF 2.3, 4.6.4 A).
_ORIENTATION, _TRANSPOSED = 0x0112, (5, 6, 7, 8)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
# Where in a PNG file it may be.
_PNG_METADATA = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

_LOG = logging.getLogger(__name__)


def write_image(path: Path, image: NDArray[Any], quality: int = 95) -> None:
    """Writes an image in the format of the suffix.

    Args:
        path: The file.
        image: (H, W, 3) BGR uint8.
        quality: Of a JPEG, 0 to 100.

    Raises:
        OSError: The file cannot be written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    try:
        # Not by name: OpenCV crashes on names that are not UTF-8, and does not say what the disk said.
        written, raw = cv2.imencode(path.suffix, image, options)
    except cv2.error:
        written = False
    if not written:
        raise OSError(f"{path}: the image could not be written as '{path.suffix}'")
    try:
        path.write_bytes(raw.tobytes())
    except OSError as error:
        raise OSError(f"{path}: the image could not be written ({error.strerror})") from error


def load_image(path: Path) -> NDArray[np.uint8]:
    """Reads an image file, upright; of an animated one the first frame.

    Returns:
        (H, W, 3) BGR: grey, palette, CMYK and 16-bit images are converted, transparency is dropped.

    Raises:
        DataError: The file is missing, no image, cut short or too large; the text says which.
    """
    return _decoded(path, _checked_bytes(path))


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """`load_image` for callers that go on without an image: None instead of an error."""
    try:
        return load_image(path)
    except DataError:
        return None


def image_size(path: Path) -> tuple[int, int] | None:
    """The size of an image file by its header, upright: what `load_image` returns has that size.

    Returns:
        (height, width) px; None when the file is missing or its header is malformed.
    """
    try:
        _require_regular(path)
        with Image.open(path) as image:
            if isinstance(image, TiffImageFile):  # newer Pillows have turned the size already
                width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
                turned = image.tag_v2.get(_ORIENTATION, 1) in _TRANSPOSED
            else:
                width, height = image.size
                raw = path.read_bytes() if image.format == "PNG" else b""
                turned = _orientation(image, raw) in _TRANSPOSED
            return (width, height) if turned else (height, width)
    except Exception:  # whatever a malformed header makes Pillow raise
        found = read_image(path)  # OpenCV knows formats that Pillow does not
        return None if found is None else (found.shape[0], found.shape[1])


def frame_count(path: Path) -> int:
    """The number of frames of an animated GIF, WebP or PNG, or of a TIFF's pages; 1 of anything else."""
    if path.suffix.lower() not in _MAY_MOVE:
        return 1
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # whatever a malformed file makes Pillow raise; said when it is read
        return 1


def bgr_of(image: Image.Image) -> NDArray[np.uint8]:
    """The current frame of a Pillow image, upright: (H, W, 3) BGR, transparency dropped, 16 bits reduced to 8.

    Raises:
        OSError: It has numbers that are no colours.
        Exception: Whatever a malformed file makes Pillow raise.
    """
    image.load()
    if image.mode in ("F", "I"):
        raise OSError("its values are 32-bit numbers, expected 8 or 16 bits a colour")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        grey = (np.asarray(upright, np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    colours = upright.convert("RGBA").convert("RGB") if "transparency" in upright.info else upright.convert("RGB")
    return np.ascontiguousarray(np.asarray(colours, np.uint8)[..., ::-1])


def reason(error: Exception) -> str:
    """What Pillow says of a malformed file, in one line; not what Python says of Pillow."""
    return sentence(error) if isinstance(error, OSError) and str(error) else "its data are malformed"


def upright_bytes(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A JPEG or PNG file for a reader that does not turn images: its own bytes, encoded anew if it has to be turned.

    Returns:
        The bytes, and the (height, width) px of the image in them.

    Raises:
        DataError: As `load_image`.
    """
    raw = _checked_bytes(path)
    orientation = _orientation_of(raw)
    if orientation == 1 and raw.startswith((JPEG_SIGNATURE, PNG_SIGNATURE)):
        header = read_header(raw)
        return raw, (header.height, header.width)
    image = _decoded(path, raw)
    if orientation != 1:
        suffix = ".png" if raw.startswith(PNG_SIGNATURE) else ".jpg"
        raw = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return raw, (image.shape[0], image.shape[1])


def visible(folder: Path, suffixes: Sequence[str], broken: bool = False) -> list[Path]:
    """The files of a folder with one of these suffixes, in any case, in natural order: frame_2 before frame_10.

    Hidden files are none of the user's (`._000001.jpg` holds what macOS knows of a picture). Folders, and what has a
    fitting name but is no file, such as a link that leads nowhere, are left out with a logged warning.

    Args:
        folder: The folder; those in it are not searched.
        suffixes: In lower case, with the dot.
        broken: Keep what is no file, except folders: it has its place in the order, and whoever opens it says why it
            cannot be read.

    Raises:
        OSError: The folder cannot be read.
    """
    named = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    problems = {path: problem for path in sorted(named) if (problem := _no_file(path))}
    if broken:
        problems = {path: problem for path, problem in problems.items() if path.is_dir()}
    if problems:
        path, problem = next(iter(problems.items()))
        rest = f", and {len(problems) - 1} more that are no files" if len(problems) > 1 else ""
        _LOG.warning("%s: %s; left out%s", path, problem, rest)
    return sorted((path for path in named if path not in problems), key=natural_order)


def natural_order(file: Path) -> list[Any]:
    """The key that sorts frame_2 before frame_10."""
    parts = re.split(r"([0-9]+)", file.name)
    return [(0, int(part), part) if number % 2 else (1, 0, part) for number, part in enumerate(parts) if part]


def frame_numbers(files: Sequence[Path]) -> list[int] | None:
    """The frame number of each image of a folder, by its name.

    A folder that counts from 0 is counted from 1, as MOTChallenge does.

    Args:
        files: In natural order.

    Returns:
        Numbers from 1, rising; None when the names do not tell.
    """
    numbers = numbers_in_names(files)
    return [number + 1 for number in numbers] if numbers and numbers[0] == 0 else numbers


def numbers_in_names(files: Sequence[Path]) -> list[int] | None:
    """The last group of digits that rises from file to file in all names; None when there is none.

    Longer numbers than 7 digits (dates, times in ns) are not taken for frame numbers.
    """
    groups = [re.findall(r"[0-9]+", file.stem)[::-1] for file in files]
    for place in range(min(map(len, groups), default=0)):
        numbers = [int(group[place]) for group in groups]
        if numbers[-1] < MOST_FRAMES and all(one < two for one, two in pairwise(numbers)):
            return numbers
    return None


def _no_file(path: Path) -> str:
    """Why a path is no file that can be read as a whole; '' if it is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link that leads nowhere" if path.is_symlink() else "no such file"
    except OSError as error:  # a loop of links, a folder without permission
        return f"cannot be read ({error.strerror})"
    except ValueError:  # a null character
        return "not the name of a file"
    if stat.S_ISREG(mode):
        return ""
    return "a folder, expected an image file" if stat.S_ISDIR(mode) else "a pipe or device, expected an image file"


def _orientation(image: Image.Image, raw: bytes) -> int:
    """How an image is to be turned after OpenCV has decoded it, 1 to 8. A TIFF is turned by then."""
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and not any(key in raw for key in _PNG_METADATA):
        return 1  # Pillow would decode the pixels to look behind them
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever a malformed EXIF block makes Pillow raise
        return 1
    return found if found in range(1, 9) else 1


def _orientation_of(raw: bytes) -> int:
    try:
        with Image.open(io.BytesIO(raw)) as image:
            return _orientation(image, raw)
    except Exception:  # a format that only OpenCV knows
        return 1


def _turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The stored image (H, W, 3) as it is shown."""
    upright = image.swapaxes(0, 1) if orientation in _TRANSPOSED else image
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return np.ascontiguousarray(upright)


def _require_regular(path: Path) -> None:
    if problem := _no_file(path):
        raise DataError(path, problem)
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise DataError(path, f"a file of {size / 1e9:.1f} GB is no image that fits into memory")


def _checked_bytes(path: Path) -> bytes:
    """The bytes of an image file that is complete and of a sensible size."""
    _require_regular(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from None
    if not raw:
        raise DataError(path, "an empty file, expected an image")
    if raw.startswith((JPEG_SIGNATURE, PNG_SIGNATURE)):
        _check_common(path, raw)
    else:
        _check_other(path, raw)
    return raw


def _check_common(path: Path, raw: bytes) -> None:
    """Of JPEG and PNG, without decoding."""
    try:
        header = read_header(raw)
    except ValueError:
        raise DataError(path, "not a complete image: its header is malformed") from None
    check_size(path, header.width, header.height)
    if raw.startswith(PNG_SIGNATURE):
        try:
            check_png(raw, str(path))
        except ImageError as error:
            raise DataError(path, f"not a complete image: {str(error).removeprefix(f'{path} is ')}") from None
    elif not has_end_marker(raw, header):
        raise DataError(path, "not a complete image: a JPEG without its end marker")


def _check_other(path: Path, raw: bytes) -> None:
    """Of the rarer formats, by a decoder that insists on all bytes. What only OpenCV knows is left to it."""
    try:
        with Image.open(io.BytesIO(raw)) as image:
            check_size(path, image.width, image.height)
            image.load()
    except UnidentifiedImageError:
        return
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(path, f"too large an image; expected at most {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:  # whatever a malformed file makes Pillow raise
        raise DataError(path, f"not a complete image: {reason(error)}") from None


def check_size(path: Path, width: int, height: int) -> None:
    """Raises DataError for a size, px, that no camera has: a decoder must not be asked for it."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} px a side"
        raise DataError(path, f"too large an image: {width}x{height} px; expected at most {limit}")


def _decoded(path: Path, raw: bytes) -> NDArray[np.uint8]:
    try:
        # Not turned by OpenCV, which reads EXIF more strictly than Pillow: the size by the header would differ.
        stored = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        stored = None
    if stored is not None:
        return _turned(np.asarray(stored, np.uint8), _orientation_of(raw))
    try:
        with Image.open(io.BytesIO(raw)) as other:
            return bgr_of(other)
    except UnidentifiedImageError:
        raise DataError(path, "not an image that OpenCV or Pillow can read") from None
    except Exception as error:  # whatever a malformed file makes Pillow raise
        raise DataError(path, f"not an image that can be read: {reason(error)}") from None
