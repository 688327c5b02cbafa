# SPDX-License-Identifier: Apache-2.0
"""Messages of the street's depth cameras and LiDARs, as drivers publish them beside the images of a camera.

Camera NAME has `/NAME/depth/compressedDepth` (16UC1, mm, of the image's own view) and `/NAME/points` in the frame
`NAME_lidar`, which TF knows.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.synthetic.sensors import LIDAR_HEIGHT
from centertrack_ros.types import DepthImage

Array = NDArray[np.float64]

DEPTH_TOPIC, POINTS_TOPIC = "depth/compressedDepth", "points"
_MM = 1e-3
_MOST_MM = 65_534  # 65535 is what saturated sensors send
# The header of compressedDepth is of no use for 16UC1: its kind, and the two numbers of a quantisation.
_HEADER = struct.pack("<iff", 0, 0.0, 0.0)
# The LiDAR's axes (x ahead, y left, z up) as columns in the optical frame (x right, y down, z ahead).
_LIDAR_AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


def lidar_frame(camera: str) -> str:
    """The frame of the LiDAR above a camera."""
    return f"{camera}_lidar"


def lidar_pose() -> Array:
    """(4, 4) of the LiDAR in its camera's optical frame."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = _LIDAR_AXES, (0.0, -LIDAR_HEIGHT, 0.0)
    return pose


def depth_png(depth: DepthImage) -> bytes:
    """The depths as a PNG of 16 bits, in mm; 0 where nothing was measured."""
    with np.errstate(invalid="ignore"):
        measured = np.where(np.isfinite(depth.depths) & (depth.depths > 0), depth.depths, 0)
    values = np.clip(measured / _MM + 0.5, 0, _MOST_MM).astype(np.uint16)
    return cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def depth_message(types: Any, header: Any, png: bytes) -> Any:
    """A sensor_msgs/CompressedImage, as image_transport's compressed_depth publishes it.

    Args:
        types: Of `message_types()`.
        header: Of the image.
        png: As `depth_png` gives it.
    """
    data = np.frombuffer(_HEADER + png, np.uint8)
    return types["sensor_msgs/msg/CompressedImage"](header=header, format="16UC1; compressedDepth png", data=data)


def points_message(types: Any, header: Any, points: Array) -> Any:
    """A sensor_msgs/PointCloud2.

    Args:
        types: Of `message_types()`.
        header: With the LiDAR's frame.
        points: (P, 3) m, in the optical axes but from where the LiDAR stands.
    """
    own = np.ascontiguousarray(points @ _LIDAR_AXES, "<f4")
    field = types["sensor_msgs/msg/PointField"]
    fields = [field(name=name, offset=4 * place, datatype=7, count=1) for place, name in enumerate("xyz")]
    return types["sensor_msgs/msg/PointCloud2"](
        header=header, height=1, width=len(own), fields=fields, is_bigendian=False, point_step=12,
        row_step=12 * len(own), data=own.view(np.uint8).reshape(-1), is_dense=True,
    )  # fmt: skip


def depth_file(image: Path) -> Path:
    """Where the depths of an image are kept until the bag is written."""
    return image.with_name(f"{image.stem}_depth.png")


def points_file(image: Path) -> Path:
    """Where the points of an image are kept until the bag is written."""
    return image.with_name(f"{image.stem}_points.npy")
