# SPDX-License-Identifier: Apache-2.0
"""Decodes sensor_msgs/PointCloud2, whatever the order, types, offsets and padding of its fields.

A malformed message raises a `PointsError` whose text says what arrived and what was expected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.message_bytes import message_bytes
from centertrack_ros.types import Points

MOST_POINTS = 500_000  # of a cloud that is larger, every n-th point is taken
_LARGEST = 1 << 30  # bytes
# sensor_msgs/PointField: number of a type -> numpy's name.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_AXES = ("x", "y", "z")


class PointsError(ValueError):
    """The message holds no usable points; the text says why."""


def points_of(message: Any) -> Points:
    """Decodes a sensor_msgs/PointCloud2, organised or not.

    Args:
        message: The message, of rclpy, of rosbags: whatever has its fields.

    Returns:
        The points that are finite, m, in the message's frame.

    Raises:
        PointsError: A field is missing, or the message's fields contradict each other.
    """
    width, height, point_step, row_step = message.width, message.height, message.point_step, message.row_step
    size = len(message.data)
    what = f"a cloud of {width}x{height} points"
    offsets, kinds = _axes(message, what)
    if not width or not height:
        return Points(np.zeros((0, 3), np.float32))
    for axis, offset, kind in zip(_AXES, offsets, kinds, strict=True):
        if offset < 0 or offset + int(kind[1]) > point_step:
            raise PointsError(f"{what} has field {axis} at byte {offset} of points of {point_step} bytes")
    row_step = row_step if height > 1 else max(row_step, width * point_step)
    least = row_step * (height - 1) + width * point_step
    if row_step < width * point_step or size < least or size > _LARGEST:
        raise PointsError(
            f"{what} has point_step {point_step}, row_step {row_step} and {size} bytes of data; "
            f"expected at least {max(least, width * point_step)} and at most {_LARGEST}"
        )
    order = ">" if message.is_bigendian else "<"
    buffer = message_bytes(message.data, PointsError)
    every = -(-width * height // MOST_POINTS)
    across, down = (every, 1) if height == 1 else (-(-every // 2) if every > 1 else 1, 2 if every > 1 else 1)
    shape = (-(-height // down), -(-width // across))
    strides = (row_step * down, point_step * across)
    if kinds == ["f4"] * 3 and offsets[1] - offsets[0] == offsets[2] - offsets[1] == 4:  # as nearly all have it
        flat = (
            np.ndarray((*shape, 3), order + "f4", buffer, offsets[0], (*strides, 4)).astype(np.float32).reshape(-1, 3)
        )
        return _finite(flat)
    points = np.empty((*shape, 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for column, (offset, kind) in enumerate(zip(offsets, kinds, strict=True)):
            points[..., column] = np.ndarray(shape, order + kind, buffer, offset, strides)
    return _finite(points.reshape(-1, 3))


def _finite(points: NDArray[np.float32]) -> Points:
    """The points that are finite; mostly all are, which their sum tells at once."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(points.sum()):
            return Points(points)
    return Points(points[np.isfinite(points).all(axis=1)])


def _axes(message: Any, what: str) -> tuple[list[int], list[str]]:
    """Offsets and types of x, y and z."""
    fields = {field.name: field for field in message.fields}
    missing = [axis for axis in _AXES if axis not in fields]
    if missing:
        names = ", ".join(list(fields)[:8])[:100] or "none"
        raise PointsError(f"{what} has no field {' and no field '.join(missing)}; its fields are: {names}")
    unknown = [axis for axis in _AXES if fields[axis].datatype not in _TYPES]
    if unknown:
        datatype = fields[unknown[0]].datatype
        raise PointsError(f"{what} has field {unknown[0]} of type {datatype}; expected 1 to 8, mostly 7 (FLOAT32)")
    return [int(fields[axis].offset) for axis in _AXES], [_TYPES[fields[axis].datatype] for axis in _AXES]
