# SPDX-License-Identifier: Apache-2.0
"""The bytes of a message's `data`, whatever kind of buffer a distribution, a driver or a bag holds them in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def message_bytes(data: Any, error: type[ValueError]) -> NDArray[np.uint8]:
    """A view of the data of a message; copied only where they are in the memory of a device.

    Up to Kilted rclpy gives an array.array. From Lyrical on it can be a rosidl_buffer.Buffer, whose memory is that of
    its backend and which can be copied into main memory; backends add DLPack or NumPy's interface.

    Args:
        data: A buffer of Python (bytes, memoryview, array.array, a NumPy array), an object with `__array_interface__`
            or `__dlpack__`, or one with `to_bytes`, in this order.
        error: What to raise.

    Returns:
        (N,) bytes, which may be read only.

    Raises:
        ValueError: `error`, with one sentence: nothing of these, or the bytes are not contiguous.
    """
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, BufferError, ValueError):
        pass
    if hasattr(data, "__len__") and not len(data):
        return np.empty(0, np.uint8)
    try:
        if hasattr(data, "__array_interface__"):
            return _flat(np.asarray(data))
        if hasattr(data, "__dlpack__"):
            return _flat(np.from_dlpack(data))
    except (TypeError, BufferError, ValueError, RuntimeError):  # in the memory of a device, or with gaps
        pass
    if hasattr(data, "to_bytes") and not isinstance(data, int):
        return np.frombuffer(data.to_bytes(), np.uint8)
    kind = type(data).__name__
    raise error(f"data of type {kind} cannot be read in place; expected bytes in main memory")


def _flat(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of an array, without a copy. Raises ValueError if they are not contiguous."""
    if not array.flags.c_contiguous:
        raise ValueError("there are gaps between the bytes")
    return array.reshape(-1).view(np.uint8)
