"""Cells of one column of a file, gathered block by block into one column of a table.

A reader converts a whole block at once and raises ValueError where any cell of it is bad; only then is each cell
checked alone, to find which and why. Both say yes and no to the same cells.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, filterfalse
from typing import Any, TypeAlias

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints32, Ints64, frozen
from nbarec.ids import Ids
from nbarec.moments import moment, moments
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, TagsColumn

Cell: TypeAlias = Any
"""Text, or for a multi-valued column of a format that has lists, a list of texts."""

FLAGS = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}


class CellReader(ABC):
    """Reads the cells of the file's `column`; a blank cell is missing, or bad where one is `required`."""

    lists = False
    """Whether a cell may be a list of texts."""

    def __init__(self, column: str, *, required: bool = False) -> None:
        self.column = column
        self.required = required
        self._blocks: list[AnyArray] = []

    def check(self, cell: Cell) -> None:
        """Raises ValueError with the reason why this cell is bad."""
        if not is_blank(cell):
            self._check(cell)
        elif self.required:
            raise ValueError(f"{self.column} is missing")

    @abstractmethod
    def _check(self, cell: Cell) -> None:
        """Raises ValueError with the reason why this cell, which is not blank, is bad."""

    @abstractmethod
    def convert(self, cells: Sequence[Cell]) -> Any:
        """A block for `keep`; changes nothing. Raises ValueError where `check` refuses any of the cells."""

    def keep(self, block: Any) -> None:
        """Add a converted block, whose rows are all accepted."""
        self._blocks.append(block)

    @abstractmethod
    def finish(self) -> Column:
        """The column of all rows that were kept."""

    @property
    def missing(self) -> int:
        """How many of the cells kept are missing."""
        return 0

    def _joined(self, dtype: type[np.generic]) -> AnyArray:
        return frozen(np.concatenate(self._blocks)) if self._blocks else np.empty(0, dtype)


class Numbers(CellReader):
    """Finite numbers."""

    def _check(self, cell: Cell) -> None:
        try:
            finite = math.isfinite(float(cell))
        except ValueError:
            raise ValueError(f"{self.column} {shown(cell)} is not a number") from None
        if "_" in cell:  # Python's own notation for thousands: in data it is a fault
            raise ValueError(f"{self.column} {shown(cell)} is not a number")
        if not finite:
            raise ValueError(f"{self.column} {shown(cell)} is not a finite number")

    def convert(self, cells: Sequence[Cell]) -> Floats64:
        """float64 [cells]; NaN where the cell is blank."""
        blanks = 0 if self.required else sum(map(is_blank, cells))
        filled = ["nan" if is_blank(cell) else cell for cell in cells] if blanks else cells
        if "_" in "".join(filled):
            raise ValueError(f"{self.column} holds an underscore")
        values = np.fromiter(map(float, filled), np.float64, len(cells))
        if np.count_nonzero(np.isfinite(values)) < len(cells) - blanks:
            raise ValueError(f"{self.column} holds a number that is not finite")
        return values

    def values(self) -> Floats64:
        """All numbers: float64 [rows], NaN where missing."""
        return self._joined(np.float64)

    def finish(self) -> NumberColumn:
        """The numbers as a column."""
        return NumberColumn(self.values())

    @property
    def missing(self) -> int:
        """How many numbers are missing."""
        return int(np.isnan(self.values()).sum())


class Flags(Numbers):
    """true, yes, 1 as 1 and false, no, 0 as 0, in any case of letters."""

    def _check(self, cell: Cell) -> None:
        if cell.strip().lower() not in FLAGS:
            raise ValueError(f"{self.column} {shown(cell)} is not a flag; write true, false, yes, no, 1 or 0")

    def convert(self, cells: Sequence[Cell]) -> Floats64:
        """float64 [cells] of 1 and 0; NaN where the cell is blank."""
        meaning = {}
        # A handful of spellings stand for a whole block.
        for cell in set(cells):
            self.check(cell)
            meaning[cell] = FLAGS.get(cell.strip().lower(), math.nan)
        return np.fromiter(map(meaning.__getitem__, cells), np.float64, len(cells))


class Moments(CellReader):
    """Times and dates as seconds since 1970 UTC."""

    def _check(self, cell: Cell) -> None:
        try:
            moment(cell)
        except ValueError as error:
            raise ValueError(f"{self.column} {shown(cell)} {error}") from None

    def convert(self, cells: Sequence[Cell]) -> Ints64:
        """int64 [cells]; `MISSING_DATE` where the cell is blank."""
        if self.required:
            return moments(cells)
        known = np.fromiter((not is_blank(cell) for cell in cells), np.bool_, len(cells))
        seconds = np.full(len(cells), MISSING_DATE)
        if known.any():
            seconds[known] = moments([cell for cell in cells if not is_blank(cell)])
        return seconds

    def seconds(self) -> Ints64:
        """All moments: int64 [rows]."""
        return self._joined(np.int64)

    def finish(self) -> DateColumn:
        """The moments as a column."""
        return DateColumn(self.seconds())

    @property
    def missing(self) -> int:
        """How many moments are missing."""
        return int((self.seconds() == MISSING_DATE).sum())


class Texts(CellReader):
    """Ids and levels, as they were written; each distinct text is held once."""

    def __init__(self, column: str, *, required: bool = False, unique: bool = False) -> None:
        super().__init__(column, required=required)
        self.unique = unique
        self._code = _new_codes()
        self._claimed: set[str] = set()

    def check(self, cell: Cell) -> None:
        """Where texts must be unique, a cell that passes is taken: check it last, when its row is else in order."""
        super().check(cell)
        if self.unique:
            self._claimed.add(cell)

    def _check(self, cell: Cell) -> None:
        if self.unique and (cell in self._code or cell in self._claimed):
            raise ValueError(f"{self.column} {shown(cell)} stands in an earlier row too; keep one of the two")

    def convert(self, cells: Sequence[Cell]) -> Sequence[Cell]:
        """The cells themselves: codes are given when a block is kept."""
        fresh = set(filterfalse(self._code.__contains__, cells))
        if self.required and any(map(is_blank, fresh)):
            raise ValueError(f"{self.column} is missing")
        if self.unique and len(fresh) < len(cells):
            raise ValueError(f"{self.column} is not unique")
        return cells

    def keep(self, block: Sequence[Cell]) -> None:
        """Give every new text its code."""
        super().keep(np.fromiter(map(self._code.__getitem__, block), np.int32, len(block)))

    def names(self) -> list[str]:
        """The distinct texts in the order of their codes."""
        return list(self._code)

    def codes(self) -> Ints32:
        """Position in `names` of each row's text: int32 [rows]."""
        return self._joined(np.int32)

    def finish(self) -> CategoryColumn:
        """The texts as levels in their natural order."""
        levels, place = _levels(self._code)
        return CategoryColumn(frozen(place[self.codes()]), levels)

    @property
    def missing(self) -> int:
        """How many rows have no text."""
        blank = [code for name, code in self._code.items() if is_blank(name)]
        return int(np.isin(self.codes(), blank).sum())


class Tags(CellReader):
    """Any number of texts a cell, between separators or, where the format has lists, in a list."""

    lists = True

    def __init__(self, column: str, separator: str) -> None:
        super().__init__(column)
        self.separator = separator
        self._code = _new_codes()
        self._counts: list[Ints64] = []

    def _check(self, cell: Cell) -> None:
        """Every text is a list of tags."""

    def convert(self, cells: Sequence[Cell]) -> list[list[str]]:
        """The tags of each cell, without the blanks around them."""
        return [self._split(cell) for cell in cells]

    def _split(self, cell: Cell) -> list[str]:
        parts = cell if isinstance(cell, list) else cell.split(self.separator)
        return [part for part in map(str.strip, parts) if part]

    def keep(self, block: list[list[str]]) -> None:
        """Give every tag its code."""
        self._counts.append(np.fromiter(map(len, block), np.int64, len(block)))
        super().keep(np.fromiter(map(self._code.__getitem__, chain.from_iterable(block)), np.int32))

    def counts(self) -> Ints64:
        """How many tags each row has: int64 [rows]."""
        return np.concatenate(self._counts) if self._counts else np.empty(0, np.int64)

    def finish(self) -> TagsColumn:
        """The tags as a column; one that a cell holds twice counts once."""
        counts = self.counts()
        row = np.repeat(np.arange(len(counts)), counts)
        return tags_column(row, self._joined(np.int32), self._code, len(counts))

    @property
    def missing(self) -> int:
        """How many rows have no tag."""
        return int((self.counts() == 0).sum())


def tags_column(row: AnyArray, code: AnyArray, names: Sequence[str] | dict[str, int], rows: int) -> TagsColumn:
    """From pairs of a row and a position in `names`; a blank name is no tag, and a repeated pair counts once."""
    levels, place = _levels(names)
    tag = place[code]
    matrix = Csr.from_pairs(row[tag >= 0], tag[tag >= 0], None, (rows, len(levels)))
    return TagsColumn(replace(matrix, data=frozen(np.ones(matrix.nnz, np.float32))), levels)


def is_blank(cell: Cell) -> bool:
    """Whether a cell holds nothing but white space."""
    return not cell or (isinstance(cell, str) and cell.isspace())


def shown(cell: Cell) -> str:
    """A cell as an error shows it, short."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _new_codes() -> dict[str, int]:
    """A dictionary that gives each new text the next number."""
    codes: defaultdict[str, int] = defaultdict()
    codes.default_factory = codes.__len__
    return codes


def _levels(names: Sequence[str] | dict[str, int]) -> tuple[Ids, Ints32]:
    """The names that are not blank in natural order, and where each name went: int32 [names], -1 for a blank."""
    levels = Ids.sorted_of(name for name in names if not is_blank(name))
    return levels, levels.index(names).astype(np.int32)
