# SPDX-License-Identifier: Apache-2.0
"""Fuzzed messages: valid ones, malformed in any field by a generator with a seed."""

from __future__ import annotations

import array
import math
import random
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message

from support.byte_mutations import cut, flip, grow, resize_header, splice
from support.ros_harness import camera_info_message, compressed_message, header, image_message

SIZES = (0, 1, 2, 3, 191, 193, 4096, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS = (math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e-9, 0.5, -300.0, 1e5, 1e6, 1e18, 1e308, -1e308)
ENCODINGS = ("", "bgr8", "rgb8", "bgra8", "mono8", "mono16", "bgr16", "bayer_rggb8", "bayer_grbg16", "uyvy", "yuyv")
ODD_TEXTS = ("BGR8", " bgr8", "8UC3", "8UC2", "16UC1", "32FC1", "nv21", "\x1b[31m\r\n", "é" * 50, "%s%n{}", "x" * 5000)
MODELS = ("", "plumb_bob", "rational_polynomial", "equidistant", "none", "PLUMB_BOB", "fisheye", "\x1b[2J", "m" * 3000)


class Mutator:
    """Generates fuzzed messages without end, the same for the same seed.

    Each is a message or, where its serialised form is malformed, bytes: publishers accept both.
    """

    def __init__(self, seed: int, image: NDArray[Any]) -> None:
        """The valid messages show `image` (H, W, 3) BGR, uint8."""
        self.random = random.Random(seed)
        self.source = image
        self.files = [
            cv2.imencode(".jpg", image)[1].tobytes(),
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[
                1
            ].tobytes(),
            cv2.imencode(".jpg", image[..., 0])[1].tobytes(),
            cv2.imencode(".png", image)[1].tobytes(),
            cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes(),
            cv2.imencode(".png", image[..., 0] & 128, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes(),
        ]

    def stamp(self) -> tuple[int, int]:
        """The present in most cases, else any stamp that a message can hold."""
        choose = self.random.choice
        if self.random.random() < 0.6:
            now = time.time() + self.random.uniform(-0.3, 0.3)
            return int(now), int(now % 1 * 1e9)
        return choose((-(2**31), -1, 0, 1, 2**31 - 1, int(time.time()) + choose((-9, 9)))), choose(
            (0, 1, 10**9 - 1, 10**9, 2**32 - 1)
        )

    def image(self) -> Any:
        """A fuzzed sensor_msgs/Image."""
        message = image_message(self.source, self.stamp())
        ways = (self._size, self._encoding, self._data, self._shape, self._frame_id, self._several_fields)
        return self._fuzzed(message, ways)

    def compressed(self) -> Any:
        """A fuzzed sensor_msgs/CompressedImage."""
        data = bytearray(self.random.choice(self.files))
        for _ in range(self.random.choice((1, 1, 2, 5))):
            data = self.random.choice((flip, cut, splice, resize_header, grow))(data, self.random)
        message = compressed_message(bytes(data), self.stamp())
        if self.random.random() < 0.2:
            message.format = self.random.choice(ODD_TEXTS)
        return self._fuzzed(message, (self._frame_id,) if self.random.random() < 0.1 else ())

    def camera_info(self) -> Any:
        """A fuzzed sensor_msgs/CameraInfo."""
        height, width = self.source.shape[:2]
        message = camera_info_message(width, height, self.stamp())
        ways = (
            self._intrinsics,
            self._distortion,
            self._info_size,
            self._region,
            self._frame_id,
            self._several_info_fields,
        )
        return self._fuzzed(message, ways)

    def detections(self, stamp: tuple[int, int] | None = None) -> Any:
        """A fuzzed vision_msgs/Detection2DArray of up to thousands of boxes."""
        from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

        choose, message = self.random.choice, Detection2DArray(header=header(stamp or self.stamp()))
        height, width = self.source.shape[:2]
        wrong = choose((0.0, 0.0, 0.2, 1.0))
        for _ in range(choose((0, 1, 3, 8, 30, 120, 1500))):
            one = Detection2D(id=choose(ODD_TEXTS) if self.random.random() < wrong else "")
            values = [self.random.uniform(0, width), self.random.uniform(0, height), 40.0, 60.0, 0.0, 0.7]
            if self.random.random() < wrong:
                values[self.random.randrange(6)] = choose(NUMBERS)
            center, hypothesis = one.bbox.center, ObjectHypothesisWithPose()
            center.position.x, center.position.y, one.bbox.size_x, one.bbox.size_y, center.theta = values[:5]
            hypothesis.hypothesis.score = values[5]
            hypothesis.hypothesis.class_id = choose((*ODD_TEXTS, "", "0", "99999999999", "person", "car", "Van"))
            one.results = [hypothesis] * (choose((0, 1, 2, 5)) if self.random.random() < wrong else 1)
            message.detections.append(one)
        return message

    def boxes(self, stamp: tuple[int, int] | None = None) -> Any:
        """A fuzzed vision_msgs/Detection3DArray of up to thousands of boxes, or bytes."""
        from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

        choose, chance = self.random.choice, self.random.random
        frame = choose(("base_link", "base_link", "base_link", "", "nowhere", *ODD_TEXTS))
        message = Detection3DArray(header=header(stamp or self.stamp(), frame))
        wrong = choose((0.0, 0.0, 0.2, 1.0))
        for _ in range(choose((0, 1, 3, 8, 30, 120, 2500))):
            one, values = Detection3D(), [self.random.uniform(-40, 40) for _ in range(3)]
            values += [0.0, 0.0, 0.0, 1.0, 4.0, 1.8, 1.5, 0.7]
            if chance() < wrong:
                values[self.random.randrange(11)] = choose(NUMBERS)
            center, size, hypothesis = one.bbox.center, one.bbox.size, ObjectHypothesisWithPose()
            center.position.x, center.position.y, center.position.z = values[:3]
            turn = center.orientation
            turn.x, turn.y, turn.z, turn.w = values[3:7]
            size.x, size.y, size.z, hypothesis.hypothesis.score = values[7:]
            hypothesis.hypothesis.class_id = choose((*ODD_TEXTS, "", "0", "99999999999", "person", "car", "Van"))
            if chance() < wrong:
                hypothesis.pose.covariance = np.full(36, choose((0.0, *NUMBERS)))
            one.results = [hypothesis] * (choose((0, 1, 2, 5)) if chance() < wrong else 1)
            message.detections.append(one)
        if chance() < 0.1:
            return bytes(choose((flip, cut, grow))(bytearray(serialize_message(message)), self.random, first=4))
        return message

    def any(self) -> tuple[str, Any]:
        """One of ('image' | 'compressed' | 'camera_info', message); images come twice as often."""
        kind = self.random.choice(("image", "image", "compressed", "compressed", "camera_info"))
        return kind, getattr(self, kind)()

    def _fuzzed(self, message: Any, ways: tuple[Callable[[Any], None], ...]) -> Any:
        if ways:
            self.random.choice(ways)(message)
        if self.random.random() < 0.15:
            data = bytearray(serialize_message(message))
            return bytes(self.random.choice((flip, cut, grow))(data, self.random, first=4))
        return message

    def _several_fields(self, message: Any) -> None:
        for way in (self._size, self._encoding, self._data, self._frame_id):
            way(message)

    def _size(self, message: Any) -> None:
        for name in self.random.sample(("width", "height", "step"), self.random.choice((1, 2, 3))):
            near = max(getattr(message, name) + self.random.choice((-1, 1, 7)), 0)
            setattr(message, name, self.random.choice((*SIZES, near, near, near)))

    def _encoding(self, message: Any) -> None:
        message.encoding = self.random.choice((*ENCODINGS, *ODD_TEXTS))
        message.is_bigendian = self.random.choice((0, 1, 255))

    def _data(self, message: Any) -> None:
        size = len(message.data)
        message.data = array.array("B", self.random.randbytes(self.random.choice((0, 1, size - 1, size + 1, 2 * size))))

    def _shape(self, message: Any) -> None:
        """A valid image of noise with an unusual shape."""
        message.encoding = self.random.choice(ENCODINGS[1:])
        pixel = {"bgra8": 4, "mono8": 1, "bayer_rggb8": 1, "bgr16": 6, "bgr8": 3, "rgb8": 3}.get(message.encoding, 2)
        message.width, message.height = self.random.choice(((1, 1), (2, 1), (1, 3000), (3000, 1), (2, 2), (30, 20)))
        message.step = message.width * pixel + self.random.choice((0, 0, 1, 64))
        message.data = array.array("B", self.random.randbytes(message.step * message.height))

    def _frame_id(self, message: Any) -> None:
        message.header.frame_id = self.random.choice((*ODD_TEXTS, "", "/leading/slash", "f" * 100_000))

    def _several_info_fields(self, message: Any) -> None:
        for way in (self._intrinsics, self._distortion, self._info_size, self._region):
            way(message)

    def _intrinsics(self, message: Any) -> None:
        for name in self.random.sample(("k", "p", "r"), self.random.choice((1, 2, 3))):
            values = list(getattr(message, name))
            for index in self.random.sample(range(len(values)), self.random.choice((1, 1, 2, 9))):
                values[index] = self.random.choice(NUMBERS)
            setattr(message, name, values)

    def _distortion(self, message: Any) -> None:
        length = self.random.choice((0, 1, 3, 4, 5, 8, 12, 14, 15, 3000))
        message.d = [self.random.choice((*NUMBERS, *[self.random.gauss(0, 0.3)] * 30)) for _ in range(length)]
        message.distortion_model = self.random.choice((*MODELS, *MODELS[1:4]))

    def _info_size(self, message: Any) -> None:
        message.width, message.height = self.random.choice(SIZES), self.random.choice(SIZES)

    def _region(self, message: Any) -> None:
        message.binning_x, message.binning_y = self.random.choice(SIZES), self.random.choice(SIZES)
        for name in ("x_offset", "y_offset", "width", "height"):
            if self.random.random() < 0.5:
                setattr(message.roi, name, self.random.choice(SIZES))
