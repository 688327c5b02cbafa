#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of `benchmarks/gpu.sh`: each prints one line of JSON for each figure, as soon as it is known.

The network is DLA-34 with nuScenes' heads and seeded weights at 800x448. 'infer_ms' is the median by the wall clock
from images on the device to peaks in the host's memory; 'frame_ms' has the upload of 1600x900 images, too, and
'first_s' is the first batch, in which libraries choose, compile and record. The agreement is that of a test image's
hundred peaks with those of float32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.networks import INPUT_SIZE, nuscenes_network
from centertrack_ros.engine import gpu, verification
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.cuda_engine import CudaEngine
from centertrack_ros.engine.device_engine import DeviceEngine
from centertrack_ros.engine.registry import ENGINES, EngineOptions
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.geometry.affine import place
from centertrack_ros.network import checkpoints
from centertrack_ros.network.registry import weights_path
from centertrack_ros.tracking.pipeline import Tracker

BATCHES = (1, 6)
WARM_UPS, REPEATS = 5, 40
CAMERA = (900, 1600)  # height, width, px
SMALL = (64, 96)  # the input's size when the script itself is tried, on a CPU
EMBEDDED = ("mobilenetv3-coco-track", "mobilenetv3-street-3d")
PRIOR = np.array([[x, 40, 8] for x in range(40, 440, 40)], np.int64)


class Bench:
    """What every step needs.

    Args:
        device: 'cuda', or 'cpu' to try the script: small images, two passes.
        folder: Of the results.
    """

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.size = INPUT_SIZE if device != "cpu" else SMALL
        self.warm_ups, self.repeats = (WARM_UPS, REPEATS) if device != "cpu" else (1, 1)

    def facts(self) -> Iterator[dict[str, Any]]:
        """The machine and the versions."""
        on_gpu = self.device != "cpu"
        yield {
            **(gpu.facts(self.device) if on_gpu else {"GPU": "none, tried on a CPU", **gpu.libraries()}),
            "memory_mb": torch.cuda.get_device_properties(self.device).total_memory >> 20 if on_gpu else None,
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version(),
            "python": platform.python_version(),
        }

    def engine(self, name: str, search: bool = False) -> Iterator[dict[str, Any]]:
        """Speed and agreement of an engine."""
        entry = ENGINES[name]
        if entry.export is not None and (reason := entry.unavailable_reason()):
            yield {"engine": name, "unavailable": reason}
            return
        reference = verification.run_reference(TorchEngine(*nuscenes_network()), self.size)
        for graphs in (False, True):
            opened = self._open(name, graphs, search)
            if graphs and not opened._graphs.usable:  # a runtime that cannot be recorded, or a CPU
                continue
            yield from self._speeds(opened, {"engine": name, "graphs": graphs, "search": search})
            agreement = verification.compare(reference, verification.run_reference(opened, self.size))
            yield {"engine": name, "graphs": graphs, "agreement": str(agreement), **_numbers(agreement)}

    def _open(self, name: str, graphs: bool, search: bool) -> DeviceEngine:
        if name.startswith("torch"):
            half = name.endswith("fp16")
            return CudaEngine(*nuscenes_network(), self.device, half=half, graphs=graphs, search=search)
        entry = ENGINES[name]
        assert entry.export is not None
        options = EngineOptions(self.device, compiled=self.folder / "built", batch=max(BATCHES))
        engine = entry.open(self.folder / f"dla34-{entry.export.variant}.onnx", options)
        assert isinstance(engine, DeviceEngine)
        engine._graphs.usable &= graphs
        return engine

    def _speeds(self, engine: DeviceEngine, what: dict[str, Any]) -> Iterator[dict[str, Any]]:
        camera = verification.make_test_image(CAMERA if self.device != "cpu" else (128, 192), 0)
        affine = place((camera.shape[0], camera.shape[1]), self.size, "fixed").to_input
        for batch in BATCHES:
            last = [engine.prepare(camera, affine, self.size) for _ in range(batch)]
            now = [engine.prepare(camera, affine, self.size) for _ in range(batch)]
            priors = [PRIOR] * batch
            start = time.perf_counter()
            engine.infer(now, last, priors)
            first = time.perf_counter() - start

            def frame(batch: int = batch, last: list[Any] = last, priors: list[Any] = priors) -> None:
                engine.infer([engine.prepare(camera, affine, self.size) for _ in range(batch)], last, priors)

            def infer(now: list[Any] = now, last: list[Any] = last, priors: list[Any] = priors) -> None:
                engine.infer(now, last, priors)

            yield {
                **what,
                "batch": batch,
                "first_s": round(first, 2),
                "infer_ms": self._median_ms(infer),
                "frame_ms": self._median_ms(frame),
                "memory_mb": torch.cuda.max_memory_allocated() >> 20 if self.device != "cpu" else None,
                "graphs_used": engine._graphs.usable,
            }

    def _median_ms(self, call: Callable[[], Any]) -> float:
        times = []
        for index in range(self.warm_ups + self.repeats):
            start = time.perf_counter()
            call()  # ends when the peaks are in the host's memory
            if index >= self.warm_ups:
                times.append((time.perf_counter() - start) * 1e3)
        return round(float(np.median(times)), 3)

    def frames(self) -> Iterator[dict[str, Any]]:
        """Whole frames of the embedded models: image in, tracks out."""
        for name in EMBEDDED:
            for half in (False, True):
                network, profile = checkpoints.load(weights_path(name))
                if self.device == "cpu":
                    profile = profile.with_input_size(SMALL[1], SMALL[0])
                engine: Engine = CudaEngine(network, profile, self.device, half=half, search=False)
                tracker = Tracker(engine)
                images = [verification.make_test_image(CAMERA, seed) for seed in range(3)]
                stamps = iter(range(10_000))
                ms = self._median_ms(lambda: tracker.step(images[next(stamps) % 3]))  # noqa: B023 (called at once)
                yield {"model": name, "engine": engine.name, "tracked_frame_ms": ms}

    def export(self) -> Iterator[dict[str, Any]]:
        """The ONNX files that the other engines run."""
        from centertrack_ros.engine import export

        for variant in ("fp16", "f32"):
            start = time.perf_counter()
            path = self.folder / f"dla34-{variant}.onnx"
            export.to_onnx(export.trace(*nuscenes_network(), half=variant == "fp16"), path)
            yield {"file": path.name, "seconds": round(time.perf_counter() - start, 1)}

    def official(self) -> Iterator[dict[str, Any]]:
        """The official way: the unfused network in float32 and NCHW order, every head everywhere."""
        engine = TorchEngine(*nuscenes_network(), self.device, dense=True, fuse=False)
        image = engine.prepare(verification.make_test_image(self.size, 0), np.eye(2, 3), self.size)
        yield {
            "engine": "official",
            "batch": 1,
            "infer_ms": self._median_ms(lambda: engine.infer([image], [image], [PRIOR])),
        }


def _numbers(agreement: verification.Agreement) -> dict[str, float]:
    return {"overlap": agreement.overlap, "near_overlap": agreement.near_overlap, "score_error": agreement.score_error}


def summary(folder: Path) -> dict[str, Any]:
    """Everything in the folder as one record; a line that was cut off is left out.

    Args:
        folder: Of the results.
    """
    records, steps = [], {}
    for line in (folder / "results.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if "status" in record:
            steps[record.pop("step")] = record
        else:
            records.append(record)
    tests: dict[str, list[str]] = {}
    if (folder / "tests.txt").exists():
        text = (folder / "tests.txt").read_text(encoding="utf-8", errors="replace")
        for name, result in re.findall(r"^\S+::(\S+(?:\[.*?\])?) (PASSED|FAILED|ERROR|SKIPPED)", text, re.MULTILINE):
            tests.setdefault(result.lower(), []).append(name)
    return {"records": records, "steps": steps, "tests": tests}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--folder", type=Path, default=Path("out/gpu"))
    commands = parser.add_subparsers(dest="step", required=True)
    for name in ("facts", "frames", "export", "official"):
        commands.add_parser(name)
    engine = commands.add_parser("engine")
    engine.add_argument("name", choices=[name for name, entry in ENGINES.items() if entry.gpu or "torch" in name])
    engine.add_argument("--search", action="store_true", help="let cuDNN time some algorithms")
    commands.add_parser("summary").add_argument("of", type=Path)
    args = parser.parse_args(arguments)
    if args.step == "summary":
        result = summary(args.of)
        (args.of / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in result["tests"].items()) or "none ran"
        print(f"{args.of / 'gpu.json'}: {len(result['records'])} figures; tests: {counts}")
        return 0
    bench = Bench(args.device, args.folder)
    options = {"name": args.name, "search": args.search} if args.step == "engine" else {}
    for record in getattr(bench, args.step)(**options):
        print(json.dumps({"of": args.step, **record}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
