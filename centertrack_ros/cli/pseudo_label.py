# SPDX-License-Identifier: Apache-2.0
"""`centertrack pseudo-label`: a model's confident tracks in own recordings become training data."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli._arguments import intrinsics
from centertrack_ros.cli._tracking_options import add_engine_arguments, add_tracker_arguments, load, tracker_config

if TYPE_CHECKING:
    from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
    from centertrack_ros.engine.base import Engine
    from centertrack_ros.io.sources import Source
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.training.pseudo_labels import Certainty

_LOG = logging.getLogger(__name__)
HELP = "turn confident tracks in bags, videos or folders of images into labels to train on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack pseudo-label`."""
    parser.add_argument("inputs", nargs="+", metavar="BAG", help="rosbag2, video or folder of images")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for images/ and annotations.json"
    )
    parser.add_argument("--score", type=float, default=0.45, metavar="S", help="least median score of a track")
    parser.add_argument("--box-score", type=float, default=0.3, metavar="S", help="least score of a track's box")
    parser.add_argument("--length", type=int, default=5, metavar="N", help="least number of frames that see a track")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="keep each N-th image (all are tracked in)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many of each recording")
    parser.add_argument("--stills", action="store_true", help="still images without track ids")
    parser.add_argument("--png", action="store_true", help="lossless images")
    parser.add_argument("--topic", metavar="NAME", help="image topic of a bag; default: every camera")
    parser.add_argument("--rectified", action="store_true", help="a bag's images are undistorted")
    parser.add_argument("--camera", type=intrinsics, metavar="fx,fy,cx,cy", help="intrinsics, px, of what tells none")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames/s, where the input tells none or a wrong one")
    add_engine_arguments(parser)
    add_tracker_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tracks in every recording and writes the labels."""
    from centertrack_ros.datasets.coco_video import videos_document
    from centertrack_ros.io.sources import open_sources
    from centertrack_ros.io.whole_files import write_text
    from centertrack_ros.network.class_groups import select_classes
    from centertrack_ros.training.pseudo_labels import Certainty, as_static_images

    logging.basicConfig(format="%(message)s")
    certainty = Certainty(args.score, args.box_score, args.length)
    for name in ("every", "frames"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    target = args.output / "annotations.json"
    if target.exists():
        raise FileExistsError(f"{target}: exists already, labels are not overwritten")
    sources = [
        source
        for location in args.inputs
        for source in open_sources(
            location, intrinsics=args.camera, rate=args.rate, image_topic=args.topic, rectified=args.rectified
        )
    ]
    if len({source.name for source in sources}) < len(sources):
        raise ValueError("two recordings have the same name: label them into different folders (--output)")
    engine = load(args)
    config = _config(args, engine)
    recordings = [_labelled(source, engine, config, certainty, args) for source in sources]
    document = videos_document(recordings, args.output / "images")
    labelled = select_classes(config.classes, engine.profile.classes)  # of the others nothing is known
    document["categories"] = [entry for entry in document["categories"] if entry["name"] in labelled]
    if not sum(len(frame.tracks) for recording in recordings for frame in recording):
        raise ValueError("no track is certain enough to be a label: lower --score or --length, or give other --weights")
    write_text(target, json.dumps(as_static_images(document) if args.stills else document))
    _report(target, recordings)
    return 0


def _config(args: argparse.Namespace, engine: Engine) -> TrackerConfig:
    """A tracker with a low threshold: it also follows weak detections, so that they can be marked as ignored."""
    usual = engine.profile.thresholds.resolved()
    if args.lift == "auto":  # the typical size of a class is no measurement to learn from
        args.lift = "heads" if "dep" in engine.profile.heads else "none"
    config = tracker_config(args)
    return replace(
        config,
        track_threshold=2 / 3 * usual.track if config.track_threshold is None else config.track_threshold,
        new_threshold=usual.new if config.new_threshold is None else config.new_threshold,
        pre_threshold=usual.pre if config.pre_threshold is None else config.pre_threshold,
    )


def _labelled(
    source: Source, engine: Engine, config: TrackerConfig, certainty: Certainty, args: argparse.Namespace
) -> VideoSequence:
    """Writes the images of a recording and returns its confident tracks as ground truth."""
    from centertrack_ros.cli.track import track
    from centertrack_ros.datasets.records import VideoSequence
    from centertrack_ros.io.image_files import write_image
    from centertrack_ros.training.pseudo_labels import certain_labels, detected_tracks

    folder = args.output / "images" / source.name
    folder.mkdir(parents=True, exist_ok=True)
    frames: list[AnnotatedFrame] = []
    size, begin, others = None, 0, 0
    for shot, result in track(source, engine, config, args.frames):
        size = size or shot.image.shape[:2]
        begin = begin or shot.index
        number = shot.index - begin  # what cannot be read keeps its place
        path = None
        if number % args.every == 0:
            if shot.image.shape[:2] == size:
                path = folder / f"{number // args.every + 1:06d}.{'png' if args.png else 'jpg'}"
                write_image(path, shot.image)
            else:
                others += 1
        frames.append(detected_tracks(result, index=number, stamp=shot.stamp, image=path, camera=shot.camera))
    if not frames or size is None:
        raise ValueError(f"{source.name}: no image could be used")
    if others:
        _LOG.warning("%s: %d images of another size than %dx%d are left out", source.name, others, size[1], size[0])
    labelled = [frame for frame in certain_labels(frames, certainty) if frame.image is not None]
    placed = tuple(replace(frame, index=frame.index // args.every + 1) for frame in labelled)
    length = placed[-1].index if placed else 0
    return VideoSequence(source.name, engine.profile.classes, placed, 1, length, None, size)


def _report(target: Path, recordings: list[VideoSequence]) -> None:
    for one in recordings:
        ids = {identity for frame in one for identity in frame.tracks.ids.tolist()}
        boxes, doubtful = sum(len(f.tracks) for f in one), sum(len(f.ignore) for f in one)
        print(f"{one.name}: {len(one.frames)} images, {len(ids)} tracks with {boxes} boxes, {doubtful} ignored regions")
    print(target)
