# SPDX-License-Identifier: Apache-2.0
"""The images of the demo clip."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from centertrack_ros.io.rosbag import BagReader

DEMO_BAG = Path(__file__).resolve().parents[1] / "demo" / "pets09_s2l1"


def demo_frames(count: int, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """The first images of the demo clip, BGR uint8: people who walk, 10 Hz.

    Args:
        count: How many.
        size: (width, height) px to resize them to; None: 768x576, as recorded.
    """
    frames: list[np.ndarray] = []
    with BagReader(DEMO_BAG) as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
        for _, message in islice(reader.messages([topic.name]), count):
            frame = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
            assert frame is not None
            frames.append(frame if size is None else cv2.resize(frame, size))
    return frames
