# SPDX-License-Identifier: Apache-2.0
"""JSON documents as files, and their border: values are converted, and what is wrong is named by its place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.text_files import read_text
from centertrack_ros.io.whole_files import write_text

_INT64 = 2**63


def load_json(path: Path | str) -> Any:
    """Reads the JSON document of a file.

    Raises:
        DataError: There is no such file, or it is not JSON; the text names the broken line.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path | str, line: int | None = None) -> Any:
    """The document in a text.

    Args:
        text: JSON.
        path: Where it is from, for messages.
        line: Of the file, if the text is one of its lines.

    Raises:
        DataError: It is not JSON, or an object has a key twice.
    """
    if not text.strip():
        raise DataError(path, "is empty, expected JSON", line)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise DataError(path, f"not JSON: {error.msg}", line or error.lineno) from None
    except RecursionError:
        raise DataError(path, "not JSON that can be read: it is nested too deeply", line) from None
    except ValueError as error:  # a key twice; a number of thousands of digits
        raise DataError(path, f"not JSON that can be read: {error}", line) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"an object has the key '{next(key for key in names if names.count(key) > 1)}' twice")
    return content


@dataclass(frozen=True)
class JsonValue:
    """A value of a document together with its place, so that an error can say where it is.

    Attributes:
        path: The file.
        place: Such as `annotations[3].bbox`; '' for the whole document.
        value: What `json.loads` made of it.
        line: Of the file, where each line is a document.
    """

    path: Path | str
    place: str
    value: Any
    line: int | None = None

    def error(self, problem: str) -> DataError:
        """The error that this value is, for `raise`."""
        return DataError(self.path, f"{self.place}: {problem}" if self.place else problem, self.line)

    def expected(self, what: str) -> DataError:
        """The error that this value is not `what`."""
        return self.error(f"expected {what}, got {_short(self.value)}")

    def _child(self, place: str, value: Any) -> JsonValue:
        return JsonValue(self.path, place, value, self.line)

    def __contains__(self, key: str) -> bool:
        """Whether an object has the key, with a value that is not null."""
        return self.mapping().get(key) is not None

    def __getitem__(self, key: str) -> JsonValue:
        """The value of a key that must be there. Raises DataError without it."""
        content = self.mapping()
        if key not in content:
            raise self.error(f"'{key}' is missing")
        return self._child(f"{self.place}.{key}" if self.place else key, content[key])

    def get(self, key: str) -> JsonValue | None:
        """The value of a key; None where it is missing or null, which both mean: not told."""
        return self[key] if key in self else None  # noqa: SIM401

    def mapping(self) -> dict[str, Any]:
        """The value as an object. Raises DataError for another type."""
        if not isinstance(self.value, dict):
            raise self.expected("an object")
        return self.value

    def entries(self) -> Iterator[tuple[str, JsonValue]]:
        """The keys of an object with their values."""
        for key, value in self.mapping().items():
            yield key, self._child(f"{self.place}.{key}" if self.place else key, value)

    def items(self) -> Iterator[JsonValue]:
        """The values of a list. Raises DataError for another type."""
        if not isinstance(self.value, list):
            raise self.expected("a list")
        for number, value in enumerate(self.value):
            yield self._child(f"{self.place}[{number}]", value)

    def text(self) -> str:
        """The value as text. Raises DataError for another type."""
        if not isinstance(self.value, str):
            raise self.expected("text")
        return self.value

    def flag(self) -> bool:
        """The value as yes or no, also as 1 or 0. Raises DataError for another one."""
        if isinstance(self.value, bool | int | float) and self.value in (0, 1):
            return bool(self.value)
        raise self.expected("true or false")

    def label(self) -> int | str:
        """The value as a name of something: a whole number of any size, or text. Raises DataError for another one."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, float) and self.value.is_integer():
            return int(self.value)
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.expected("a whole number or text")
        return self.value

    def integer(self, least: int = -_INT64) -> int:
        """The value as a whole number from `least` to the largest of int64. Raises DataError for another one."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _INT64:
            raise self.expected("a whole number" if least == -_INT64 else f"a whole number from {least}")
        return value

    def number(self) -> float:
        """The value as a finite number. Raises DataError for another one."""
        value = _number(self.value)
        if not math.isfinite(value):
            raise self.expected("a number")
        return value

    def measurement(self) -> float:
        """The value as a number; NaN for null and what is not finite, both unknown. DataError for another type."""
        if self.value is None or isinstance(self.value, float):
            return _number(self.value) if math.isfinite(_number(self.value)) else math.nan
        return self.number()

    def numbers(self, *shape: int, finite: bool = True) -> NDArray[np.float64]:
        """The value as numbers in lists.

        Args:
            *shape: Of the array: `3` for a list of three, `3, 4` for three lists of four.
            finite: NaN, null and infinity are refused; else they are NaN.

        Raises:
            DataError: It has another form.
        """
        flat = _flat(self.value, shape)
        if flat is None or (finite and not all(map(math.isfinite, flat))):
            raise self.expected(f"{' x '.join(map(str, shape))} numbers")
        return np.array([value if math.isfinite(value) else math.nan for value in flat], np.float64).reshape(shape)


def _flat(value: Any, shape: tuple[int, ...]) -> list[float] | None:
    """The numbers of nested lists, null as NaN; None for another shape or type."""
    if not isinstance(value, list) or len(value) != shape[0]:
        return None
    if len(shape) > 1:
        parts = [_flat(one, shape[1:]) for one in value]
        return None if any(part is None for part in parts) else [number for part in parts for number in part or ()]
    if any(one is not None and (isinstance(one, bool) or not isinstance(one, int | float)) for one in value):
        return None
    return [_number(one) for one in value]


def _number(value: Any) -> float:
    """The number; NaN for another type, infinity for a whole number that is too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_document(path: Path | str) -> JsonValue:
    """`load_json` as the border of a document."""
    return JsonValue(path, "", load_json(path))


def write_json(path: Path | str, document: Mapping[str, Any]) -> None:
    """Writes the document as a whole or not at all: an existing file stays when the disk is full."""
    write_text(path, json.dumps(document, indent=1, sort_keys=True, allow_nan=True) + "\n")
