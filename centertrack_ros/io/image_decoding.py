# SPDX-License-Identifier: Apache-2.0
"""Decodes sensor_msgs/Image and CompressedImage into the one form that the tracker takes: BGR, 8 bits, (H, W, 3).

Encodings are those of sensor_msgs/image_encodings.hpp. Plain `bgr8` is a view of the message's own memory; the others
cost one conversion. A malformed message raises an `ImageError` whose text says what arrived and what was expected.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.image_headers import JPEG_SIGNATURE, PNG_SIGNATURE, has_end_marker, read_header
from centertrack_ros.io.message_bytes import message_bytes
from centertrack_ros.io.yuv_planes import LAYOUTS

# A header may claim any size; no camera sends more than this, and a decoder must not be asked for it.
MAX_PIXELS = 100_000_000
MAX_SIDE = 32_768
# The most that the formats can express: a bit for each 8x8 block (ITU T.81, F.1.2.1), and zlib's limit.
_JPEG_PIXELS_PER_BYTE = 8 * 64
_PNG_RATIO = 1032

BGR = NDArray[np.uint8]


class ImageError(ValueError):
    """The message holds no usable image; the text says why."""


@dataclass(frozen=True)
class _Encoding:
    """The memory layout of an encoding.

    Attributes:
        channels: Samples per pixel in memory.
        bits: 8 or 16 per sample.
        code: The cv2 conversion to BGR after the reduction to 8 bits; None: it is BGR.
        even_width: The width must be even.
    """

    channels: int
    bits: int = 8
    code: int | None = None
    even_width: bool = False


# OpenCV names a Bayer pattern by the pixel at (1, 1), ROS by the one at (0, 0): rggb here is BG there.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_ENCODINGS = {
    "bgr8": _Encoding(3),
    "8UC3": _Encoding(3),
    "rgb8": _Encoding(3, code=cv2.COLOR_RGB2BGR),
    "bgra8": _Encoding(4, code=cv2.COLOR_BGRA2BGR),
    "8UC4": _Encoding(4, code=cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, code=cv2.COLOR_RGBA2BGR),
    "mono8": _Encoding(1, code=cv2.COLOR_GRAY2BGR),
    "8UC1": _Encoding(1, code=cv2.COLOR_GRAY2BGR),
    "bgr16": _Encoding(3, 16),
    "rgb16": _Encoding(3, 16, cv2.COLOR_RGB2BGR),
    "bgra16": _Encoding(4, 16, cv2.COLOR_BGRA2BGR),
    "rgba16": _Encoding(4, 16, cv2.COLOR_RGBA2BGR),
    "mono16": _Encoding(1, 16, cv2.COLOR_GRAY2BGR),
    # Two names each: `yuv422` and `yuv422_yuy2` were renamed in Iron, and both are still sent.
    "yuv422": _Encoding(2, code=cv2.COLOR_YUV2BGR_UYVY, even_width=True),
    "uyvy": _Encoding(2, code=cv2.COLOR_YUV2BGR_UYVY, even_width=True),
    "yuv422_yuy2": _Encoding(2, code=cv2.COLOR_YUV2BGR_YUY2, even_width=True),
    "yuyv": _Encoding(2, code=cv2.COLOR_YUV2BGR_YUY2, even_width=True),
    "yvyu": _Encoding(2, code=cv2.COLOR_YUV2BGR_YVYU, even_width=True),
    **{f"bayer_{name}8": _Encoding(1, code=code) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": _Encoding(1, 16, code) for name, code in _BAYER.items()},
}
ENCODINGS = tuple(sorted((*_ENCODINGS, *LAYOUTS)))
# Beginning of an encoding -> what to do about it.
_ADVICE = {
    ("16UC", "16SC", "32FC", "32SC", "64FC"): "these are measurements, such as depth; give a topic of pictures",
    ("mono1", "bayer_"): "let the driver send 8 or 16 bits per sample",
    ("jpeg", "jpg", "png"): "a compressed image belongs into a sensor_msgs/CompressedImage",
}


def image_to_bgr(message: Any) -> BGR:
    """Decodes a sensor_msgs/Image to BGR uint8 (H, W, 3).

    For `bgr8` the result is a view of `message.data` (rows may be `step` apart), which is not for writing.

    Raises:
        ImageError: The encoding is unknown, or the message's fields contradict each other.
    """
    if message.encoding.lower() in LAYOUTS:  # drivers write them in both ways
        return _planes_to_bgr(message)
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        advice = next((f" ({text})" for starts, text in _ADVICE.items() if message.encoding.startswith(starts)), "")
        known = ", ".join(ENCODINGS)
        raise ImageError(f"unknown image encoding '{message.encoding[:40]}'; expected one of {known}{advice}")
    samples = _samples(message, encoding)
    if encoding.bits == 16:
        samples = _to_8_bits(samples, bool(message.is_bigendian))
    if encoding.code is None:
        return samples
    # Demosaicing looks at neighbours, and cv2 wants a single channel without the last axis.
    return cv2.cvtColor(samples[..., 0] if encoding.channels == 1 else samples, encoding.code)  # type: ignore[return-value]


def compressed_to_bgr(message: Any) -> BGR:
    """Decodes a sensor_msgs/CompressedImage (JPEG or PNG) to BGR uint8 (H, W, 3).

    The size that the file claims is checked before it is decoded. EXIF orientation is ignored: intrinsics belong to
    the sensor's rows and columns.

    Raises:
        ImageError: The file is neither JPEG nor PNG, too large, cut short or corrupt.
    """
    data = _bytes_of(message)
    raw = data.tobytes()
    what = f"compressed image (format '{message.format[:40]}', {len(raw)} bytes)"
    if not raw:
        raise ImageError(f"{what} is empty; expected a JPEG or PNG file")
    if not raw.startswith((JPEG_SIGNATURE, PNG_SIGNATURE)):
        problem = f"{what} starts with {raw[:4].hex(' ')}; expected a JPEG (ff d8) or PNG (89 50 4e 47) file"
        raise ImageError(problem + _compressed_advice(message.format.lower(), raw))
    width, height, least = _check_file(raw, what)
    _check_size(width, height, what)
    if len(raw) < least:  # decoding would take seconds, and the memory of the size that is claimed
        raise ImageError(f"{what} is corrupt: {width}x{height} px by its header; expected at least {least} bytes then")
    is_deep = raw.startswith(PNG_SIGNATURE) and raw[24] == 16
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_ANYDEPTH if is_deep else 0)
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f"{what} is corrupt: {width}x{height} px by its header, but it does not decode")
    if image.dtype == np.uint16:
        image = _to_8_bits(image.astype("<u2").view(np.uint8), big_endian=False)
    return image  # type: ignore[return-value]


def _compressed_advice(form: str, raw: bytes) -> str:
    """What to do about a file of another format."""
    if "compresseddepth" in form:
        return "; this is depth, not a picture: give the topic of the pictures"
    if any(name in form for name in ("264", "265", "hevc", "av1", "vp9", "theora")) or raw.startswith(b"\0\0\0\1"):
        return "; this is a part of a video: republish it as JPEG with image_transport's republish"
    return ""


def _bytes_of(message: Any) -> NDArray[np.uint8]:
    return message_bytes(message.data, ImageError)


def _planes_to_bgr(message: Any) -> BGR:
    """Decodes an image in planes.

    `step` is that of the first, or wrong: then the planes have no padding. Some drivers count the rows of colour, too,
    and give 3/2 of the image's height: then the data have as many rows as the message says.
    """
    data = _bytes_of(message)
    planes, width, height, size = LAYOUTS[message.encoding.lower()], message.width, message.height, len(data)
    what = f"{width}x{height} {message.encoding} image"
    _check_size(width, height, what)
    if (
        planes.rows == 2
        and height % 3 == 0
        and size in {width * height, message.step * height} - {planes.size(width, height)}
    ):
        height = height // 3 * 2
    if not planes.fits(width, height):
        unit = f"{planes.columns}x{planes.rows} px"
        raise ImageError(f"{what} has an odd width or height; expected multiples of {unit}, which share a colour")
    tight, padding = planes.size(width, height), message.step - width
    if size == tight:
        return planes.bgr(data, width, height, width)
    if padding > 0 and 0 <= planes.size(message.step, height) - size <= padding:
        return planes.bgr(data, width, height, message.step)
    raise ImageError(f"{what} has {size} bytes of data and step {message.step}; expected {tight} bytes without padding")


def _samples(message: Any, encoding: _Encoding) -> NDArray[np.uint8]:
    """(H, W, channels * bytes per sample) view of the data, row padding left out."""
    buffer = _bytes_of(message)
    width, height, step, size = message.width, message.height, message.step, len(buffer)
    what = f"{width}x{height} {message.encoding} image"
    _check_size(width, height, what)
    if encoding.even_width and width % 2:
        raise ImageError(f"{what} has an odd width; expected an even one: {message.encoding} shares colour in pairs")
    pixel = encoding.channels * encoding.bits // 8
    if step < width * pixel:
        raise ImageError(f"{what} has step {step}; expected at least {width * pixel} bytes per row")
    # The padding of the last row may be missing: some drivers leave it out.
    least, most = step * (height - 1) + width * pixel, step * height
    if not least <= size <= most:
        kind = "is truncated: it" if size < least else "does not fit its step: it"
        raise ImageError(f"{what} {kind} has {size} bytes of data; expected {most} (step {step} x height {height})")
    return np.ndarray((height, width, pixel), np.uint8, buffer, 0, (step, pixel, 1))


def _to_8_bits(samples: NDArray[np.uint8], big_endian: bool) -> NDArray[np.uint8]:
    """(H, W, 2 * channels) bytes of 16-bit samples -> (H, W, channels).

    As a rule the more significant byte of each. Cameras of 10 and 12 bits leave the upper bits empty, and there would
    be next to nothing in it: where no sample needs more than 12 bits, and the lowest four are in use, those are taken.
    """
    high, low = samples[..., 0 if big_endian else 1 :: 2], samples[..., 1 if big_endian else 0 :: 2]
    most = int(high.max(initial=0))
    if most >= 16 or not int(np.bitwise_or.reduce(low, axis=None)) & 15:
        return np.ascontiguousarray(high)
    shift = 2 if most < 4 else 4
    return (((high.astype(np.uint16) << 8) | low) >> shift).astype(np.uint8)


def _check_size(width: int, height: int, what: str) -> None:
    if width == 0 or height == 0:
        raise ImageError(f"{what} is empty: {width}x{height} px; expected at least 1x1")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(f"{what} is too large: {width}x{height} px; expected at most {MAX_PIXELS // 10**6} megapixels")


def _check_file(raw: bytes, what: str) -> tuple[int, int, int]:
    """(width, height, least number of bytes that the format needs for them); checks that the file is complete."""
    is_jpeg = raw.startswith(JPEG_SIGNATURE)
    try:
        header = read_header(raw)
    except ValueError:
        if is_jpeg:
            raise ImageError(f"{what} is a corrupt JPEG: its header breaks off, or is malformed") from None
        raise ImageError(f"{what} is a truncated or corrupt PNG: its header is malformed") from None
    pixels = header.width * header.height
    if is_jpeg:
        if not has_end_marker(raw, header):
            raise ImageError(f"{what} is a truncated JPEG: the end marker (ff d9) is missing")
        return header.width, header.height, pixels // _JPEG_PIXELS_PER_BYTE
    if b"IEND" not in raw[-64:]:
        raise ImageError(f"{what} is a truncated or corrupt PNG: it lacks its last chunk (IEND)")
    check_png(raw, what)
    return header.width, header.height, pixels * _png_bits(raw) // (8 * _PNG_RATIO)


def _png_bits(raw: bytes) -> int:
    """Bits per pixel, at least 1, from IHDR's depth and colour type (PNG 3rd edition, table 12)."""
    return max(raw[24] * {2: 3, 4: 2, 6: 4}.get(raw[25], 1), 1)


def check_png(raw: bytes, what: str) -> None:
    """Raises ImageError for a wrong checksum or length (PNG 3rd edition, 5.3): libpng would complain on stderr."""
    at = 8
    while at + 12 <= len(raw):
        length, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(raw) or zlib.crc32(memoryview(raw)[at + 4 : end]) != int.from_bytes(raw[end : end + 4], "big"):
            raise ImageError(f"{what} is a corrupt PNG: the chunk at byte {at} does not match its checksum")
        if kind == b"IEND":
            return
        at = end + 4
    raise ImageError(f"{what} is a truncated PNG: its last chunk (IEND) is missing")
