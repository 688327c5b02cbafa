# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers in text files, read so that an error names the file and the line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.text_files import read_lines
from centertrack_ros.typed_records import shown

_INTEGER = re.compile(r"[+-]?[0-9]+")
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Rows:
    """The lines of a text file that are not empty, split into words; `lines` are their numbers, from 1."""

    path: Path
    lines: list[int]
    words: list[list[str]]

    def __len__(self) -> int:
        return len(self.words)

    def require_columns(self, least: int, most: int, expected: str) -> None:
        """Raises DataError naming the first line that does not have between `least` and `most` columns."""
        for line, words in zip(self.lines, self.words, strict=True):
            if not least <= len(words) <= most:
                count = f"{least}" if least == most else f"{least} to {most}"
                raise DataError(self.path, f"{len(words)} columns, expected {count}: {expected}", line)

    def all_have(self, count: int, what: str) -> bool:
        """Whether the lines have `count` columns or more, the last being `what`; DataError when some have and some not.

        What a part of the lines lacks would have to be made up.
        """
        enough = [len(words) >= count for words in self.words]
        if any(enough) and not all(enough):
            line = self.lines[enough.index(False)]
            raise DataError(self.path, f"this line does not have {what}, others have one", line)
        return any(enough)

    def numbers(self, columns: Sequence[int], expected: str) -> NDArray[np.float64]:
        """(len, len(columns)) float64. Raises DataError naming the line with something that is not a finite number."""
        picked = [[words[column] for column in columns] for words in self.words]
        try:
            table = np.array(picked, np.float64).reshape(len(picked), len(columns))
        except ValueError:
            table = None
        if table is not None and np.isfinite(table).all():
            return table
        for line, words in zip(self.lines, picked, strict=True):
            for word in words:
                if not _is_finite(word):
                    raise DataError(self.path, f"{shown(word)} is not a finite number; expected {expected}", line)
        raise AssertionError("a table that cannot be converted has a word that cannot")

    def integers(self, column: int, what: str) -> NDArray[np.int64]:
        """(len,) int64 of one column, exact: no float64 in between, which would join large ids.

        Raises DataError naming the line with something that is not a whole number of int64.
        """
        return np.array([self._integer(row, column, what) for row in range(len(self))], np.int64)

    def _integer(self, row: int, column: int, what: str) -> int:
        word, line = self.words[row][column], self.lines[row]
        if len(word) < 19 and _INTEGER.fullmatch(word):
            return int(word)
        if not _is_finite(word):
            raise DataError(self.path, f"{shown(word)} is not a finite number; expected {what}", line)
        value = Decimal(word)
        if abs(value) > _LARGEST:
            raise DataError(self.path, f"{shown(word)} is too large; expected {what} of at most {_LARGEST}", line)
        if value != value.to_integral_value():
            raise DataError(self.path, f"{shown(word)} is not a whole number; expected {what}", line)
        return int(value)


def _is_finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def read_rows(path: Path | str, separator: str | None) -> Rows:
    """All lines of a file but the empty ones; `separator` None splits at any white space.

    Raises DataError when the file is missing or is not text.
    """
    path = Path(path)
    lines, words = [], []
    for number, line in enumerate(read_lines(path), start=1):
        if stripped := line.strip():
            lines.append(number)
            words.append([word.strip() for word in stripped.rstrip(separator).split(separator)])
    return Rows(path, lines, words)


def word(value: float) -> str:
    """The shortest text that gives the same float64 back."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
