# SPDX-License-Identifier: Apache-2.0
"""Command line options about a detector of the user's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.io.class_name_files import class_names

if TYPE_CHECKING:
    from centertrack_ros.engine.detector import Detector

_DEFAULTS = DetectorLimits()


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `load_detector` and `detector_limits` read."""
    group = parser.add_argument_group("detector of your own")
    group.add_argument(
        "--detector", type=Path, metavar="FILE", help="ONNX file of a detector that finds the objects, run by --engine"
    )
    group.add_argument(
        "--detector-layout",
        default="",
        metavar="NAME",
        help="layout of its outputs, such as yolov8; default: recognised",
    )
    group.add_argument(
        "--detector-class-names",
        nargs="+",
        default=(),
        metavar="NAME",
        help="names of its classes in their order, or a .txt or .yaml file of them; default: as in the file, or COCO's",
    )
    group.add_argument(
        "--detector-min-score",
        type=float,
        default=_DEFAULTS.min_score,
        metavar="S",
        help="weaker boxes are left out (default: %(default)s)",
    )
    group.add_argument(
        "--detector-iou",
        type=float,
        default=_DEFAULTS.iou,
        metavar="R",
        help="of two boxes of one class that overlap more the weaker one goes (default: %(default)s)",
    )


def load_detector(args: argparse.Namespace) -> Detector | None:
    """Loads the detector that the options ask for; None: there is none.

    Raises:
        ValueError: The file cannot be used; the text is one sentence.
        ImportError: What runs it is not installed.
        OSError: A file cannot be read.
    """
    if args.detector is None:
        return None
    from centertrack_ros.engine.detector import load_detector as load

    return load(
        args.detector,
        args.detector_layout,
        class_names(args.detector_class_names),
        engine=args.engine,
        device=args.device,
        threads=args.threads,
    )


def detector_limits(args: argparse.Namespace) -> DetectorLimits:
    """Which boxes of the detector count. Raises ValueError when a value is out of range."""
    return DetectorLimits(args.detector_min_score, args.detector_iou)
