#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every source file that git tracks begins with its SPDX line; `make lint` runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINE = "SPDX-License-Identifier: Apache-2.0"
SUFFIXES = {".py", ".msg", ".yaml", ".yml", ".cmake", ".sh", ".css", ".service"}
NAMES = {"CMakeLists.txt", "Makefile", "Dockerfile", "run", "centertrack", "centertrack_node"}
# Data that others wrote, kept byte for byte.
EXCLUDED = ("test/data/", "demo/")
HEAD = 3  # lines; a shebang or an opening of a comment may stand before it


def is_source(path: str) -> bool:
    """Whether a path, relative to the root, is that of a source file."""
    name = path.rpartition("/")[2]
    return not path.startswith(EXCLUDED) and (Path(path).suffix in SUFFIXES or name in NAMES)


def without_line(root: Path, paths: Iterable[str]) -> list[str]:
    """The source files among `paths` whose first lines do not hold the SPDX line.

    Args:
        root: Folder that the paths are relative to.
        paths: Tracked files; those that do not exist are skipped.

    Returns:
        Their paths, sorted.
    """
    missing = []
    for path in filter(is_source, paths):
        file = root / path
        if not file.is_file() or not file.stat().st_size:
            continue  # deleted, or an empty __init__.py
        if LINE not in "\n".join(file.read_text(encoding="utf-8").splitlines()[:HEAD]):
            missing.append(path)
    return sorted(missing)


def main() -> int:
    """Prints the files without the line; the exit status is 1 if there are any."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:  # a source archive, where there is no list of tracked files
        print("check_spdx: not a git checkout, nothing is checked")
        return 0
    missing = without_line(ROOT, listing.stdout.split("\0"))
    for path in missing:
        print(f"{path}: the first line must be '# {LINE}'")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
