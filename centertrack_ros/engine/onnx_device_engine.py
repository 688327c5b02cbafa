# SPDX-License-Identifier: Apache-2.0
"""Runs exported networks by ONNX Runtime on GPUs: its inputs and outputs are torch's tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from centertrack_ros.engine import asked_cells, export_cache
from centertrack_ros.engine.array_engine import INPUTS
from centertrack_ros.engine.device_engine import DeviceEngine
from centertrack_ros.engine.onnx_engine import first_line, open_session, read_profile
from centertrack_ros.engine.registry import EngineOptions

_TYPES = {"tensor(float)": (np.float32, torch.float32), "tensor(int64)": (np.int64, torch.int64)}
CPU_PROVIDER = "CPUExecutionProvider"


class OnnxDeviceEngine(DeviceEngine):
    """Runs an .onnx file of `centertrack export` by a provider for GPUs; nothing but the peaks is copied to the host.

    Args:
        path: The file.
        options: Device, input size, and the folder in which TensorRT's provider keeps what it builds.
        name: Of the engine.
        provider: Of ONNX Runtime; that for CPUs with device 'cpu' runs the same code in tests.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: The file is no such export, or ONNX Runtime cannot run it by this provider.
    """

    def __init__(self, path: str | Path, options: EngineOptions, name: str, provider: str) -> None:
        self.name = name
        path = Path(path)
        device = torch.device(options.device)
        self._at = (device.type, device.index or 0)
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        cache = options.compiled or export_cache.user_folder() / "tensorrt"
        choice = (provider, provider_options(provider, self._at[1], stream, cache, name.endswith("fp16")))
        chosen = [choice]
        if provider == "TensorrtExecutionProvider":  # what it does not take runs by CUDA
            other = "CUDAExecutionProvider"
            chosen.append((other, provider_options(other, self._at[1], stream, cache, False)))
        self._path, self._providers = path, [*chosen, *([] if provider == CPU_PROVIDER else [CPU_PROVIDER])]
        self._options = options
        self._session = open_session(path, options, providers=self._providers)
        self._asked_session: Any = None  # with one more input: made when it is needed
        if provider not in self._session.get_providers():  # it does not start, and ONNX Runtime goes on without it
            raise ValueError(f"onnxruntime cannot start {provider} here: its CUDA libraries or the driver do not fit")
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._outputs = [(node.name, node.type, tuple(node.shape[1:])) for node in self._session.get_outputs()]
        for output, kind, shape in self._outputs:
            if kind not in _TYPES or not all(isinstance(length, int) for length in shape):
                raise ValueError(f"{path}: its output {output} is {kind} {shape}, not of a fixed size: export it again")
        super().__init__(read_profile(self._session, path, options), options.device, graphs=False)
        self._stream = stream

    def _network(
        self, image: Tensor, previous: Tensor | None, prior: Tensor | None, asked: Tensor | None
    ) -> Mapping[str, Tensor]:
        session = self._session
        if asked is not None:
            if self._asked_session is None:
                graph = asked_cells.onnx_graph(self._path)
                self._asked_session = open_session(self._path, self._options, graph, self._providers)
            session = self._asked_session
        binding = session.io_binding()
        if asked is not None:
            binding.bind_input(asked_cells.INPUT, *self._at, np.int64, tuple(asked.shape), asked.data_ptr())
        feeds = dict(zip(INPUTS, (image, previous, prior), strict=True))
        for name in self._inputs:
            tensor = feeds[name]
            assert tensor is not None and tensor.is_contiguous() and tensor.dtype == torch.float32
            binding.bind_input(name, *self._at, np.float32, tuple(tensor.shape), tensor.data_ptr())
        found = {}
        for name, kind, shape in self._outputs:
            element, dtype = _TYPES[kind]
            found[name] = torch.empty((len(image), *shape), dtype=dtype, device=self._device)
            binding.bind_output(name, *self._at, element, tuple(found[name].shape), found[name].data_ptr())
        try:
            session.run_with_iobinding(binding)
        except Exception as error:
            raise ValueError(f"onnxruntime: {first_line(error)}") from None
        return found


def provider_options(provider: str, device: int, stream: Any, cache: Path, half: bool) -> dict[str, str]:
    """How a provider of ONNX Runtime runs.

    Args:
        provider: Its name.
        device: Number of the GPU.
        stream: A torch.cuda.Stream, on which it works, too: nobody waits for anybody. None: its own.
        cache: Folder for what TensorRT builds.
        half: Whether the network is in float16.
    """
    if provider == CPU_PROVIDER:
        return {}
    options = {"device_id": str(device)}
    if stream is not None:
        options["user_compute_stream"] = str(stream.cuda_stream)
    if provider == "CUDAExecutionProvider":
        # Float32 proper; an exhaustive search of cuDNN's algorithms takes minutes at each size.
        return {**options, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    cache.mkdir(parents=True, exist_ok=True)
    return {
        **options,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": str(int(half)),
    }
