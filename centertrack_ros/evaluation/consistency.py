"""What a recording without truth tells about a tracker: how long tracks live, how often they break, how late it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.bag_tracks import TYPE_2D, TYPE_3D
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.io.rosbag import BagReader, stamp_ns

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TIMING = "centertrack_ros/msg/FrameTiming"


def track_figures(recording: VideoSequence) -> dict[str, float | int]:
    """Of one camera's results. Lengths in frames and s; a gap is a time in which a track was gone and came back."""
    frames: dict[int, list[int]] = defaultdict(list)
    for frame in recording:
        for identity in frame.tracks.ids.tolist():
            frames[identity].append(frame.index)
    stamps = {frame.index: frame.stamp for frame in recording}
    lengths = np.array([len(seen) for seen in frames.values()])
    seconds = np.array([stamps[seen[-1]] - stamps[seen[0]] for seen in frames.values()])
    gaps = sum(int(np.count_nonzero(np.diff(seen) > 1)) for seen in frames.values())
    count = len(frames)
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
    """Of a bag: latency of the results in ms (recorded minus stamp), and how many images got none.

    latency: percentiles per topic of detections; drops: images without a result of the same stamp; both only of what
    the bag holds. A replay's recorded times are the images' own, so that its latency says nothing.
    """
    late: dict[str, list[float]] = defaultdict(list)
    answered: set[int] = set()
    images: dict[str, set[int]] = defaultdict(set)
    stages: dict[str, list[float]] = defaultdict(list)
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.of_type(TYPE_2D, TYPE_3D, _TIMING, *_IMAGES)]
        for record, message in reader.messages(topics):
            stamp = stamp_ns(message.header.stamp)
            if record.type in _IMAGES:
                images[record.topic].add(stamp)
            elif record.type == _TIMING:
                for name in ("network_ms", "processing_ms", "latency_ms"):
                    stages[name].append(float(getattr(message, name)))
            else:
                answered.add(stamp)
                late[record.topic].append((record.time_ns - stamp) * 1e-6)
    return {
        "latency_ms": {topic: percentiles(values) for topic, values in sorted(late.items())},
        "timing": {name: percentiles(values) for name, values in sorted(stages.items())},
        "drops": {
            topic: {"images": len(stamps), "without_result": len(stamps - answered)}
            for topic, stamps in sorted(images.items())
        },
    }


def latencies(path: Path | str, prefix: str = "") -> dict[str, list[float]]:
    """Recorded minus stamp, ms, of the messages on each topic of detections that begins with `prefix`."""
    late: dict[str, list[float]] = defaultdict(list)
    with BagReader(path) as reader:
        names = [topic.name for topic in reader.of_type(TYPE_2D, TYPE_3D) if topic.name.startswith(prefix)]
        for record, message in reader.messages(names):
            late[record.topic].append((record.time_ns - stamp_ns(message.header.stamp)) * 1e-6)
    return dict(late)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and the greatest."""
    array = np.asarray(values, np.float64)
    low, high, top = np.percentile(array, [50, 95, 99])
    return {"p50": float(low), "p95": float(high), "p99": float(top), "max": float(array.max())}
