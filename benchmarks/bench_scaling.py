# SPDX-License-Identifier: Apache-2.0
"""The network's time and memory over the input's size, and over the cameras in one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.networks import INPUT_SIZE
from benchmarks.variants import Variant

SIZES = ((256, 448), (384, 512), (448, 800), (384, 1280), (544, 960))
CAMERAS = (1, 2, 3, 6)
PASSES = 5


def measure_scaling(weights: Path) -> dict[str, Any]:
    """The costs of engine 'auto' by input size ('sizes') and by batch ('cameras')."""
    results: dict[str, Any] = {"sizes": {}, "cameras": {}}
    for size in SIZES:
        results["sizes"][f"{size[1]}x{size[0]}"] = _cost(weights, size, 1)
    for count in CAMERAS:
        results["cameras"][str(count)] = _cost(weights, INPUT_SIZE, count)
    return results


def _cost(weights: Path, size: tuple[int, int], batch: int) -> dict[str, float] | None:
    """Median ms of one batch, and the most memory of the process that ran it; None where it failed."""
    worker = Variant.start("auto", weights, size, batch)
    try:
        worker.time(PASSES)
    finally:
        worker.stop()
    return {"ms": worker.rounds[0], "memory_mb": worker.memory_mb} if worker.rounds else None
