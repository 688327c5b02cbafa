# SPDX-License-Identifier: Apache-2.0
"""Environments of processes that tests start, and limits of this one."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager


def unmeasured_environment() -> dict[str, str]:
    """This process's environment for one that coverage does not measure.

    Coverage writes a file at the end of a process, which fails where a test limits the size of files.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files, in bytes, at which writing fails as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
