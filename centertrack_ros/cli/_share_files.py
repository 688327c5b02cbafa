# SPDX-License-Identifier: Apache-2.0
"""Files that travel with the package but outside of it: in the source tree, or under share/ of an installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def share_file(name: str) -> Path:
    """Finds a shared file wherever it is installed.

    Args:
        name: Its path below share/centertrack_ros, for instance 'config/demo.yaml'.

    Raises:
        FileNotFoundError: It is in none of the places; the text names them.
    """
    roots = [Path(__file__).resolve().parents[2]]
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    roots += [Path(prefix) / "share" / "centertrack_ros" for prefix in prefixes]
    for root in roots:
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is not installed; looked in {', '.join(map(str, roots))}")
