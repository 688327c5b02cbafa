# SPDX-License-Identifier: Apache-2.0
"""Runs exported networks by OpenVINO."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.array_engine import ArrayEngine
from centertrack_ros.engine.registry import DEFAULT_OPTIONS, EngineOptions
from centertrack_ros.network.profile import ModelProfile

# Paths in the model's runtime information.
PROFILE_KEYS = ["centertrack", "profile"]
OUTPUT_KEYS = ["centertrack", "outputs"]
_CACHED_NETWORKS = 6  # compiled networks, one per input size and number of streams; each one needs memory


def runtime() -> Any:
    """Import openvino without its telemetry.

    The package openvino_telemetry forks the importing process, with all its threads, to report the import to Intel. A
    fork of a process with threads can hang. OpenVINO works without that package.

    Raises:
        ImportError: openvino is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None blocks the import
    import openvino

    return openvino


class OpenVinoEngine(ArrayEngine):
    """Runs an .xml file (with its .bin) of `centertrack export`; compiles it for each input size when it first occurs.

    Args:
        path: The .xml file.
        options: Threads and input size; the folder for compiled networks, which shortens the next start; and the
            number of images of a batch that run at once, each on a part of the threads.
        precision: 'f32', or 'bf16' for CPUs that have it: faster, with errors of a per cent in regressed values.

    Raises:
        ImportError: openvino is not installed.
        ValueError: The file is no such export, or OpenVINO cannot run it.
    """

    def __init__(self, path: str | Path, options: EngineOptions = DEFAULT_OPTIONS, precision: str = "f32") -> None:
        self._configure(options, precision)
        self._path = Path(path)
        try:
            model = self._core.read_model(self._path)
        except UnicodeDecodeError:  # of its own message, which quotes the file
            raise ValueError(f"openvino cannot read {path}: it is not text") from None
        except Exception as error:  # OpenVINO's own RuntimeError, with many lines
            raise ValueError(f"openvino cannot read {path}: {_last_line(error)}") from None
        if not model.has_rt_info(PROFILE_KEYS):
            raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
        try:
            stored = model.get_rt_info(PROFILE_KEYS).astype(str)
        except UnicodeDecodeError:
            raise ValueError(f"{path}: its metadata are damaged: expected text") from None
        shape = model.inputs[0].partial_shape if model.inputs else None
        if shape is None or shape.rank.is_dynamic or len(shape) != 4:
            raise ValueError(f"{path}: its first input is no batch of images, which has 4 dimensions")
        height, width = list(shape)[2:]
        only = (width.get_length(), height.get_length()) if height.is_static and width.is_static else None
        profile = options.apply(ModelProfile.from_json(stored, f"{path}: model profile"), only, str(path))
        self._model = model
        # A result that several operations share has several names in random order.
        self._outputs = model.get_rt_info(OUTPUT_KEYS).astype(str).split(",")
        super().__init__(profile, [node.get_any_name() for node in model.inputs])

    def _configure(self, options: EngineOptions, precision: str) -> None:
        openvino = runtime()
        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self._core = openvino.Core()
        # Explicit, because OpenVINO chooses bfloat16 by default if the CPU has it.
        self._config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        self._streams = options.streams
        if options.threads:
            self._config["INFERENCE_NUM_THREADS"] = options.threads
        if options.compiled is not None:
            self._config["CACHE_DIR"] = str(options.compiled)
        self._requests: dict[tuple[Any, ...], list[Any]] = {}  # by size and number of streams
        self._lock = threading.Lock()  # a request runs one call at a time

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        # One image per inference: larger batches gain nothing on a CPU, and cameras that send two, then five images at
        # once would need a compiled network for each number.
        count = len(feeds["image"])
        images = [{name: array[i : i + 1] for name, array in feeds.items()} for i in range(count)]
        with self._lock:
            requests = self._requests_for(feeds["image"].shape[2:], min(self._streams, count))
            results: list[list[NDArray[Any]]] = []
            for first in range(0, count, len(requests)):
                part = list(zip(requests, images[first : first + len(requests)], strict=False))
                for request, image in part:
                    request.start_async(image, share_inputs=True)
                for request, _ in part:
                    request.wait()
                    results.append([np.array(tensor.data) for tensor in request.output_tensors])
        return {name: np.concatenate([result[i] for result in results]) for i, name in enumerate(self._outputs)}

    def _requests_for(self, size: tuple[int, ...], streams: int) -> list[Any]:
        key = (size, streams)
        if key not in self._requests:
            while len(self._requests) >= _CACHED_NETWORKS:
                self._requests.pop(next(iter(self._requests)))
            compiled = self._compile(size, streams)
            self._requests[key] = [compiled.create_infer_request() for _ in range(streams)]
        return self._requests[key]

    def _compile(self, size: tuple[int, ...], streams: int) -> Any:
        hints = {"PERFORMANCE_HINT": "LATENCY"} if streams == 1 else {"NUM_STREAMS": streams}
        try:
            model = self._model_of(size)
            try:
                return self._core.compile_model(model, "CPU", {**self._config, **hints})
            except RuntimeError:
                if "CACHE_DIR" not in self._config:
                    raise
                del self._config["CACHE_DIR"]  # a full disk, or a damaged file in it
                return self._core.compile_model(model, "CPU", {**self._config, **hints})
        except Exception as error:
            raise ValueError(f"openvino cannot run {self._path} on {size[0]}x{size[1]}: {_last_line(error)}") from None

    def _model_of(self, size: tuple[int, ...]) -> Any:
        """The network for one image of this (height, width)."""
        model = self._model.clone()
        channels = {"image": 3, "previous_image": 3, "prior_heatmap": 1}
        model.reshape({node.get_any_name(): [1, channels[node.get_any_name()], *size] for node in model.inputs})
        return model


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__
