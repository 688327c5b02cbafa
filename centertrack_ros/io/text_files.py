# SPDX-License-Identifier: Apache-2.0
"""Text files as people's programs write them: with or without a byte-order mark, with any line ends."""

from __future__ import annotations

import codecs
from pathlib import Path

from centertrack_ros.io.errors import DataError

# Byte-order mark -> encoding. That of UTF-32 begins with that of UTF-16, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: Path | str) -> str:
    r"""Reads a text file: UTF-8, or what its byte-order mark says; line ends become `\n`.

    Raises:
        DataError: There is no such file, it is a folder, or it is not text; the text says where and what to do.
        OSError: It cannot be read.
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except IsADirectoryError:
        raise DataError(path, "is a folder, expected a text file") from None
    mark, encoding = next(((mark, name) for mark, name in _MARKS if raw.startswith(mark)), (b"", "utf-8"))
    try:
        text = raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        place = error.start + len(mark)
        advice = "" if mark or b"\0" in raw else "; if it is Latin-1, `iconv -f LATIN1 -t UTF-8` converts it"
        raise DataError(path, f"not a text file in {encoding.upper()} (byte {place}){advice}") from None
    if "\0" in text:
        raise DataError(path, f"not a text file (a zero in place {text.index(chr(0))}); UTF-16 needs a byte-order mark")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path | str) -> list[str]:
    """The lines of `read_text`; a form feed or another separator of Unicode ends none."""
    return read_text(path).split("\n")
