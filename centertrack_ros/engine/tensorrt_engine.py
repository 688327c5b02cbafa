# SPDX-License-Identifier: Apache-2.0
"""Runs networks by TensorRT: exported graphs, for each input size built once on this GPU, and files that hold one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from centertrack_ros.engine import export_cache, tensorrt_plan
from centertrack_ros.engine.array_engine import INPUTS
from centertrack_ros.engine.base import check_batch
from centertrack_ros.engine.device_engine import DeviceEngine
from centertrack_ros.engine.onnx_engine import PROFILE_KEY
from centertrack_ros.engine.registry import EngineOptions
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile

_LOG = logging.getLogger(__name__)


class TensorRtEngine(DeviceEngine):
    """Runs an .onnx file, which it builds for each input size at its first batch, or an .engine file for one size.

    Args:
        path: A file of `centertrack export`.
        options: Device, input size, the largest batch, and the folder for what is built.
        name: Of the engine.

    Raises:
        ImportError: TensorRT is not installed.
        ValueError: The file is no such export, or was built for another GPU or another TensorRT.
    """

    def __init__(self, path: str | Path, options: EngineOptions, name: str = "tensorrt") -> None:
        self.name = name
        self._path = Path(path)
        self._machine = tensorrt_plan.machine(options.device)
        self._runtime = tensorrt_plan.runtime()
        self._logger = self._runtime.Logger(self._runtime.Logger.ERROR)
        self._cache = options.compiled or export_cache.user_folder() / "tensorrt"
        self._batch_size = options.batch
        self._built: dict[tuple[int, int], tuple[Any, int]] = {}  # (h, w) -> what TensorRT runs, largest batch
        # A CUDA graph is valid as long as its execution context keeps its shapes: each shape has one of its own.
        self._contexts: dict[tuple[int, ...], Any] = {}
        only, plan = None, None
        if self._path.suffix == ".onnx":
            stored = onnx_profile(self._path)
            self._digest = export_cache.content_hash(self._path)
        else:
            plan = tensorrt_plan.read(self._path)
            tensorrt_plan.check_fits(self._path, plan.facts, self._machine)
            stored = str(plan.facts.get("profile"))
            height, width = plan.facts["size"]
            only = (width, height)
        self._stored = stored
        profile = ModelProfile.from_json(stored, f"{path}: model profile")
        super().__init__(options.apply(profile, only, str(path)), options.device)
        if plan is not None:
            self._use((height, width), plan)

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`. Builds the network for a size that is new: that takes minutes, once on this machine.

        Raises:
            ValueError: TensorRT cannot build it, the file holds another size, or the caller asks for other cells than
                the peaks'.
        """
        if cells is not None:
            raise ValueError(f"engine {self.name} reads the network's heads at its own peaks only: use torch")
        size = check_batch(images, previous, priors)
        if size is not None and size not in self._built:
            self._build(size, max(len(images), self._batch_size))
        return super().infer(images, previous, priors)

    def _largest_batch(self, size: tuple[int, int]) -> int:
        return self._built[size][1]

    def _build(self, size: tuple[int, int], batch: int) -> None:
        if self._path.suffix != ".onnx":
            sizes = " and ".join(f"{width}x{height}" for height, width in self._built)
            raise ValueError(f"{self._path} takes an input of {sizes} px only, got {size[1]}x{size[0]}")
        facts = {"onnx": self._digest, "size": list(size), "profile": self._stored, "batch": batch, **self._machine}
        plan = tensorrt_plan.find(self._cache, facts)
        if plan is None:
            _LOG.warning("building %s for %dx%d px by TensorRT, once; this takes minutes", self._path.name, *size[::-1])
            with self._running():
                plan = tensorrt_plan.Plan(facts, tensorrt_plan.build(self._path, size, batch))
            try:
                tensorrt_plan.write(self._cache / tensorrt_plan.file_name(facts), plan)
            except OSError as error:
                _LOG.warning("what TensorRT built is not kept, the next start builds it again: %s", error)
        self._use(size, plan)

    def _use(self, size: tuple[int, int], plan: tensorrt_plan.Plan) -> None:
        self._runtime.init_libnvinfer_plugins(self._logger, "")
        with self._running():
            engine = self._runtime.Runtime(self._logger).deserialize_cuda_engine(plan.content)
        if engine is None:
            raise ValueError(f"TensorRT cannot load what was built of {self._path.name}; its messages are above")
        self._built[size] = (engine, int(plan.facts["batch"]))

    def _network(
        self, image: Tensor, previous: Tensor | None, prior: Tensor | None, asked: Tensor | None
    ) -> Mapping[str, Tensor]:
        trt = self._runtime
        engine, _ = self._built[(image.shape[2], image.shape[3])]
        shape = tuple(image.shape)
        if shape not in self._contexts and (made := engine.create_execution_context()) is not None:
            self._contexts[shape] = made
        if (context := self._contexts.get(shape)) is None:
            raise RuntimeError("the GPU's memory does not suffice for TensorRT")
        feeds = dict(zip(INPUTS, (image, previous, prior), strict=True))
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        for name in inputs:
            tensor = feeds[name]
            assert tensor is not None and tensor.is_contiguous() and tensor.dtype == torch.float32
            shape = tuple(tensor.shape)
            if tuple(context.get_tensor_shape(name)) != shape and not context.set_input_shape(name, shape):
                raise ValueError(f"{self._path} does not take {name} of {shape}: export it again")
            context.set_tensor_address(name, tensor.data_ptr())
        kinds = {trt.DataType.FLOAT: torch.float32, trt.DataType.INT64: torch.int64, trt.DataType.INT32: torch.int32}
        found = {}
        for name in names:
            if name not in inputs:
                size, kind = tuple(context.get_tensor_shape(name)), kinds[engine.get_tensor_dtype(name)]
                found[name] = torch.empty(size, dtype=kind, device=self._device)
                context.set_tensor_address(name, found[name].data_ptr())
        # On torch's current stream, which records a CUDA graph when one is made.
        stream = torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0
        if not context.execute_async_v3(stream):
            raise RuntimeError("TensorRT did not run; its messages are above")
        return found


def onnx_profile(path: Path) -> str:
    """The model's profile in an .onnx file, as JSON.

    Args:
        path: The file.

    Raises:
        ImportError: onnx is not installed.
        ValueError: The file was not written by `centertrack export`.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError("onnx is not installed: pip install 'centertrack_ros[tensorrt]'") from None
    try:
        stored = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    except Exception as error:  # protobuf has types of its own
        raise ValueError(f"{path} is no ONNX file: {' '.join(str(error).split())[:200]}") from None
    if PROFILE_KEY not in stored:
        raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
    return stored[PROFILE_KEY]
