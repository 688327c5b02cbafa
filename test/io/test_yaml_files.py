# SPDX-License-Identifier: Apache-2.0
"""YAML files: what they hold, or one sentence that names the file and, where there is one, the line."""

from __future__ import annotations

import pytest

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.yaml_files import load_yaml, parse_yaml


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_document_is_read_in_the_encoding_of_its_mark(tmp_path, encoding) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [1, x]\nb: {c: 1.5}\n", encoding=encoding)
    assert load_yaml(path) == {"a": [1, "x"], "b": {"c": 1.5}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\nb: 2\n", r"a\.yaml:2: not YAML \(.*\)"),
        (b"\tb: 2\n", r"a\.yaml:1: not YAML"),
        (b"a: 1\nb: 2\na: 3\n", r"a\.yaml:3: not YAML \(the key 'a' twice\)"),
        (b"a: *none\n", r"a\.yaml:1: not YAML \(found undefined alias 'none'\)"),
        (b"a: !!python/object/apply:os.getcwd []\n", "not YAML"),
        (b"a: 2020-13-45\n", "a value does not fit its type"),
        (b"a: !!timestamp soon\n", "a value does not fit its type"),
        (b"a: !!bool x\n", "a value does not fit its type"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"a: \xfc\n", "not a text file"),
        (b"a: \x00\n", "not a text file"),
        (b"a: \x07\n", "not YAML"),
        (b"[" * 3000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, content, message) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_yaml(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


def test_missing_files_and_folders_say_so(tmp_path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_yaml(tmp_path / "a.yaml")
    with pytest.raises(DataError, match="is a folder"):
        load_yaml(tmp_path)


def test_a_text_is_parsed_under_the_name_that_is_given() -> None:
    assert parse_yaml("1e3", "--set x") == "1e3"
    with pytest.raises(DataError, match=r"^--set x:1: not YAML"):
        parse_yaml("[1", "--set x")
