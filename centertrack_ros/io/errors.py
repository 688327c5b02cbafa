# SPDX-License-Identifier: Apache-2.0
"""What every reader of files raises."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A file does not hold what it should; the message begins with the file and, where there is one, the line."""

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        super().__init__(f"{path}:{line}: {message}" if line is not None else f"{path}: {message}")
