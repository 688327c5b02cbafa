# SPDX-License-Identifier: Apache-2.0
"""What a file is that is none of those that are read here, by its first bytes, and what to do with it."""

from __future__ import annotations

MCAP, SQLITE, ZSTANDARD = b"\x89MCAP0\r\n", b"SQLite format 3\0", b"\x28\xb5\x2f\xfd"
ROS1 = "a ROS 1 bag; convert it first: rosbags-convert --src IN.bag --dst OUT"
_KINDS = {
    b"#ROSBAG": ROS1,
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file first: git lfs pull",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"\x1f\x8b": "compressed by gzip; unpack it first: gunzip FILE",
    b"\x04\x22\x4d\x18": "compressed by LZ4; unpack it first: unlz4 FILE",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
}


def foreign_kind(start: bytes) -> str:
    """The kind of a file that begins so, and the way to what is in it; '' for an unknown one."""
    return next((kind for magic, kind in _KINDS.items() if start.startswith(magic)), "")
