# SPDX-License-Identifier: Apache-2.0
"""The shared-memory segments of Fast DDS: whose they are, and those that a killed process has left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path


def owned_shared_memory(pid: int) -> set[Path]:
    """The shared-memory segments that a living process has created (Fast DDS on Linux).

    It holds the lock file beside each of them open. It maps the segments of its peers as well, which are not its own.
    """
    opened = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            opened.add(os.readlink(link))
    segments = {Path(path.removesuffix("_el")) for path in opened if path.startswith("/dev/shm/fast")}
    return {segment for segment in segments if "_port" not in segment.name}


def remove_shared_memory_of_the_dead() -> None:
    """Removes the shared-memory segments of killed processes: 64 MB each with config/fastdds.xml.

    A living process holds a lock on the file beside its segment. A new process may not have locked it yet: files
    younger than 5 s stay.
    """
    for lock in Path("/dev/shm").glob("fast*_el"):
        with contextlib.suppress(OSError), lock.open() as file:
            if time.time() - lock.stat().st_mtime > 5.0:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
                lock.unlink()
