# SPDX-License-Identifier: Apache-2.0
"""The error that every reader of files raises."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A file is missing or malformed; the message begins with the file and, where there is one, the line."""

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        super().__init__(f"{path}:{line}: {message}" if line is not None else f"{path}: {message}")
