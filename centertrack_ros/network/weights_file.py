# SPDX-License-Identifier: Apache-2.0
"""Reads this package's files of weights into arrays, without torch."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.network.profile import ModelProfile

SUFFIX = ".safetensors"
_MAX_LISTED_KEYS = 40  # an error message names so many keys, then only counts the rest


class CheckpointError(ValueError):
    """A file cannot be used as weights; the message says why, and what was expected."""


def is_safetensors(path: Path) -> bool:
    """Whether a file is one of safetensors. Looks at its content as well, a length of 8 bytes and then JSON.

    Args:
        path: The file; its suffix can be wrong.
    """
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == SUFFIX or (len(head) == 9 and head[8:] == b"{")


@contextmanager
def opened(path: Path, framework: str) -> Iterator[tuple[Any, ModelProfile]]:
    """Context manager: opens a file of weights and reads the profile in its metadata.

    Args:
        path: The file.
        framework: 'numpy' or 'pt': the kind of its tensors.

    Raises:
        CheckpointError: It is no such file, or has no profile that can be read.
    """
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: expected a safetensors file")
    try:
        with safe_open(str(path), framework=framework) as file:
            metadata = file.metadata() or {}
            if "profile" not in metadata:
                raise CheckpointError(
                    f"{path} has no model profile in its metadata: write such files with `centertrack weights convert`"
                )
            try:
                profile = ModelProfile.from_json(metadata["profile"])
            except ValueError as error:
                raise CheckpointError(f"{path}: its model profile cannot be read: {error}") from None
            yield file, profile
    except (SafetensorError, struct.error) as error:
        raise CheckpointError(
            f"{path} is not usable: it is truncated or not a safetensors file ({str(error)[:160]})"
        ) from None


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], ModelProfile]:
    """Read a file of weights.

    Args:
        path: The file.

    Returns:
        Parameter name -> array, those of floating point in float32, and the profile.

    Raises:
        CheckpointError: It is no such file.
        OSError: It cannot be read.
    """
    with opened(path, "numpy") as (file, profile):
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    return {
        key: value.astype(np.float32) if np.issubdtype(value.dtype, np.floating) else value
        for key, value in state.items()
    }, profile


def listed(items: list[str], separator: str) -> str:
    """Keys or problems for a message, the first ones by name and the rest counted.

    Args:
        items: In order.
        separator: Between two of them.
    """
    more = f"{separator}and {len(items) - _MAX_LISTED_KEYS} more" if len(items) > _MAX_LISTED_KEYS else ""
    return separator.join(item[:200] for item in items[:_MAX_LISTED_KEYS]) + more
