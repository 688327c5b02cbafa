# SPDX-License-Identifier: Apache-2.0
"""Records of an MCAP file (https://mcap.dev/spec), as far as they are whole: what an unfinished recording still holds.

The rosbags library reads finished files of the profile `ros2` alone. `survey` tells whether a file is one, `messages`
reads the others.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import BinaryIO
from zlib import crc32

from centertrack_ros.io.file_kinds import MCAP

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, DATA_END = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0F
_FOOTER_BYTES = 1 + 8 + 20 + len(MCAP)
_MAX_CHUNK = 1 << 31  # bytes; recorders write about a megabyte


class CutError(ValueError):
    """The file ends, or stops making sense, before its footer."""


@dataclass(frozen=True)
class Channel:
    """A topic of the file: the encoding of its messages, the type's name, and its definition with the encoding."""

    topic: str
    type: str
    encoding: str
    definition: str
    definition_encoding: str
    qos: str

    @property
    def is_ros2(self) -> bool:
        """Whether its messages are CDR, of a type that is defined as ROS 2 does."""
        return self.encoding == "cdr" and self.definition_encoding in ("ros2msg", "ros2idl", "omgidl", "")


@dataclass
class Survey:
    """What a file is.

    Attributes:
        profile: As its header names it: 'ros2', 'ros1', ''.
        is_whole: Its footer is there.
        is_indexed: It has a summary that finds the messages, or one without chunks and messages in order.
        channels: By id, as the summary has them.
    """

    profile: str = ""
    is_whole: bool = False
    is_indexed: bool = False
    channels: dict[int, Channel] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the rosbags library reads it as it is."""
        ros2 = all(channel.is_ros2 for channel in self.channels.values())
        return self.profile == "ros2" and self.is_whole and self.is_indexed and ros2


def zstandard() -> ModuleType:
    """The module that reads Zstandard: of the standard library, or one that the rosbags library brought along."""
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("reading compressed bags needs a Zstandard library: pip install backports.zstd")


def unpacked(data: bytes, compression: str = "zstd") -> bytes:
    """Data without its compression: '', 'lz4' or 'zstd'. Raises ValueError for what is broken."""
    if compression == "":
        return data
    try:
        if compression == "lz4":
            return bytes(importlib.import_module("lz4.frame").decompress(data))
        if compression == "zstd":
            with zstandard().open(BytesIO(data), "rb") as file:
                return bytes(file.read())
    except ImportError:
        raise
    except Exception as error:  # of three libraries, each with errors of its own
        raise ValueError(f"not {compression} data ({error})") from None
    raise ValueError(f"unknown compression '{compression[:20]}'")


def survey(path: Path) -> Survey:
    """Looks at a file that begins with MCAP.

    Raises:
        CutError: Not even its header is whole.
        OSError: It cannot be read.
    """
    found = Survey()
    with path.open("rb") as file:
        records = _records(file, path.stat().st_size, len(MCAP))
        code, _, content = next(records, (0, 0, b""))
        if code != HEADER:
            raise CutError("its header is not whole")
        found.profile = _Fields(content).text()
        start = _summary_start(file, path.stat().st_size)
        found.is_whole = start is not None
        if not start:
            return found
        schemas: dict[int, tuple[str, str, str]] = {}
        try:
            for code, _, content in _records(file, path.stat().st_size, start):
                found.is_indexed |= code == CHUNK_INDEX
                _learn(code, content, schemas, found.channels)
        except ValueError:
            found.is_whole = False
    found.is_indexed = found.is_indexed or _in_order(path)
    return found


def _in_order(path: Path) -> bool:
    """Whether a file without chunks, which has no index, has its messages in the order of time."""
    last = -1
    with path.open("rb") as file:
        try:
            for code, _, content in _records(file, path.stat().st_size, len(MCAP), brief=True):
                if code == MESSAGE:
                    time = _TIME.unpack_from(content, 6)[0]
                    if time < last:
                        return False
                    last = time
                elif code in (DATA_END, FOOTER):
                    return True
                elif code == CHUNK:
                    return False
        except ValueError:
            return False
    return False


def messages(path: Path) -> Iterator[tuple[Channel, int, bytes]]:
    """(channel, time of recording in ns, data) of all whole messages, in the order of the file.

    Raises:
        CutError: After the last of them, where the file has no end, or chunks are damaged; the text says which.
        OSError: It cannot be read.
    """
    schemas: dict[int, tuple[str, str, str]] = {}
    channels: dict[int, Channel] = {}
    damaged: list[int] = []
    with path.open("rb") as file:
        for code, _, content in _opened(_records(file, path.stat().st_size, len(MCAP)), damaged):
            if code == MESSAGE and len(content) >= 22:
                (number,), (time,) = _SHORT.unpack_from(content), _TIME.unpack_from(content, 6)
                if number in channels:
                    yield channels[number], time, content[22:]
            elif code in (DATA_END, FOOTER):
                break
            else:
                _learn(code, content, schemas, channels)
        else:
            raise CutError("its end is missing")
    if damaged:
        raise CutError(f"{len(damaged)} of its chunks are damaged")


_SHORT, _LONG, _TIME = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


class _Fields:
    """The fields of a record, one after the other. Raises CutError beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise CutError("a record is shorter than its fields")
        self._at += size
        return self._data[self._at - size : self._at]

    def raw(self) -> bytes:
        return self.take(self.number(_LONG))

    def text(self) -> str:
        return self.raw().decode("utf-8", errors="replace")


def _learn(code: int, content: bytes, schemas: dict[int, tuple[str, str, str]], channels: dict[int, Channel]) -> None:
    """Takes a schema or a channel."""
    if code not in (SCHEMA, CHANNEL):
        return
    fields = _Fields(content)
    key = fields.number(_SHORT)
    if code == SCHEMA:
        schemas[key] = (fields.text(), fields.text(), fields.text())
        return
    kind, form, text = schemas.get(fields.number(_SHORT), ("", "", ""))
    topic, encoding, about = fields.text(), fields.text(), _Fields(fields.raw())
    qos = ""
    while about._at < len(about._data):
        name, value = about.text(), about.text()
        qos = value if name == "offered_qos_profiles" else qos
    channels[key] = Channel(topic, kind, encoding, text, form, qos)


def _summary_start(file: BinaryIO, size: int) -> int | None:
    """Where the summary begins, 0 for a file without one; None for a file without a footer."""
    if size < len(MCAP) + _FOOTER_BYTES:
        return None
    file.seek(size - _FOOTER_BYTES)
    end = file.read(_FOOTER_BYTES)
    if end[0] != FOOTER or not end.endswith(MCAP) or _TIME.unpack_from(end, 1)[0] != 20:
        return None
    start = int(_TIME.unpack_from(end, 9)[0])
    return start if start < size else None


def _records(file: BinaryIO, size: int, at: int, brief: bool = False) -> Iterator[tuple[int, int, bytes]]:
    """(kind, place, content) of the records from `at` on; `brief`: of messages no more than their first 22 bytes.

    Raises CutError at one that reaches beyond the end of the file.
    """
    while at + 9 <= size:
        file.seek(at)
        head = file.read(9)
        code, length = head[0], int(_TIME.unpack_from(head, 1)[0])
        if code == 0 or at + 9 + length > size or (code == CHUNK and length > _MAX_CHUNK):
            raise CutError("its end is missing")
        if code <= DATA_END and code != 0x09:  # an attachment can be any file
            yield code, at, file.read(min(length, 22) if brief and code == MESSAGE else length)
        at += 9 + length
        if code == FOOTER:
            return


def _opened(records: Iterator[tuple[int, int, bytes]], damaged: list[int]) -> Iterator[tuple[int, int, bytes]]:
    """The records with those that lie in chunks. A chunk that is `damaged` is left out, and its place noted."""
    for code, at, content in records:
        if code != CHUNK:
            yield code, at, content
            continue
        try:
            data = _chunk(content)
            yield from _records(BytesIO(data), len(data), 0)
        except ValueError:
            damaged.append(at)


def _chunk(content: bytes) -> bytes:
    fields = _Fields(content)
    fields.take(16)
    size, checksum, compression = fields.number(_TIME), fields.number(_LONG), fields.text()
    data = unpacked(fields.take(fields.number(_TIME)), compression)
    if len(data) != size or (checksum and crc32(data) != checksum):
        raise CutError("a chunk does not match its checksum")
    return data
