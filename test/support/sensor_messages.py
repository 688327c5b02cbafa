# SPDX-License-Identifier: Apache-2.0
"""Messages of depth cameras and LiDARs without ROS, in all the layouts that they come in."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np


def image(values: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False, **changes: Any) -> Any:
    """A message with the fields of sensor_msgs/Image."""
    rows = values.astype(values.dtype.newbyteorder(">" if big_endian else "<"))
    data = b"".join(row.tobytes() + b"\xff" * padding for row in rows)
    height, width = values.shape
    step = width * values.itemsize + padding
    fields = {"encoding": encoding, "height": height, "width": width, "step": step, "is_bigendian": int(big_endian)}
    return SimpleNamespace(data=data, **{**fields, **changes})


def compressed(values: np.ndarray, encoding: str, header: tuple[int, float, float] = (0, 0.0, 0.0)) -> Any:
    """As image_transport's compressed_depth writes it."""
    png = cv2.imencode(".png", values)[1].tobytes()
    return SimpleNamespace(format=f"{encoding}; compressedDepth png", data=struct.pack("<iff", *header) + png)


def cloud(points: np.ndarray, order: str = "xyz", kind: str = "<f4", height: int = 1, padding: int = 0) -> Any:
    """A sensor_msgs/PointCloud2 whose fields are in this order, behind an intensity, with padded points and rows."""
    numbers = {"f4": 7, "f8": 8, "i2": 3}
    size = np.dtype(kind).itemsize
    names = ["intensity", *order]
    kinds = ["<f4" if kind[0] == "<" else ">f4", *[kind] * 3]
    offsets = [0, *(4 + size * np.arange(3)).tolist()]
    layout = np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": 4 + 3 * size + padding})
    table = np.zeros(len(points), layout)
    for axis, name in enumerate("xyz"):
        table[name] = points[:, axis]
    rows = table.reshape(height, -1)
    data = b"".join(row.tobytes() + b"\xff" * padding for row in rows)
    fields = [
        SimpleNamespace(name=name, offset=offset, datatype=numbers[one[1:]], count=1)
        for name, offset, one in zip(names, offsets, kinds, strict=True)
    ]
    width = rows.shape[1]
    return SimpleNamespace(
        height=height, width=width, fields=fields, is_bigendian=kind[0] == ">", point_step=layout.itemsize,
        row_step=width * layout.itemsize + padding, data=data, is_dense=False,
    )  # fmt: skip


def stamped(message: Any, stamp_ns: int, frame_id: str) -> Any:
    """The message with a header."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    message.header = SimpleNamespace(frame_id=frame_id, stamp=SimpleNamespace(sec=sec, nanosec=nanosec))
    return message


def mutated(message: Any, random: np.random.Generator) -> Any:
    """The message with some of its numbers, names and bytes changed."""
    fields = dict(vars(message))
    for name in random.choice([name for name in fields if name != "header"], size=int(random.integers(1, 4))):
        value = fields[name]
        if isinstance(value, bytes):
            data = bytearray(value[: int(random.integers(0, len(value) + 1))] if random.random() < 0.5 else value)
            for at in random.integers(0, max(len(data), 1), int(random.integers(0, 50)) if data else 0):
                data[at] = int(random.integers(0, 256))
            fields[name] = bytes(data)
        elif isinstance(value, str):
            fields[name] = str(random.choice(["", "16UC1", "32FC1", "rgb8", value + "x", "16UC1; compressedDepth rvl"]))
        elif isinstance(value, list):
            fields[name] = [SimpleNamespace(**vars(one)) for one in value]
            for one in fields[name][: int(random.integers(0, len(value) + 1))]:
                one.offset, one.datatype = int(random.choice([0, 4, 2**31, 13])), int(random.integers(0, 10))
        else:
            fields[name] = int(random.choice([0, 1, 2, 3, 255, 65535, 2**31, 2**32 - 1, int(value) + 1]))
    return SimpleNamespace(**fields)
