# SPDX-License-Identifier: Apache-2.0
"""Mutations of bytes, whatever they mean; and of the sizes that an image's header claims."""

from __future__ import annotations

import random
import struct
import zlib


def flip(data: bytearray, source: random.Random, first: int = 0) -> bytearray:
    """Flips some bits from byte `first` on, more of them near the front, where the headers are."""
    for _ in range(source.choice((1, 3, 20))):
        if len(data) > first:
            end = len(data) if source.random() < 0.5 else min(len(data), first + 600)
            data[source.randrange(first, end)] ^= 1 << source.randrange(8)
    return data


def cut(data: bytearray, source: random.Random, first: int = 0) -> bytearray:
    """Removes the end, or a piece in the middle."""
    at = source.randrange(first, len(data) + 1) if len(data) > first else len(data)
    return data[:at] if source.random() < 0.5 else data[:at] + data[at + source.randrange(1, 2000) :]


def grow(data: bytearray, source: random.Random, first: int = 0) -> bytearray:
    """Inserts noise in the middle or at the end."""
    at = source.choice((len(data), source.randrange(min(first, len(data)), len(data) + 1)))
    return data[:at] + bytearray(source.randbytes(source.choice((1, 4, 5000)))) + data[at:]


def splice(data: bytearray, source: random.Random) -> bytearray:
    """Joins the front of the file and another part of it."""
    return data[: source.randrange(len(data) + 1)] + data[source.randrange(len(data) + 1) :]


def overwrite(data: bytearray, source: random.Random) -> bytearray:
    """Writes a number of 1, 2, 4 or 8 bytes that is often a limit over what is there."""
    size = source.choice((1, 2, 4, 8))
    if len(data) >= size:
        at = source.randrange(min(len(data), 4096) - size + 1)
        value = source.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1))
        data[at : at + size] = value.to_bytes(size, source.choice(("little", "big")))
    return data


def resize_header(data: bytearray, source: random.Random) -> bytearray:
    """Writes another size into the frame header of a JPEG, or into the IHDR of a PNG, with a valid checksum."""
    width, height = source.choice(((0, 0), (1, 1), (65535, 65535), (32000, 3000), (193, 144), (5000, 3), (3, 5000)))
    if data[:4] == b"\x89PNG" and len(data) > 33:
        data[16:24] = struct.pack(">II", *source.choice(((width, height), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1))))
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif (at := max(data.find(b"\xff\xc0\x00"), data.find(b"\xff\xc2\x00"))) >= 0 and len(data) > at + 9:
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return data
