#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the documentation with Sphinx: python -m tools.build_docs [FOLDER]. Every warning is an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def packages() -> Path:
    """The folder of the packages of requirements/docs.txt in the current environment (tools/environment.py --docs)."""
    return Path(os.environ.get("CENTERTRACK_ENVIRONMENT") or ROOT / ".venv") / "docs"


def build(target: Path) -> int:
    """Builds the pages.

    Args:
        target: Folder for the HTML files.

    Returns:
        The exit status of Sphinx: 0 if there was no warning.
    """
    shutil.rmtree(ROOT / "docs" / "api", ignore_errors=True)  # generated: pages of modules that are gone would stay
    python_path = os.pathsep.join([str(packages()), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-j", "2", "-q", "-W", "--keep-going"]
    return subprocess.call([*command, str(ROOT / "docs"), str(target)], env={**os.environ, "PYTHONPATH": python_path})


def main() -> int:
    """Builds into out/docs, or into the folder that the command line names."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "out" / "docs"
    status = build(target)
    if status == 0:
        print(f"docs: {target / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
