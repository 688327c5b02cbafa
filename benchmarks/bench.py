#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The network's speed in every engine against the official way of running it, and the costs beside the network.

    tools/run python -m benchmarks.bench [--quick] [--one-core] [--rounds N] [--output out/bench] [--docs]

The network is DLA-34 with nuScenes' heads at 800x448, batch 1, with seeded weights. Each variant runs in a process of
its own and they take turns, so that other load on the machine disturbs all alike; ratios are taken within one round.
The calibration is a convolution at the machine's full speed: rounds under 80 % of the best are noisy and do not count,
as long as three are left. `--quick` prints the first table and one line of JSON. Without it, the other tables follow,
and results.json, tables.md and plots are written; `--docs` renews those that docs/benchmarks.md shows. `--one-core`
runs each network on one thread and counts processor time, on a machine that is never quiet: threads that wait for each
other make ratios of disturbed wall-clock times unfair.
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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench_report, children
from benchmarks.bench_scaling import measure_scaling
from benchmarks.bench_worker import Calibration
from benchmarks.networks import INPUT_SIZE
from benchmarks.variants import Variant, make_weights, thread_count

ROOT = Path(__file__).resolve().parents[1]

QUIET = 0.8  # of the best calibration: what is slower was disturbed
CALIBRATION_PASSES = 12
LIMIT_S = 90.0  # of a benchmark that runs beside the network's
QUICK = ("reference", "torch", "onnxruntime", "auto", "openvino-bf16", "dense-onnxruntime")
FULL = (*QUICK, "openvino", "torch-compile")
JSON_NAMES = {"torch": "eager", "onnxruntime": "onnxruntime", "auto": "auto", "openvino-bf16": "bf16"}


def _print(text: str) -> None:
    print(text, flush=True)


def measure(variants: Sequence[Variant], calibration: Variant, rounds: int) -> None:
    """Measures so many rounds; in each, every variant once."""
    for index in range(rounds):
        calibration.time(CALIBRATION_PASSES)
        for variant in variants:
            variant.time(1 if variant.name == "reference" else 2)
        peak = Calibration.GFLOP / calibration.rounds[-1] * 1e3
        _print(f"round {index + 1}/{rounds}: convolution peak {peak:.0f} GFLOP/s, load {os.getloadavg()[0]:.1f}")


def peak_gflops(calibration: Variant) -> float:
    """The highest speed that the calibration has reached."""
    return Calibration.GFLOP / min(calibration.rounds) * 1e3


def quiet_rounds(calibration: Variant) -> tuple[list[int], int]:
    """The indices of the rounds that count, and the number of noisy ones."""
    best = min(calibration.rounds)
    quiet = [i for i, ms in enumerate(calibration.rounds) if best / ms >= QUIET]
    noisy = len(calibration.rounds) - len(quiet)
    return (quiet if len(quiet) >= 3 else list(range(len(calibration.rounds)))), noisy


def measure_agreement(variants: Sequence[Variant], folder: Path) -> dict[str, Any]:
    """Variant -> share of the same peaks (ties aside), largest errors of scores and values, depth error in percent."""
    from centertrack_ros.engine import verification

    peaks_of = {}
    for variant in variants:
        path = folder / f"{variant.name}.pickle"
        if variant.request(f"peaks {path}") == {} and not variant.error:
            peaks_of[variant.name] = pickle.loads(path.read_bytes())
            path.unlink()
    reference = peaks_of.get("reference")
    results = {}
    for name, peaks in peaks_of.items():
        if name != "reference" and reference is not None:
            agreement = verification.compare(reference, peaks)
            results[name] = {
                "overlap": agreement.overlap,
                "score_error": agreement.score_error,
                "value_error": agreement.value_error,
                "depth_error_percent": _depth_error(reference, peaks),
            }
    return results


def _index_by_cell(peaks: Any) -> dict[tuple[int, int, int], int]:
    rows = zip(peaks.class_ids.tolist(), peaks.cells.tolist(), strict=True)
    return {(c, x, y): i for i, (c, (x, y)) in enumerate(rows)}


def _depth_error(reference: Sequence[Any], other: Sequence[Any]) -> float:
    """Median over the common peaks, percent of the depth."""
    errors = []
    for first, second in zip(reference, other, strict=True):
        a, b = _index_by_cell(first), _index_by_cell(second)
        for cell in a.keys() & b.keys():
            depth = float(first.values["dep"][a[cell], 0])
            errors.append(abs(float(second.values["dep"][b[cell], 0]) - depth) / max(abs(depth), 1e-6))
    return 100 * float(np.median(errors)) if errors else float("nan")


def count_gflop(weights: Path) -> float:
    """GFLOP of one pass of the network with sparse heads, 2 per multiplication and addition."""
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
    inputs = [torch.zeros(1, channels, *INPUT_SIZE) for channels in (3, 3, 1)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peaks(*inputs)
    return counter.get_total_flops() / 1e9


def speed_rows(
    variants: Sequence[Variant], calibration: Variant, agreement: dict[str, Any], work: float
) -> list[dict[str, Any]]:
    """One row per variant: ms, ratio to the reference with its spread, percent of the peak, correctness."""
    counted, _ = quiet_rounds(calibration)
    peak = peak_gflops(calibration)
    reference = next(variant for variant in variants if variant.name == "reference")
    rows = []
    for variant in variants:
        row: dict[str, Any] = {"variant": variant.name, "engine": variant.engine, "error": variant.error}
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


def run_benchmark(name: str, *arguments: str) -> dict[str, Any]:
    """The JSON that another benchmark prints in its last line; {'error': reason} if it fails."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    try:
        code, out, err = children.run(command, LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"{name} took longer than {LIMIT_S:g} s"}
    if code:
        return {"error": (err.strip().splitlines() or ["it failed"])[-1][:200]}
    return json.loads(out.strip().splitlines()[-1])


def machine_properties() -> dict[str, Any]:
    """The properties of this machine that the figures depend on."""
    from centertrack_ros.engine import export_cache

    kind = {}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        kind = {key: int(entries[key]) for key in ("cpu family", "model") if entries.get(key, "").isdigit()}
    load = os.getloadavg()[0]
    return {
        "cpu": export_cache.cpu() | kind,
        "threads": thread_count(),
        "versions": export_cache.versions(),
        "load": load,
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the first table only, in under five minutes")
    parser.add_argument("--one-core", action="store_true", help="one thread, by processor time: for a busy machine")
    parser.add_argument("--rounds", type=int, help="default: 7, and 15 without --quick")
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "bench")
    parser.add_argument("--docs", action="store_true", help="also put the plots into docs/images")
    args = parser.parse_args()
    children.exit_on_sigterm()
    start = time.monotonic()
    output = args.output.resolve()
    weights = make_weights(output)
    machine = machine_properties()
    _print(bench_report.describe_machine(machine))
    names = ("calibration", *(QUICK if args.quick else FULL))
    calibration, *variants = [Variant.start(name, weights, one_core=args.one_core) for name in names]
    try:
        measure(variants, calibration, args.rounds or (7 if args.quick else 15))
        agreement = measure_agreement(variants, output)
    finally:
        for variant in (*variants, calibration):
            variant.stop()
    work = count_gflop(weights)
    rows = speed_rows(variants, calibration, agreement, work)
    _, noisy = quiet_rounds(calibration)
    stages = run_benchmark("bench_stages", *([] if args.quick else ["--objects", "10", "60", "100", "200", "500"]))
    node = run_benchmark("bench_node", *(["--frames", "80"] if args.quick else []))
    machine["peak_gflops"] = peak_gflops(calibration)
    _print(bench_report.speed_table(rows))
    _print(bench_report.describe_machine(machine))
    _print(f"network: {work:.1f} GFLOP; noisy rounds: {noisy} of {len(calibration.rounds)}")
    if "60" in stages:
        _print("outside the network, 1600x900, 60 objects, one core, ms: " + _stage_line(stages["60"]))
        before = stages["official_preprocess"]
        _print(
            f"pre-processing the official way: {before:.2f} ms, {before / stages['60']['preprocess']:.1f} times ours"
        )
    _print(f"node with the embedded model, 640x480: {node}")
    summary = summarise(rows, stages, node)
    if not args.quick:
        more = measure_scaling(weights)
        bench_report.write(output, {"machine": machine, "rows": rows, "stages": stages, "node": node, **more})
        if args.docs:
            for plot in ("speed", "costs"):
                shutil.copy(output / f"{plot}.png", ROOT / "docs" / "images" / f"bench_{plot}.png")
    _print(f"took {time.monotonic() - start:.0f} s")
    print(json.dumps(summary), flush=True)


def _stage_line(stages: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in stages.items() if name != "tracks")


def summarise(rows: Sequence[dict[str, Any]], stages: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The last line of the output: ratios to the reference, and the other figures; None for what was not measured."""
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
