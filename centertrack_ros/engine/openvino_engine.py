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

from centertrack_ros.engine import asked_cells
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


def settings(options: EngineOptions, precision: str) -> dict[str, Any]:
    """How OpenVINO runs a network on the CPU: precision ('f32', 'bf16'), threads and the folder of its cache."""
    # Explicit, because OpenVINO chooses bfloat16 by default if the CPU has it.
    chosen: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
    if options.threads:
        chosen["INFERENCE_NUM_THREADS"] = options.threads
    if options.compiled is not None:
        chosen["CACHE_DIR"] = str(options.compiled)
    return chosen


def read_model(core: Any, path: Path) -> Any:
    """Reads an .xml or .onnx file, of whatever network. Raises ValueError, with one sentence, when it cannot."""
    try:
        return core.read_model(path)
    except UnicodeDecodeError:  # of its own message, which quotes the file
        raise ValueError(f"openvino cannot read {path}: it is not text") from None
    except Exception as error:  # OpenVINO's own RuntimeError, with many lines
        raise ValueError(f"openvino cannot read {path}: {last_line(error)}") from None


def compile_model(core: Any, model: Any, chosen: dict[str, Any], hints: dict[str, Any]) -> Any:
    """Compiles a network for the CPU; a cache that does not work is given up, in `chosen` too.

    Args:
        core: OpenVINO's.
        model: As read.
        chosen: Of `settings`.
        hints: Further properties.

    Returns:
        The compiled network.

    Raises:
        RuntimeError: OpenVINO cannot run it.
    """
    try:
        return core.compile_model(model, "CPU", {**chosen, **hints})
    except RuntimeError:
        if "CACHE_DIR" not in chosen:
            raise
        del chosen["CACHE_DIR"]  # a full disk, or a damaged file in it
        return core.compile_model(model, "CPU", {**chosen, **hints})


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
        self._configure(Path(path), options, precision)
        model = read_model(self._core, self._path)
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
        self._names = [node.get_any_name() for node in model.inputs]
        super().__init__(profile, self._names)

    def _configure(self, path: Path, options: EngineOptions, precision: str) -> None:
        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self._path = path
        self._core = runtime().Core()
        self._config = settings(options, precision)
        self._streams = options.streams
        self._requests: dict[tuple[Any, ...], list[Any]] = {}  # by shape, number of streams and of cells
        self._lock = threading.Lock()  # a request runs one call at a time

    def _run_at(
        self, feeds: Mapping[str, NDArray[np.float32]], places: NDArray[np.int64]
    ) -> Mapping[str, NDArray[Any]]:
        return self._run({**feeds, asked_cells.INPUT: places})

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        # One image per inference: larger batches gain nothing on a CPU, and cameras that send two, then five images at
        # once would need a compiled network for each number.
        count = len(feeds["image"])
        images = [{name: array[i : i + 1] for name, array in feeds.items()} for i in range(count)]
        with self._lock:
            asked = feeds[asked_cells.INPUT].shape[1] if asked_cells.INPUT in feeds else 0
            requests = self._requests_for(feeds["image"].shape[1:], min(self._streams, count), asked)
            results: list[list[NDArray[Any]]] = []
            for first in range(0, count, len(requests)):
                part = list(zip(requests, images[first : first + len(requests)], strict=False))
                for request, image in part:
                    request.start_async(image, share_inputs=True)
                for request, _ in part:
                    request.wait()
                    results.append([np.array(tensor.data) for tensor in request.output_tensors])
        return {name: np.concatenate([result[i] for result in results]) for i, name in enumerate(self._outputs)}

    def _requests_for(self, shape: tuple[int, ...], streams: int, asked: int = 0) -> list[Any]:
        key = (shape, streams, asked)
        if key not in self._requests:
            while len(self._requests) >= _CACHED_NETWORKS:
                self._requests.pop(next(iter(self._requests)))
            compiled = self._compile((1, *shape), streams, asked)
            self._requests[key] = [compiled.create_infer_request() for _ in range(streams)]
        return self._requests[key]

    def _compile(self, shape: tuple[int, ...], streams: int, asked: int) -> Any:
        """The network for one shape; with `asked` cells, if any, at which its heads are read."""
        batch, _, height, width = shape
        hints = {"PERFORMANCE_HINT": "LATENCY"} if streams == 1 else {"NUM_STREAMS": streams}
        try:
            return compile_model(self._core, self._model_of(shape, asked), self._config, hints)
        except Exception as error:
            raise ValueError(
                f"openvino cannot run {self._path} on {batch} x {height}x{width}: {last_line(error)}"
            ) from None

    def _model_of(self, shape: tuple[int, ...], asked: int) -> Any:
        """The network for images (batch, channels, height, width), as `_compile` compiles it."""
        batch, _, height, width = shape
        channels = {"image": 3, "previous_image": 3, "prior_heatmap": 1}
        model = asked_cells.openvino_graph(self._model) if asked else self._model.clone()
        shapes = {name: [batch, channels[name], height, width] for name in self._names}
        model.reshape({**shapes, asked_cells.INPUT: [batch, asked]} if asked else shapes)
        return model


def last_line(error: Exception) -> str:
    """What OpenVINO says of its error, short."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__
