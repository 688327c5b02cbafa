# SPDX-License-Identifier: Apache-2.0
"""Values on the command line that several verbs read: sizes, intrinsics, ranges of frames.

Each function is the `type=` of an argparse argument. It raises argparse.ArgumentTypeError with what is expected.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from centertrack_ros.geometry.regions import Region

SIZE = "WxH"  # how help texts write a size


def image_size(text: str) -> tuple[int, int]:
    """Reads a size in px, width first: '800x448' is (800, 448)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in px, for instance 800x448, got '{text}'")
    return int(width), int(height)


def network_size(text: str) -> tuple[int, int]:
    """Reads a size of the network's input, width first: '800x448' is (800, 448); both are multiples of 32 px."""
    width, height = image_size(text)
    if width % 32 or height % 32:
        raise argparse.ArgumentTypeError(
            f"expected WIDTHxHEIGHT in multiples of 32 px, for instance 800x448, got '{text}'"
        )
    return width, height


def network_pixels(text: str) -> int:
    """Reads a number of px of the network's input, as '262144' or '512x512'; the sides need not be multiples of 32."""
    from centertrack_ros.network.profile import LARGEST_BUDGET, SMALLEST_BUDGET

    width, _, height = text.lower().partition("x")
    pixels = 0
    if width.isdecimal() and (height or "1").isdecimal():
        pixels = int(width) * int(height or 1)
    if not SMALLEST_BUDGET <= pixels <= LARGEST_BUDGET:
        raise argparse.ArgumentTypeError(
            f"expected a number of px from {SMALLEST_BUDGET} to {LARGEST_BUDGET}, for instance 262144 or 512x512, "
            f"got '{text}'"
        )
    return pixels


def intrinsics(text: str) -> tuple[float, float, float, float]:
    """Reads a camera's intrinsics 'fx,fy,cx,cy', px."""
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected four numbers fx,fy,cx,cy, got '{text}'") from None
    if not (fx > 0 and fy > 0 and all(map(math.isfinite, (fx, fy, cx, cy)))):
        raise argparse.ArgumentTypeError(f"focal lengths must be above 0 px, got '{text}'")
    return fx, fy, cx, cy


def rate(text: str) -> float:
    """Reads frames/s: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected frames/s above 0, for instance 30, got '{text}'")
    return value


def frame_range(text: str) -> tuple[int, int]:
    """Reads first and last frame: '1-69' is (1, 69)."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"expected FIRST-LAST, for instance 1-69, got '{text}'")
    return int(first), int(last)


def frame_steps(text: str) -> tuple[int, ...]:
    """Reads numbers of frames, all above 0: '1,2,5' or '1-10'."""
    if "-" in text:
        first, last = frame_range(text)
        return tuple(range(max(first, 1), last + 1))
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in numbers):
        raise argparse.ArgumentTypeError(f"expected numbers like 1,2,5 or a range like 1-10, got '{text}'")
    return tuple(map(int, numbers))


def region(text: str) -> Region | None:
    """Reads a region of an image, as `io.regions.read_region` takes it."""
    from centertrack_ros.io.regions import read_region

    try:
        return read_region(text)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
