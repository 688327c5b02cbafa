# SPDX-License-Identifier: Apache-2.0
"""Where two bags of results differ: a replay and what the live node published, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.stamps import nanoseconds

PREFIX = "/centertrack/output"
_COMPARED = (
    "vision_msgs/msg/Detection2DArray",
    "vision_msgs/msg/Detection3DArray",
    "centertrack_ros/msg/TrackArray",
    "visualization_msgs/msg/MarkerArray",
)

_DELETE_ALL = 3  # visualization_msgs/Marker.action


@dataclass
class Difference:
    """Images that only the first, only the second, and both have; `different`: (topic, stamp s, field) of these."""

    only_first: int = 0
    only_second: int = 0
    both: int = 0
    different: list[tuple[str, float, str]] = field(default_factory=list)


def compare_bags(first: Path | str, second: Path | str) -> Difference:
    """Compares the messages of equal stamps, field by field, of the topics that both bags have.

    Where a stamp comes several times (a bag played in a loop), the first is compared with the first, and so on.

    Args:
        first: A bag with results below /centertrack/output.
        second: Another one.

    Raises:
        DataError: A bag cannot be read.
    """
    one, two = _messages(first), _messages(second)
    images = [{key for key in side if key[0].endswith("/detections_3d")} for side in (one, two)]
    result = Difference(len(images[0] - images[1]), len(images[1] - images[0]), len(images[0] & images[1]))
    for key in sorted(set(one) & set(two)):
        place = next(_unequal(one[key], two[key]), None)
        if place is not None:
            result.different.append((key[0], key[1] * 1e-9, place))
    return result


def _messages(path: Path | str) -> dict[tuple[str, int, int], Any]:
    """(topic, stamp ns, how many of this stamp came before) -> message.

    Marker arrays that only clear the screen are left out: they say nothing about the tracks.
    """
    found: dict[tuple[str, int, int], Any] = {}
    seen: Counter[tuple[str, int]] = Counter()
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.of_type(*_COMPARED) if topic.name.startswith(PREFIX)]
        for record, message in reader.messages(topics):
            header = (
                message.header
                if hasattr(message, "header")
                else next((m.header for m in message.markers if m.action != _DELETE_ALL), None)
            )
            if header is not None:
                topic, stamp = record.topic, nanoseconds(header.stamp)
                found[topic, stamp, seen[topic, stamp]] = message
                seen[topic, stamp] += 1
    return found


def _unequal(one: Any, two: Any, place: str = "") -> Iterator[str]:
    """The places at which two messages differ; NaN equals NaN."""
    if isinstance(one, np.ndarray):
        if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            yield place
    elif isinstance(one, list | tuple):
        if len(one) != len(two):
            yield f"{place} (length {len(one)} and {len(two)})"
        for index, (left, right) in enumerate(zip(one, two, strict=False)):
            yield from _unequal(left, right, f"{place}[{index}]")
    elif hasattr(one, "__dataclass_fields__"):
        for name in one.__dataclass_fields__:
            if name != "__msgtype__":
                yield from _unequal(getattr(one, name), getattr(two, name), f"{place}.{name}" if place else name)
    elif one != two and not (isinstance(one, float) and np.isnan(one) and np.isnan(two)):
        yield f"{place} ({one!r} and {two!r})"
