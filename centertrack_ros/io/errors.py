# SPDX-License-Identifier: Apache-2.0
"""The error that every reader of files raises, and other libraries' errors as parts of its text."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A file is missing or malformed; the message begins with the file and, where there is one, the line."""

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        super().__init__(f"{path}:{line}: {message}" if line is not None else f"{path}: {message}")


def sentence(error: BaseException) -> str:
    """What a library says of an error, in one line without a full stop; the error's type if it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
