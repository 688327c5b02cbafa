#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the image of the README from the demo's result.

python tools/make_readme_image.py out/demo/tracks.txt docs/demo.jpg --frame 66
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from centertrack_ros.datasets.mot import read_results
from centertrack_ros.io.sources import open_source
from centertrack_ros.visualization.drawing import Trails, annotation_of, draw


def main() -> int:
    """Writes the image; the exit status is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracks", type=Path, help="the demo's tracks.txt")
    parser.add_argument("image", type=Path, help=".jpg or .png to write")
    parser.add_argument("--bag", type=Path, default=Path(__file__).parents[1] / "demo" / "pets09_s2l1")
    parser.add_argument("--frame", type=int, default=66)
    args = parser.parse_args()
    results = {frame.index: frame for frame in read_results(args.tracks)}
    trails = Trails()
    for number, frame in enumerate(open_source(args.bag), start=1):
        if number not in results:
            continue
        annotation = annotation_of(results[number].tracks, ("person",))
        trails.update(annotation, frame.stamp)
        if number == args.frame:
            args.image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(args.image), draw(frame.image, annotation, trails), [cv2.IMWRITE_JPEG_QUALITY, 85])
            return 0
    raise ValueError(f"{args.tracks}: no frame {args.frame}")


if __name__ == "__main__":
    sys.exit(main())
