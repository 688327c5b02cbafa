# SPDX-License-Identifier: Apache-2.0
"""Dataclasses from plain dictionaries, as JSON and YAML give them: each value is checked against its declared type.

Every message names the field, what was expected and what was there, in one line.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

_INT64 = 2**63
_TYPE_NAMES = {int: "a whole number", bool: "true or false", str: "text"}

# Shortens on the way down: a YAML document of some lines can hold a list of millions of items, by its aliases.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 2, 5, 5, 4


def shown(value: Any) -> str:
    """A value as error messages show it: in one line, and never long."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a whole number of thousands of digits has no text
        text = "a number of thousands of digits"
    return " ".join(text.split())[:160]


def construct(record: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """Makes a dataclass.

    Args:
        record: The class.
        values: Field name -> plain value; a value None counts as absent unless it is the field's default.
        where: Begins each message.

    Raises:
        ValueError: A field is unknown or missing, or has a value of another type, or the class refuses the values.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, got {shown(values)}")
    defaults = {entry.name: entry.default for entry in fields(record)}  # type: ignore[arg-type]
    present = {key: value for key, value in values.items() if value is not None or defaults.get(key) is None}
    given = converted(record, present, where)
    needed = [
        entry.name
        for entry in fields(record)  # type: ignore[arg-type]
        if entry.init and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"{where}: '{missing[0]}' is missing")
    try:
        return record(**given)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(where) else f"{where}: {message}") from None


def converted(record: Any, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values as the types that the fields of a dataclass are declared with; fields may be absent.

    Raises:
        ValueError: A field is unknown, or has a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, got {shown(values)}")
    known = _declared_types(record)
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"{where}: unknown key '{unknown[0][:60]}'; there are {', '.join(sorted(known))}")
    return {key: convert(value, known[key], f"{where}: {key}") for key, value in values.items()}


@lru_cache(maxsize=64)
def _declared_types(record: Hashable) -> dict[str, Any]:
    """Field name -> declared type of a dataclass."""
    assert isinstance(record, type)
    types = get_type_hints(record)
    return {entry.name: types[entry.name] for entry in fields(record)}


def convert(value: Any, declared: Any, where: str) -> Any:
    """One value as a declared type: a number, text, a tuple, a mapping, a dataclass or None.

    Raises:
        ValueError: It is of another type.
    """
    if get_origin(declared) in (Union, UnionType):  # of None and one other
        inner = next(one for one in get_args(declared) if one is not NoneType)
        return None if value is None else convert(value, inner, where)
    if get_origin(declared) is tuple:
        return _tuple(value, get_args(declared), where)
    if get_origin(declared) is Mapping:
        return _mapping(value, get_args(declared)[1], where)
    if isinstance(declared, type) and is_dataclass(declared):
        return value if isinstance(value, declared) else construct(declared, value, where)
    if declared is float:
        return _number(value, where)
    if declared in _TYPE_NAMES and (not isinstance(value, declared) or (declared is int and isinstance(value, bool))):
        raise ValueError(f"{where} must be {_TYPE_NAMES[declared]}, got {shown(value)}")
    if declared is int and not -_INT64 <= value < _INT64:
        raise ValueError(f"{where} must be a whole number of 64 bits, got {shown(value)}")
    return value


def _mapping(value: Any, inner: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping, got {shown(value)}")
    return {str(key): convert(one, inner, f"{where}: {str(key)[:60]}") for key, one in value.items()}


def _tuple(value: Any, inner: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} must be a list, got {shown(value)}")
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        raise ValueError(f"{where} must be a list of {len(inner)}, got {shown(value)}")
    return tuple(convert(one, inner[0], where) for one in value)


def _number(value: Any, where: str) -> float:
    """A finite number, also from text: YAML 1.1 reads 1e-3 as text."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not math.isfinite(number):
        raise ValueError(f"{where} must be a number, got {shown(value)}")
    return number
