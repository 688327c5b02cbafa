# SPDX-License-Identifier: Apache-2.0
"""The ways of running the measured network: one worker process (`bench_worker`) for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import INPUT_SIZE, nuscenes_network


def thread_count() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_weights(folder: Path) -> Path:
    """Writes the seeded network as a weights file, and its dense graph as dense.onnx, unless they are there.

    Returns:
        The weights file.
    """
    import torch

    from centertrack_ros.engine import export, export_cache
    from centertrack_ros.network import checkpoints

    folder.mkdir(parents=True, exist_ok=True)
    network, profile = nuscenes_network()
    new, path = folder / "new.safetensors", folder / "nuscenes.safetensors"
    checkpoints.save(new, network, profile)
    if not path.exists() or export_cache.content_hash(path) != export_cache.content_hash(new):
        new.replace(path)
    new.unlink(missing_ok=True)
    dense = folder / "dense.onnx"
    if not dense.exists() or dense.stat().st_mtime < path.stat().st_mtime:
        with torch.no_grad():
            export.to_onnx(export.trace(network, profile, export.InputShape(1, INPUT_SIZE), dense=True), dense)
    return path


@dataclass
class Variant:
    """One worker process and its measurements.

    Attributes:
        name: What `bench_worker` runs.
        engine: The engine that it chose.
        first_s: Time to load the network and to run it for the first time, s.
        rounds: Median time of each round, ms.
        memory_mb: The most memory that the process has held.
        error: Why it could not be measured; empty: it could.
    """

    name: str
    process: Any
    engine: str = ""
    first_s: float = 0.0
    rounds: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    error: str = ""

    @classmethod
    def start(
        cls, name: str, weights: Path, size: tuple[int, int] = INPUT_SIZE, batch: int = 1, one_core: bool = False
    ) -> Variant:
        """Starts the worker and waits until it has run the network once; `one_core`: one thread, by processor time."""
        command = [sys.executable, "-m", "benchmarks.bench_worker", name, str(weights)]
        threads = 1 if one_core else thread_count()
        command += ["--threads", str(threads), "--size", f"{size[0]}x{size[1]}", "--batch", str(batch)]
        command += ["--processor-time"] if one_core else []
        pipe = subprocess.PIPE
        variant = cls(name, subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        reply = variant._read()
        variant.engine, variant.first_s = reply.get("name", ""), reply.get("first_s", 0.0)
        return variant

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            lines = self.process.stderr.read().strip().splitlines() or ["it ended"]
            self.error = lines[-1][:160]
            return {}
        return json.loads(line)

    def request(self, command: str) -> dict[str, Any]:
        """Sends a command; the reply, or {} when the worker has failed."""
        if self.error:
            return {}
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._read()

    def time(self, count: int) -> None:
        """Measures one round of so many passes."""
        if reply := self.request(f"time {count}"):
            self.rounds.append(float(np.median(reply["ms"])))
            self.memory_mb = reply["memory_mb"]

    def stop(self) -> None:
        """Ends the worker."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)
