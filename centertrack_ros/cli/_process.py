"""Child processes of a verb: started together, listened to, and ended whatever happens."""

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


class Child:
    """A Python process whose events go to `on_event` and whose other lines go to a log file.

    `lines` holds the log's lines; with `told` it reads what `tell` writes.
    Leaving its `with` statement ends it by SIGINT, by force after a few seconds.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        on_event: Callable[[dict[str, Any]], None] | None = None,
        told: bool = False,
    ) -> None:
        self.name, self.lines, self._log, self._on_event = name, list[str](), log, on_event
        environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdin=subprocess.PIPE if told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its children in order
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

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def code(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._process.poll()

    def tell(self, line: str) -> None:
        """Writes a line to its standard input; one that has ended meanwhile does not hear it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def end(self) -> int:
        """Ends the process and returns its exit code; everything that it said has then been read."""
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
        """Raises ChildError when the process has ended with an error or, being a node, has logged one."""
        errors = [line for line in self.lines if "[ERROR]" in line or "[FATAL]" in line]
        if errors:
            raise ChildError(f"the {self.name} says: {errors[0].split(']: ', 1)[-1]}")
        if self.code not in (None, 0):
            self._reader.join(_GRACE_S)
            last = next((line for line in reversed(self.lines) if line.strip()), "nothing")
            raise ChildError(f"the {self.name} ended with code {self.code}; it said: {last}")


class ChildError(OSError):
    """A child process failed; the text says which and what it said."""


def ros_environment(profile: Path | None) -> dict[str, str]:
    """This process's environment for ROS nodes on this machine alone: what the user has set is kept.

    profile  Fast DDS profile for large images
    """
    environment = dict(os.environ)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    environment.setdefault("RCUTILS_LOGGING_BUFFERED_STREAM", "0")
    # The network's threads wait for each other asleep: spinning, they would take the cores from the other processes.
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
