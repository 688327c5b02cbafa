# SPDX-License-Identifier: Apache-2.0
"""The base class of engines on GPUs: a camera's bytes go to the device once, the peaks come back in one copy."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from centertrack_ros.engine import device_images
from centertrack_ros.engine.base import check_batch
from centertrack_ros.engine.cuda_graphs import Graphs
from centertrack_ros.engine.device_images import DeviceImage
from centertrack_ros.network.peaks import Peaks, from_arrays, places_of
from centertrack_ros.network.profile import ModelProfile

_LOG = logging.getLogger(__name__)
_CELLS = ("class_ids", "cells")  # outputs with whole numbers, all far below 2^24: float32 holds them exactly


class DeviceEngine:
    """Implements `engine.base.Engine` on top of `_network`: warp, normalization, network and decoding on the device.

    The previous network input stays on the device, the prior heatmap is drawn there. It halves a batch that does not
    fit into memory. On a CPU it runs the same code, without CUDA graphs.

    Args:
        profile: Of the model, with the requested input size.
        device: 'cuda', 'cuda:1', …; 'cpu' for tests.
        kind: Type of the network's inputs.
        layout: Memory format of the network's inputs.
        graphs: Whether `_network` can be recorded in a CUDA graph.
    """

    name: str

    def __init__(
        self,
        profile: ModelProfile,
        device: str,
        kind: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.contiguous_format,
        graphs: bool = True,
    ) -> None:
        self._profile = profile
        self._device = torch.device(device)
        self._kind, self._layout = kind, layout
        self._normalize = device_images.Normalization(profile, self._device)
        on_gpu = self._device.type == "cuda"
        # A stream of its own: CUDA's default stream waits for all others and cannot be recorded.
        self._stream = torch.cuda.Stream(self._device) if on_gpu else None
        self._graphs = Graphs(self._forward, usable=graphs and on_gpu)
        # By the size of the input: name of an output -> its shape for one image.
        self._columns: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}
        self._batch_limit: int | None = None  # set when the memory is too small for a batch

    @property
    def profile(self) -> ModelProfile:
        """See `Engine.profile`."""
        return self._profile

    @property
    def device(self) -> str:
        """See `Engine.device`."""
        return str(self._device)

    def _network(
        self, image: Tensor, previous: Tensor | None, prior: Tensor | None, asked: Tensor | None
    ) -> Mapping[str, Tensor]:
        """The tensors of `network.decode.decode_peaks`, of images of the engine's type and layout; `asked` as there."""
        raise NotImplementedError

    def _largest_batch(self, size: tuple[int, int]) -> int | None:
        """The most images of this size that `_network` takes at once; None: any number."""
        return None

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> DeviceImage:
        """Copies the image to the device; it is warped with the others of its batch. See `Engine.prepare`."""
        with self._running():
            return device_images.upload(image, affine, size, self._device)

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`; accepts inputs that another engine has prepared too.

        Raises:
            RuntimeError: The GPU's memory does not suffice for one image.
        """
        size = check_batch(images, previous, priors)
        if size is None:
            return []
        step = min(self._batch_limit or len(images), self._largest_batch(size) or len(images))
        if step < len(images):
            parts = [slice(first, first + step) for first in range(0, len(images), step)]
            asked = [None if cells is None else cells[part] for part in parts]
            return [
                peaks
                for part, some in zip(parts, asked, strict=True)
                for peaks in self.infer(images[part], previous[part], priors[part], some)
            ]
        try:
            with self._running():
                packed = self._run(images, previous, priors, size, self._places(cells, size))
                counts = None if cells is None else [len(one) for one in cells]
                return from_arrays(self._unpacked(self._to_host(packed), size), self._grid(size), counts)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            if len(images) <= 1:
                raise RuntimeError("the GPU's memory does not suffice for one image of this size") from None
        self._batch_limit = len(images) // 2
        _LOG.warning(
            "the GPU's memory does not suffice for %d images at once: %d from now on", len(images), self._batch_limit
        )
        return self.infer(images, previous, priors, cells)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Everything on the engine's own stream, without records for gradients."""
        with torch.inference_mode(), contextlib.ExitStack() as stack:
            if self._stream is not None:
                stack.enter_context(torch.cuda.stream(self._stream))
            yield

    def _places(self, cells: Sequence[NDArray[np.int64]] | None, size: tuple[int, int]) -> Tensor | None:
        """The cells at which the caller wants the heads read, on the device; None: at the peaks only."""
        if cells is None:
            return None
        height, width = self._grid(size)
        count = min(self._profile.max_detections, len(self._profile.classes) * height * width)
        return device_images.copied(places_of(cells, width, count), self._device)

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[0] // self._profile.down_ratio, size[1] // self._profile.down_ratio)

    def _run(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        size: tuple[int, int],
        asked: Tensor | None,
    ) -> Tensor:
        """The packed outputs. Images keep their network input for the next frame."""
        profile = self._profile
        before = self._batch([self._pixels(one) for one in previous]) if profile.previous_image else None
        prior = None
        if profile.prior_heatmap:
            prior = device_images.prior_heatmaps(priors, size, self._device).to(self._kind)
        if not all(isinstance(one, DeviceImage) for one in images):  # of an engine that this one replaces
            pixels = self._batch([self._pixels(one) for one in images])
            return self._packed(self._network(pixels, before, prior, asked), size)
        raw = [tensor for one in images for tensor in (one.bytes, one.to_image)]
        packed, pixels = self._graphs([before, prior, asked, *raw], size)
        if profile.previous_image:
            for one, made in zip(images, pixels.clone().split(1), strict=True):
                one.pixels = made
        return packed

    def _forward(self, inputs: Sequence[Tensor | None], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """From bytes to packed outputs and network inputs; this is what a CUDA graph records."""
        before, prior, asked, *raw = inputs
        pairs = zip(raw[::2], raw[1::2], strict=True)
        pixels = self._batch([self._normalize(image, to_image, size) for image, to_image in pairs])  # type: ignore[arg-type]
        return self._packed(self._network(pixels, before, prior, asked), size), pixels

    def _batch(self, tensors: Sequence[Tensor]) -> Tensor:
        joined = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        return joined.to(self._kind).contiguous(memory_format=self._layout)

    def _pixels(self, prepared: Any) -> Tensor:
        """The network input of an image that this engine or another one has prepared."""
        if not isinstance(prepared, DeviceImage):
            return torch.as_tensor(prepared, device=self._device)
        if prepared.pixels is None:
            prepared.pixels = self._normalize(prepared.bytes, prepared.to_image, prepared.size).to(self._kind)
        return prepared.pixels

    def _packed(self, outputs: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """All outputs as one float32 tensor (B, N), for one copy to the host."""
        self._columns[size] = {name: tuple(value.shape[1:]) for name, value in outputs.items()}
        return torch.cat([value.flatten(1).float() for value in outputs.values()], dim=1)

    def _to_host(self, packed: Tensor) -> NDArray[np.float32]:
        if self._stream is None:
            return packed.numpy()
        host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
        host.copy_(packed, non_blocking=True)
        self._stream.synchronize()
        return host.numpy().copy()  # pinned memory is scarce

    def _unpacked(self, packed: NDArray[np.float32], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        start = 0
        for name, shape in self._columns[size].items():
            end = start + int(np.prod(shape))
            part = packed[:, start:end].reshape(len(packed), *shape)
            arrays[name] = part.astype(np.int64) if name in _CELLS else part
            start = end
        return arrays
