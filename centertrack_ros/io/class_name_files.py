# SPDX-License-Identifier: Apache-2.0
"""Names of a detector's classes, in the order of its numbers: as a list, or in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from centertrack_ros.io.text_files import read_lines
from centertrack_ros.io.yaml_files import load_yaml
from centertrack_ros.typed_records import shown

_YAML = (".yaml", ".yml")
_SUFFIXES = (".txt", ".names", *_YAML)


def class_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names that a user gives.

    Args:
        given: The names; or one entry, the path of a file: text with a name in each line, or YAML with a list, with a
            mapping of numbers to names, or with one of both under `names`, as data sets for YOLO have it.

    Returns:
        The names; empty if none are given.

    Raises:
        ValueError: There is no such file, or something else is in it; the message names the file.
        OSError: The file cannot be read.
    """
    entries = [entry for entry in given if entry]
    if len(entries) != 1 or Path(entries[0]).suffix.lower() not in _SUFFIXES:
        return tuple(entries)
    path = Path(entries[0])
    if path.suffix.lower() not in _YAML:
        lines = [line.strip() for line in read_lines(path)]
        while lines and not lines[-1]:
            lines.pop()
        return _checked(lines, path)
    document = load_yaml(path)
    if isinstance(document, Mapping) and "names" in document:
        document = document["names"]
    if isinstance(document, Mapping) and set(document) == set(range(len(document))):
        document = [document[number] for number in range(len(document))]
    return _checked(document, path)


def _checked(names: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise ValueError(f"{path}: expected the names of classes, in the order of their numbers, got {shown(names)}")
    return tuple(str(name) for name in names)
