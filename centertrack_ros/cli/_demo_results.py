"""What a run of player, node and recorder has given: tracks as text, an annotated video, a table of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.bag_tracks import TYPE_2D, TYPE_3D, read_tracks
from centertrack_ros.datasets.mot import write_results
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.sources import BagSource
from centertrack_ros.visualization.drawing import Trails, annotation_of, draw
from centertrack_ros.visualization.video import VideoWriter

_TIMING_TYPE = "centertrack_ros/msg/FrameTiming"


@dataclass
class Run:
    """A recording of the node's answers, with the times at which images went out and answers came in.

    order      stamps, ns, of the images in the order of their publication
    published, received   stamp -> the system's time, ns
    answers    stamp -> number of answers
    """

    recording: Path
    order: list[int]
    published: Mapping[int, int]
    received: Mapping[int, int]
    answers: Mapping[int, int]

    def problem(self) -> str:
        """What went wrong, in a sentence; '' when every image was answered exactly once."""
        missing = [stamp for stamp in self.order if not self.answers.get(stamp)]
        doubled = [stamp for stamp in self.order if self.answers.get(stamp, 0) > 1]
        strange = [stamp for stamp in self.answers if stamp not in self.published]
        if not self.order:
            return "no image was played"
        if missing:
            first = self.order.index(missing[0]) + 1
            return f"{len(missing)} of {len(self.order)} frames were not answered, the first is frame {first}"
        if doubled or strange:
            return f"{len(doubled)} frames were answered twice, {len(strange)} answers belong to no frame"
        return ""

    def tracks(self) -> VideoSequence:
        """The detections with their ids, one frame for each image that was played, numbered from 1."""
        with BagReader(self.recording) as reader:
            empty = not reader.of_type(TYPE_2D, TYPE_3D)
        found = VideoSequence("", (), (), 1, 0) if empty else read_tracks(self.recording)[""]
        by_stamp = {int(frame.token): frame for frame in found}
        nothing = _nothing(found)
        frames = tuple(
            replace(by_stamp.get(stamp, replace(nothing, stamp=stamp * 1e-9)), index=number)
            for number, stamp in enumerate(self.order, start=1)
        )
        return VideoSequence("demo", found.classes, frames, 1, len(frames))


def _nothing(found: VideoSequence) -> AnnotatedFrame:
    from centertrack_ros.datasets.records import empty_tracks

    return AnnotatedFrame(0, 0.0, empty_tracks())


def write_text(found: Run, path: Path) -> None:
    """The tracks in MOTChallenge's form."""
    write_results(path, found.tracks())


def write_video(found: Run, source: BagSource, path: Path, draw_3d: bool) -> None:
    """The images that were played with the boxes, ids and trails that the node gave for each."""
    from tqdm import tqdm

    tracks = found.tracks()
    by_time = {round(stamp / 1e6): frame for stamp, frame in zip(found.order, tracks, strict=True)}
    trails = Trails()
    with VideoWriter(path, source.rate or 10.0) as video:
        for image in tqdm(source, total=source.length, unit="frame", desc="video", disable=None):
            frame = by_time.get(round(image.stamp * 1e3))
            if frame is None:
                continue
            annotation = annotation_of(frame.tracks, tracks.classes)
            trails.update(annotation, image.stamp)
            caption = f"frame {frame.index}   {len(annotation)} objects"
            video.write(draw(image.image, annotation, trails, image.camera if draw_3d else None, caption))


def summary(found: Run) -> dict[str, Any]:
    """The figures of a run, ready for JSON; times in ms."""
    tracks = found.tracks()
    ids = np.concatenate([frame.tracks.ids for frame in tracks]) if len(tracks.frames) else np.zeros(0, np.int64)
    both = [stamp for stamp in found.order if stamp in found.received]
    answered = sum(1 for stamp in found.order if found.answers.get(stamp))
    return {
        "frames_published": len(found.order),
        "frames_answered": answered,
        "frames_dropped": len(found.order) - answered,
        "frames_answered_twice": sum(1 for count in found.answers.values() if count > 1),
        "tracks": len(np.unique(ids)),
        "boxes": len(ids),
        "network_ms": _spread(_network_ms(found.recording)),
        "latency_ms": _spread([(found.received[stamp] - found.published[stamp]) / 1e6 for stamp in both]),
    }


def _network_ms(recording: Path) -> list[float]:
    with BagReader(recording) as reader:
        topics = [topic.name for topic in reader.of_type(_TIMING_TYPE)]
        return [message.network_ms for _, message in reader.messages(topics)]


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p95, highest = (round(float(v), 1) for v in np.percentile(values, (50, 95, 100)))
    return {"p50": p50, "p95": p95, "max": highest}


def table(figures: Mapping[str, Any]) -> str:
    """The figures as they are printed."""
    rows = [
        ("frames in", figures["frames_published"]),
        ("frames out", figures["frames_answered"]),
        ("dropped", figures["frames_dropped"]),
        ("answered twice", figures["frames_answered_twice"]),
        ("tracks", figures["tracks"]),
        ("boxes", figures["boxes"]),
    ]
    lines = [f"{name:<28}{value:>8}" for name, value in rows]
    lines.append(f"\n{'ms':<28}{'p50':>8}{'p95':>8}{'max':>8}")
    for name, key in (("network", "network_ms"), ("latency, image to answer", "latency_ms")):
        spread = figures[key]
        cells = "".join(f"{spread[part]:>8.1f}" for part in ("p50", "p95", "max")) if spread else f"{'unknown':>8}"
        lines.append(f"{name:<28}{cells}")
    return "\n".join(lines)
