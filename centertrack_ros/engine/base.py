# SPDX-License-Identifier: Apache-2.0
"""The interface of every engine: how a network runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile


class Engine(Protocol):
    """Runs one network on batches of camera images.

    A network input is opaque to callers: the engine makes it with `prepare` and stores it where it is fastest (host
    memory or device). The tracker only passes it back as `previous` with the next frame.
    """

    @property
    def profile(self) -> ModelProfile:
        """The model's profile; it does not change. `load_engine` takes another input size."""

    @property
    def name(self) -> str:
        """'torch', 'onnxruntime', …: for logs and diagnostics."""

    @property
    def device(self) -> str:
        """'cpu', 'cuda', 'cuda:1', …: where the network runs."""

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Any:
        """Warp and normalize one image into a network input.

        Args:
            image: BGR, (H, W, 3). It can be a read-only view of a message: the engine does not keep or change it.
            affine: (2, 3), image px -> input px.
            size: (height, width) of the input, px.

        Returns:
            The network input, opaque.

        Raises:
            ValueError: `image` is not such an image.
        """

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """Run the network once on a batch.

        Args:
            images: Prepared inputs of equal size.
            previous: The prepared inputs of the previous frames, one per image.
            priors: Per image (M, 3): x, y, radius in input px of each tracklet's Gaussian in the prior heatmap, which
                `geometry.gaussian.render` draws; (0, 3) for an empty one.
            cells: Per image (N, 2): x, y on the output grid of cells at which the heads are read, too, in place of
                the N weakest peaks: `Peaks.asked`. None: at the peaks only.

        Returns:
            One record per image, in order.

        Raises:
            ValueError: Numbers or sizes of the inputs differ, there are more cells than peaks, or the engine cannot
                read the heads at other cells than the peaks.
        """


class EngineAround:
    """Implements `Engine` by another one; the base of engines that change a part of what it does.

    Attributes:
        engine: The other one.
    """

    def __init__(self, engine: Engine, profile: ModelProfile | None = None) -> None:
        """Passes everything on.

        Args:
            engine: The other one.
            profile: What is told of the model instead of its own profile, for instance another input; None: its own.
        """
        self.engine, self._profile = engine, profile

    @property
    def profile(self) -> ModelProfile:
        """See `Engine.profile`."""
        return self.engine.profile if self._profile is None else self._profile

    @property
    def name(self) -> str:
        """Of the engine that runs."""
        return self.engine.name

    @property
    def device(self) -> str:
        """Of the engine that runs."""
        return self.engine.device

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Any:
        """See `Engine.prepare`."""
        return self.engine.prepare(image, affine, size)

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`."""
        if cells is None:
            return self.engine.infer(images, previous, priors)
        return self.engine.infer(images, previous, priors, cells)


def check_batch(
    images: Sequence[Any], previous: Sequence[Any], priors: Sequence[NDArray[np.int64]]
) -> tuple[int, int] | None:
    """Check the inputs of `Engine.infer`.

    Args:
        images: Prepared inputs with a `shape` (..., h, w).
        previous: As `images`.
        priors: One per image.

    Returns:
        (height, width) of all inputs, px; None for an empty batch.

    Raises:
        ValueError: Numbers or sizes of the inputs differ.
    """
    if not len(images) == len(previous) == len(priors):
        raise ValueError(f"{len(images)} images with {len(previous)} previous images and {len(priors)} priors")
    if not images:
        return None
    sizes = {tuple(array.shape[-2:]) for array in (*images, *previous)}
    if len(sizes) != 1:
        raise ValueError(f"all inputs of one batch, previous ones too, must be of one size, got {sorted(sizes)}")
    return sizes.pop()
