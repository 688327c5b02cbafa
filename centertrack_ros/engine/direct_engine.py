# SPDX-License-Identifier: Apache-2.0
"""Runs files of weights by OpenVINO, without torch and without an export: the graph is built from the parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from centertrack_ros.engine import export_cache
from centertrack_ros.engine.openvino_engine import OpenVinoEngine
from centertrack_ros.engine.registry import DEFAULT_OPTIONS, EngineOptions, is_installed
from centertrack_ros.network.weights_file import CheckpointError, is_safetensors, read_arrays

ARCHITECTURE = "mobilenetv3_centernet"
_POSE_HEADS = {"hm_hp", "hps", "hp_offset"}
INSTALL_TORCH = "pip install 'centertrack_ros[torch]'"


class DirectEngine(OpenVinoEngine):
    """Runs a .safetensors file of a MobileNetV3 network; builds and compiles its graph for each input size.

    Args:
        path: The file.
        options: Threads, input size and the folder for compiled networks.

    Raises:
        ImportError: openvino is not installed.
        CheckpointError: The file does not hold weights of such a network.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> None:
        self._configure(path, options, "f32")
        self._state, stored = read_arrays(path)
        if stored.architecture != ARCHITECTURE or stored.heads.keys() & _POSE_HEADS:
            what = "a pose model" if stored.architecture == ARCHITECTURE else stored.architecture
            raise CheckpointError(f"{path}: {what} is run by torch, which is not installed: {INSTALL_TORCH}")
        self._profile = profile = options.apply(stored)
        smallest = self._model_of((1, 3, 64, 64), 0)  # shows at once whether the parameters fit
        self._outputs = [output.get_any_name() for output in smallest.outputs]
        super(OpenVinoEngine, self).__init__(profile, [node.get_any_name() for node in smallest.inputs])

    def _model_of(self, shape: tuple[int, ...], asked: int) -> Any:
        from centertrack_ros.engine.openvino_mobilenet import build_graph

        return build_graph(self._state, self._profile, shape[2:], str(self._path), asked)


def open_without_torch(path: Path, options: EngineOptions) -> DirectEngine:
    """Open weights where torch is not installed.

    Args:
        path: The file.
        options: How the engine runs.

    Raises:
        CheckpointError: The file is damaged, or it needs torch; the message says how to install that.
        ValueError: An option needs torch.
    """
    for wanted, what in (
        (options.flip_test, "the flip test"),
        (options.dense, "dense evaluation"),
        (options.device.startswith("cuda"), f"device '{options.device}'"),
    ):
        if wanted:
            raise ValueError(f"{what} needs torch, which is not installed: {INSTALL_TORCH}")
    if not is_installed("openvino"):
        raise ValueError(f"neither openvino nor torch is installed to run {path}: pip install openvino")
    if not is_safetensors(path):
        raise CheckpointError(f"{path}: a checkpoint is read by torch, which is not installed: {INSTALL_TORCH}")
    return DirectEngine(path, replace(options, compiled=export_cache.compiled_folder(path)))
