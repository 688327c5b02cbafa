"""How a process started by another tells it what happens: one JSON object a line on its standard output."""

from __future__ import annotations

import json
import sys
from typing import Any


def emit(event: str, **facts: Any) -> None:
    """Writes `{"event": …, …}` and flushes, so that the parent sees it at once."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def parse(line: str) -> dict[str, Any] | None:
    """What `emit` wrote; None for a line that is something else, such as a log line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found else None
