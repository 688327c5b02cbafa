"""The slower tables of `bench.py`, and what it writes: results.json, tables.md and a plot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((256, 448), (384, 512), (448, 800), (384, 1280), (544, 960))
CAMERAS = (1, 2, 3, 6)
PASSES = 5


def further(weights: Path, variant: Any) -> dict[str, Any]:
    """The network over the input's size and over the number of cameras in one batch; and on CUDA where there is one."""
    from bench import SIZE

    found: dict[str, Any] = {"sizes": {}, "cameras": {}}
    for size in SIZES:
        found["sizes"][f"{size[1]}x{size[0]}"] = _median(lambda s=size: variant.start("auto", weights, s))
    for count in CAMERAS:
        found["cameras"][str(count)] = _median(lambda n=count: variant.start("auto", weights, SIZE, n))
    if cuda := on_cuda(weights):
        found["cuda"] = cuda
    return found


def _median(start: Callable[[], Any]) -> float | None:
    worker = start()
    worker.time(PASSES)
    worker.stop()
    return worker.rounds[0] if worker.rounds else None


def on_cuda(weights: Path) -> dict[str, Any]:
    """Batch and precision -> median ms by CUDA events, network and decoding; empty without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return {}
    from bench import SIZE

    from centertrack_ros.engine.cuda_engine import CudaEngine
    from centertrack_ros.network import checkpoints

    found: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for half in (False, True):
        engine = CudaEngine(*checkpoints.load(weights), "cuda", half=half)
        kind = torch.float16 if half else torch.float32
        for batch in (1, 6):
            inputs = [torch.zeros(batch, channels, *SIZE, device="cuda", dtype=kind) for channels in (3, 3, 1)]
            inputs = [tensor.contiguous(memory_format=torch.channels_last) for tensor in inputs]
            times = []
            with torch.inference_mode():
                for index in range(60):
                    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                    begin.record()
                    engine._network(*inputs)
                    end.record()
                    end.synchronize()
                    if index >= 10:
                        times.append(begin.elapsed_time(end))
            found[f"{'fp16' if half else 'fp32'} batch {batch}"] = float(np.median(times))
    return found


def write(folder: Path, results: dict[str, Any]) -> None:
    """results.json, tables.md and, where Matplotlib is, speed.png in a folder."""
    from bench import show

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    parts = ["## Network, 800x448, batch 1", show(results["rows"])]
    for title, key in (("Input size", "sizes"), ("Cameras in one batch", "cameras"), ("CUDA", "cuda")):
        if key in results:
            rows = [f"| {name} | {_cell(value)} |" for name, value in results[key].items()]
            parts += [f"## {title}", "\n".join(["| | ms |", "|---|---|", *rows])]
    counts = [name for name in results["stages"] if name.isdigit()]
    if counts:
        stages = [name for name in results["stages"][counts[0]]]
        rows = [
            f"| {stage} | " + " | ".join(f"{results['stages'][count][stage]:.2f}" for count in counts) + " |"
            for stage in stages
        ]
        head = ["| objects | " + " | ".join(counts) + " |", "|---" * (len(counts) + 1) + "|"]
        parts += ["## Outside the network, ms on one core, 1600x900", "\n".join([*head, *rows])]
    (folder / "tables.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    _plot(folder / "speed.png", [row for row in results["rows"] if "ms" in row])


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    rows = sorted(rows, key=lambda row: row["ms"], reverse=True)
    bars = axes.barh([row["variant"] for row in rows], [row["ms"] for row in rows])
    axes.bar_label(bars, [f"{row['ms']:.0f} ms, {row['ratio']:.1f} x" for row in rows], padding=3)
    axes.set_xlim(0, 1.25 * rows[0]["ms"])
    axes.set_xlabel("one frame of 800x448, ms")
    figure.savefig(path, dpi=120)
