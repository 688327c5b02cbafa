#!/usr/bin/env python3
"""How fast the network is in every engine, against the official way of running it; and what there is beside it.

    tools/run python -m benchmarks.bench [--quick] [--rounds N] [--output out/bench] [--docs]

The network is DLA-34 with nuScenes' heads at 800x448, batch 1, with seeded weights. Each variant lives in a process of
its own and they are asked in turns, so that a neighbour on the machine disturbs all alike; ratios are taken within one
round. The calibration line is a convolution as fast as this machine does them: rounds under 80 % of the best are noisy
and do not count, as long as three are left. `--quick` prints the first table and one line of JSON; without it, the
other tables follow, and results.json, tables.md and plots are written; `--docs` renews those that docs/benchmarks.md
shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import children

ROOT = Path(__file__).resolve().parents[1]

HEADS = {"hm": 10, "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2}
SIZE = (448, 800)
QUIET = 0.8  # of the best calibration: what is slower was disturbed
CALIBRATION_PASSES = 12
LIMIT_S = 90.0  # of a benchmark that runs beside the network's
QUICK = ("reference", "torch", "onnxruntime", "auto", "openvino-bf16", "dense-onnxruntime")
FULL = (*QUICK, "openvino", "torch-compile")
JSON_NAMES = {"torch": "eager", "onnxruntime": "onnxruntime", "auto": "auto", "openvino-bf16": "bf16"}


def say(text: str) -> None:
    print(text, flush=True)


def threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_weights(folder: Path) -> Path:
    """The seeded network as a weights file, and its dense graph as dense.onnx, once."""
    import torch

    from centertrack_ros.engine import export, export_cache
    from centertrack_ros.network import checkpoints
    from support.network_reference import seeded_network

    folder.mkdir(parents=True, exist_ok=True)
    network, profile = seeded_network(HEADS, input_height=SIZE[0], input_width=SIZE[1], trained_focal_length=633.0)
    fresh, path = folder / "fresh.safetensors", folder / "nuscenes.safetensors"
    checkpoints.save(fresh, network, profile)
    if not path.exists() or export_cache.content_hash(path) != export_cache.content_hash(fresh):
        fresh.replace(path)
    fresh.unlink(missing_ok=True)
    dense = folder / "dense.onnx"
    if not dense.exists() or dense.stat().st_mtime < path.stat().st_mtime:
        with torch.no_grad():
            export.to_onnx(export.trace(network, profile, export.InputShape(1, SIZE), dense=True), dense)
    return path


@dataclass
class Variant:
    """One worker process and what it has measured."""

    name: str
    process: Any
    engine: str = ""
    first_s: float = 0.0
    rounds: list[float] = field(default_factory=list)  # ms, median within the round
    memory_mb: float = 0.0
    problem: str = ""

    @classmethod
    def start(cls, name: str, weights: Path, size: tuple[int, int] = SIZE, batch: int = 1) -> Variant:
        command = [sys.executable, "-m", "benchmarks.bench_worker", name, str(weights)]
        command += ["--threads", str(threads()), "--size", f"{size[0]}x{size[1]}", "--batch", str(batch)]
        pipe = subprocess.PIPE
        variant = cls(name, subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        answer = variant._read()
        variant.engine, variant.first_s = answer.get("name", ""), answer.get("first_s", 0.0)
        return variant

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            lines = self.process.stderr.read().strip().splitlines() or ["it ended"]
            self.problem = lines[-1][:160]
            return {}
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        if self.problem:
            return {}
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._read()

    def time(self, count: int) -> None:
        answer = self.ask(f"time {count}")
        if answer:
            self.rounds.append(float(np.median(answer["ms"])))
            self.memory_mb = answer["memory_mb"]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)


def measure(variants: Sequence[Variant], calibration: Variant, rounds: int) -> None:
    """Rounds of one short measurement of everything in turn."""
    from benchmarks.bench_worker import Calibration

    for index in range(rounds):
        calibration.time(CALIBRATION_PASSES)
        for variant in variants:
            variant.time(1 if variant.name == "reference" else 2)
        peak = Calibration.GFLOP / calibration.rounds[-1] * 1e3
        say(f"round {index + 1}/{rounds}: convolution peak {peak:.0f} GFLOP/s, load {os.getloadavg()[0]:.1f}")


def peak_gflops(calibration: Variant) -> float:
    """The best that the calibration's convolution has reached."""
    from benchmarks.bench_worker import Calibration

    return Calibration.GFLOP / min(calibration.rounds) * 1e3


def quiet_rounds(calibration: Variant) -> tuple[list[int], int]:
    """(rounds that count, number of noisy ones)."""
    best = min(calibration.rounds)
    quiet = [i for i, ms in enumerate(calibration.rounds) if best / ms >= QUIET]
    noisy = len(calibration.rounds) - len(quiet)
    return (quiet if len(quiet) >= 3 else list(range(len(calibration.rounds)))), noisy


def agreements(variants: Sequence[Variant], folder: Path) -> dict[str, Any]:
    """Variant -> share of the same peaks (ties aside), largest errors of scores and values, depth error in percent."""
    from centertrack_ros.engine import verification

    answers = {}
    for variant in variants:
        path = folder / f"{variant.name}.pickle"
        if variant.ask(f"answers {path}") == {} and not variant.problem:
            answers[variant.name] = pickle.loads(path.read_bytes())
            path.unlink()
    reference = answers.get("reference")
    found = {}
    for name, peaks in answers.items():
        if name != "reference" and reference is not None:
            agreement = verification.compare(reference, peaks)
            found[name] = {
                "overlap": agreement.overlap,
                "score_error": agreement.score_error,
                "value_error": agreement.value_error,
                "depth_error_percent": _depth_error(reference, peaks),
            }
    return found


def _by_place(peaks: Any) -> dict[tuple[int, int, int], int]:
    rows = zip(peaks.class_ids.tolist(), peaks.cells.tolist(), strict=True)
    return {(c, x, y): i for i, (c, (x, y)) in enumerate(rows)}


def _depth_error(reference: Sequence[Any], got: Sequence[Any]) -> float:
    """Median over the common peaks, in percent of the depth."""
    errors = []
    for first, second in zip(reference, got, strict=True):
        a, b = _by_place(first), _by_place(second)
        for place in a.keys() & b.keys():
            depth = float(first.values["dep"][a[place], 0])
            errors.append(abs(float(second.values["dep"][b[place], 0]) - depth) / max(abs(depth), 1e-6))
    return 100 * float(np.median(errors)) if errors else float("nan")


def gflop(weights: Path) -> float:
    """Of one pass of the network with sparse heads, 2 per multiplication and addition."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

    from centertrack_ros.network import checkpoints, deform_conv
    from centertrack_ros.network.decode import PeakNetwork

    assert deform_conv.operator is not None

    @register_flop_formula(torch.ops.centertrack.deform_conv2d)
    def _(x: Any, offset: Any, mask: Any, weight: Any, *_args: Any, **_options: Any) -> int:
        return int(2 * np.prod(weight) * x[0] * offset[-2] * offset[-1])

    network, profile = checkpoints.load(weights)
    peaks = PeakNetwork(network.fused(), profile.max_detections).eval()
    inputs = [torch.zeros(1, channels, *SIZE) for channels in (3, 3, 1)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peaks(*inputs)
    return counter.get_total_flops() / 1e9


def table(variants: Sequence[Variant], calibration: Variant, agreement: dict[str, Any], work: float) -> list[dict]:
    """One row per variant: ms, ratio to the reference with its spread, percent of the peak, correctness."""
    counted, _ = quiet_rounds(calibration)
    peak = peak_gflops(calibration)
    reference = next(variant for variant in variants if variant.name == "reference")
    rows = []
    for variant in variants:
        row: dict[str, Any] = {"variant": variant.name, "engine": variant.engine, "problem": variant.problem}
        if len(variant.rounds) == len(calibration.rounds) and len(reference.rounds) == len(calibration.rounds):
            times = np.array([variant.rounds[i] for i in counted])
            ratios = np.array([reference.rounds[i] for i in counted]) / times
            row.update(
                ms=float(np.median(times)), ms_min=float(times.min()), ratio=float(np.median(ratios)),
                ratio_low=float(ratios.min()), ratio_high=float(ratios.max()), first_s=variant.first_s,
                peak_percent=100 * work / float(np.median(times)) * 1e3 / peak, memory_mb=variant.memory_mb,
                **agreement.get(variant.name, {}),
            )  # fmt: skip
        rows.append(row)
    return rows


def show(rows: Sequence[dict]) -> str:
    """The table as Markdown."""
    lines = [
        "| variant | ms | times the reference (spread) | % of fp32 peak | same peaks, ties aside | score error "
        "| depth error, median | first answer s | memory MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["variant"] if row["engine"] in ("", row["variant"]) else f"{row['variant']} ({row['engine']})"
        if "ms" not in row:
            lines.append(f"| {name} | not measured: {row['problem']} |||||||")
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


def run_json(script: str, *arguments: str) -> dict[str, Any]:
    """The last line that another benchmark prints, which is JSON; {'problem': …} if it fails."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *arguments]
    try:
        code, out, err = children.output_of(command, LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"problem": f"{script} took longer than {LIMIT_S:g} s"}
    if code:
        return {"problem": (err.strip().splitlines() or ["it failed"])[-1][:200]}
    return json.loads(out.strip().splitlines()[-1])


def machine() -> dict[str, Any]:
    """What the figures depend on; `describe` puts it into a line."""
    from centertrack_ros.engine import export_cache

    kind = {}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        kind = {key: int(entries[key]) for key in ("cpu family", "model") if entries.get(key, "").isdigit()}
    load = os.getloadavg()[0]
    return {"cpu": export_cache.cpu() | kind, "threads": threads(), "versions": export_cache.versions(), "load": load}


def describe(facts: dict[str, Any]) -> str:
    """One line about the machine."""
    cpu = facts["cpu"]
    kind = ", ".join(f"{key} {cpu[key]}" for key in ("cpu family", "model") if key in cpu)
    text = f"{cpu['name']}{f' ({kind})' if kind else ''}, {facts['threads']} threads, load {facts['load']:.1f}"
    if "peak_gflops" in facts:
        text += f"; convolution peak {facts['peak_gflops']:.0f} GFLOP/s"
    return f"machine: {text}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the first table only, in under five minutes")
    parser.add_argument("--rounds", type=int, help="default: 7, and 15 without --quick")
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "bench")
    parser.add_argument("--docs", action="store_true", help="also put the plots into docs/images")
    args = parser.parse_args()
    children.end_in_order()
    start = time.monotonic()
    output = args.output.resolve()
    weights = make_weights(output)
    here = machine()
    say(describe(here))
    calibration = Variant.start("calibration", weights)
    variants = [Variant.start(name, weights) for name in (QUICK if args.quick else FULL)]
    try:
        measure(variants, calibration, args.rounds or (7 if args.quick else 15))
        agreement = agreements(variants, output)
    finally:
        for variant in (*variants, calibration):
            variant.stop()
    work = gflop(weights)
    rows = table(variants, calibration, agreement, work)
    _, noisy = quiet_rounds(calibration)
    stages = run_json("bench_stages", *([] if args.quick else ["--objects", "10", "60", "100", "200", "500"]))
    node = run_json("bench_node", *(["--frames", "80"] if args.quick else []))
    here["peak_gflops"] = peak_gflops(calibration)
    say(show(rows))
    say(describe(here))
    say(f"network: {work:.1f} GFLOP; noisy rounds: {noisy} of {len(calibration.rounds)}")
    if "60" in stages:
        say("outside the network, 1600x900, 60 objects, one core, ms: " + _stage_line(stages["60"]))
        before = stages["official_preprocess"]
        say(f"pre-processing the official way: {before:.2f} ms, {before / stages['60']['preprocess']:.1f} times ours")
    say(f"node with the embedded model, 512x384: {node}")
    summary = summarise(rows, stages, node)
    if not args.quick:
        from benchmarks import bench_report

        more = bench_report.further(weights, Variant)
        bench_report.write(output, {"machine": here, "rows": rows, "stages": stages, "node": node, **more})
        if args.docs:
            for plot in ("speed", "costs"):
                shutil.copy(output / f"{plot}.png", ROOT / "docs" / "images" / f"bench_{plot}.png")
    say(f"took {time.monotonic() - start:.0f} s")
    print(json.dumps(summary), flush=True)


def _stage_line(stages: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in stages.items() if name != "tracks")


def summarise(rows: Sequence[dict], stages: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The one line: ratios to the reference path, and the other figures; null for what could not be measured."""
    by_name = {row["variant"]: row for row in rows}
    summary: dict[str, Any] = {}
    for name, key in JSON_NAMES.items():
        summary[key] = _rounded(by_name[name].get("ratio"))
        if name == "auto":
            summary["auto_engine"] = by_name[name]["engine"]
    auto, dense = by_name["auto"].get("ms"), by_name["dense-onnxruntime"].get("ms")
    summary["vs_dense_onnxruntime"] = _rounded(dense / auto if auto and dense else None)
    summary["non_network_ms"] = _rounded(stages.get("60", {}).get("together"))
    summary["association_ms_100"] = _rounded(stages.get("100", {}).get("association"), 3)
    summary["node_fps_default"] = _rounded(node.get("fps"), 1)
    summary["peak_percent"] = _rounded(by_name["auto"].get("peak_percent"), 1)
    return summary


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


if __name__ == "__main__":
    main()
