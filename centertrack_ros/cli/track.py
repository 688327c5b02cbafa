# SPDX-License-Identifier: Apache-2.0
"""`centertrack track`: tracks in a video, a folder of images or a bag, without ROS."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli._arguments import intrinsics, region
from centertrack_ros.cli._detector_options import add_detector_arguments
from centertrack_ros.cli._tracking_options import (
    add_detection_arguments,
    add_engine_arguments,
    add_tracker_arguments,
    load,
    made_detections,
    tracker_config,
)

if TYPE_CHECKING:
    from centertrack_ros.datasets.detection_files import MadeDetections
    from centertrack_ros.engine.base import Engine
    from centertrack_ros.geometry.regions import Region
    from centertrack_ros.io.sources import Source
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.types import Frame, FrameResult

_MOST_NOTES = 20  # sentences on single detections that are logged
HELP = "track in a video, a folder of images or a bag, without ROS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack track`."""
    parser.add_argument("input", help="video, image, folder of images, rosbag2, camera number or stream address")
    parser.add_argument("--output", type=Path, default=Path("out"), metavar="DIR", help="folder for the results")
    parser.add_argument("--save-video", action="store_true", help="write DIR/NAME.webm with boxes, ids and trails")
    parser.add_argument("--save-txt", action="store_true", help="write DIR/NAME.txt, tracks in MOTChallenge's format")
    parser.add_argument(
        "--camera", type=intrinsics, metavar="fx,fy,cx,cy", help="intrinsics, px, of images as shown: for 3D"
    )
    parser.add_argument("--draw-3d", action="store_true", help="draw 3D boxes too, where there are any")
    parser.add_argument("--rerun", type=Path, metavar="FILE", help="write FILE, a .rrd for the Rerun viewer")
    parser.add_argument("--rerun-viewer", action="store_true", help="show the results in a Rerun viewer as they come")
    parser.add_argument("--foxglove", type=Path, metavar="FILE", help="write FILE, an .mcap for Foxglove")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames/s, if the input tells none or wrong ones")
    parser.add_argument("--topic", metavar="NAME", help="image topic of a bag with several")
    parser.add_argument("--rectified", action="store_true", help="a bag's images are undistorted")
    parser.add_argument(
        "--region",
        type=region,
        metavar="REGION",
        help="where tracks may start: corners '0,0.4 1,0.4 1,1 0,1' of a polygon (px, or parts of width and height), "
        "or the path of a mask image; the middle of a box's lower side counts, and tracks continue outside",
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many")
    parser.add_argument(
        "--cyclists",
        action="store_true",
        help="a rider and the bicycle or motorcycle below are one object, of the class cyclist",
    )
    add_detection_arguments(parser)
    add_detector_arguments(parser)
    add_engine_arguments(parser)
    add_tracker_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tracks in the input and writes what was asked for."""
    from centertrack_ros.cli._track_outputs import TrackOutputs
    from centertrack_ros.engine.cyclists import CyclistEngine
    from centertrack_ros.io.image_source import ImageSource
    from centertrack_ros.io.source_base import DEFAULT_RATE
    from centertrack_ros.io.sources import BagSource, open_source

    logging.basicConfig(format="%(message)s")
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {args.frames}")
    _require_viewers(args)
    source = open_source(
        args.input, intrinsics=args.camera, rate=args.rate, image_topic=args.topic, rectified=args.rectified
    )
    bag = source.path if isinstance(source, BagSource) else None
    detections = made_detections(args, bag, source.first_name if isinstance(source, ImageSource) else None)
    engine = load(args, () if detections is None else detections.classes)
    if args.cyclists:
        engine = CyclistEngine(engine)
    config = tracker_config(args)
    outputs = TrackOutputs(
        source.name,
        engine.profile.classes,
        args.output,
        _origin(args.input, args.topic),
        source.rate or DEFAULT_RATE,
        text=args.save_txt,
        video=args.save_video,
        draw_3d=args.draw_3d,
        rerun=args.rerun,
        rerun_viewer=args.rerun_viewer,
        foxglove=args.foxglove,
    )
    try:
        with outputs:
            for frame, result in track(source, engine, config, args.frames, args.region, detections):
                outputs.add(frame, result)
    except KeyboardInterrupt:  # the usual end of a camera
        outputs.report(engine.name)
        raise
    outputs.report(engine.name)
    return 0


def _require_viewers(args: argparse.Namespace) -> None:
    """Says that a viewer's library is missing before the model is loaded."""
    from centertrack_ros.visualization.foxglove_log import require_foxglove
    from centertrack_ros.visualization.rerun_log import require_rerun

    if args.rerun is not None or args.rerun_viewer:
        require_rerun()
    if args.foxglove is not None:
        require_foxglove()


def _origin(location: str, topic: str | None) -> str:
    """What tells an input from others of the same name."""
    path = os.path.realpath(location) if os.path.exists(location) else location
    return f"{path} {topic}" if topic else path


def track(
    source: Source,
    engine: Engine,
    config: TrackerConfig,
    most: int | None = None,
    region: Region | None = None,
    detections: MadeDetections | None = None,
) -> Iterator[tuple[Frame, FrameResult]]:
    """Tracks frame by frame and shows a progress bar.

    Args:
        source: The images.
        engine: Runs the network.
        config: How detections become tracks.
        most: Number of frames after which it stops; None: at the end of the source.
        region: Where tracks may start; None: everywhere.
        detections: Of another detector; None: there is none.

    Yields:
        Each frame with its result. A frame that cannot be used is left out, and a warning is logged.
    """
    from tqdm import tqdm

    from centertrack_ros.datasets.detection_files import MatchedDetections
    from centertrack_ros.tracking.pipeline import Tracker

    tracker, log, noted = Tracker(engine, config, region), logging.getLogger(__name__), set[str]()
    made = None if detections is None else MatchedDetections(detections)
    total = min(filter(None, (source.length, most)), default=None)
    with tqdm(total=total, unit="frame", desc=source.name, disable=None) as bar:
        for count, frame in enumerate(source, start=1):
            try:
                foreign = None if made is None else made.of(frame)
                result = tracker.step(frame.image, frame.camera, frame.stamp, foreign=foreign)
                for note in set(result.notes) - noted if len(noted) < _MOST_NOTES else ():
                    log.warning("%s: frame %d: %s", source.name, frame.index, note)
                    noted.add(note)
                yield frame, result
            except ValueError as error:
                log.warning("%s: frame %d: %s", source.name, frame.index, error)
            bar.update()
            if count == most:
                break
    if made is not None and made.problem:
        log.warning("%s: %s", source.name, made.problem)
