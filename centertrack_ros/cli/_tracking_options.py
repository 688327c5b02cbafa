# SPDX-License-Identifier: Apache-2.0
"""Command line options about the network and the tracking, for every verb that tracks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli._arguments import SIZE, network_pixels, network_size
from centertrack_ros.cli._detector_options import own_detections
from centertrack_ros.engine.base import Engine
from centertrack_ros.io.class_limit_files import read_class_limits
from centertrack_ros.tracking.appearance import METHODS as APPEARANCES
from centertrack_ros.tracking.association import METHODS
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.tracking.config import DETECTOR_SOURCES, EXTERNAL, MOTIONS, NETWORK, TrackerConfig
from centertrack_ros.tracking.existence import BIRTHS
from centertrack_ros.tracking.foreign import engine_for
from centertrack_ros.tracking.lifters import LIFTERS

if TYPE_CHECKING:
    from centertrack_ros.datasets.detection_files import MadeDetections

_DEFAULTS = TrackerConfig()


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `load` reads."""
    group = parser.add_argument_group("network")
    group.add_argument("--weights", metavar="FILE", help="checkpoint; default: the embedded COCO model")
    group.add_argument("--engine", default="auto", help="runtime of the network; openvino: in float32")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    group.add_argument("--threads", type=int, help="CPU threads")
    size = group.add_mutually_exclusive_group()
    size.add_argument(
        "--input-size", type=network_size, metavar=SIZE, help="network input, px, for instance 800x448; multiples of 32"
    )
    size.add_argument(
        "--input-pixels",
        type=network_pixels,
        default=0,
        metavar="N",
        help="px of the network input, in the images' own aspect: more find smaller objects and take longer, "
        "for instance 262144 or 512x512",
    )


def add_detection_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options about another detector."""
    group = parser.add_argument_group("another detector")
    group.add_argument(
        "--detections",
        metavar="FILE|TOPIC",
        help="its detections, in place of the network's: in MOTChallenge's, KITTI's or COCO's format, or a "
        "vision_msgs/Detection2DArray topic of the bag; the network still tells motion and depth, but with --weights "
        "none",
    )
    group.add_argument(
        "--detector-source",
        choices=DETECTOR_SOURCES[1:],
        help="external (default): its boxes; both: where both see one object, its box; public: the network's boxes, of "
        "which only those that it confirms start tracks (MOT's public-detection protocol)",
    )


def made_detections(args: argparse.Namespace, bag: Path | None, first_name: int | None = None) -> MadeDetections | None:
    """What `--detections` or `--detector` names, None if nothing; sets `detector_source` in the arguments.

    Args:
        args: Of the command line.
        bag: Where the images are from; None: not from a bag.
        first_name: The number in the name of the first image; None: names do not number them.

    Raises:
        ValueError: Only one of the options is given that go together, or the detections cannot be used.
    """
    own = own_detections(args)
    if own is not None and args.detections is not None:
        raise ValueError("--detections and --detector exclude each other")
    if own is not None:
        args.detector_source = args.detector_source or EXTERNAL
        return own
    if args.detections is None:
        if args.detector_source is not None:
            raise ValueError(f"--detector-source {args.detector_source} needs --detections or --detector")
        args.detector_source = NETWORK
        return None
    from centertrack_ros.datasets.detection_files import open_detections

    args.detector_source = args.detector_source or EXTERNAL
    return open_detections(args.detections, bag, first_name=first_name)


def add_tracker_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `tracker_config` reads; each default is that of `TrackerConfig`."""
    group = parser.add_argument_group("tracking", "scores that are not given are those of the model")

    def add(name: str, help_: str, **options: object) -> None:
        default = getattr(_DEFAULTS, name.removeprefix("--").replace("-", "_"))
        group.add_argument(name, default=default, help=help_, **options)  # type: ignore[arg-type]

    add(
        "--classes",
        "classes and sets of classes to report, for example: person car, or one of road, people, animals, signs, "
        "indoor, all (every class that the model knows); default, auto: road users, cats, dogs, horses, sheep and "
        "cows of a model with COCO's 80 classes, all of every other model",
        nargs="+",
        metavar="NAME",
    )
    add("--report-occupants", "report people who are seen in the windows of vehicles, too", action="store_true")
    add("--track-threshold", "a track continues with a detection above this score", type=float, metavar="S")
    add("--new-threshold", "a new track starts above this score", type=float, metavar="S")
    add(
        "--class-limits",
        "YAML file: class -> track_threshold, new_threshold, min_size and max_size (px), max_range (m), rebirth (s)",
        type=class_limits,
        metavar="FILE",
    )
    add("--max-range", "objects known to be farther away are not reported; 0: any", type=float, metavar="METRES")
    add("--rebirth", "a lost track can be matched again for this time", type=float, metavar="SECONDS")
    add("--min-hits", "a track is reported from its N-th match on", type=int, metavar="N")
    add("--association", "how detections and tracks are matched", choices=tuple(METHODS))
    add("--motion", "motion model: where a track is expected", choices=MOTIONS)
    add("--appearance", "what tells objects apart beside motion", choices=APPEARANCES)
    add("--birth", "what starts a track: all its detections or one above --new-threshold", choices=BIRTHS)
    add("--max-size-ratio", "largest ratio of the areas of matched boxes", type=float, metavar="R")
    add("--lift", "where 3D boxes come from", choices=tuple(LIFTERS))
    add(
        "--camera-height",
        "height of the camera over the ground: 3D boxes by size use the contact with the ground, too; 0: unknown",
        type=float,
        metavar="METRES",
    )
    add(
        "--camera-pitch",
        "degrees by which the camera looks down: 3D boxes by size stand upright then; 0: unknown",
        type=float,
        metavar="DEG",
    )


def class_limits(text: str) -> dict[str, ClassLimits]:
    """Reads a YAML file: name of a class -> mapping of limits.

    Raises:
        argparse.ArgumentTypeError: The file cannot be read, or has something else in it.
    """
    try:
        return read_class_limits(Path(text))
    except (OSError, ValueError) as error:
        message = str(error)
        raise argparse.ArgumentTypeError(message if text in message else f"{text}: {message}") from None


def load(args: argparse.Namespace, names: Sequence[str] = ()) -> Engine:
    """Loads the engine that the options of `add_engine_arguments` ask for.

    Args:
        args: The arguments; those of `add_detection_arguments` may be among them.
        names: Of the classes of another detector.

    Raises:
        ValueError: The weights or the engine cannot be used; the text is one sentence.
        OSError: A file cannot be read.
    """
    from centertrack_ros.engine import load_engine

    def network() -> Engine:
        return load_engine(
            args.weights,
            engine=args.engine,
            device=args.device,
            threads=args.threads,
            input_size=args.input_size,
            input_pixels=args.input_pixels,
        )

    return engine_for(getattr(args, "detector_source", None) or NETWORK, names, args.weights, network)


def tracker_config(args: argparse.Namespace) -> TrackerConfig:
    """Makes the configuration that the options of `add_tracker_arguments` ask for.

    Raises:
        ValueError: A value is out of range.
    """
    values = {field.name: getattr(args, field.name) for field in fields(TrackerConfig) if hasattr(args, field.name)}
    values["classes"] = tuple(values["classes"])
    return TrackerConfig(**values)
