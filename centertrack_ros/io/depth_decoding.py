# SPDX-License-Identifier: Apache-2.0
"""Decodes depth images (REP 118): sensor_msgs/Image in 16UC1 (mm) or 32FC1 (m), and compressedDepth of both.

A malformed message, and one whose values cannot be in the unit of its encoding, raises a `DepthError` whose text says
what arrived and what was expected.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.image_decoding import MAX_PIXELS, MAX_SIDE, ImageError, check_png
from centertrack_ros.io.image_headers import PNG_SIGNATURE, read_header
from centertrack_ros.io.message_bytes import message_bytes
from centertrack_ros.types import DepthImage, Points

Depths = NDArray[np.float32]

# Name of an encoding -> type of a sample, m per unit. Drivers call 16UC1 mono16, too.
_ENCODINGS = {"16UC1": ("u2", 1e-3), "mono16": ("u2", 1e-3), "32FC1": ("f4", 1.0)}
_SATURATED = 65535  # what a 16-bit sensor sends beyond its range
_HEADER = struct.Struct("<iff")  # of compressedDepth: its kind, and the two numbers of the quantisation
# m, of the median of a depth image: what lies outside is in another unit.
_NEAREST_MEDIAN, _FARTHEST_MEDIAN = 0.05, 1000.0
_MOST_CHECKED = 4096  # samples that are looked at for the unit
_MOST_POINTS = 150_000  # of a depth image of another camera
_ASPECT = 0.02  # that two images of one view may differ by, relative


class DepthError(ValueError):
    """The message holds no usable depths; the text says why."""


def depth_of(message: Any) -> DepthImage:
    """Decodes a sensor_msgs/Image, or a sensor_msgs/CompressedImage of compressedDepth.

    Args:
        message: The message, of rclpy, of rosbags: whatever has its fields.

    Returns:
        The depths in m; what was not measured is 0 or not finite.

    Raises:
        DepthError: It is no depth image, its fields contradict each other, or its unit cannot be right.
    """
    depths, encoding = _compressed(message) if hasattr(message, "format") else _raw(message)
    _check_unit(depths, encoding)
    return DepthImage(depths)


def _raw(message: Any) -> tuple[Depths, str]:
    known = _ENCODINGS.get(message.encoding)
    if known is None:
        raise DepthError(f"unknown depth encoding '{message.encoding[:40]}'; expected 16UC1 (mm) or 32FC1 (m)")
    kind, unit = known
    width, height, step, size = message.width, message.height, message.step, len(message.data)
    what = f"{width}x{height} {message.encoding} depth image"
    _check_size(width, height, what)
    row = width * int(kind[1])
    if step < row or not step * (height - 1) + row <= size <= step * height:
        raise DepthError(
            f"{what} has step {step} and {size} bytes of data; expected a step of at least {row}, and step x height"
        )
    order = ">" if message.is_bigendian else "<"
    samples = np.ndarray(
        (height, width), order + kind, message_bytes(message.data, DepthError), 0, (step, int(kind[1]))
    )
    return _in_meters(samples, unit), message.encoding


def _in_meters(samples: NDArray[Any], unit: float) -> Depths:
    if samples.dtype.kind == "f":
        return np.asarray(samples, np.float32)
    depths = samples.astype(np.float32)
    depths *= np.float32(unit)
    depths[samples == _SATURATED] = 0.0
    return depths


def _compressed(message: Any) -> tuple[Depths, str]:
    """The format is '16UC1; compressedDepth png' and its like: a header, then a PNG of 16 bits."""
    encoding, _, kind = (part.strip() for part in message.format.partition(";"))
    what = f"compressed depth image (format '{message.format[:40]}', {len(message.data)} bytes)"
    known = _ENCODINGS.get(encoding)
    if known is None or "compressedDepth" not in kind:
        raise DepthError(f"{what} is no depth; expected '16UC1; compressedDepth png' or '32FC1; compressedDepth png'")
    raw = message_bytes(message.data, DepthError).tobytes()
    if "rvl" in kind:
        raise DepthError(f"{what} is compressed by RVL; expected PNG: set the publisher's format to png")
    if len(raw) <= _HEADER.size or not raw.startswith(PNG_SIGNATURE, _HEADER.size):
        raise DepthError(f"{what} holds no PNG after its header of {_HEADER.size} bytes; is it truncated?")
    samples = _png(raw[_HEADER.size :], what)
    if known[0] == "u2":
        return _in_meters(samples, known[1]), encoding
    _, scale, offset = _HEADER.unpack_from(raw)
    if not (np.isfinite(scale) and np.isfinite(offset) and scale > 0):
        raise DepthError(f"{what} has the quantisation {scale:g}, {offset:g}; expected finite ones, the first above 0")
    with np.errstate(divide="ignore", over="ignore"):
        depths = np.float32(scale) / (samples.astype(np.float32) - np.float32(offset))
    depths[samples == 0] = np.nan
    return depths, encoding


def _png(raw: bytes, what: str) -> NDArray[np.uint16]:
    try:
        header = read_header(raw)
        _check_size(header.width, header.height, what)
        check_png(raw, what)
    except ImageError as error:
        raise DepthError(str(error)) from None
    except ValueError as error:
        if isinstance(error, DepthError):
            raise
        raise DepthError(f"{what} is a truncated or corrupt PNG: its header is malformed") from None
    if header.width * header.height * 2 > 1032 * len(raw):  # zlib's limit: decoding would take the memory claimed
        raise DepthError(f"{what} is corrupt: {header.width}x{header.height} px by its header do not fit into it")
    try:
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint16 or image.ndim != 2:
        found = "does not decode" if image is None else f"is {image.dtype} with {image.ndim} dimensions"
        raise DepthError(f"{what} holds a PNG that {found}; expected one channel of 16 bits")
    return np.asarray(image, np.uint16)


def _check_size(width: int, height: int, what: str) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise DepthError(f"{what} has an impossible size; expected 1x1 to {MAX_PIXELS // 10**6} megapixels")


def _check_unit(depths: Depths, encoding: str) -> None:
    every = max(1, int(np.sqrt(depths.size / _MOST_CHECKED)))
    some = depths[::every, ::every]
    valid = some[np.isfinite(some) & (some > 0)]
    if not len(valid):
        return
    median = float(np.median(valid))
    if median > _FARTHEST_MEDIAN:
        raise DepthError(f"depths in {encoding} are {median:g} m in the middle: they look like mm; 32FC1 holds m")
    if median < _NEAREST_MEDIAN and encoding != "32FC1":
        raise DepthError(f"depths in {encoding} are {median * 1e3:g} mm in the middle: they look like m; it holds mm")


def check_aligned(depth: DepthImage, image_size: tuple[int, int]) -> None:
    """Raises DepthError if depths cannot be of the same view as an image of this (height, width)."""
    (height, width), (image_height, image_width) = depth.depths.shape, image_size
    if abs((width / height) / (image_width / image_height) - 1) > _ASPECT:
        raise DepthError(
            f"a depth image of {width}x{height} px is not of the same view as an image of {image_width}x{image_height} "
            "px; expected the same aspect, or its own camera_info and TF"
        )


def points_of_depth(depth: DepthImage, camera: Camera) -> Points:
    """The points that a depth image of a camera of its own tells of, in that camera's frame.

    Args:
        depth: The depths.
        camera: The depth camera, in px of the depth image.

    Returns:
        At most some 150000 points, evenly from the image.
    """
    every = max(1, int(np.ceil(np.sqrt(depth.depths.size / _MOST_POINTS))))
    some = depth.depths[every // 2 :: every, every // 2 :: every]
    rows, columns = np.nonzero(np.isfinite(some) & (some > 0))
    pixels = np.stack([columns, rows], axis=1) * float(every) + every // 2 + 0.5
    points = camera.unproject(camera.undistort(pixels), some[rows, columns])
    return Points(points.astype(np.float32))
