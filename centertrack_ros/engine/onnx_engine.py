# SPDX-License-Identifier: Apache-2.0
"""Runs exported networks by ONNX Runtime on CPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.array_engine import ArrayEngine
from centertrack_ros.engine.registry import DEFAULT_OPTIONS, EngineOptions
from centertrack_ros.network.profile import ModelProfile

PROFILE_KEY = "profile"  # in the metadata of the ONNX file


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
        self._session = open_session(Path(path), ["CPUExecutionProvider"], options.threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        profile = read_profile(self._session, Path(path), options)
        super().__init__(profile, [node.name for node in self._session.get_inputs()])

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        try:
            outputs = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise ValueError(f"onnxruntime: {first_line(error)}") from None
        return dict(zip(self._outputs, outputs, strict=True))


def open_session(path: Path, providers: Sequence[Any], threads: int | None = None) -> Any:
    """An onnxruntime.InferenceSession.

    Args:
        path: The .onnx file.
        providers: Names, or pairs of name and options.
        threads: CPU threads; None: as many as cores.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: ONNX Runtime cannot run the file.
    """
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    session_options.intra_op_num_threads = threads or 0
    session_options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), session_options, providers=list(providers))
    except Exception as error:  # onnxruntime has one type per status
        raise ValueError(f"onnxruntime cannot run {path}: {first_line(error)}") from None


def read_profile(session: Any, path: Path, options: EngineOptions) -> ModelProfile:
    """The model's profile in a session's file, with the requested input size.

    Args:
        session: Of `open_session`.
        path: Its file, for messages.
        options: How the engine runs.

    Raises:
        ValueError: The file was not written by `centertrack export`, or does not take such an input.
    """
    try:
        stored = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise ValueError(f"{path}: its metadata are damaged: expected text") from None
    if PROFILE_KEY not in stored:
        raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
    shape = session.get_inputs()[0].shape  # names instead of numbers where any will do
    if len(shape) != 4:
        raise ValueError(f"{path}: its first input is no batch of images, which has 4 dimensions")
    height, width = shape[2:]
    only = (width, height) if isinstance(height, int) and isinstance(width, int) else None
    return options.apply(ModelProfile.from_json(stored[PROFILE_KEY], f"{path}: model profile"), only, str(path))


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
