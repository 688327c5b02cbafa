# SPDX-License-Identifier: Apache-2.0
"""Memory of processes."""

import os
from pathlib import Path


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
