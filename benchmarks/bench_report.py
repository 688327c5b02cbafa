# SPDX-License-Identifier: Apache-2.0
"""The tables and plots of the speed benchmark: results.json, tables.md, speed.png and costs.png."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write(folder: Path, results: dict[str, Any]) -> None:
    """results.json, tables.md and, where Matplotlib is, speed.png and costs.png in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / "tables.md").write_text(tables(results) + "\n", encoding="utf-8")
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    _plot_speed(folder / "speed.png", [row for row in results["rows"] if "ms" in row])
    _plot_costs(folder / "costs.png", results)


def speed_table(rows: Sequence[dict[str, Any]]) -> str:
    """The speeds of all variants as Markdown."""
    lines = [
        "| variant | ms | times the reference (spread) | % of fp32 peak | same peaks, ties aside | score error "
        "| depth error, median | first answer s | memory MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["variant"] if row["engine"] in ("", row["variant"]) else f"{row['variant']} ({row['engine']})"
        if "ms" not in row:
            lines.append(f"| {name} | not measured: {row['error']} |||||||")
            continue
        right = "| | | |"
        if "overlap" in row:
            depth = row["depth_error_percent"]
            right = f"| {100 * row['overlap']:.0f} % | {row['score_error']:.1e} | {depth:.2g} % |"
        spread = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        lines.append(
            f"| {name} | {row['ms']:.0f} | {spread} | {row['peak_percent']:.0f} {right} "
            f"{row['first_s']:.1f} | {row['memory_mb']:.0f} |"
        )
    return "\n".join(lines)


def describe_machine(machine: dict[str, Any]) -> str:
    """One line about the machine."""
    cpu = machine["cpu"]
    kind = ", ".join(f"{key} {cpu[key]}" for key in ("cpu family", "model") if key in cpu)
    text = f"{cpu['name']}{f' ({kind})' if kind else ''}, {machine['threads']} threads, load {machine['load']:.1f}"
    if "peak_gflops" in machine:
        text += f"; convolution peak {machine['peak_gflops']:.0f} GFLOP/s"
    return f"machine: {text}"


def tables(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    parts = [describe_machine(results["machine"]), "## Network, 800x448, batch 1", speed_table(results["rows"])]
    for title, key in (("Input size", "sizes"), ("Cameras in one batch", "cameras")):
        rows = [
            f"| {name} | {cost['ms']:.1f} | {cost['memory_mb']:.0f} |" if cost else f"| {name} | not measured | |"
            for name, cost in results[key].items()
        ]
        parts += [f"## {title}", "\n".join(["| | ms | memory MB |", "|---|---|---|", *rows])]
    if counts := _counts(results["stages"]):
        stages = list(results["stages"][counts[0]])
        rows = [
            f"| {stage} | " + " | ".join(f"{results['stages'][count][stage]:.2f}" for count in counts) + " |"
            for stage in stages
        ]
        head = ["| objects | " + " | ".join(counts) + " |", "|---" * (len(counts) + 1) + "|"]
        parts += ["## Outside the network, ms on one core, 1600x900", "\n".join([*head, *rows])]
    return "\n\n".join(parts)


def _counts(stages: dict[str, Any]) -> list[str]:
    """The numbers of objects that were measured."""
    return sorted((name for name in stages if name.isdigit()), key=int)


def _plot_speed(path: Path, rows: list[dict[str, Any]]) -> None:
    from matplotlib import pyplot

    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    rows = sorted(rows, key=lambda row: row["ms"], reverse=True)
    bars = axes.barh([row["variant"] for row in rows], [row["ms"] for row in rows])
    axes.bar_label(bars, [f"{row['ms']:.0f} ms, {row['ratio']:.1f} x" for row in rows], padding=3)
    axes.set_xlim(0, 1.35 * rows[0]["ms"])
    axes.set_xlabel("one frame of 800x448, ms")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _plot_costs(path: Path, results: dict[str, Any]) -> None:
    """Four panels: over the number of objects, of cameras and of input px, and memory by engine."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    objects, cameras, sizes, memory = panels.flat
    if counts := _counts(results["stages"]):
        for stage in [name for name in results["stages"][counts[0]] if name not in ("tracks", "together")]:
            objects.plot([int(c) for c in counts], [results["stages"][c][stage] for c in counts], "o-", label=stage)
        objects.legend(fontsize=8)
    objects.set(xlabel="objects", ylabel="ms a frame on one core, 1600x900", ylim=(0, None))
    known = {int(name): cost["ms"] for name, cost in results["cameras"].items() if cost}
    cameras.plot(list(known), [ms / count for count, ms in known.items()], "o-")
    cameras.set(xlabel="cameras in one batch", ylabel="network, ms an image, 800x448", ylim=(0, None))
    measured = {name: cost for name, cost in results["sizes"].items() if cost}
    pixels = [np.prod([int(side) for side in name.split("x")]) / 1e6 for name in measured]
    sizes.plot(pixels, [cost["ms"] for cost in measured.values()], "o-")
    for name, x in zip(measured, pixels, strict=True):
        sizes.annotate(name, (x, measured[name]["ms"]), fontsize=7, ha="right", va="bottom")
    sizes.set(xlabel="network input, million px", ylabel="network, ms", xlim=(0, None), ylim=(0, None))
    rows = [row for row in results["rows"] if "ms" in row]
    bars = memory.barh([row["variant"] for row in rows], [row["memory_mb"] for row in rows])
    memory.bar_label(bars, [f"{row['memory_mb']:.0f}" for row in rows], padding=3, fontsize=8)
    memory.set(xlabel="most memory of the process, MB", xlim=(0, 1.2 * max([row["memory_mb"] for row in rows] + [1])))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
