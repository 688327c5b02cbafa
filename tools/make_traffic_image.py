#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the picture of traffic with 3D boxes: a frame of a clip, tracked with the default settings.

    python -m tools.make_traffic_image test_video.mp4 docs/images/traffic.jpg --camera 1154,1148,670,386 --rows 250 680

The clip of the README is test_video.mp4 of https://github.com/udacity/CarND-Vehicle-Detection (MIT, see NOTICE).
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.cli import _arguments
from centertrack_ros.engine import load_engine
from centertrack_ros.io.sources import open_source
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.visualization.drawing import Trails, annotation_of, draw


def picture(path: Path, number: int, camera: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """One frame of a clip with its tracks, trails and 3D boxes.

    Args:
        path: The clip.
        number: Of the frame, from 0.
        camera: fx, fy, cx, cy px.

    Raises:
        ValueError: The clip cannot be read or is shorter.
    """
    engine = load_engine(engine="torch")
    tracker, trails = Tracker(engine), Trails()
    for index, frame in enumerate(islice(open_source(path, intrinsics=camera), number + 1)):
        tracks = tracker.step(frame.image, frame.camera, frame.stamp).tracks
        annotation = annotation_of(tracks, engine.profile.classes)
        trails.update(annotation, frame.stamp)
        if index == number:
            return draw(frame.image, annotation, trails, frame.camera)
    raise ValueError(f"{path}: there is no frame {number}")


def main() -> int:
    """Writes the picture; the exit status is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("image", type=Path, help=".jpg or .png to write")
    parser.add_argument("--frame", type=int, default=30)
    parser.add_argument("--camera", type=_arguments.intrinsics, required=True, metavar="fx,fy,cx,cy")
    parser.add_argument(
        "--rows", type=int, nargs=2, default=(0, None), metavar=("FIRST", "LAST"), help="of the picture"
    )
    args = parser.parse_args()
    drawn = picture(args.clip, args.frame, args.camera)[slice(*args.rows)]
    args.image.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.image), drawn, [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"{args.image}: {drawn.shape[1]}x{drawn.shape[0]} px, {args.image.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
