# SPDX-License-Identifier: Apache-2.0
"""Whether a folder of compiled networks may be loaded: a runtime runs what is in it as code of this process."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def distrust(folder: Path) -> str:
    """Why files in a folder must not be loaded as code: somebody else can have written them.

    Folders and files must belong to this user or to root, and nobody else may write them. The user's own group may:
    distributions give every user one, and its permission to write.

    Args:
        folder: An existing folder; everything in it counts.

    Returns:
        A clause that names the first such file; '' if all can be trusted.
    """
    try:
        for path in (folder, *sorted(folder.rglob("*"))):
            if reason := _distrust_one(path):
                return f"{path.name} {reason}"
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"
    return ""


def _distrust_one(path: Path) -> str:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        return "is a link"
    if facts.st_uid not in (0, os.geteuid()):
        return f"belongs to another user ({facts.st_uid})"
    if facts.st_mode & stat.S_IWOTH:
        return "can be written by every user: chmod o-w"
    if facts.st_mode & stat.S_IWGRP and facts.st_gid not in (0, os.getegid()):
        return f"can be written by another group ({facts.st_gid}): chmod g-w"
    return ""
