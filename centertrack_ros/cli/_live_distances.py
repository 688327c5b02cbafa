# SPDX-License-Identifier: Apache-2.0
"""What sensors are worth in a live run: distances with and without them, and what told them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.types import LIFT_DEPTH, LIFT_GROUND, LIFT_HEADS, LIFT_POINTS, LIFT_SIZE_PRIOR, STATE_LOST

_TRACKS_TYPE = "centertrack_ros/msg/TrackArray"
# Track.lift -> how it is called in the table.
_LIFTS = {
    LIFT_HEADS: "heads of the network",
    LIFT_SIZE_PRIOR: "usual size",
    LIFT_GROUND: "ground",
    LIFT_DEPTH: "depth image",
    LIFT_POINTS: "points",
}


def distance_figures(truth: Path, recordings: Mapping[str, Path]) -> dict[str, Any]:
    """Distances of runs of the same drive, ready for JSON.

    Args:
        truth: The bag that was played, with its ground truth.
        recordings: Name of a run -> what the node published; sensors are counted in the last one.
    """
    from centertrack_ros.evaluation.bag_scores import match_bags
    from centertrack_ros.evaluation.distance_errors import BINS, matched_depths, mean_errors

    pairs = {name: match_bags(path, truth, truth_prefix="/truth").pairs[0] for name, path in recordings.items()}
    objects, errors = mean_errors({name: matched_depths(pair) for name, pair in pairs.items()})
    return {
        "bins_m": [list(one) for one in BINS],
        "objects": objects,
        "mean_relative_errors": errors,
        "boxes_by_source": boxes_by_source(list(recordings.values())[-1]),
    }


def boxes_by_source(recording: Path) -> dict[str, int]:
    """What told the distances of the objects that were seen; empty where the package's messages are not built."""
    counts: Counter[int] = Counter()
    with BagReader(recording) as reader:
        topics = [topic.name for topic in reader.of_type(_TRACKS_TYPE)]
        for _, message in reader.messages(topics) if topics else ():
            counts.update(int(track.lift) for track in message.tracks if track.state != STATE_LOST)
    return {name: counts[lift] for lift, name in _LIFTS.items() if counts[lift]}


def distance_table(figures: Mapping[str, Any]) -> str:
    """Makes the text that shows the figures of `distance_figures`."""
    bins = [f"{low:g}-{high:g} m" for low, high in figures["bins_m"]]
    lines = [f"{'mean error of the distance, %':<36}" + "".join(f"{name:>10}" for name in bins)]
    for name, errors in figures["mean_relative_errors"].items():
        cells = [f"{'-':>10}" if error is None else f"{100 * error:>10.1f}" for error in errors]
        lines.append(f"{name:<36}" + "".join(cells))
    lines.append(f"{'objects':<36}" + "".join(f"{count:>10}" for count in figures["objects"]))
    if figures["boxes_by_source"]:
        counts = [f"{count} by {name}" for name, count in figures["boxes_by_source"].items()]
        lines.append(f"boxes: {', '.join(counts)}")
    return "\n".join(lines)
