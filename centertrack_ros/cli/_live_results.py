# SPDX-License-Identifier: Apache-2.0
"""The results of a run of player, node and recorder: tracks as text, an annotated video, a table of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.bag_tracks import TYPE_2D, TYPE_3D, read_tracks
from centertrack_ros.datasets.mot import class_counts, classes_written, write_results
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.source_base import DEFAULT_RATE
from centertrack_ros.io.sources import BagSource
from centertrack_ros.visualization.drawing import LabelSides, Trails, annotation_of, draw
from centertrack_ros.visualization.video import VideoWriter

_TIMING_TYPE = "centertrack_ros/msg/FrameTiming"


@dataclass(frozen=True)
class LiveResults:
    """A recording of the node's outputs, with the times at which images went out and results came in.

    Attributes:
        recording: The bag.
        order: Stamps, ns, of the images in the order of their publication.
        published: Stamp, ns -> system time, ns, at which the image went out.
        received: Stamp, ns -> system time, ns, at which the first result came in.
        counts: Stamp, ns -> number of results.
    """

    recording: Path
    order: list[int]
    published: Mapping[int, int]
    received: Mapping[int, int]
    counts: Mapping[int, int]

    def problem(self) -> str:
        """What went wrong, in a sentence; '' when every image has exactly one result."""
        missing = [stamp for stamp in self.order if not self.counts.get(stamp)]
        repeated = [stamp for stamp in self.order if self.counts.get(stamp, 0) > 1]
        unknown = [stamp for stamp in self.counts if stamp not in self.published]
        if not self.order:
            return "no image was played"
        if missing:
            first = self.order.index(missing[0]) + 1
            return f"{len(missing)} of {len(self.order)} frames have no result, the first is frame {first}"
        if repeated or unknown:
            return f"{len(repeated)} frames have more than one result, {len(unknown)} results belong to no frame"
        return ""

    def tracks(self) -> VideoSequence:
        """The detections with their ids, one frame for each image that was played, numbered from 1."""
        with BagReader(self.recording) as reader:
            empty = not reader.of_type(TYPE_2D, TYPE_3D)
        recorded = VideoSequence("", (), (), 1, 0) if empty else read_tracks(self.recording)[""]
        by_stamp = {int(frame.token): frame for frame in recorded}
        without_tracks = AnnotatedFrame(0, 0.0, empty_tracks())
        frames = tuple(
            replace(by_stamp.get(stamp, replace(without_tracks, stamp=stamp * 1e-9)), index=number)
            for number, stamp in enumerate(self.order, start=1)
        )
        return VideoSequence("demo", recorded.classes, frames, 1, len(frames))


def write_text(results: LiveResults, path: Path) -> str:
    """Writes the tracks in MOTChallenge's format, and returns a line that says which classes went in."""
    tracks = results.tracks()
    write_results(path, tracks)
    return classes_written(tracks.classes, class_counts(tracks))


def write_video(results: LiveResults, source: BagSource, path: Path, draw_3d: bool) -> None:
    """Writes the images that were played with the boxes, ids and trails of the node's results."""
    from tqdm import tqdm

    tracks = results.tracks()
    by_time = {round(stamp / 1e6): frame for stamp, frame in zip(results.order, tracks, strict=True)}
    trails, sides = Trails(), LabelSides()
    with VideoWriter(path, source.rate or DEFAULT_RATE) as video:
        for image in tqdm(source, total=source.length, unit="frame", desc="video", disable=None):
            frame = by_time.get(round(image.stamp * 1e3))
            if frame is None:
                continue
            annotation = annotation_of(frame.tracks, tracks.classes)
            trails.update(annotation, image.stamp)
            caption = f"frame {frame.index}   {len(annotation)} objects"
            camera = image.camera if draw_3d else None
            video.write(draw(image.image, annotation, trails, camera, caption, sides=sides))


def summary(results: LiveResults) -> dict[str, Any]:
    """Makes the figures of a run, ready for JSON; times in ms."""
    tracks = results.tracks()
    ids = np.concatenate([frame.tracks.ids for frame in tracks]) if len(tracks.frames) else np.zeros(0, np.int64)
    both = [stamp for stamp in results.order if stamp in results.received]
    answered = sum(1 for stamp in results.order if results.counts.get(stamp))
    return {
        "frames_published": len(results.order),
        "frames_answered": answered,
        "frames_dropped": len(results.order) - answered,
        "frames_answered_twice": sum(1 for count in results.counts.values() if count > 1),
        "tracks": len(np.unique(ids)),
        "boxes": len(ids),
        "network_ms": _percentiles(_network_ms(results.recording)),
        "latency_ms": _percentiles([(results.received[stamp] - results.published[stamp]) / 1e6 for stamp in both]),
    }


def _network_ms(recording: Path) -> list[float]:
    with BagReader(recording) as reader:
        topics = [topic.name for topic in reader.of_type(_TIMING_TYPE)]
        return [message.network_ms for _, message in reader.messages(topics)]


def _percentiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p95, highest = (round(float(v), 1) for v in np.percentile(values, (50, 95, 100)))
    return {"p50": p50, "p95": p95, "max": highest}


def table(figures: Mapping[str, Any]) -> str:
    """Makes the text that shows the figures."""
    rows = [
        ("frames in", figures["frames_published"]),
        ("frames out", figures["frames_answered"]),
        ("dropped", figures["frames_dropped"]),
        ("more than one result", figures["frames_answered_twice"]),
        ("tracks", figures["tracks"]),
        ("boxes", figures["boxes"]),
    ]
    lines = [f"{name:<28}{value:>8}" for name, value in rows]
    lines.append(f"\n{'ms':<28}{'p50':>8}{'p95':>8}{'max':>8}")
    for name, key in (("network", "network_ms"), ("latency, image to result", "latency_ms")):
        times = figures[key]
        cells = "".join(f"{times[part]:>8.1f}" for part in ("p50", "p95", "max")) if times else f"{'unknown':>8}"
        lines.append(f"{name:<28}{cells}")
    return "\n".join(lines)
