# SPDX-License-Identifier: Apache-2.0
"""Names of result files: two inputs of the same name do not overwrite each other's results."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

_LOG = logging.getLogger(__name__)


def prepare_folder(folder: Path) -> None:
    """Makes the folder for results.

    Raises:
        OSError: It is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "is a file, expected a folder for the results", str(folder)) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "nothing can be written into this folder", str(folder))


def claim_name(folder: Path, name: str, origin: str, suffixes: Sequence[str]) -> str:
    """Finds the name under which the results of an input go into a folder.

    It is `name` unless results of another input have it, then `name`_2 and so on. The same input gets the same name
    again, so that a command can be repeated. `.NAME.origin` beside the results says where they come from.

    Args:
        folder: For the results; it exists.
        name: That the results should have.
        origin: What tells this input from others, for instance its absolute path.
        suffixes: Of the results, such as '.txt'.

    Returns:
        The name without suffix.

    Raises:
        OSError: The folder cannot be written to.
    """
    content = os.fsencode(origin)
    for number in itertools.count(1):
        candidate = name if number == 1 else f"{name}_{number}"
        mark = folder / f".{candidate}.origin"
        try:
            with mark.open("xb") as file:
                file.write(content)
        except FileExistsError:
            if mark.read_bytes() != content:
                continue
        else:
            if any((folder / f"{candidate}{suffix}").exists() for suffix in suffixes):
                mark.unlink()  # results of something else, which left no mark
                continue
        if number > 1:
            _LOG.warning("%s: has results of another input named %s; these are named %s", folder, name, candidate)
        return candidate
    raise AssertionError("unreachable")
