#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the demo's bag, demo/pets09_s2l1, from the video of PETS 2009 S2.L1 View_001 (OpenCV's sample `vtest.avi`).

    python tools/make_demo_clip.py vtest.avi demo/pets09_s2l1

The video is in Debian's package opencv-doc and in OpenCV's repository (samples/data). The camera recorded at 7 Hz,
although the file says 10.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from centertrack_ros.io.rosbag import BagWriter, message_types, time_message

RATE_HZ = 7.0
CLOCK_TICKS_PER_FRAME = 7
FRAME_ID = "camera_optical_frame"
# The recording's time of day is not published: this start is arbitrary.
START_NS = 1_230_768_000 * 1_000_000_000
IMAGE_TOPIC, INFO_TOPIC, CLOCK_TOPIC = "/camera/image/compressed", "/camera/camera_info", "/clock"

# The calibration that PETS 2009 publishes for View_001, in Tsai's camera model
# (R. Tsai, A versatile camera calibration technique, 1987): lengths in mm.
WIDTH, HEIGHT = 768, 576
FOCAL = 5.5549183034
KAPPA1 = 5.1113043639e-3  # 1/mm²
CX, CY = 324.22149053, 282.56650051
PIXEL_X, PIXEL_Y = 5.1273271277e-3, 4.65e-3  # mm per px of the frame grabber
SCALE_X = 1.0937855397


def intrinsics() -> np.ndarray:
    """K (3, 3) in px: focal lengths 1185.0 and 1194.6, since the frame grabber's pixels are not square."""
    return np.array([[FOCAL * SCALE_X / PIXEL_X, 0, CX], [0, FOCAL / PIXEL_Y, CY], [0, 0, 1]])


def distortion() -> np.ndarray:
    """k1, k2, p1, p2, k3 of ROS's plumb_bob model.

    Tsai's polynomial maps a distorted point to the ideal one: r_u = r_d (1 + c r_d²), with c = kappa1 f² in units of
    the focal length; plumb_bob maps the other way. The coefficients are those of the reversed series,
    r_d = r_u (1 - c r_u² + 3 c² r_u⁴ - 12 c³ r_u⁶ …), which is off by less than 0.03 px in the image's corners.
    """
    c = KAPPA1 * FOCAL**2
    return np.array([-c, 3 * c**2, 0.0, 0.0, -12 * c**3])


def make_header(types: dict[str, Any], time_ns: int) -> Any:
    """The header of the camera's messages at a time."""
    return types["std_msgs/msg/Header"](stamp=time_message(time_ns), frame_id=FRAME_ID)


def camera_info(types: dict[str, Any], time_ns: int) -> Any:
    """The CameraInfo of the raw (distorted) image; P is K: the image is not rectified and has no partner."""
    matrix = intrinsics()
    roi = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return types["sensor_msgs/msg/CameraInfo"](
        header=make_header(types, time_ns),
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=distortion(),
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack((matrix, np.zeros((3, 1)))).ravel(),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def compressed_image(types: dict[str, Any], time_ns: int, image: np.ndarray, quality: int) -> Any:
    """The CompressedImage that image_transport's publisher would make of a bgr8 image."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    data = cv2.imencode(".jpg", image, settings)[1].ravel()
    return types["sensor_msgs/msg/CompressedImage"](
        header=make_header(types, time_ns), format="bgr8; jpeg compressed bgr8", data=data
    )


def write_clip(video: Path, bag: Path, frames: int, quality: int) -> None:
    """Writes the first `frames` frames of `video`. Raises ValueError when it has fewer, or another size."""
    types = message_types().types
    capture = cv2.VideoCapture(str(video))
    with BagWriter(bag) as writer:
        for index in range(frames):
            good, image = capture.read()
            if not good or image.shape != (HEIGHT, WIDTH, 3):
                raise ValueError(f"{video}: expected {frames} frames of {WIDTH}x{HEIGHT}, frame {index} is not one")
            for k in range(CLOCK_TICKS_PER_FRAME):
                tick = START_NS + round((index + k / CLOCK_TICKS_PER_FRAME) * 1e9 / RATE_HZ)
                writer.write(CLOCK_TOPIC, types["rosgraph_msgs/msg/Clock"](clock=time_message(tick)), tick)
                if k == 0:
                    writer.write(INFO_TOPIC, camera_info(types, tick), tick)
                    writer.write(IMAGE_TOPIC, compressed_image(types, tick, image, quality), tick)


def main() -> int:
    """Reads the arguments and writes the clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("bag", type=Path, help="folder to make")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--quality", type=int, default=68, help="JPEG quality: 68 keeps 100 frames under 6 MB")
    args = parser.parse_args()
    write_clip(args.video, args.bag, args.frames, args.quality)
    size = sum(file.stat().st_size for file in args.bag.iterdir())
    print(f"{args.bag}: {args.frames} frames, {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
