# SPDX-License-Identifier: Apache-2.0
"""The border of JSON documents: right values are converted, wrong ones named with their place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import JsonValue, load_json, read_document


def _value(value: Any) -> JsonValue:
    return JsonValue("a.json", "boxes[3].x", value)


def test_values_are_converted() -> None:
    assert (_value(3.0).integer(), _value(2**53 + 1).integer(), _value(2).number()) == (3, 2**53 + 1, 2.0)
    assert (_value("a7").label(), _value(2**70).label(), _value(7.0).label()) == ("a7", 2**70, 7)
    assert (_value(1).flag(), _value(False).flag(), _value("a").text()) == (True, False, "a")
    assert _value([[1, 2], [3, 4]]).numbers(2, 2).tolist() == [[1, 2], [3, 4]]
    assert all(map(math.isnan, _value([None, math.inf, 10**400]).numbers(3, finite=False)))
    document = JsonValue("a.json", "", {"a": [{"b": None}], "c": 1})
    assert [one.place for one in document["a"].items()] == ["a[0]"]
    assert next(document["a"].items()).get("b") is None and document.get("d") is None
    assert [(key, one.value) for key, one in document.entries()] == [("a", [{"b": None}]), ("c", 1)]


@pytest.mark.parametrize(
    ("value", "convert", "words"),
    [
        ("abc", lambda v: v.numbers(4), "expected 4 numbers, got 'abc'"),
        ([1, 2, 3], lambda v: v.numbers(4), r"expected 4 numbers, got \[1, 2, 3\]"),
        ([1, 2, None, 3], lambda v: v.numbers(4), "expected 4 numbers"),
        ([1, 2, math.nan, 3], lambda v: v.numbers(4), "expected 4 numbers, got .*NaN"),
        ([1, True], lambda v: v.numbers(2), "expected 2 numbers"),
        ([[1, 2], [3]], lambda v: v.numbers(2, 2), "expected 2 x 2 numbers"),
        (None, JsonValue.number, "expected a number, got null"),
        (True, JsonValue.integer, "expected a whole number, got true"),
        (1.5, JsonValue.integer, "expected a whole number, got 1.5"),
        (2**63, JsonValue.integer, "expected a whole number"),
        (-1, lambda v: v.integer(0), "expected a whole number from 0, got -1"),
        (10**400, JsonValue.number, "expected a number"),
        ([], JsonValue.label, r"expected a whole number or text, got \[\]"),
        (2, JsonValue.flag, "expected true or false"),
        (3, JsonValue.text, "expected text, got 3"),
        (3, lambda v: list(v.items()), "expected a list, got 3"),
        (3, lambda v: v["a"], "expected an object, got 3"),
        ({}, lambda v: v["a"], "'a' is missing"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(value: Any, convert: Callable[[JsonValue], Any], words: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.json: boxes\[3\]\.x: {words}"):
        convert(_value(value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "cannot|can be read"),
    ],
)
def test_documents_that_python_reads_in_silence_or_not_at_all(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=words):
        load_json(tmp_path / "a.json")


def test_a_byte_order_mark_belongs_to_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_document(tmp_path / "a.json")["a"].integer() == 1
