# SPDX-License-Identifier: Apache-2.0
"""Data of messages are read in place, in whatever kind of buffer they come; from a device they are copied once."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from centertrack_ros.io.depth_decoding import DepthError, depth_of
from centertrack_ros.io.image_decoding import ImageError, image_to_bgr
from centertrack_ros.io.message_bytes import message_bytes
from centertrack_ros.io.point_decoding import PointsError, points_of
from support.sensor_messages import cloud, image

VALUES = np.arange(1, 61, dtype=np.uint8)


class WithInterface:
    """Has NumPy's interface only, as arrays of other libraries do."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.__array_interface__ = values, values.__array_interface__


class WithDlpack:
    """Has DLPack only."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class OnDevice:
    """As rosidl_buffer.Buffer of Lyrical with a backend for a device: a length, and a copy into main memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __len__(self) -> int:
        return len(self.content)

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("in the memory of a device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # CUDA

    def to_bytes(self) -> bytes:
        return self.content


@pytest.mark.parametrize(
    "kind",
    [bytearray, memoryview, lambda v: array.array("B", v.tobytes()), np.asarray, WithInterface, WithDlpack],
    ids=["bytearray", "memoryview", "array", "numpy", "array interface", "DLPack"],
)
def test_nothing_is_copied_in_main_memory(kind: Any) -> None:
    values = VALUES.copy()
    data = kind(values)
    found = message_bytes(data, ImageError)
    np.testing.assert_array_equal(found, VALUES)
    if kind is bytearray or not hasattr(data, "values"):
        data[0] = 200
    else:
        values[0] = 200
    assert found[0] == 200  # the same memory


def test_numbers_of_any_type_count_by_their_bytes() -> None:
    floats = np.array([1.5, -2.0], np.float32)
    for data in (floats, WithInterface(floats), WithDlpack(floats)):
        np.testing.assert_array_equal(message_bytes(data, ImageError), np.frombuffer(floats.tobytes(), np.uint8))


def messages(kind: Any) -> tuple[Any, Any, Any]:
    """An image, a depth image and a cloud whose data are of this kind."""
    picture = SimpleNamespace(encoding="bgr8", height=4, width=5, step=15, is_bigendian=0, data=VALUES.tobytes())
    made = picture, image(np.full((4, 5), 2.5, np.float32), "32FC1"), cloud(np.ones((6, 3)))
    for message in made:
        message.data = kind(message.data)
    return made


def test_from_a_device_everything_is_decoded() -> None:
    picture, depth, points = messages(OnDevice)
    np.testing.assert_array_equal(image_to_bgr(picture), VALUES.reshape(4, 5, 3))
    assert (depth_of(depth).depths == 2.5).all()
    assert len(points_of(points).points) == 6


def test_what_cannot_be_read_is_one_sentence() -> None:
    def opaque(content: bytes) -> Any:
        return type("Opaque", (), {"__len__": lambda _: len(content)})()

    picture, depth, points = messages(opaque)
    for decode, message, error in (
        (image_to_bgr, picture, ImageError),
        (depth_of, depth, DepthError),
        (points_of, points, PointsError),
    ):
        with pytest.raises(error, match="type Opaque cannot be read in place; expected bytes in main memory"):
            decode(message)
    with pytest.raises(ImageError, match="cannot be read in place"):
        message_bytes(memoryview(VALUES)[::2], ImageError)
    assert message_bytes(b"", ImageError).size == 0
