# SPDX-License-Identifier: Apache-2.0
"""JSON documents as files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from centertrack_ros.io.errors import DataError


def load_json(path: Path | str) -> Any:
    """Reads the JSON document of a file.

    Raises:
        DataError: There is no such file, or it is not JSON; the text names the broken line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except IsADirectoryError:
        raise DataError(path, "is a folder, expected a JSON file") from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"not a text file (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise DataError(path, f"not JSON: {error.msg}", error.lineno) from None


def write_json(path: Path | str, document: Mapping[str, Any]) -> None:
    """Writes the document as a whole or not at all: an existing file stays when the disk is full."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, sort_keys=True, allow_nan=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
