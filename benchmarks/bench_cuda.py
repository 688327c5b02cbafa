#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The networks' speed on an NVIDIA GPU, with CUDA graphs and without, against the official way of running them.

    python -m benchmarks.bench_cuda [--repeats 40] [--batches 1 6] [--device cpu]

DLA-34 with nuScenes' heads and seeded weights at 800x448, and two embedded models at their own sizes. Times are medians
by CUDA events of the network with its decoding. The official way is the unfused network in float32 and NCHW order,
every head everywhere, the deformable convolution by torchvision's kernel (else by gathering), for the first of the
batch sizes. A whole frame is an image of 1600x900: prepared, copied, run, and its peaks back in the host's memory, by
the wall clock. The memory is the most that torch has allocated for an engine's batches. Agreement is that of a test
image's hundred peaks with those of float32 on the CPU. Results go to stderr one by one, and to stdout as Markdown and
one line of JSON. cuDNN takes long for the first pass at each size: some minutes in all.

`--device cpu` tries the script itself: by the wall clock, without graphs.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.networks import INPUT_SIZE, nuscenes_network
from centertrack_ros.engine import verification
from centertrack_ros.engine.cuda_engine import CudaEngine
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.geometry.affine import place
from centertrack_ros.network import checkpoints, deform_conv
from centertrack_ros.network.registry import weights_path

EMBEDDED = ("mobilenetv3-coco-track", "mobilenetv3-street-3d")
DLA = "dla34-nuscenes"
WARM_UPS = 10
CAMERA = (900, 1600)
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
PRIOR = np.array([[x, 200, 8] for x in range(40, 440, 40)], np.int64)
PRECISIONS = {"fp32": False, "fp16": True}


def measure_ms(call: Callable[[], Any], device: str, repeats: int, wall_clock: bool = False) -> float:
    """Median time of so many calls, ms, by CUDA events, or by the wall clock on a CPU or on request."""
    on_gpu = device.startswith("cuda")
    times = []
    for index in range(repeats + (WARM_UPS if on_gpu else 0)):
        if on_gpu and not wall_clock:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            end.synchronize()
            elapsed = begin.elapsed_time(end)
        else:
            start = time.perf_counter()
            call()
            _wait(device)
            elapsed = (time.perf_counter() - start) * 1e3
        if index >= WARM_UPS or not on_gpu:
            times.append(elapsed)
    return float(np.median(times))


def network_ms(engine: TorchEngine, size: tuple[int, int], batch: int, repeats: int) -> float:
    """Time of the network with its decoding, ms, for a batch of test images that are on the device already."""
    images = [engine.prepare(verification.make_test_image(size, i), IDENTITY, size) for i in range(batch)]
    previous = [engine.prepare(verification.make_test_image(size, 50 + i), IDENTITY, size) for i in range(batch)]
    with torch.inference_mode():
        inputs = (engine._batch(images), engine._batch(previous), engine._prior_heatmaps([PRIOR] * batch, size))
        return measure_ms(lambda: engine._network(*inputs), torch.device(engine.device).type, repeats)


def network_times(weights: Path) -> dict[str, Any]:
    """Times of a network with its decoding on this machine's GPU, by CUDA events.

    Returns:
        Precision and batch ('fp16 batch 6') -> median ms, and 'device', the GPU's name; {} without a GPU.
    """
    if not torch.cuda.is_available():
        return {}
    times: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for name, half in PRECISIONS.items():
        engine = CudaEngine(*checkpoints.load(weights), "cuda", half=half)
        times |= {f"{name} batch {batch}": network_ms(engine, INPUT_SIZE, batch, 50) for batch in (1, 6)}
    return times


def frame_ms(engine: TorchEngine, repeats: int) -> float:
    """Time of one camera image through `prepare` and `infer`, ms, by the wall clock."""
    profile, camera_image = engine.profile, verification.make_test_image(CAMERA, 0)
    placement = place(CAMERA, (profile.input_height, profile.input_width), profile.resize)
    last = engine.prepare(camera_image, placement.to_input, placement.input_size)

    def frame() -> None:
        nonlocal last
        image = engine.prepare(camera_image, placement.to_input, placement.input_size)
        engine.infer([image], [last], [PRIOR])
        last = image

    return measure_ms(frame, torch.device(engine.device).type, repeats, wall_clock=True)


def models() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Name -> a function that makes a network and its profile."""
    makers: dict[str, Callable[[], tuple[Any, Any]]] = {DLA: nuscenes_network}
    return makers | {name: partial(checkpoints.load, weights_path(name)) for name in EMBEDDED}


def measure(device: str, batches: Sequence[int], repeats: int) -> dict[str, Any]:
    """All figures by model, precision ('fp32', 'fp16'), mode ('graphs', 'eager') and batch."""
    results: dict[str, Any] = {}
    for name, make in models().items():
        network, profile = make()
        size = (profile.input_height, profile.input_width)
        truth = verification.run_reference(TorchEngine(network, profile), size)
        entry: dict[str, Any] = {"size": f"{size[1]}x{size[0]}"}
        if name == DLA:
            official = TorchEngine(*make(), device, dense=True, fuse=False)
            entry["official_ms"] = network_ms(official, size, batches[0], repeats)
            del official
        for precision, half in PRECISIONS.items():
            entry[precision] = _engine_figures(CudaEngine(*make(), device, half=half), truth, size, batches, repeats)
            _free_memory(device)
        results[name] = entry
        print(json.dumps({name: entry}), file=sys.stderr, flush=True)
    return results


def _engine_figures(
    engine: CudaEngine, truth: list[Any], size: tuple[int, int], batches: Sequence[int], repeats: int
) -> dict[str, Any]:
    device = torch.device(engine.device).type
    graphed: Any = engine._network
    figures: dict[str, Any] = {"graphs": {}, "eager": {}}
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for mode in ("eager", "graphs"):
        graphed._usable = mode == "graphs"
        for batch in batches:
            ms = network_ms(engine, size, batch, repeats)
            figures[mode][str(batch)] = ms if graphed._usable == (mode == "graphs") else None  # not possible here
    figures["memory_mb"] = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    figures["frame_ms"] = frame_ms(engine, repeats)
    agreement = verification.compare(truth, verification.run_reference(engine, size))
    figures["same_peaks_percent"] = 100 * agreement.overlap
    figures["score_error"] = agreement.score_error
    return figures


def convolutions(device: str, repeats: int) -> dict[str, float]:
    """Ms of the widest deformable convolution of DLA-34 alone, by form and type: which form suits which type."""
    height, width, channels = INPUT_SIZE[0] // 4, INPUT_SIZE[1] // 4, 64
    shapes = ((channels, height, width), (18, height, width), (9, height, width))
    found = {}
    for kind in (torch.float32, torch.float16):
        x, offset, mask = (torch.rand(1, *shape, device=device, dtype=kind) for shape in shapes)
        x = x.contiguous(memory_format=torch.channels_last)
        arguments = (x, offset, mask, torch.rand(channels, channels, 3, 3, device=device, dtype=kind), None, 1, 1, 1)
        for form in (deform_conv.by_gather, deform_conv.by_kernel)[
            : 1 + (deform_conv._torchvision_kernel() is not None)
        ]:
            with torch.inference_mode():
                ms = measure_ms(partial(form, *arguments), device, repeats)
            found[f"{form.__name__} {str(kind).removeprefix('torch.')}"] = ms
    return found


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _free_memory(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    batches = results["batches"]
    heads = [f"{mode}, batch {batch}, ms" for mode in ("graphs", "eager") for batch in batches]
    lines = [
        f"{results['device']}, torch {results['torch']}, {results['clock']}",
        "",
        f"| network | {' | '.join(heads)} | times the official way | frame of 1600x900, ms | memory, MB "
        "| same peaks, ties aside | score error |",
        "|---" * (len(heads) + 6) + "|",
    ]
    for name, entry in results["models"].items():
        if "official_ms" in entry:
            cells = [""] * len(heads)  # it has no graphs
            cells[len(batches)] = f"{entry['official_ms']:.2f}"
            lines.append(f"| {name} {entry['size']}, official | {' | '.join(cells)} | 1 | | | | |")
        for precision in PRECISIONS:
            found = entry[precision]
            times = [entry[precision][mode][str(batch)] for mode in ("graphs", "eager") for batch in batches]
            one = next(ms for ms in (times[0], times[len(batches)]) if ms)
            ratio = f"{entry['official_ms'] / one:.1f}" if "official_ms" in entry else ""
            memory = "" if found["memory_mb"] is None else f"{found['memory_mb']:.0f}"
            cells = ["-" if ms is None else f"{ms:.2f}" for ms in times]
            lines.append(
                f"| {name} {entry['size']}, {precision} | {' | '.join(cells)} | {ratio} | {found['frame_ms']:.2f} "
                f"| {memory} | {found['same_peaks_percent']:.0f} % | {found['score_error']:.1e} |"
            )
    forms = ", ".join(f"{name} {ms:.3f}" for name, ms in results["deform_conv_ms"].items())
    return "\n".join([*lines, "", f"one deformable convolution, 64 channels at 200x112, ms: {forms}"])


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 6])
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("bench_cuda: torch sees no NVIDIA GPU here; --device cpu tries the script without one")
    start = time.monotonic()
    results = {
        "device": torch.cuda.get_device_name() if on_gpu else "CPU",
        "torch": torch.__version__,
        "clock": "CUDA events" if on_gpu else "wall clock, no graphs",
        "official_deform_conv": "torchvision" if deform_conv._torchvision_kernel() and on_gpu else "gather or bags",
        "tf32": torch.backends.cudnn.allow_tf32,
        "batches": args.batches,
        "models": measure(args.device, args.batches, args.repeats),
        "deform_conv_ms": convolutions(args.device, args.repeats),
    }
    results["took_s"] = round(time.monotonic() - start, 1)
    print(table(results), flush=True)
    print(json.dumps(results, default=str), flush=True)


if __name__ == "__main__":
    main()
