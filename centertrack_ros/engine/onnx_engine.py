# SPDX-License-Identifier: Apache-2.0
"""Runs exported networks by ONNX Runtime on CPUs, and opens ONNX files for other engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine import asked_cells
from centertrack_ros.engine.array_engine import ArrayEngine
from centertrack_ros.engine.registry import DEFAULT_OPTIONS, EngineOptions
from centertrack_ros.network.profile import ModelProfile

PROFILE_KEY = "profile"  # in the metadata of the ONNX file


def open_session(
    path: str | Path, options: EngineOptions, graph: bytes | None = None, providers: Sequence[Any] | None = None
) -> Any:
    """Opens an .onnx file, of whatever network.

    Args:
        path: The file.
        options: Device and threads.
        graph: What to run instead of the file's content.
        providers: Of ONNX Runtime, as names or pairs of a name and its options; None: as the device says.

    Returns:
        The `onnxruntime.InferenceSession`.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: It has no CUDA, or cannot run the file.
    """
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    session_options.intra_op_num_threads = options.threads or 0
    session_options.inter_op_num_threads = 1
    if providers is None:
        providers = ["CPUExecutionProvider"]
        if options.device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ValueError("this onnxruntime has no CUDA: install onnxruntime-gpu")
            providers = ["CUDAExecutionProvider", *providers]
    try:
        return onnxruntime.InferenceSession(graph or str(path), session_options, providers=list(providers))
    except UnicodeDecodeError:
        raise ValueError(f"onnxruntime cannot run {path}: a text in it is not UTF-8") from None
    except Exception as error:  # onnxruntime has one type per status
        raise ValueError(f"onnxruntime cannot run {path}: {first_line(error)}") from None


def metadata(session: Any, path: str | Path) -> dict[str, str]:
    """What the file of a session says of itself. Raises ValueError when that is not text."""
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: its metadata are damaged: expected text") from None


def read_profile(session: Any, path: str | Path, options: EngineOptions) -> ModelProfile:
    """The model's profile in a session's file, with the requested input size.

    Args:
        session: Of `open_session`.
        path: Its file, for messages.
        options: How the engine runs.

    Raises:
        ValueError: The file was not written by `centertrack export`, or does not take such an input.
    """
    stored = metadata(session, path)
    if PROFILE_KEY not in stored:
        raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
    shape = session.get_inputs()[0].shape  # names instead of numbers where any will do
    if len(shape) != 4:
        raise ValueError(f"{path}: its first input is no batch of images, which has 4 dimensions")
    height, width = shape[2:]
    only = (width, height) if isinstance(height, int) and isinstance(width, int) else None
    return options.apply(ModelProfile.from_json(stored[PROFILE_KEY], f"{path}: model profile"), only, str(path))


class OnnxEngine(ArrayEngine):
    """Runs an .onnx file of `centertrack export`, in float32.

    Args:
        path: The file.
        options: Threads and input size.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: The file is no such export, or ONNX Runtime cannot run it.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, options: EngineOptions = DEFAULT_OPTIONS) -> None:
        self._path, self._options = Path(path), replace(options, device="cpu")
        self._session = open_session(path, self._options)
        self._asked_session: Any = None  # with one more input: made when it is needed
        self._outputs = [output.name for output in self._session.get_outputs()]
        profile = read_profile(self._session, path, options)
        super().__init__(profile, [node.name for node in self._session.get_inputs()])

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        return self._outputs_of(self._session, feeds)

    def _run_at(
        self, feeds: Mapping[str, NDArray[np.float32]], places: NDArray[np.int64]
    ) -> Mapping[str, NDArray[Any]]:
        if self._asked_session is None:
            self._asked_session = open_session(self._path, self._options, asked_cells.onnx_graph(self._path))
        return self._outputs_of(self._asked_session, {**feeds, asked_cells.INPUT: places})

    def _outputs_of(self, session: Any, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        try:
            outputs = session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise ValueError(f"onnxruntime: {first_line(error)}") from None
        return dict(zip(self._outputs, outputs, strict=True))


def first_line(error: Exception) -> str:
    """What a runtime says of its error, short."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
