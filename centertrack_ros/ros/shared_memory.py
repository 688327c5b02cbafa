# SPDX-License-Identifier: Apache-2.0
"""Whether the shared memory of this machine, or of this container, has room for what the Fast DDS profile asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # from Kilted on, and up to Jazzy


def shortage_of_shared_memory(variables: Mapping[str, str], place: Path = Path("/dev/shm")) -> str:
    """Why images will not go through shared memory, before Fast DDS has tried: it goes on by UDP alone.

    Args:
        variables: Environment variables.
        place: Where shared memory is.

    Returns:
        A sentence; '' if there is room, or another middleware or no profile is in use.
    """
    wanted = _segment_size(variables)
    if not wanted:
        return ""
    try:
        facts = os.statvfs(place)
    except OSError:
        return ""
    free = facts.f_bavail * facts.f_frsize
    if free > wanted:
        return ""
    return (
        f"{place} has {free >> 20} MB free, and the Fast DDS profile asks for {wanted >> 20} MB for each process: "
        "images come by UDP, which loses large ones; start the container with --ipc=host or --shm-size=512m"
    )


def _segment_size(variables: Mapping[str, str]) -> int:
    """Size of the segment in the profile in force, bytes; 0: Fast DDS's own, half a megabyte, or another middleware."""
    if not variables.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        return 0
    path = next((variables[name] for name in _PROFILES if variables.get(name)), "")
    try:
        found = re.search(r"<segment_size>\s*(\d+)", Path(path).read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return 0
    return int(found[1]) if found else 0
