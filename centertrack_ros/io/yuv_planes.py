# SPDX-License-Identifier: Apache-2.0
"""Images whose brightness and colour lie in planes of their own, one after the other: NV12 and its like.

Y comes first, a byte per pixel; then U and V, interleaved (NV…) or each by itself (I420). BT.601, studio swing, as
OpenCV takes all YUV. `step` is the number of bytes from one row of Y to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Planes:
    """How the planes are laid out.

    Attributes:
        columns: Pixels in a row that share their colour.
        rows: Rows that share it.
        code: The cv2 conversion; None: there is none.
        interleaved: U and V take turns; else they are two planes.
        v_first: V comes before U.
    """

    columns: int
    rows: int
    code: int | None = None
    interleaved: bool = True
    v_first: bool = False

    def fits(self, width: int, height: int) -> bool:
        """Whether the size is a multiple of what shares a colour."""
        return width % self.columns == 0 and height % self.rows == 0

    def size(self, step: int, height: int) -> int:
        """Number of bytes of an image with rows of `step` bytes."""
        return step * height + 2 * (step // self.columns) * (height // self.rows)

    def bgr(self, data: Bytes, width: int, height: int, step: int) -> Bytes:
        """(H, W, 3) of the bytes of an image that `fits` and has its `size`; missing padding at the end is not used."""
        data = np.pad(data, (0, max(0, self.size(step, height) - len(data))))
        luma = data[: step * height].reshape(height, step)[:, :width]
        chroma = data[step * height : self.size(step, height)]
        if self.code is not None:
            rest = chroma.reshape(-1, step if self.interleaved else step // 2)
            rest = rest[:, : width if self.interleaved else width // 2]
            planes = np.concatenate([luma.ravel(), rest.ravel()]).reshape(-1, width)
            return cv2.cvtColor(planes, self.code)  # type: ignore[return-value]
        # OpenCV converts pairs of pixels that share a colour: two of each pixel, and every second of the result.
        pairs = chroma.reshape(height // self.rows, -1)[:, : 2 * width // self.columns]
        colour = pairs.reshape(height // self.rows, -1, 2)[..., :: -1 if self.v_first else 1]
        colour = colour.repeat(self.rows, axis=0).repeat(self.columns, axis=1)
        twice = np.stack([luma, colour[..., 0], luma, colour[..., 1]], axis=-1).reshape(height, 2 * width, 2)
        return np.ascontiguousarray(cv2.cvtColor(twice, cv2.COLOR_YUV2BGR_YUY2)[:, ::2], np.uint8)


LAYOUTS = {
    "nv12": Planes(2, 2, cv2.COLOR_YUV2BGR_NV12),
    "nv21": Planes(2, 2, cv2.COLOR_YUV2BGR_NV21, v_first=True),
    "nv16": Planes(2, 1),
    "nv61": Planes(2, 1, v_first=True),
    "nv24": Planes(1, 1),
    "nv42": Planes(1, 1, v_first=True),
    "i420": Planes(2, 2, cv2.COLOR_YUV2BGR_I420, interleaved=False),
    "yuv420": Planes(2, 2, cv2.COLOR_YUV2BGR_I420, interleaved=False),
    "yv12": Planes(2, 2, cv2.COLOR_YUV2BGR_YV12, interleaved=False, v_first=True),
}
