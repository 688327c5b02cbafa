# SPDX-License-Identifier: Apache-2.0
"""Runs exported networks by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine import asked_cells
from centertrack_ros.engine.array_engine import ArrayEngine
from centertrack_ros.engine.registry import DEFAULT_OPTIONS, EngineOptions
from centertrack_ros.network.profile import ModelProfile

PROFILE_KEY = "profile"  # in the metadata of the ONNX file


class OnnxEngine(ArrayEngine):
    """Runs an .onnx file of `centertrack export`, in float32.

    Args:
        path: The file.
        options: Device ('cpu', or 'cuda' with an onnxruntime that has CUDA), threads and input size.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: The file is no such export, or ONNX Runtime cannot run it.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, options: EngineOptions = DEFAULT_OPTIONS) -> None:
        import onnxruntime

        self._path, self._runtime = Path(path), onnxruntime
        self._asked_session: Any = None  # with one more input: made when it is needed
        self._session_options = session_options = onnxruntime.SessionOptions()
        session_options.log_severity_level = 3
        session_options.intra_op_num_threads = options.threads or 0
        session_options.inter_op_num_threads = 1
        self._providers = providers = ["CPUExecutionProvider"]
        if options.device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ValueError("this onnxruntime has no CUDA: install onnxruntime-gpu")
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = onnxruntime.InferenceSession(str(path), session_options, providers=providers)
        except Exception as error:  # onnxruntime has one type per status
            raise ValueError(f"onnxruntime cannot run {path}: {_first_line(error)}") from None
        try:
            stored = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError:
            raise ValueError(f"{path}: its metadata are damaged: expected text") from None
        if PROFILE_KEY not in stored:
            raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
        self.device = options.device
        self._outputs = [output.name for output in self._session.get_outputs()]
        shape = self._session.get_inputs()[0].shape  # names instead of numbers where any will do
        if len(shape) != 4:
            raise ValueError(f"{path}: its first input is no batch of images, which has 4 dimensions")
        height, width = shape[2:]
        only = (width, height) if isinstance(height, int) and isinstance(width, int) else None
        profile = options.apply(ModelProfile.from_json(stored[PROFILE_KEY], f"{path}: model profile"), only, str(path))
        super().__init__(profile, [node.name for node in self._session.get_inputs()])

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        return self._outputs_of(self._session, feeds)

    def _run_at(
        self, feeds: Mapping[str, NDArray[np.float32]], places: NDArray[np.int64]
    ) -> Mapping[str, NDArray[Any]]:
        if self._asked_session is None:
            graph = asked_cells.onnx_graph(self._path)
            self._asked_session = self._runtime.InferenceSession(
                graph, self._session_options, providers=self._providers
            )
        return self._outputs_of(self._asked_session, {**feeds, asked_cells.INPUT: places})

    def _outputs_of(self, session: Any, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        try:
            outputs = session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise ValueError(f"onnxruntime: {_first_line(error)}") from None
        return dict(zip(self._outputs, outputs, strict=True))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
