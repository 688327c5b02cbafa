# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX file of the user's own, arrays in and arrays out, by the runtimes that run the tracker's network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.registry import AUTO, ENGINES, EngineOptions, is_installed

_LOG = logging.getLogger(__name__)
_LARGEST_CACHE = 4  # compiled networks, one per input size


@dataclass(frozen=True)
class Port:
    """One input of a graph.

    Attributes:
        name: As in the file.
        shape: Of each dimension its size, None: any.
        dtype: 'float32', 'int64', …
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Graph(Protocol):
    """A network whose inputs and outputs are whatever its file says."""

    name: str
    device: str
    inputs: list[Port]
    metadata: dict[str, str]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs by name, in the file's order. Raises ValueError when the runtime cannot run it."""


class OnnxGraph:
    """Implements `Graph` by ONNX Runtime."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Opens the file. Raises ImportError or ValueError."""
        from centertrack_ros.engine import onnx_engine

        self.name, self.device = "onnxruntime", options.device
        self._session = onnx_engine.open_session(path, options)
        self.metadata = onnx_engine.metadata(self._session, path)
        self.inputs = [Port(node.name, _sizes(node.shape), _dtype(node.type)) for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See `Graph.run`."""
        from centertrack_ros.engine.onnx_engine import first_line

        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))
        except Exception as error:  # onnxruntime has one type per status
            raise ValueError(f"onnxruntime: {first_line(error)}") from None


def _sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def _dtype(text: str) -> str:
    """NumPy's name of a type that ONNX Runtime writes as 'tensor(float)'."""
    name = text.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


class OpenVinoGraph:
    """Implements `Graph` by OpenVINO, which compiles it for each set of input shapes when that first occurs."""

    device = "cpu"

    def __init__(self, path: Path, options: EngineOptions, precision: str = "f32") -> None:
        """Reads the file. Raises ImportError or ValueError."""
        from centertrack_ros.engine import openvino_engine

        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self._path, self._core = path, openvino_engine.runtime().Core()
        self._settings = openvino_engine.settings(options, precision)
        self._model = openvino_engine.read_model(self._core, path)
        self.metadata = self._read_metadata()
        self.inputs = [
            Port(
                node.get_any_name(),
                tuple(size.get_length() if size.is_static else None for size in node.partial_shape)
                if node.partial_shape.rank.is_static
                else (),
                str(node.get_element_type().to_dtype()),
            )
            for node in self._model.inputs
        ]
        self._outputs = [node.get_any_name() for node in self._model.outputs]
        self._requests: dict[tuple[Any, ...], Any] = {}

    def _read_metadata(self) -> dict[str, str]:
        stored = self._model.rt_info
        found = stored["framework"] if "framework" in stored else {}  # noqa: SIM401 (OpenVINO's map has no get)
        try:
            return {key: self._model.get_rt_info(["framework", key]).astype(str) for key in found}
        except UnicodeDecodeError:
            raise ValueError(f"{self._path}: its metadata are damaged: expected text") from None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See `Graph.run`."""
        from centertrack_ros.engine.openvino_engine import last_line

        try:
            request = self._request({name: array.shape for name, array in feeds.items()})
            request.infer(dict(feeds), share_inputs=True)
            arrays = [np.array(tensor.data) for tensor in request.output_tensors]
        except Exception as error:  # OpenVINO's own RuntimeError, with many lines
            raise ValueError(f"openvino cannot run {self._path}: {last_line(error)}") from None
        return dict(zip(self._outputs, arrays, strict=True))

    def _request(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        from centertrack_ros.engine.openvino_engine import compile_model

        key = tuple(sorted(shapes.items()))
        if key not in self._requests:
            while len(self._requests) >= _LARGEST_CACHE:
                self._requests.pop(next(iter(self._requests)))
            model = self._model.clone()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            compiled = compile_model(self._core, model, self._settings, {"PERFORMANCE_HINT": "LATENCY"})
            self._requests[key] = compiled.create_infer_request()
        return self._requests[key]


def open_graph(path: Path, engine: str, options: EngineOptions) -> Graph:
    """Opens an ONNX file by the engine that a user has chosen for the tracker's network.

    Args:
        path: The file.
        engine: A name of `registry.ENGINES`, or 'auto'. An engine that runs torch's networks only counts as 'auto':
            OpenVINO if it is there and can run the file, ONNX Runtime else.
        options: Device ('auto', 'cpu', 'cuda', …) and threads.

    Returns:
        The graph; it has not run yet.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: Neither runtime is installed, or not the chosen one.
        ValueError: It is no ONNX file, or cannot be run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"{path}: expected a detector as an ONNX file, .onnx; export it as one")
    options = replace(options, device=_device(options.device))
    if engine.startswith("openvino"):
        _require(engine, "openvino")
        return OpenVinoGraph(path, options, "bf16" if engine.endswith("bf16") else "f32")
    if engine == "onnxruntime" or options.device != "cpu":
        _require(engine, "onnxruntime")
        return OnnxGraph(path, options)
    if engine not in (AUTO, *ENGINES):
        raise ValueError(f"engine must be one of {', '.join((AUTO, *ENGINES))}, got '{engine}'")
    if is_installed("openvino"):
        try:
            return OpenVinoGraph(path, options)
        except ValueError as error:
            if not is_installed("onnxruntime"):
                raise
            _LOG.info("the detector runs by onnxruntime, because %s", error)
    _require(engine, "onnxruntime")
    return OnnxGraph(path, options)


def _require(engine: str, package: str) -> None:
    if not is_installed(package):
        also = " or openvino" if not engine.startswith("o") else ""
        raise ImportError(f"an ONNX detector needs {package}{also}, which is not installed: pip install {package}")


def _device(name: str) -> str:
    """'cpu', or the CUDA device that ONNX Runtime can use."""
    if name != AUTO:
        return name
    if not Path("/proc/driver/nvidia").exists() or not is_installed("onnxruntime"):
        return "cpu"
    import onnxruntime

    return "cuda" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "cpu"
