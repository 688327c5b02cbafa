"""Whatever a benchmark has started ends with it: when it fails, when it takes too long, when it is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_GRACE_S = 10.0


def end_in_order() -> None:
    """From now on SIGTERM ends this process as an exception does: what stands in `finally` is done."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with a group of its own; leaving the block ends all of the group: by SIGTERM, later by force."""
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
    with contextlib.suppress(ProcessLookupError):  # also what its leader left behind
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output_of(command: Sequence[str], limit_s: float) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command. Raises subprocess.TimeoutExpired after `limit_s`."""
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=limit_s)
    return process.returncode, out, err
