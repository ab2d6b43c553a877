"""The columns of a table as feature vectors of its rows: numbers standardised, levels as weighted indicators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, Ints64, concat_ranges, frozen, row_pointers, rows_of
from nbarec.errors import ConfigError
from nbarec.ids import Ids
from nbarec.kernels import NOT_PROPOSED
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn
from nbarec.traits import NO_TRAITS
from nbarec_plugins.sparse_rows import SparseRows, dense_products, sums_at

NOISE = 1e-12
"""A vector shorter than this share of what it is made of is rounding noise: it points nowhere."""


@dataclass(frozen=True)
class Features:
    """A feature vector a row: `numbers` float64 [rows, n], `levels` (rows x levels of all columns), and `length`
    float64 [rows], the Euclidean norm over both; 0 where a row has nothing to compare."""

    numbers: Floats64
    levels: SparseRows
    length: Floats64

    @classmethod
    def of(cls, table: Table, weights: Mapping[str, float], tfidf: bool) -> Features:
        """The columns named in `weights`, each one's features multiplied by its weight.

        * Numbers and dates: (x - mean) / standard deviation, both of the population, over the rows that have a value;
          0 where it is missing or where all values are equal.
        * Categories: 1 for the row's level (one-hot).
        * Tags: idf(t) = 1 + ln(rows / rows with t) for each tag of the row, or 1 without `tfidf`; divided by the
          Euclidean norm of the row's tags (Salton, Buckley 1988; the 1 keeps a tag that all rows have).
        """
        numbers, levels = [], []
        for name, weight in weights.items():
            column = table.columns[name]
            if isinstance(column, NumberColumn | DateColumn):
                numbers.append(weight * _standardised(numbers_of(column)))
            else:
                levels.append(_level_weights(column, weight, tfidf))
        stacked = np.column_stack(numbers) if numbers else np.empty((table.rows, 0))
        side_by_side = _side_by_side(levels, table.rows)
        return cls(frozen(stacked), side_by_side, frozen(_lengths(stacked, side_by_side)))

    def profiles(self, row: Ints64, item: Ints32, weight: Floats64, rows: int) -> Profiles:
        """The weighted mean of feature vectors in each of `rows` rows.

        `row` int64, `item` int32, `weight` float64, positive: one each an event, rows ascending.
        """
        share = weight / sums_at(row, weight, rows)[row]
        numbers = np.zeros((rows, self.numbers.shape[1]))
        for at in range(self.numbers.shape[1]):  # a step a column of the catalogue: few, and long in rows
            numbers[:, at] = sums_at(row, share * self.numbers[item, at], rows)
        counts = self.levels.counts[item]
        entry = concat_ranges(self.levels.indptr[item], counts)
        cell = np.repeat(row * self.levels.columns, counts) + self.levels.column[entry]
        added = np.repeat(share, counts) * self.levels.value[entry]
        levels = sums_at(cell, added, rows * self.levels.columns)
        levels = levels.reshape(rows, self.levels.columns)
        length = np.sqrt((numbers**2).sum(axis=1) + (levels**2).sum(axis=1))
        made_of = sums_at(row, share * self.length[item], rows)
        return Profiles(numbers, levels, np.where(length > NOISE * made_of, length, 0.0))

    def cosines(self, profiles: Profiles) -> Floats64:
        """The cosine of each profile with each row's vector: float64 [profiles, rows], -inf where undefined."""
        product = dense_products(profiles.levels, self.levels)
        for at in range(self.numbers.shape[1]):  # a step a column of the catalogue
            product += np.multiply.outer(profiles.numbers[:, at], self.numbers[:, at])
        lengths = np.multiply.outer(profiles.length, self.length)
        undefined = np.full(product.shape, NOT_PROPOSED)
        return np.asarray(np.divide(product, lengths, out=undefined, where=lengths > 0), np.float64)

    def shares(self, profiles: Profiles, row: Ints64, item: Ints32) -> tuple[Ints64, Ints32, Floats64]:
        """What each feature adds to the cosines of M pairs of a profile, int64 [M], and a row, int32 [M].

        Returns which pair, int64 [E], which feature, int32 [E] (numbers first, then levels), and what it adds, float64
        [E], not zero. A pair whose cosine is undefined has none.
        """
        numbers = profiles.numbers[row] * self.numbers[item]
        by_number, number = np.nonzero(numbers)
        counts = self.levels.counts[item]
        entry, by_level = concat_ranges(self.levels.indptr[item], counts), np.repeat(np.arange(len(row)), counts)
        level = self.levels.column[entry]
        pair = np.append(by_number, by_level)
        feature = np.append(number, numbers.shape[1] + level).astype(np.int32)
        amount = np.append(numbers[by_number, number], profiles.levels[row[by_level], level] * self.levels.value[entry])
        lengths = (profiles.length[row] * self.length[item])[pair]
        amount = np.divide(amount, lengths, out=np.zeros(len(pair)), where=lengths > 0)
        kept = np.flatnonzero(amount)
        return pair[kept], feature[kept], amount[kept]


@dataclass(frozen=True)
class FeatureNames:
    """What features are called: those of `numbers` by their column, then the levels of each column of `levels`."""

    numbers: tuple[str, ...]
    levels: Mapping[str, Ids]

    @classmethod
    def of(cls, table: Table, columns: Iterable[str]) -> FeatureNames:
        """Those of `Features.of` for the same columns in the same order."""
        named = {name: table.columns[name] for name in columns}
        levels = {name: one.levels for name, one in named.items() if isinstance(one, CategoryColumn | TagsColumn)}
        return cls(tuple(name for name in named if name not in levels), levels)

    def texts(self, feature: Ints32) -> list[str]:
        """`tempo` for a number, `genre rock` for a level: one a feature."""
        distinct, at = np.unique(feature, return_inverse=True)
        start = len(self.numbers)
        texts = [self.numbers[number] for number in distinct[distinct < start].tolist()]
        for name, ids in self.levels.items():  # a step a column of the catalogue
            inside = distinct[(start <= distinct) & (distinct < start + len(ids))]
            texts += [f"{name} {level}" for level in ids.texts(inside - start)]
            start += len(ids)
        return [texts[place] for place in at.tolist()]


@dataclass(frozen=True)
class Profiles:
    """Dense feature vectors, one a profile: `numbers` float64 [profiles, n], `levels` float64 [profiles, levels],
    `length` float64 [profiles], their norm; 0 for a profile that points nowhere."""

    numbers: Floats64
    levels: Floats64
    length: Floats64


def usable_columns(table: Table) -> list[str]:
    """The columns that tell rows apart without naming them: not ids, and with something that two rows share."""
    return [name for name, column in table.columns.items() if name not in NO_TRAITS and _is_usable(column)]


def weights_of(table: Table, fields: Mapping[str, float] | None, who: str) -> Mapping[str, float]:
    """What `Features.of` multiplies each column by: `fields`, or 1 for every usable column where that is None.

    Raises ConfigError, speaking for the component `who`, where the table lacks the columns or has none to use.
    """
    known = ", ".join(table.columns) or "none"
    if fields is None:
        usable = usable_columns(table)
        if not usable:
            raise ConfigError(
                f"{who} compares items by their attributes, and the items have no column that tells them apart "
                f"(columns: {known}); give data.items a file with columns such as genre or tempo"
            )
        return dict.fromkeys(usable, 1.0)
    unknown = [name for name in fields if name not in table.columns]
    if unknown or not fields:
        wrong = f"names {', '.join(map(repr, unknown))}" if unknown else "is empty"
        raise ConfigError(f"{who}: fields {wrong}; the items have these columns: {known}")
    return fields


def date_column(catalog: Table, by: str | None, who: str) -> DateColumn:
    """The date column that `by` names, written `released` or `item.released`; the only one there is, where it is None.

    Raises ConfigError, speaking for the component `who` and listing the date columns, where there is no such column.
    """
    dates = {name: column for name, column in catalog.columns.items() if isinstance(column, DateColumn)}
    listed = ", ".join(dates) or "none"
    if by is None:
        if len(dates) == 1:
            return next(iter(dates.values()))
        advice = "name one in `by`" if dates else "give the catalogue one, such as `released: date`"
        raise ConfigError(f"{who} needs a date column, and the date columns are: {listed}; {advice}")
    column = by.removeprefix("item.")
    if column not in dates:
        fault = f"{column!r} holds no dates" if column in catalog.columns else f"there is no column {column!r}"
        raise ConfigError(f"{who} has `by: {by}`, but {fault}; the date columns are: {listed}")
    return dates[column]


def _is_usable(column: Column) -> bool:
    match column:
        case NumberColumn() | DateColumn():
            return bool(_standardised(numbers_of(column)).any())
        case CategoryColumn(codes, levels):
            return bool((np.bincount(codes[codes >= 0], minlength=len(levels)) > 1).any())
        case TagsColumn(matrix):
            return bool((np.bincount(matrix.indices, minlength=matrix.shape[1]) > 1).any())


def numbers_of(column: NumberColumn | DateColumn) -> Floats64:
    """Numbers as they are and dates in seconds: float64 [rows], NaN where missing."""
    if isinstance(column, NumberColumn):
        return column.values
    return np.where(column.seconds == MISSING_DATE, np.nan, column.seconds.astype(np.float64))


def _standardised(values: Floats64) -> Floats64:
    present = np.isfinite(values)
    known = values[present]
    scores = np.zeros(len(values))
    # Equal values are compared, not subtracted: their mean may differ from them by a rounding error.
    if len(known) and known.min() < known.max():
        scores[present] = (known - known.mean()) / known.std()
    return scores


def _level_weights(column: CategoryColumn | TagsColumn, weight: float, tfidf: bool) -> SparseRows:
    if isinstance(column, CategoryColumn):
        known = column.codes >= 0
        indptr = row_pointers(known)
        return SparseRows(indptr, column.codes[known], np.full(indptr[-1], weight), len(column.levels))
    matrix = column.matrix
    rarity = _inverse_frequency(matrix.indices, matrix.shape) if tfidf else np.ones(matrix.shape[1])
    value = rarity[matrix.indices]
    norm = np.sqrt(sums_at(matrix.row_of, value**2, matrix.shape[0]))
    return SparseRows(matrix.indptr, matrix.indices, weight * value / norm[matrix.row_of], matrix.shape[1])


def _inverse_frequency(tags: Ints32, shape: tuple[int, int]) -> Floats64:
    counts = np.bincount(tags, minlength=shape[1])
    return 1 + np.log(shape[0] / np.maximum(counts, 1))


def _side_by_side(blocks: list[SparseRows], rows: int) -> SparseRows:
    """The columns of all blocks next to each other, in the order of the blocks within each row."""
    nothing = SparseRows(np.zeros(rows + 1, np.int64), np.empty(0, np.int32), np.empty(0), 0)
    blocks = [nothing, *blocks]
    first = np.cumsum([0] + [block.columns for block in blocks])
    row = np.concatenate([rows_of(block.indptr) for block in blocks])
    column = np.concatenate([block.column + at for block, at in zip(blocks, first, strict=False)])
    order = np.argsort(row, kind="stable")
    return SparseRows(
        frozen(row_pointers(np.bincount(row, minlength=rows))),
        frozen(column[order].astype(np.int32)),
        frozen(np.concatenate([block.value for block in blocks])[order]),
        int(first[-1]),
    )


def _lengths(numbers: Floats64, levels: SparseRows) -> Floats64:
    squares = sums_at(levels.row_of, levels.value**2, levels.rows)
    length = np.sqrt((numbers**2).sum(axis=1) + squares)
    real: Bools = length > NOISE * length.max(initial=0.0)
    return np.where(real, length, 0.0)
