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
    from centertrack_ros.types import ForeignDetections, Frame

_DEFAULTS = DetectorLimits()


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `own_detections` reads."""
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
        metavar="N",
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


class OwnDetections:
    """Detections that are made of each image when they are asked for."""

    extent = ""

    def __init__(self, detector: Detector, limits: DetectorLimits) -> None:
        """Of a detector, as far as they count."""
        self._detector, self._limits, self.classes = detector, limits, detector.class_names

    def of(self, frame: Frame) -> ForeignDetections:
        """Those of a frame. Raises ValueError when the detector cannot use it."""
        return self._detector.detect(frame.image, self._limits)


def own_detections(args: argparse.Namespace) -> OwnDetections | None:
    """Loads the detector that the options ask for; None: there is none.

    Raises:
        ValueError: The file or an option cannot be used; the text is one sentence.
        ImportError: What runs it is not installed.
        OSError: A file cannot be read.
    """
    if getattr(args, "detector", None) is None:
        return None
    from centertrack_ros.engine.detector import load_detector

    limits = DetectorLimits(args.detector_min_score, args.detector_iou)
    detector = load_detector(
        args.detector,
        args.detector_layout,
        class_names(args.detector_class_names),
        engine=args.engine,
        device=args.device,
        threads=args.threads,
    )
    return OwnDetections(detector, limits)
