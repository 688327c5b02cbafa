"""Exported networks run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.array_engine import ArrayEngine
from centertrack_ros.network.profile import ModelProfile

PROFILE_KEY = "profile"  # of the ONNX file's metadata


class OnnxEngine(ArrayEngine):
    """Runs an .onnx file that `centertrack export` wrote, in float32.

    device  'cpu', or 'cuda' where an onnxruntime with CUDA is installed

    Raises ImportError without onnxruntime, ValueError for a file that is not such an export or that it cannot run.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ValueError("this onnxruntime has no CUDA: install onnxruntime-gpu")
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # of a type of onnxruntime's own for each status
            raise ValueError(f"onnxruntime cannot run {path}: {_first_line(error)}") from None
        stored = self._session.get_modelmeta().custom_metadata_map
        if PROFILE_KEY not in stored:
            raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
        self.device = device
        self._outputs = [output.name for output in self._session.get_outputs()]
        profile = ModelProfile.from_json(stored[PROFILE_KEY])
        super().__init__(profile, [given.name for given in self._session.get_inputs()])

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        try:
            answers = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise ValueError(f"onnxruntime: {_first_line(error)}") from None
        return dict(zip(self._outputs, answers, strict=True))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
