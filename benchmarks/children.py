# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with the benchmark that started them, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_GRACE_S = 10.0


def exit_on_sigterm() -> None:
    """From now on SIGTERM raises SystemExit in this process, so that `finally` blocks run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with a group of its own; leaving the block ends the whole group: by SIGTERM, after 10 s by SIGKILL."""
    process = subprocess.Popen(command, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):  # processes that the child started, too
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(command: Sequence[str], limit_s: float) -> tuple[int, str, str]:
    """Runs a command.

    Returns:
        Exit code, standard output, standard error.

    Raises:
        subprocess.TimeoutExpired: It took longer than `limit_s` seconds.
    """
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=limit_s)
    return process.returncode, out, err
