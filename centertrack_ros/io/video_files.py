# SPDX-License-Identifier: Apache-2.0
"""Video files: how OpenCV opens any name, and what is wrong with a file that is no video."""

from __future__ import annotations

from pathlib import Path

import cv2
from PIL import Image

from centertrack_ros.io.file_kinds import MCAP, SQLITE, ZSTANDARD, foreign_kind
from centertrack_ros.visualization.video import name_for_opencv

# What a recording's name has to end in.
_BAGS = {
    MCAP: "an mcap recording; its name has to end in .mcap",
    SQLITE: "an sqlite3 file; if it is a recording its name has to end in .db3",
    ZSTANDARD: "compressed by Zstandard; unpack it first: unzstd FILE",
}
_EXPECTED = "expected a video, an image, a folder of images or a bag"


def opened(location: Path | str | int) -> cv2.VideoCapture:
    """OpenCV's capture of a file, a stream's address or a camera's number; it may have failed to open."""
    if not isinstance(location, Path):
        return cv2.VideoCapture(location)
    # Only FFmpeg where it is there: other backends take digits and %d in a name for a series of images.
    backends = [cv2.videoio_registry.getBackendName(one) for one in cv2.videoio_registry.getBackends()]
    backend = cv2.CAP_FFMPEG if location.is_file() and "FFMPEG" in backends else cv2.CAP_ANY
    with name_for_opencv(location) as name:
        return cv2.VideoCapture(name, backend)


def counts_frames(path: Path) -> bool:
    """Whether the container counts its frames (AVI, MP4, MOV); the count of others is their length times a rate."""
    start = _start(path)
    return start[8:12] == b"AVI " or start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free")


def has_no_times(path: Path) -> bool:
    """Whether a file is a bare stream of pictures (Motion JPEG, H.264, H.265, MPEG video), for which FFmpeg assumes."""
    return _start(path).startswith((b"\xff\xd8\xff", b"\x00\x00\x01", b"\x00\x00\x00\x01"))


def problem_of(location: Path | str | int) -> str:
    """Why a location cannot be opened as a video, in a sentence."""
    if isinstance(location, int):
        return f"no camera with this number that OpenCV can open; {_EXPECTED}, or another number"
    if not isinstance(location, Path):
        return "not a stream that OpenCV can open: the address is wrong, or nobody answers"
    if not location.is_file():
        return f"a pipe or device from which no video comes; {_EXPECTED}"
    try:
        start = _start(location)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return _problem_of_content(location, start)


def _problem_of_content(path: Path, start: bytes) -> str:
    if not start:
        return f"an empty file; {_EXPECTED}"
    if kind := foreign_kind(start) or next((kind for magic, kind in _BAGS.items() if start.startswith(magic)), ""):
        return f"not a video but {kind}"
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "not a video but a HEIF image; convert it to JPEG first"
    if counts_frames(path):
        return "not a video that OpenCV can read: it was cut short (its index is missing), or its codec is unknown"
    if image := _image_format(path):
        return f"not a video but an image ({image}); its name has to end as usual for that"
    if not start.strip(b"\0"):
        return f"not a video: the file begins with zeros; {_EXPECTED}"
    if _is_text(start):
        return f"not a video but a text file; {_EXPECTED}"
    return f"not a video that OpenCV can read; {_EXPECTED}"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _image_format(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return str(image.format)
    except Exception:  # whatever a file that is no image makes Pillow raise
        return ""


def _is_text(start: bytes) -> bool:
    try:
        start[: len(start) - 3].decode("utf-8") if len(start) == 4096 else start.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in start
