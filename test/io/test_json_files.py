# SPDX-License-Identifier: Apache-2.0
"""JSON files: what is written is read back, a broken file is named, a failed write leaves the old file."""

from __future__ import annotations

from pathlib import Path

import pytest

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json, write_json


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    document = {"b": [1, 2.5, None], "a": {"ü": "text"}}
    write_json(tmp_path / "a.json", document)
    assert load_json(tmp_path / "a.json") == document


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert load_json(tmp_path / "a.json") == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"\xff\xfe\xff", "not a text file"), (b'{\n"a": ]', r"a\.json:2: not JSON")],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_json(tmp_path / "a.json")
