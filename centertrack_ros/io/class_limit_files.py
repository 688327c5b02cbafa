# SPDX-License-Identifier: Apache-2.0
"""Limits of single classes in a file of YAML."""

from __future__ import annotations

from pathlib import Path

from centertrack_ros.io.yaml_files import load_yaml
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.typed_records import construct, shown


def read_class_limits(path: Path) -> dict[str, ClassLimits]:
    """Reads names of classes with their limits: `person: {new_threshold: 0.5}`.

    Args:
        path: YAML file.

    Returns:
        Name of a class -> its limits.

    Raises:
        ValueError: Something else is in the file; the message names the file.
        OSError: It cannot be read.
    """
    document = load_yaml(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected the names of classes with their limits, got {shown(document)}")
    return {str(name): construct(ClassLimits, values, f"{path}: {str(name)[:60]}") for name, values in document.items()}
