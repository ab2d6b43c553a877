"""Tables of attributes: the catalogue of items and the audience of users, column by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen
from nbarec.errors import DataError
from nbarec.ids import Ids, TextOrNumber
from nbarec.sparse import Csr

MISSING_DATE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class NumberColumn:
    """Numbers: `values` float64 [rows]; NaN is missing."""

    values: Floats64

    def take(self, rows: np.ndarray) -> NumberColumn:
        """These rows; -1 gives a missing value."""
        return NumberColumn(_take(self.values, rows, np.nan))


@dataclass(frozen=True)
class CategoryColumn:
    """One level a row: `codes` int32 [rows] into `levels`; -1 is missing."""

    codes: Ints32
    levels: Ids

    @classmethod
    def of(cls, texts: Sequence[TextOrNumber | None]) -> CategoryColumn:
        """From one text a row; None and the empty text are missing."""
        levels = Ids.sorted_of(text for text in texts if text not in (None, ""))
        codes = levels.index("" if text is None else text for text in texts)
        return cls(frozen(codes.astype(np.int32)), levels)

    def take(self, rows: np.ndarray) -> CategoryColumn:
        """These rows; -1 gives a missing value."""
        return replace(self, codes=_take(self.codes, rows, -1))


@dataclass(frozen=True)
class TagsColumn:
    """Any number of levels a row: `matrix` (rows x levels) of ones; a row without a level is missing."""

    matrix: Csr
    levels: Ids

    @classmethod
    def of(cls, row: np.ndarray, tag: Sequence[TextOrNumber], rows: int) -> TagsColumn:
        """From (row, tag) pairs; a pair that stands twice counts once."""
        levels = Ids.sorted_of(tag)
        summed = Csr.from_pairs(row, levels.index(tag), None, (rows, len(levels)))
        return cls(replace(summed, data=frozen(np.ones(summed.nnz, np.float32))), levels)

    def take(self, rows: np.ndarray) -> TagsColumn:
        """These rows; -1 gives a missing value."""
        return replace(self, matrix=self.matrix.take_rows(rows))


@dataclass(frozen=True)
class DateColumn:
    """Moments: `seconds` int64 [rows] since 1970-01-01 UTC; the smallest int64 is missing."""

    seconds: Ints64

    def take(self, rows: np.ndarray) -> DateColumn:
        """These rows; -1 gives a missing value."""
        return DateColumn(_take(self.seconds, rows, MISSING_DATE))


Column = NumberColumn | CategoryColumn | TagsColumn | DateColumn


@dataclass(frozen=True)
class Table:
    """Named columns of equal length `rows`. The catalogue has a row an item, the audience a row a user."""

    rows: int
    columns: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Table:
        """From one array or list a column: numbers and flags, texts, dates (datetime64), or a list of tags a row.

        Raises DataError where lengths differ.
        """
        rows = len(next(iter(columns.values()), ()))
        for name, values in columns.items():
            if len(values) != rows:
                raise DataError(f"column {name!r} has {len(values)} rows where others have {rows}; they must match")
        return cls(rows, {name: _column_of(values) for name, values in columns.items()})

    def take(self, rows: np.ndarray) -> Table:
        """These rows; -1 gives a row of missing values."""
        taken = {name: column.take(rows) for name, column in self.columns.items()}
        return Table(len(rows), taken)

    def extended(self, rows: int) -> Table:
        """The same table with rows of missing values added at the end, up to `rows`."""
        if rows == self.rows:
            return self
        return self.take(np.append(np.arange(self.rows), np.full(rows - self.rows, -1)))

    def with_column(self, name: str, column: Column) -> Table:
        """The same table with one column added or replaced."""
        return replace(self, columns={**self.columns, name: column})

    def labels(self, name: str, rows: Iterable[int]) -> list[str]:
        """What a person reads in column `name` at these rows; `-` where it is missing."""
        return [_label(self.columns[name], row) for row in rows]


def texts_of(values: np.ndarray) -> list[str | None]:
    """Values as texts, None and NaN as None."""
    return [None if value is None or value != value else str(value) for value in values.tolist()]


def _column_of(values: Sequence[Any] | np.ndarray) -> Column:
    """The column that these values make, by what they are."""
    if any(isinstance(value, (list, tuple, set, frozenset)) for value in values):
        tags = [sorted(value, key=str) if value else [] for value in values]
        row = np.repeat(np.arange(len(tags)), [len(some) for some in tags])
        return TagsColumn.of(row, [str(tag) for some in tags for tag in some], len(tags))
    array = np.asarray(values)
    if array.dtype.kind == "M":
        seconds = array.astype("datetime64[s]").astype(np.int64)
        return DateColumn(frozen(np.where(np.isnat(array), MISSING_DATE, seconds)))
    if array.dtype.kind in "iufb":
        return NumberColumn(frozen(array.astype(np.float64)))
    return CategoryColumn.of(texts_of(array))


def _label(column: Column, row: int) -> str:
    match column:
        case NumberColumn(values):
            return "-" if np.isnan(values[row]) else f"{values[row]:g}"
        case CategoryColumn(codes, levels):
            return "-" if codes[row] < 0 else levels.texts([codes[row]])[0]
        case TagsColumn(matrix, levels):
            tags = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
            return "|".join(levels.texts(tags)) or "-"
        case DateColumn(seconds):
            missing = seconds[row] == MISSING_DATE
            return "-" if missing else str(np.datetime64(int(seconds[row]), "s").astype("datetime64[D]"))


def _take(values: np.ndarray, rows: np.ndarray, missing: float) -> np.ndarray:
    rows = np.asarray(rows, np.int64)
    taken = np.full(len(rows), missing, values.dtype)
    known = rows >= 0
    taken[known] = values[rows[known]]
    return frozen(taken)
