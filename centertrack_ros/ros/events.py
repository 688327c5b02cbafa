# SPDX-License-Identifier: Apache-2.0
"""Events that a child process reports to its parent: one JSON object a line on the child's standard output."""

from __future__ import annotations

import json
import sys
from typing import Any


def emit(event: str, **fields: Any) -> None:
    """Writes `{"event": event, **fields}` as one line and flushes, so that the parent reads it at once."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def parse(line: str) -> dict[str, Any] | None:
    """Reads a line that `emit` wrote.

    Returns:
        The event with its fields; None for any other line, such as a log line.
    """
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None
