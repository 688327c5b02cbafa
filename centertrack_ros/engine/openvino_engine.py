"""Exported networks run by OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.array_engine import ArrayEngine
from centertrack_ros.network.profile import ModelProfile

# Paths in the model's runtime information.
PROFILE_KEYS = ["centertrack", "profile"]
OUTPUT_KEYS = ["centertrack", "outputs"]
_KEPT_SHAPES = 4  # compiled networks, one per input size; memory grows with each


class OpenVinoEngine(ArrayEngine):
    """Runs an .xml file (with its .bin) that `centertrack export` wrote; compiled for each input size when it comes.

    precision  'f32', or 'bf16' where the CPU has it: faster, with errors of a per cent in what is regressed
    compiled   folder for compiled networks, which shortens the next start; None keeps nothing

    Raises ImportError without openvino, ValueError for a file that is not such an export or that it cannot run.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        precision: str = "f32",
        compiled: str | Path | None = None,
    ) -> None:
        import openvino

        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self._path = Path(path)
        self._core = openvino.Core()
        # Stated, because OpenVINO takes bfloat16 of its own accord where the CPU has it.
        self._config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            self._config["INFERENCE_NUM_THREADS"] = threads
        if compiled is not None:
            self._config["CACHE_DIR"] = str(compiled)
        try:
            model = self._core.read_model(self._path)
        except Exception as error:  # RuntimeError of OpenVINO's own, over many lines
            raise ValueError(f"openvino cannot read {path}: {_last_line(error)}") from None
        if not model.has_rt_info(PROFILE_KEYS):
            raise ValueError(f"{path} has no model profile in its metadata: write it with `centertrack export`")
        profile = ModelProfile.from_json(model.get_rt_info(PROFILE_KEYS).astype(str))
        self._model = model
        # A result that several steps share has several names, and which one comes first is chance.
        self._outputs = model.get_rt_info(OUTPUT_KEYS).astype(str).split(",")
        self._names = [given.get_any_name() for given in model.inputs]
        self._requests: dict[tuple[int, ...], Any] = {}
        self._lock = threading.Lock()  # a request answers one call at a time
        super().__init__(profile, self._names)

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        # One image at a time: on a CPU that is faster than all in one (0.22 s against 0.29 s for six), and cameras that
        # send two, then five images at once would have the network compiled for each number.
        with self._lock:
            count = len(feeds["image"])
            parts = [self._run_one({name: fed[i : i + 1] for name, fed in feeds.items()}) for i in range(count)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _run_one(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        request = self._request(feeds["image"].shape)
        answers = request.infer(dict(feeds), share_inputs=True)
        return dict(zip(self._outputs, answers.to_tuple(), strict=True))

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._requests:
            while len(self._requests) >= _KEPT_SHAPES:
                self._requests.pop(next(iter(self._requests)))
            self._requests[shape] = self._compile(shape).create_infer_request()
        return self._requests[shape]

    def _compile(self, shape: tuple[int, ...]) -> Any:
        batch, _, height, width = shape
        channels = {"image": 3, "previous_image": 3, "prior_heatmap": 1}
        try:
            model = self._model.clone()
            model.reshape({name: [batch, channels[name], height, width] for name in self._names})
            try:
                return self._core.compile_model(model, "CPU", self._config)
            except RuntimeError:
                if "CACHE_DIR" not in self._config:
                    raise
                del self._config["CACHE_DIR"]  # a full disk, or a damaged file in it
                return self._core.compile_model(model, "CPU", self._config)
        except Exception as error:
            raise ValueError(
                f"openvino cannot run {self._path} on {batch} x {height}x{width}: {_last_line(error)}"
            ) from None


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__
