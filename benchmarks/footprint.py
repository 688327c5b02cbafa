#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a start costs: time from the start of the process to the first answer, memory, threads; disk by installation.

    python -m benchmarks.footprint [--rounds 3] [--weights NAME] [--without-node]

Each start is a process of its own that reads nothing but this package. 'first' starts without anything that an earlier
start has kept, 'kept' with it. Without torch means that it cannot be imported, as in the base installation. The disk is
that of the packages that an installation brings; the sizes are those of this environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK_TORCH = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""
START = """
import json, time
import numpy as np
from centertrack_ros.engine import load_engine
from centertrack_ros.tracking.pipeline import Tracker
tracker = Tracker(load_engine(sys.argv[2], threads=2))
tracker.step(np.zeros((480, 640, 3), np.uint8), None, 0.0)
passed = time.time() - float(sys.argv[1])
facts = dict(line.split(":", 1) for line in open("/proc/self/status"))
memory, shared = (int(facts[name].split()[0]) / 1024 for name in ("VmHWM", "RssShmem"))
print(json.dumps([passed, time.process_time(), memory, shared, int(facts["Threads"])]))
"""
# What `pip install` of the package with these extras installs, in the words of pyproject.toml.
INSTALLATIONS = {"pip install .": (), "pip install .[torch]": ("torch",)}
GOALS = {"seconds": 3.0, "memory": 350.0}


@dataclass(frozen=True)
class Start:
    """One way to start, measured.

    Attributes:
        way: In words.
        seconds: From the start of the process to the first answer.
        processor: Time of the processor until then, s, of all cores: other work changes it little.
        memory: Largest resident memory, MB.
        shared: Of it shared memory at the end, MB: the segment that the Fast DDS profile asks for.
        threads: At the end.
    """

    way: str
    seconds: float
    processor: float
    memory: float
    shared: float
    threads: int


def start_once(weights: str, torch: bool) -> tuple[float, float, float, float, int]:
    """Starts a process that tracks one image: the fields of `Start` but the first."""
    code = "import sys\n" + ("" if torch else BLOCK_TORCH) + START
    command = [sys.executable, "-c", code, str(time.time()), weights]
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    seconds, processor, memory, shared, threads = json.loads(done.stdout.splitlines()[-1])
    return seconds, processor, memory, shared, threads


def measure_starts(weights: Path, rounds: int) -> Iterator[Start]:
    """Starts with a copy of the weights, whose cache is then empty."""
    for torch in (False, True):
        name = "with torch" if torch else "without torch"
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copy(weights, folder)
            if torch:
                start_once(copy, torch)  # the export takes half a minute, once; the node tracks by torch meanwhile
            else:
                first = start_once(copy, torch)
                yield Start(f"{name}, first", *first)
            kept = [start_once(copy, torch) for _ in range(rounds)]
            yield Start(f"{name}, kept", *(statistics.median(column) for column in zip(*kept, strict=True)))


def start_node(weights: str) -> Start:
    """Starts the node and sends images until the first detections come back."""
    from benchmarks.node_client import CameraClient, image_message, ros_node, spin_until, tracking_node, use_local_ros

    use_local_ros()
    import numpy as np

    message = image_message(np.zeros((480, 640, 3), np.uint8))
    with ros_node("footprint_client") as node:
        camera = CameraClient(node, "footprint")
        timer = node.create_timer(0.05, lambda: camera.images.publish(message))
        begin = time.monotonic()
        parameters = [f"model.weights:={weights}", "model.threads:=2", "model.image_sizes:=['640x480']"]
        with tracking_node("footprint", parameters) as process:
            if not spin_until(node, lambda: camera.results or process.poll() is not None, 120.0) or not camera.results:
                raise SystemExit("the node gave no result")
            seconds = time.monotonic() - begin
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            facts = dict(line.split(":", 1) for line in lines)
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        node.destroy_timer(timer)
    processor = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    memory, shared = (int(facts[name].split()[0]) / 1024 for name in ("VmHWM", "RssShmem"))
    return Start("the node, kept", seconds, processor, memory, shared, int(facts["Threads"]))


def requirements(extras: Sequence[str]) -> list[str]:
    """The packages that an installation with these extras names, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = dict(re.findall(r"^(\w+) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))
    return [name for key in ("dependencies", *extras) for name in re.findall(r'"([A-Za-z0-9_.-]+)[>=<]', lists[key])]


def installed_megabytes(names: Sequence[str]) -> tuple[float, list[str]]:
    """Size of packages and of all that they need, MB, and the names of those that are not installed here."""
    waiting, seen, absent, total = list(names), set(), [], 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        for file in distribution.files or []:
            path = Path(str(distribution.locate_file(file)))
            total += path.stat().st_size if path.is_file() else 0
        for line in distribution.requires or []:
            if "extra ==" not in line and "platform_system" not in line and "sys_platform" not in line:
                waiting.append(re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0])
    return total / 1e6, sorted(absent)


def print_starts(starts: Sequence[Start]) -> None:
    """Prints the table of starts."""
    print("| start | to the first answer, s | of the processor, s | memory, MB | of it shared | threads |")
    print("|---|---|---|---|---|---|")
    for start in starts:
        times, memory = f"{start.seconds:.1f} | {start.processor:.1f}", f"{start.memory:.0f} | {start.shared:.0f}"
        print(f"| {start.way} | {times} | {memory} | {start.threads:.0f} |")
    print(f"\ngoals: {GOALS['seconds']:g} s with what an earlier start has kept, {GOALS['memory']:g} MB\n")


def print_disk() -> None:
    """Prints the table of installations."""
    from centertrack_ros.network.registry import WEIGHTS_FOLDER

    package = sum(path.stat().st_size for path in WEIGHTS_FOLDER.parent.rglob("*") if _is_shipped(path)) / 1e6
    print("| installation | disk, MB | of these the package |\n|---|---|---|")
    for name, extras in INSTALLATIONS.items():
        size, absent = installed_megabytes(requirements(extras))
        missing = f" (without {', '.join(absent)}: not installed here)" if absent else ""
        print(f"| `{name}` | {size + package:.0f}{missing} | {package:.0f} |")


def _is_shipped(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc" and not any(part.endswith(".engines") for part in path.parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="starts of which the median counts (default: 3)")
    parser.add_argument("--weights", help="name or file (default: the default model)")
    parser.add_argument("--without-node", action="store_true", help="leave out the ROS node")
    parser.add_argument("--disk-only", action="store_true", help="start nothing")
    args = parser.parse_args(arguments)
    from centertrack_ros.network.registry import weights_path

    weights = weights_path(args.weights)
    if not args.disk_only:
        starts = list(measure_starts(weights, args.rounds))
        if not args.without_node:
            starts.append(start_node(str(weights)))
        print_starts(starts)
    print_disk()
    return 0


if __name__ == "__main__":
    sys.exit(main())
