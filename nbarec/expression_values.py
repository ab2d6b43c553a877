"""What an expression's parts evaluate to: one value a row for N rows, or one value for all (arrays of shape ()).

Truth is three-valued (Kleene 1938): a comparison with a missing value is unknown, `false and unknown` is false,
`true or unknown` is true, and `not unknown` is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, frozen
from nbarec.ids import Ids, TextOrNumber
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, TagsColumn


@dataclass(frozen=True)
class MissingColumn:
    """`size` rows of missing values whose type nobody knows: unknown beside numbers and texts alike."""

    size: int

    def take(self, rows: np.ndarray) -> MissingColumn:
        """As many missing values as there are `rows`."""
        return MissingColumn(len(rows))


class Scope(Protocol):
    """Named columns of `size` rows for an expression to read."""

    @property
    def size(self) -> int:
        """N, the number of rows."""

    def column(self, name: str) -> Column | MissingColumn:
        """The column of that name, N rows; raises KeyError where there is none."""

    def names(self) -> list[str]:
        """Every name there is, for the hints of errors."""


@dataclass(frozen=True)
class Truth:
    """`values` bool [N], `known` bool [N]; a value is False where it is not known."""

    values: Bools
    known: Bools

    @classmethod
    def of(cls, holds: Any, fails: Any) -> Truth:
        """From the rows where it is known to hold and those where it is known to fail."""
        return cls(np.asarray(holds, np.bool_), np.asarray(holds | fails, np.bool_))

    @classmethod
    def unknown(cls) -> Truth:
        """Unknown, for all rows alike."""
        return cls(np.asarray(False), np.asarray(False))

    @property
    def holds(self) -> Bools:
        """Where it is known to be true: bool [N]."""
        return self.values

    @property
    def fails(self) -> Bools:
        """Where it is known to be false: bool [N]."""
        return np.asarray(self.known & ~self.values)

    def negated(self) -> Truth:
        """Logical not."""
        return Truth.of(self.fails, self.holds)

    def both(self, other: Truth) -> Truth:
        """Logical and."""
        return Truth.of(self.holds & other.holds, self.fails | other.fails)

    def either(self, other: Truth) -> Truth:
        """Logical or."""
        return Truth.of(self.holds | other.holds, self.fails & other.fails)

    def over(self, size: int) -> Truth:
        """The same with one entry a row: bool [size], read-only."""
        return Truth(*(frozen(np.array(np.broadcast_to(part, size))) for part in (self.values, self.known)))


@dataclass(frozen=True)
class Numbers:
    """`values` float64; NaN is unknown."""

    values: Floats64

    @property
    def known(self) -> Bools:
        """Where there is a number."""
        return np.asarray(~np.isnan(self.values))

    def truth(self) -> Truth:
        """Any number but 0 is true."""
        return Truth.of(self.known & (self.values != 0), self.values == 0)


@dataclass(frozen=True)
class Texts:
    """One text a row: `codes` int32 into `levels`; -1 is unknown."""

    codes: Ints32
    levels: Ids

    @classmethod
    def constant(cls, text: str) -> Texts:
        """The same text in all rows."""
        return cls(np.zeros((), np.int32), Ids.of([text]))

    @property
    def known(self) -> Bools:
        """Where there is a text."""
        return np.asarray(self.codes >= 0)


@dataclass(frozen=True)
class Tags:
    """Any number of texts a row: `matrix` [N x levels]; a row without any is unknown."""

    matrix: Csr
    levels: Ids

    @property
    def known(self) -> Bools:
        """Where there is a tag."""
        return np.asarray(self.matrix.counts > 0)


@dataclass(frozen=True)
class Unknown:
    """Missing everywhere, of any type."""


Value: TypeAlias = Numbers | Texts | Tags | Truth | Unknown


def value_of(column: Column | MissingColumn) -> Value:
    """A column as a value; a date counts as its seconds since 1970."""
    match column:
        case NumberColumn(values):
            return Numbers(values)
        case CategoryColumn(codes, levels):
            return Texts(codes, levels)
        case TagsColumn(matrix, levels):
            return Tags(matrix, levels)
        case DateColumn(seconds):
            return Numbers(np.where(seconds == MISSING_DATE, np.nan, seconds))
        case MissingColumn():
            return Unknown()


def same_text(left: Texts, right: Texts) -> Truth:
    """Where two texts are the same."""
    if len(right.levels) > len(left.levels):
        left, right = right, left
    known = left.known & right.known
    same = left.codes == _translated(right.codes, right.levels, left.levels)
    return Truth.of(known & same, known & ~same)


def text_among(texts: Texts, listed: Iterable[TextOrNumber]) -> Truth:
    """Where a text is one of those listed."""
    found = np.append(_marked(texts.levels, listed), False)[texts.codes]
    return Truth.of(found, texts.known & ~found)


def tags_among(tags: Tags, listed: Iterable[TextOrNumber]) -> Truth:
    """Where any of a row's tags is one of those listed."""
    hit = _marked(tags.levels, listed)[tags.matrix.indices]
    return _any_in_row(tags, hit, tags.known)


def number_among(numbers: Numbers, listed: Iterable[float]) -> Truth:
    """Where a number is one of those listed."""
    found = np.isin(numbers.values, list(listed))
    return Truth.of(found, numbers.known & ~found)


def text_in_tags(texts: Texts, tags: Tags) -> Truth:
    """Where a text is one of the row's tags."""
    rows = np.arange(tags.matrix.shape[0])
    codes = np.broadcast_to(_translated(texts.codes, texts.levels, tags.levels), rows.shape)
    known, found = texts.known & tags.known, tags.matrix.contains(rows, codes)
    return Truth.of(known & found, known & ~found)


def tags_in_tags(left: Tags, right: Tags) -> Truth:
    """Where any tag of one is a tag of the other."""
    codes = _translated(left.matrix.indices, left.levels, right.levels)
    return _any_in_row(left, right.matrix.contains(left.matrix.row_of, codes), left.known & right.known)


def _any_in_row(tags: Tags, hit: np.ndarray, known: Bools) -> Truth:
    """Where a row has an entry that `hit` bool [nnz] marks, among the rows that are known."""
    found = np.bincount(tags.matrix.row_of[hit], minlength=tags.matrix.shape[0]) > 0
    return Truth.of(known & found, known & ~found)


def _marked(levels: Ids, listed: Iterable[TextOrNumber]) -> Bools:
    """Which levels are listed: bool [levels]."""
    marked = np.zeros(len(levels), np.bool_)
    at = levels.index(listed)
    marked[at[at >= 0]] = True
    return marked


def _translated(codes: np.ndarray, levels: Ids, other: Ids) -> np.ndarray:
    """Codes of `levels` as codes of `other`; -1 where `other` does not have the level. Only levels in use are read."""
    if levels is other:
        return codes
    used = np.flatnonzero(np.bincount(np.ravel(codes) + 1, minlength=len(levels) + 1)[1:])
    table = np.full(len(levels) + 1, -1, np.int64)
    table[used] = other.index(levels.take(used))
    return np.asarray(table[codes])
