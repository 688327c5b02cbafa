"""Exported networks run by OpenVINO."""

from __future__ import annotations

import sys
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
STREAMS = 2  # for batches, where two at once on half of the threads each are faster than one after the other
_KEPT = 6  # compiled networks, one per input size and number of streams; memory grows with each


def runtime() -> Any:
    """The module openvino, which this way does not report its import.

    Its package openvino_telemetry forks the importing process, threads and all, to tell Intel of the import; without
    that package openvino does the same work. Raises ImportError without openvino.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: not to be imported
    import openvino

    return openvino


class OpenVinoEngine(ArrayEngine):
    """Runs an .xml file (with its .bin) that `centertrack export` wrote; compiled for each input size when it comes.

    precision  'f32', or 'bf16' where the CPU has it: faster, with errors of a per cent in what is regressed
    compiled   folder for compiled networks, which shortens the next start; None keeps nothing
    streams    images of a batch that are in work at once, on a part of the threads each; 1: one after the other

    Raises ImportError without openvino, ValueError for a file that is not such an export or that it cannot run.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        precision: str = "f32",
        compiled: str | Path | None = None,
        streams: int = 1,
    ) -> None:
        openvino = runtime()
        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self._path = Path(path)
        self._core = openvino.Core()
        # Stated, because OpenVINO takes bfloat16 of its own accord where the CPU has it.
        self._config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        self._streams = streams
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
        self._requests: dict[tuple[Any, ...], list[Any]] = {}  # by shape and number of streams
        self._lock = threading.Lock()  # a request answers one call at a time
        super().__init__(profile, self._names)

    def _run(self, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
        # Never several images in one: on a CPU that gains nothing, and cameras that send two, then five images at once
        # would have the network compiled for each number.
        count = len(feeds["image"])
        images = [{name: fed[i : i + 1] for name, fed in feeds.items()} for i in range(count)]
        with self._lock:
            requests = self._requests_for(feeds["image"].shape[1:], min(self._streams, count))
            answers: list[list[NDArray[Any]]] = []
            for first in range(0, count, len(requests)):
                part = list(zip(requests, images[first : first + len(requests)], strict=False))
                for request, image in part:
                    request.start_async(image, share_inputs=True)
                for request, _ in part:
                    request.wait()
                    answers.append([np.array(tensor.data) for tensor in request.output_tensors])
        return {name: np.concatenate([answer[i] for answer in answers]) for i, name in enumerate(self._outputs)}

    def _requests_for(self, shape: tuple[int, ...], streams: int) -> list[Any]:
        key = (shape, streams)
        if key not in self._requests:
            while len(self._requests) >= _KEPT:
                self._requests.pop(next(iter(self._requests)))
            compiled = self._compile((1, *shape), streams)
            self._requests[key] = [compiled.create_infer_request() for _ in range(streams)]
        return self._requests[key]

    def _compile(self, shape: tuple[int, ...], streams: int) -> Any:
        batch, _, height, width = shape
        how = {"PERFORMANCE_HINT": "LATENCY"} if streams == 1 else {"NUM_STREAMS": streams}
        channels = {"image": 3, "previous_image": 3, "prior_heatmap": 1}
        try:
            model = self._model.clone()
            model.reshape({name: [batch, channels[name], height, width] for name in self._names})
            try:
                return self._core.compile_model(model, "CPU", {**self._config, **how})
            except RuntimeError:
                if "CACHE_DIR" not in self._config:
                    raise
                del self._config["CACHE_DIR"]  # a full disk, or a damaged file in it
                return self._core.compile_model(model, "CPU", {**self._config, **how})
        except Exception as error:
            raise ValueError(
                f"openvino cannot run {self._path} on {batch} x {height}x{width}: {_last_line(error)}"
            ) from None


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__
