# SPDX-License-Identifier: Apache-2.0
"""Dataclasses from plain values: right ones pass, wrong ones are named by field, in one short line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.typed_records import construct, converted, shown


@dataclass(frozen=True)
class Inner:
    low: float = 0.0


@dataclass(frozen=True)
class Example:
    name: str
    count: int = 1
    rate: float = 1.0
    flag: bool = False
    pair: tuple[float, float] = (0.0, 1.0)
    words: tuple[str, ...] = ()
    limit: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


def test_a_record_survives_json() -> None:
    record = Example("a", 3, 2.5, True, (1.0, 2.0), ("x", "y"), None, {"k": 1.0}, Inner(0.5))
    assert construct(Example, json.loads(json.dumps(asdict(record))), "example") == record


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'name' is missing"),
        ({"name": "a", "colour": 1}, "unknown key 'colour'"),
        ({"name": 5}, "name must be text, got 5"),
        ({"name": "a", "count": 1.5}, "count must be a whole number, got 1.5"),
        ({"name": "a", "count": True}, "count must be a whole number, got True"),
        ({"name": "a", "count": 10**400}, "count must be a whole number of 64 bits"),
        ({"name": "a", "rate": float("nan")}, "rate must be a number, got nan"),
        ({"name": "a", "rate": 10**400}, "rate must be a number"),
        ({"name": "a", "flag": "no"}, "flag must be true or false, got 'no'"),
        ({"name": "a", "pair": [1.0]}, r"pair must be a list of 2, got \[1.0\]"),
        ({"name": "a", "words": "abc"}, "words must be a list, got 'abc'"),
        ({"name": "a", "weights": [1]}, "weights must be a mapping"),
        ({"name": "a", "weights": {"k": "x"}}, "weights: k must be a number, got 'x'"),
        ({"name": "a", "inner": 3}, "inner must be a mapping, got 3"),
        ({"name": "a", "inner": {"high": 3}}, "inner: unknown key 'high'"),
        ("text", "must be a mapping"),
    ],
)
def test_what_is_wrong_is_named(values, message) -> None:
    with pytest.raises(ValueError, match=f"^example.*{message}"):
        construct(Example, values, "example")


def test_parts_of_a_record_are_checked_as_well() -> None:
    assert converted(Example, {"words": ["x"], "limit": None}, "example") == {"words": ("x",), "limit": None}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.sampled_from([*Example.__dataclass_fields__, "other"]), json_values))
def test_any_values_make_a_record_or_one_short_line(values) -> None:
    try:
        record = construct(Example, values, "example")
    except ValueError as error:
        said = str(error)
    else:
        said = f"{type(record).__name__} of {record.count:d}"
    assert "\n" not in said
    assert len(said) < 400


def test_a_value_is_shown_in_one_short_line_however_large_it_is() -> None:
    bomb: list = ["x"] * 9
    for _ in range(12):
        bomb = [bomb] * 9  # 9 ** 13 items, of nine lists
    for value in (bomb, "x" * 10**6, "a\nb", 10**5000, {"a": bomb}, [[[[]]]]):
        assert len(shown(value)) <= 160 and "\n" not in shown(value)
    assert not re.search(r"\s\s", shown("a \n b"))
