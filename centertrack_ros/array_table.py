# SPDX-License-Identifier: Apache-2.0
"""Tables of arrays: frozen dataclasses whose columns all have one row for each of N objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Table = TypeVar("Table", bound="ArrayTable")

_COLUMN = "column"


@dataclass(frozen=True)
class _Column:
    """Shape of a row, type and blank value of a column; `table` is the class of a nested table."""

    shape: tuple[int, ...] = ()
    dtype: DTypeLike = np.float64
    blank: float | str = 0
    table: type[ArrayTable] | None = None


def column(*shape: int, dtype: DTypeLike = np.float64, blank: float | str = 0) -> dict[str, Any]:
    """Metadata of a dataclass field: a column whose rows have this shape.

    Args:
        *shape: shape of one row; nothing for a scalar.
        dtype: type of the values.
        blank: the value of a row that nobody has filled in, see `ArrayTable.blank`.
    """
    return {_COLUMN: _Column(shape, dtype, blank)}


def nested(table: type[ArrayTable]) -> dict[str, Any]:
    """Metadata of a dataclass field: a column that is a table itself, with the same number of rows."""
    return {_COLUMN: _Column(table=table)}


@dataclass(frozen=True)
class ArrayTable:
    """Base of frozen dataclasses whose fields are arrays (N, ...), tables of N rows, or None (an unknown column).

    The first field is a column. A field of another type, for example a stamp, describes the whole table.
    """

    def __len__(self) -> int:
        return len(getattr(self, _names(type(self))[0]))

    def select(self: Table, index: NDArray[Any]) -> Table:
        """The rows at `index` (a mask or integers), in that order, as copies."""
        rows = np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp, copy=False)
        chosen: dict[str, Any] = {}
        for name in _names(type(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                chosen[name] = value.take(rows, axis=0)
            elif value is not None:
                chosen[name] = value.select(rows) if isinstance(value, ArrayTable) else value
        return type(self)(**chosen)

    def with_rows(self: Table, index: NDArray[np.int64], other: Table) -> Table:
        """A copy with the rows of `other` in place of those at `index` (integers); only of columns that both have."""
        changed: dict[str, Any] = {}
        for name in _names(type(self)):
            value, new = getattr(self, name), getattr(other, name)
            if isinstance(value, ArrayTable) and isinstance(new, ArrayTable):
                changed[name] = value.with_rows(index, new)
            elif isinstance(value, np.ndarray) and isinstance(new, np.ndarray):
                changed[name] = value.copy()
                changed[name][index] = new
        return replace(self, **changed)

    @classmethod
    def concatenate(cls: type[Table], parts: Sequence[Table]) -> Table:
        """The rows of all parts, at least one, in order.

        A column that only some parts have is NaN in the rows of the others. A value of the whole table is the first
        part's.
        """
        joined: dict[str, Any] = {}
        for name in _names(cls):
            values = [getattr(part, name) for part in parts]
            complete = all(type(value) is np.ndarray for value in values)
            joined[name] = np.concatenate(values) if complete else _joined(values, parts)
        return cls(**joined)

    @classmethod
    def blank(cls: type[Table], count: int) -> Table:
        """A table of `count` rows with the blank value of each column; optional columns are None."""
        made: dict[str, Any] = {}
        for item in fields(cls):
            kind: _Column | None = item.metadata.get(_COLUMN)
            if kind is None:
                continue
            made[item.name] = (
                kind.table.blank(count) if kind.table else np.full((count, *kind.shape), kind.blank, kind.dtype)
            )
        return cls(**made)

    @classmethod
    def empty(cls: type[Table]) -> Table:
        """A table without rows."""
        return cls.blank(0)


def _joined(values: list[Any], parts: Sequence[ArrayTable]) -> Any:
    """One column of several tables, or the value that describes the whole table."""
    known = next((value for value in values if value is not None), None)
    if isinstance(known, ArrayTable):
        return type(known).concatenate(values)
    if not isinstance(known, np.ndarray):
        return known
    filled = [
        np.full((len(part), *known.shape[1:]), np.nan, known.dtype) if value is None else value
        for part, value in zip(parts, values, strict=True)
    ]
    return np.concatenate(filled)


_NAMES: dict[type, tuple[str, ...]] = {}  # `dataclasses.fields` is slow enough to matter, several times a frame


def _names(table: type[ArrayTable]) -> tuple[str, ...]:
    names = _NAMES.get(table)
    if names is None:
        names = _NAMES[table] = tuple(item.name for item in fields(table))
    return names
