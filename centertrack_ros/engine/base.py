"""How a network is run: the one small interface that every engine has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile


class Engine(Protocol):
    """Runs one network on batches of camera images.

    A network input is opaque to callers: the engine makes it with `prepare` and keeps it where it is fastest (host
    memory or device), the tracker only hands it back as the next frame's `previous`.
    """

    profile: ModelProfile
    name: str  # 'torch', 'onnxruntime', …: for logs and diagnostics

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Any:
        """Warp and normalise one BGR image (H, W, 3) into a network input.

        `affine` (2, 3) maps image px to input px; `size` is (height, width) of the input. The image may be
        a read-only view of a message: it is not kept and not written to.
        """

    def infer(self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[NDArray[np.int64]]) -> list[Peaks]:
        """One forward pass over a batch of prepared inputs of equal size; one `Peaks` per image, in order.

        priors  per image (M, 3) integers: x, y, radius in input px of each tracklet's Gaussian in the prior heatmap
                (`geometry.gaussian.render` draws them); (0, 3) for an empty one.
        """
