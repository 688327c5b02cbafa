# SPDX-License-Identifier: Apache-2.0
"""Recorded images and recorded results together, for Foxglove: `centertrack bag to-foxglove`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.records import VideoSequence, empty_tracks
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.sources import BagSource
from centertrack_ros.types import FrameResult
from centertrack_ros.visualization.foxglove_log import FoxgloveLog, require_foxglove
from centertrack_ros.visualization.views import ViewMaker

NODE_OUTPUT = "/centertrack/output"
_NO_TRACKS = empty_tracks()
_ROUNDING_S = 1e-5  # of a stamp in s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack bag to-foxglove`."""
    parser.add_argument("source", type=Path, help="bag with the images")
    parser.add_argument("output", type=Path, help="the new .mcap")
    parser.add_argument("--results", type=Path, metavar="BAG", help="bag with the node's results; default: the same")
    parser.add_argument("--results-prefix", default=NODE_OUTPUT, metavar="TOPIC", help="only topics that start with it")
    parser.add_argument("--topic", metavar="NAME", help="image topic of a bag with several")
    parser.add_argument("--camera", metavar="NAME", help="whose results, of several cameras")


def run(args: argparse.Namespace) -> int:
    """Writes the file."""
    require_foxglove()
    source = BagSource(args.source, image_topic=args.topic)
    results = _results(args.results or args.source, args.results_prefix, args.camera)
    shown, images = write_foxglove(args.output, source, results)
    if not shown:
        raise DataError(args.results or args.source, f"no result has the stamp of one of {images} images")
    print(f"{args.output}: {images} images, {shown} of them with results")
    return 0


def _results(bag: Path, prefix: str, camera: str | None) -> VideoSequence:
    """The results of one camera."""
    found = read_tracks(bag, prefix)
    if camera is None and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise DataError(bag, f"the topics of results under {prefix} are empty")
    if camera not in found:
        names = ", ".join(f"'{name}'" for name in found)
        raise DataError(bag, f"results of {names}: name one with --camera" + (f", not '{camera}'" if camera else ""))
    return found[camera]


def write_foxglove(path: Path, source: BagSource, results: VideoSequence) -> tuple[int, int]:
    """Writes images with the boxes, names and trails of their results, and the 3D boxes as a scene.

    Args:
        path: The new .mcap.
        source: The images.
        results: As `read_tracks` gives them.

    Returns:
        Number of images that have a result, and of all images.

    Raises:
        ImportError: The Foxglove SDK is not installed.
        OSError: The file cannot be written.
    """
    frames = sorted(results, key=lambda frame: frame.stamp)
    stamps = np.array([frame.stamp for frame in frames])
    maker, shown, images = ViewMaker(results.classes), 0, 0
    with FoxgloveLog(path) as log:
        for image in source:
            images += 1
            nearest = int(np.argmin(np.abs(stamps - image.stamp)))
            is_there = abs(stamps[nearest] - image.stamp) < _ROUNDING_S
            shown += is_there
            tracks = frames[nearest].tracks if is_there else _NO_TRACKS
            in_image = np.flatnonzero(np.isfinite(tracks.detections.boxes).all(axis=1))
            # Which heatmap the network saw is not recorded.
            result = FrameResult(tracks.select(in_image), np.zeros((0, 3), np.int64), (0, 0), np.eye(2, 3))
            log.add(maker.make(image, result))
    return shown, images
