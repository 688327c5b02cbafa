# SPDX-License-Identifier: Apache-2.0
"""Python processes that a verb starts: it reads their events, and it ends them whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from centertrack_ros.ros.events import parse

_GRACE_S = 5.0


class Subprocess:
    """A Python process whose events go to a function and whose other lines go to a log file.

    Leaving its `with` statement ends it by SIGINT, and by SIGKILL when it still runs a few seconds later.

    Attributes:
        name: Its name in error texts.
        lines: The lines of the log so far.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        on_event: Callable[[dict[str, Any]], None] | None = None,
        reads_stdin: bool = False,
    ) -> None:
        """Starts the process.

        Args:
            name: Its name in error texts.
            arguments: Of the Python interpreter.
            log: File for its output.
            environment: Its environment variables.
            on_event: Is called with each event, from a thread; None: events are lines of the log.
            reads_stdin: Whether it reads what `write_line` writes.
        """
        self.name, self.lines, self._log, self._on_event = name, list[str](), log, on_event
        environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdin=subprocess.PIPE if reads_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its subprocesses in order
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("w", encoding="utf-8") as log:
            for line in self._process.stdout:
                event = parse(line) if self._on_event is not None else None
                if event is not None and self._on_event is not None:
                    self._on_event(event)
                else:
                    self.lines.append(line.rstrip("\n"))
                    log.write(line)
                    log.flush()

    def __enter__(self) -> Subprocess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def code(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._process.poll()

    def write_line(self, line: str) -> None:
        """Writes a line to its standard input; nothing happens when it has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def interrupt(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Ends the process and returns its exit code; all of its output has been read then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_GRACE_S)
        return int(self._process.returncode)

    def check(self) -> None:
        """Looks for errors.

        Raises:
            SubprocessError: It has ended with an error or, as a ROS node, has logged one.
        """
        errors = [line for line in self.lines if "[ERROR]" in line or "[FATAL]" in line]
        if errors:
            raise SubprocessError(f"the {self.name} reports: {errors[0].split(']: ', 1)[-1]}")
        if self.code not in (None, 0):
            self._reader.join(_GRACE_S)
            last = next((line for line in reversed(self.lines) if line.strip()), "nothing")
            raise SubprocessError(f"the {self.name} ended with code {self.code}; its last output: {last}")


class SubprocessError(OSError):
    """A subprocess failed; the text names it and repeats its error."""


def ros_environment(profile: Path | None) -> dict[str, str]:
    """Makes the environment of ROS nodes that stay on this machine; what the user has set is kept.

    Args:
        profile: Fast DDS profile for large images.
    """
    environment = dict(os.environ)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    environment.setdefault("RCUTILS_LOGGING_BUFFERED_STREAM", "0")
    # The network's threads sleep while they wait for each other: spinning would take the cores from other processes.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if profile is not None:
        old = environment.get("ROS_DISTRO", _distribution_of_wheels()) in ("humble", "iron", "jazzy")
        name = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
        environment.setdefault(name, str(profile))
    return environment


def _distribution_of_wheels() -> str:
    """Which ROS 2 was installed from PyPI, as far as it matters here: up to Jazzy Fast DDS was called Fast RTPS."""
    try:
        return "jazzy" if version("ros-fastrtps") else ""
    except PackageNotFoundError:
        return ""
