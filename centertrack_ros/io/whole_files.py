# SPDX-License-Identifier: Apache-2.0
"""Files that exist as a whole or not at all: written beside their place, and moved there when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Gives the name under which a file is to be written, and moves it to `path` when the `with` statement ends well.

    After an error, a full disk or a signal the unfinished file is removed, and a file that stood at `path` is as it
    was. The name has the suffix of `path`, by which some libraries choose a format.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(unfinished)):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes a text file in UTF-8 as a whole or not at all. Raises OSError, which names the file."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
