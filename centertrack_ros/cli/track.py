# SPDX-License-Identifier: Apache-2.0
"""`centertrack track`: tracks in a video, a folder of images or a bag, without ROS."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from centertrack_ros.cli._arguments import intrinsics
from centertrack_ros.cli._tracking_options import add_engine_arguments, add_tracker_arguments, load, tracker_config

if TYPE_CHECKING:
    from centertrack_ros.datasets.records import AnnotatedFrame
    from centertrack_ros.engine.base import Engine
    from centertrack_ros.io.sources import Source
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.types import Frame, FrameResult

HELP = "track in a video, a folder of images or a bag, without ROS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack track`."""
    parser.add_argument("input", help="video, image, folder of images, rosbag2, camera number or stream address")
    parser.add_argument("--output", type=Path, default=Path("out"), metavar="DIR", help="folder for the results")
    parser.add_argument("--save-video", action="store_true", help="write DIR/NAME.webm with boxes, ids and trails")
    parser.add_argument("--save-txt", action="store_true", help="write DIR/NAME.txt, tracks in MOTChallenge's format")
    parser.add_argument("--camera", type=intrinsics, metavar="fx,fy,cx,cy", help="intrinsics, px: for 3D boxes")
    parser.add_argument("--draw-3d", action="store_true", help="draw 3D boxes too, where there are any")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames/s, if the input has none or a wrong one")
    parser.add_argument("--topic", metavar="NAME", help="image topic of a bag with several")
    parser.add_argument("--rectified", action="store_true", help="a bag's images are undistorted")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many")
    add_engine_arguments(parser)
    add_tracker_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tracks in the input and writes what was asked for."""
    from centertrack_ros.io.sources import open_source

    logging.basicConfig(format="%(message)s")
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {args.frames}")
    source = open_source(
        args.input, intrinsics=args.camera, rate=args.rate, image_topic=args.topic, rectified=args.rectified
    )
    engine = load(args)
    config = tracker_config(args)
    outputs = _Outputs(args, source, engine.profile.classes)
    with ExitStack() as stack:
        stack.callback(outputs.close)
        for frame, result in track(source, engine, config, args.frames):
            outputs.add(frame, result)
    outputs.report(engine.name)
    return 0


def track(
    source: Source, engine: Engine, config: TrackerConfig, most: int | None = None
) -> Iterator[tuple[Frame, FrameResult]]:
    """Tracks frame by frame and shows a progress bar.

    Args:
        source: The images.
        engine: Runs the network.
        config: How detections become tracks.
        most: Number of frames after which it stops; None: at the end of the source.

    Yields:
        Each frame with its result. A frame that cannot be used is left out, and a warning is logged.
    """
    from tqdm import tqdm

    from centertrack_ros.tracking.pipeline import Tracker

    tracker = Tracker(engine, config)
    total = min(filter(None, (source.length, most)), default=None)
    with tqdm(total=total, unit="frame", desc=source.name, disable=None) as bar:
        for count, frame in enumerate(source, start=1):
            try:
                yield frame, tracker.step(frame.image, frame.camera, frame.stamp)
            except ValueError as error:
                logging.getLogger(__name__).warning("%s: frame %d: %s", source.name, frame.index, error)
            bar.update()
            if count == most:
                return


class _Outputs:
    """The outputs of a run: text and video where asked for, and the figures that are printed at the end."""

    def __init__(self, args: argparse.Namespace, source: Source, classes: tuple[str, ...]) -> None:
        from centertrack_ros.visualization.drawing import Trails
        from centertrack_ros.visualization.video import VideoWriter

        self._args, self._source, self._classes = args, source, classes
        self._frames: list[AnnotatedFrame] = []
        self._timings: dict[str, list[float]] = {}
        self._trails = Trails()
        self._text = args.output / f"{source.name}.txt" if args.save_txt else None
        self._video = VideoWriter(args.output / f"{source.name}.webm", source.rate or 10.0) if args.save_video else None
        args.output.mkdir(parents=True, exist_ok=True) if args.save_txt or args.save_video else None

    def add(self, frame: Frame, result: FrameResult) -> None:
        from centertrack_ros.datasets.records import AnnotatedFrame
        from centertrack_ros.visualization.drawing import annotation_of, draw

        seen = result.tracks.select(np.flatnonzero(result.tracks.hits > 0))
        self._frames.append(AnnotatedFrame(frame.index, frame.stamp, seen))
        for stage, milliseconds in result.timing_ms.items():
            self._timings.setdefault(stage, []).append(milliseconds)
        if self._video is not None:
            annotation = annotation_of(seen, self._classes)
            self._trails.update(annotation, frame.stamp)
            camera = frame.camera if self._args.draw_3d else None
            caption = f"frame {frame.index}   {len(annotation)} objects"
            self._video.write(draw(frame.image, annotation, self._trails, camera, caption))

    def close(self) -> None:
        """Finishes the files; after an error they hold the frames up to it."""
        from centertrack_ros.datasets.mot import write_results
        from centertrack_ros.datasets.records import VideoSequence

        if self._video is not None:
            self._video.__exit__()
        if self._text is not None:
            frames = tuple(self._frames)
            write_results(self._text, VideoSequence(self._source.name, self._classes, frames, 1, len(frames)))

    def report(self, engine: str) -> None:
        ids = np.concatenate([frame.tracks.ids for frame in self._frames]) if self._frames else np.zeros(0)
        stages = {stage: float(np.median(values[1:] or values)) for stage, values in self._timings.items()}
        print(f"{self._source.name}: {len(self._frames)} frames, {len(np.unique(ids))} tracks, {len(ids)} boxes")
        if stages:
            parts = ", ".join(f"{stage} {value:.1f}" for stage, value in stages.items())
            total = sum(stages.values())
            print(f"ms per frame (median, {engine}): {parts}, together {total:.1f} ({1e3 / total:.1f} frames/s)")
        for path in (self._text, self._video.path if self._video else None):
            if path is not None:
                print(path)
        if self._text is None and self._video is None:
            print("nothing saved: --save-video and --save-txt write the results")
