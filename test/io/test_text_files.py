# SPDX-License-Identifier: Apache-2.0
"""Text files: whatever program wrote them, the same lines are read; what is no text is refused in a sentence."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.text_files import read_lines, read_text

TEXT = "Straße 1\n\n3,4\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_marks_encodings_and_line_ends_do_not_change_the_text(
    tmp_path: Path, ends: str, mark: bytes, encoding: str
) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(mark + TEXT.replace("\n", ends).encode(encoding))
    assert read_text(file) == TEXT
    assert read_lines(file) == ["Straße 1", "", "3,4", ""]


def test_separators_of_unicode_end_no_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('{"ID": "a\u2028b"}\x0c\n', encoding="utf-8")
    assert read_lines(tmp_path / "a.txt") == ['{"ID": "a\u2028b"}\x0c', ""]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Stra\xdfe".encode("latin-1"), r"UTF-8 \(byte 4\).*iconv -f LATIN1"),
        (b"\xff\xfe\xff", r"UTF-16-LE \(byte 2\)"),
        ("1,2".encode("utf-16-le"), "UTF-16 needs a byte-order mark"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not a text file"),
        (None, "no such file"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.txt: .*{words}"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(DataError, match="is a folder"):
        read_text(tmp_path)
