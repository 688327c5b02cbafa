# SPDX-License-Identifier: Apache-2.0
"""Consistency metrics, which need no ground truth: lengths and gaps of tracks, latency, dropped frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.bag_tracks import TYPE_2D, TYPE_3D
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.stamps import nanoseconds, stamp_or_arrival

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TIMING = "centertrack_ros/msg/FrameTiming"


def track_figures(recording: VideoSequence) -> dict[str, float | int]:
    """The figures of one camera's results.

    Lengths are in frames and s. A gap is a stretch of frames in which a track is absent before it returns.
    """
    frames_of: dict[int, list[int]] = defaultdict(list)
    for frame in recording:
        for identity in frame.tracks.ids.tolist():
            frames_of[identity].append(frame.index)
    stamps = {frame.index: frame.stamp for frame in recording}
    lengths = np.array([len(indices) for indices in frames_of.values()])
    seconds = np.array([stamps[indices[-1]] - stamps[indices[0]] for indices in frames_of.values()])
    gaps = sum(int(np.count_nonzero(np.diff(indices) > 1)) for indices in frames_of.values())
    count = len(frames_of)
    return {
        "frames": len(recording.frames),
        "tracks": count,
        "objects_per_frame": float(lengths.sum() / max(1, len(recording.frames))),
        "mean_length_frames": float(lengths.mean()) if count else 0.0,
        "median_length_frames": float(np.median(lengths)) if count else 0.0,
        "mean_length_s": float(seconds.mean()) if count else 0.0,
        "single_frame_tracks": int(np.count_nonzero(lengths == 1)),
        "gaps": gaps,
        "gaps_per_track": float(gaps / count) if count else 0.0,
    }


def bag_figures(path: Path | str) -> dict[str, Any]:
    """The figures of a bag, as far as it has the messages.

    The recorded times of a replay are the images' own, so that its latency has no meaning.

    Returns:
        'latency_ms': percentiles of time of recording minus stamp, by topic of detections; 'timing': percentiles of the
        node's own times, ms; 'drops': the images of each topic, and how many have no result with the same stamp.
    """
    latency: dict[str, list[float]] = defaultdict(list)
    with_result: set[int] = set()
    images: dict[str, set[int]] = defaultdict(set)
    stages: dict[str, list[float]] = defaultdict(list)
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.of_type(TYPE_2D, TYPE_3D, _TIMING, *_IMAGES)]
        for record, message in reader.messages(topics):
            stamp = stamp_or_arrival(nanoseconds(message.header.stamp), record.time_ns)
            if record.type in _IMAGES:
                images[record.topic].add(stamp)
            elif record.type == _TIMING:
                for name in ("network_ms", "processing_ms", "latency_ms"):
                    stages[name].append(float(getattr(message, name)))
            else:
                with_result.add(stamp)
                latency[record.topic].append((record.time_ns - stamp) * 1e-6)
    return {
        "latency_ms": {topic: percentiles(values) for topic, values in sorted(latency.items())},
        "timing": {name: percentiles(values) for name, values in sorted(stages.items())},
        "drops": {
            topic: {"images": len(stamps), "without_result": len(stamps - with_result)}
            for topic, stamps in sorted(images.items())
        },
    }


def latencies(path: Path | str, prefix: str = "") -> dict[str, list[float]]:
    """Time of recording minus stamp, ms, of the messages on each topic of detections that begins with `prefix`."""
    latency: dict[str, list[float]] = defaultdict(list)
    with BagReader(path) as reader:
        names = [topic.name for topic in reader.of_type(TYPE_2D, TYPE_3D) if topic.name.startswith(prefix)]
        for record, message in reader.messages(names):
            latency[record.topic].append((record.time_ns - nanoseconds(message.header.stamp)) * 1e-6)
    return dict(latency)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and maximum."""
    array = np.asarray(values, np.float64)
    low, high, top = np.percentile(array, [50, 95, 99])
    return {"p50": float(low), "p95": float(high), "p99": float(top), "max": float(array.max())}
