"""The kinds that entries are of: what rules such as "two of an artist" count, whatever the type of the column."""

from __future__ import annotations

import difflib

import numpy as np

from nbarec.arrays import AnyArray, Ints32, frozen, row_pointers
from nbarec.errors import ConfigError
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn

NO_GROUP = -1


def column_named(catalog: Table, by: str, who: str) -> Column:
    """The column that `by` names, written `artist` or `item.artist`.

    Raises ConfigError, speaking for the component `who`, where the catalogue has no such column.
    """
    column = by.removeprefix("item.")
    if column in catalog.columns:
        return catalog.columns[column]
    near = difflib.get_close_matches(column, catalog.columns, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(catalog.columns)}"
    raise ConfigError(f"{who} has `by: {by}`, but the catalogue has no column {column!r}; {advice}")


def groups_of(column: NumberColumn | CategoryColumn | DateColumn) -> AnyArray:
    """A whole number a row that is the same where the value is the same; NO_GROUP where it is missing."""
    match column:
        case CategoryColumn(codes):
            return codes
        case NumberColumn(values):
            missing = np.isnan(values)
        case DateColumn(values):
            missing = values == MISSING_DATE
    return np.where(missing, NO_GROUP, np.unique(values, return_inverse=True)[1])


def groups_at(column: NumberColumn | CategoryColumn | DateColumn, rows: Ints32) -> AnyArray:
    """The groups of some rows, int [N], all of which the column has."""
    return column.codes.take(rows) if isinstance(column, CategoryColumn) else groups_of(column.take(rows))


def levels_of(column: Column) -> Csr:
    """The levels of each row, (rows x levels): tags as they are, and a single one for any other value."""
    if isinstance(column, TagsColumn):
        return column.matrix
    group = groups_of(column)
    known = group != NO_GROUP
    level = group[known].astype(np.int32)
    levels = len(column.levels) if isinstance(column, CategoryColumn) else int(level.max(initial=-1)) + 1
    ones = np.ones(len(level), np.float32)
    return Csr(frozen(row_pointers(known)), frozen(level), frozen(ones), (len(group), levels))
