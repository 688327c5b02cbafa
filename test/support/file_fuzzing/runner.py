# SPDX-License-Identifier: Apache-2.0
"""Starts the process that tries files, and a new one after a file that ended it or took too long."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.file_fuzzing.readers import READERS

PATIENCE_S = 60.0  # without an answer, on a machine that others use as well


@dataclass
class Report:
    """What became of the files.

    Attributes:
        outcomes: Reader -> number of files 'read', 'refused', 'fault'.
        faults: A line for each fault: reader, number, what was changed, what went wrong.
    """

    seed: str
    folder: Path
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, number: int, outcome: str, said: str, change: str) -> None:
        """Counts a file."""
        self.outcomes.setdefault(name, Counter())[outcome] += 1
        if outcome == "fault":
            self.faults.append(f"{name} {number} ({change}): {said[:600]}")

    def total(self, outcome: str) -> int:
        """Files with an outcome."""
        return sum(counts[outcome] for counts in self.outcomes.values())

    def table(self) -> str:
        """The figures, a line for each reader."""
        keys = ("read", "refused", "fault")
        rows = [(name, *(str(counts[key]) for key in keys)) for name, counts in self.outcomes.items()]
        rows.append((f"all, seed {self.seed}", *(str(self.total(key)) for key in keys)))
        heading = ("reader", "read", "refused", "faults")
        width = max(len(row[0]) for row in rows)
        return "\n".join(f"{a:<{width}} {b:>6} {c:>8} {d:>7}" for a, b, c, d in (heading, *rows))

    def failures(self) -> str:
        """The faults, and how to see one again."""
        command = f"python -m support.file_fuzzing.worker {self.seed} {self.folder} --only READER NUMBER"
        return "\n".join([*self.faults, f"again: {command}; the files are in {self.folder}"])


def plan(count: int, readers: Iterable[str] = ()) -> list[tuple[str, int]]:
    """About `count` tasks (reader, number), shared out as the table says; number 0 is the valid file.

    Readers whose packages are not installed are left out.
    """
    names = [name for name in readers or READERS if all(map(importlib.util.find_spec, READERS[name].needs))]
    shares = sum(READERS[name].share for name in names)
    return [
        (name, number) for name in names for number in range(max(1, round(count * READERS[name].share / shares)) + 1)
    ]


def try_files(seed: str, folder: Path, tasks: list[tuple[str, int]]) -> Report:
    """Tries all tasks, each process as many as it survives."""
    folder.mkdir(parents=True, exist_ok=True)
    report, left = Report(seed, folder), list(tasks)
    while left:
        done = _try_some(report, left)
        left = left[done:]
    return report


def _try_some(report: Report, tasks: list[tuple[str, int]]) -> int:
    """Tries tasks in one process until it ends; returns how many are done, the one that it died of among them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.file_fuzzing.worker", report.seed, str(report.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(report.folder),
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    lines, done, change = _listen(process), 0, "?"
    try:
        for task in tasks:
            name, number = task
            try:
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                pass
            outcome, said, change = "", "", "making it"
            for answer in _answers(lines, 2):
                if answer[0] == "start":
                    change = answer[4]
                else:
                    outcome, said = answer[3], answer[4]
            done += 1
            if not outcome:
                report.add(name, number, "fault", _end(process, report.folder), change)
                return done
            report.add(name, number, outcome, said, change)
    finally:
        process.kill()
        process.wait()
    return done


def _answers(lines: queue.SimpleQueue[str], count: int) -> Iterator[list[Any]]:
    """The next lines of a process; fewer when it ends or does not answer."""
    for _ in range(count):
        with contextlib.suppress(queue.Empty):
            if line := lines.get(timeout=PATIENCE_S):
                yield json.loads(line)
                continue
        return


def _listen(process: subprocess.Popen[str]) -> queue.SimpleQueue[str]:
    """The lines that a process writes, then ''."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=listen, daemon=True).start()
    return lines


def _end(process: subprocess.Popen[str], folder: Path) -> str:
    """How a process ended that gave no answer."""
    try:
        status = process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        return f"no answer for {PATIENCE_S:.0f} s"
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"the process ended: {how}; {(folder / 'log').read_text(errors='replace')[-1500:]}"


def _environment(folder: Path) -> dict[str, str]:
    """Without the user's caches, with the trace of a crash, and not measured: a killed process writes nothing."""
    own = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONFAULTHANDLER": "1",
        "OPENCV_LOG_LEVEL": "OFF",
        "OMP_NUM_THREADS": "1",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | own
