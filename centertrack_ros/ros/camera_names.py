# SPDX-License-Identifier: Apache-2.0
"""Names of cameras, which become parts of topic names."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def check_camera_names(names: Iterable[str]) -> None:
    """Raises ValueError for a name that ROS does not allow in a topic."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"cameras: '{name}' cannot be part of a topic's name; expected letters, digits and _, no digit first"
            )
