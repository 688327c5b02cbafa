# SPDX-License-Identifier: Apache-2.0
"""What processes take of the machine's memory."""

import os
from pathlib import Path


def resident_mb(pid: int) -> float:
    """Memory that a process has in RAM (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
