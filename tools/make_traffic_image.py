#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the picture of traffic with 3D boxes: one frame of each of some clips, tracked with the default settings.

    python -m tools.make_traffic_image docs/images/traffic.jpg highway.mp4:30:1154 city.mp4:50:580

A clip is PATH:FRAME:FOCAL, its focal length in px of its own images. The pictures stand side by side, of equal height.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.sources import open_source
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.visualization.drawing import Trails, annotation_of, draw

HEIGHT = 480  # px of the picture
GAP = 8  # px between two frames


def picture(path: Path, number: int, focal: float, engine: Engine) -> NDArray[np.uint8]:
    """One frame of a clip with its tracks, trails and 3D boxes.

    Args:
        path: The clip.
        number: Of the frame, from 0.
        focal: Px of the clip's images; the principal point is taken to be their middle.
        engine: The network.

    Raises:
        ValueError: The clip cannot be read or is shorter.
    """
    tracker, trails = Tracker(engine), Trails()
    for index, frame in enumerate(islice(open_source(path), number + 1)):
        height, width = frame.image.shape[:2]
        camera = Camera.from_focal(width, height, focal)
        tracks = tracker.step(frame.image, camera, frame.stamp).tracks
        found = annotation_of(tracks, engine.profile.classes)
        annotation = replace(found, boxes=found.boxes * (HEIGHT / height))
        trails.update(annotation, frame.stamp)
        if index == number:
            size = round(width * HEIGHT / height), HEIGHT
            image = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
            return draw(image, annotation, trails, camera.scaled_to(*size))
    raise ValueError(f"{path}: there is no frame {number}")


def main() -> int:
    """Writes the picture; the exit status is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help=".jpg or .png to write")
    parser.add_argument("clips", nargs="+", metavar="PATH:FRAME:FOCAL")
    args = parser.parse_args()
    engine = load_engine(engine="torch")
    pictures = []
    for clip in args.clips:
        path, number, focal = clip.rsplit(":", 2)
        pictures.append(picture(Path(path), int(number), float(focal), engine))
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    whole = np.hstack([part for one in pictures for part in (gap, one)][1:])
    args.image.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.image), whole, [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"{args.image}: {whole.shape[1]}x{whole.shape[0]} px, {args.image.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
