"""Popularity by segment: of the user or the context, where each level has its own counts, or of the item."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.batch import Request
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expression_values import MissingColumn
from nbarec.ids import Ids
from nbarec.scopes import EventScope, RequestScope
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Column, NumberColumn, Table, TagsColumn
from nbarec_plugins.sparse_rows import SparseRows, dense_products, sums_at


@dataclass(frozen=True)
class Segments:
    """What counts in each level of a user's or a context's column.

    `counts` (levels x items); `totals` float64 [levels], its row sums; `events` int64 [levels], how many events these
    are made of. Levels with fewer than `min_events` are not told from the rest; `prior` is the overall shares' weight.
    """

    by: str
    levels: Ids
    counts: SparseRows
    totals: Floats64
    events: Ints64
    min_events: int
    prior: float

    @classmethod
    def of(
        cls,
        by: str,
        levels: Ids,
        level: Ints64,
        item: Ints32,
        amount: Floats64,
        n_items: int,
        min_events: int,
        prior: float,
    ) -> Segments:
        """From one (level, item, amount) an event that counts."""
        cell, run = np.unique(level * n_items + item, return_inverse=True)
        row, column = np.divmod(cell, max(n_items, 1))
        indptr = row_pointers(np.bincount(row, minlength=len(levels)))
        added = sums_at(run, amount, len(cell))
        return cls(
            by=by,
            levels=levels,
            counts=SparseRows(frozen(indptr), frozen(column.astype(np.int32)), frozen(added), n_items),
            totals=frozen(sums_at(level, amount, len(levels))),
            events=frozen(np.bincount(level, minlength=len(levels))),
            min_events=min_events,
            prior=prior,
        )

    @staticmethod
    def levels_of(data: Dataset, by: str) -> tuple[Ids, Ints64]:
        """The levels of `by`, and that of each event, -1 where missing: int64 [events].

        Raises ConfigError where there is no such column.
        """
        scope = EventScope(data.events, data.catalog, data.audience, data.as_of)
        try:
            return _coded(scope.column(by), by)
        except KeyError:
            kind, _, _ = by.partition(".")
            known = data.audience.columns if kind == "user" else data.events.columns
            raise ConfigError(_not_there(by, [f"{kind}.{name}" for name in known])) from None

    def scores(self, overall: Floats64, request: Request) -> tuple[Floats64, Ints64]:
        """Smoothed shares of every level that is asked for, float64 [L, items], and the row of each request in it."""
        asked, row = np.unique(self._levels_asked(request), return_inverse=True)
        known = asked >= 0
        total = np.where(known, np.append(self.totals, 0.0)[asked], 0.0)
        own = self.counts.take_rows(asked)
        mixed = np.repeat(self.prior * overall[None, :], len(asked), axis=0)
        mixed[own.row_of, own.column] += own.value
        mixed /= (total + self.prior)[:, None]
        return mixed, row.reshape(-1)

    def in_words(self, request: Request) -> list[str]:
        """Whose shares each row gets, such as `where country is DE`; empty for everybody's."""
        asked, which = np.unique(self._levels_asked(request), return_inverse=True)
        column = self.by.partition(".")[2]
        known = asked[asked >= 0]
        names = [""] * (len(asked) - len(known)) + [f"where {column} is {name}" for name in self.levels.texts(known)]
        return [names[at] for at in which.tolist()]

    def _levels_asked(self, request: Request) -> Ints64:
        """The level of each row, -1 where it is unknown or has too few events: int64 [B]."""
        found, code = _coded(RequestScope(request).column(self.by), self.by)
        given = np.flatnonzero(code >= 0)
        present, at = np.unique(code[given], return_inverse=True)
        level = np.full(len(code), -1, np.int64)
        level[given] = self.levels.index(found.take(present))[at]
        enough = np.append(self.events >= self.min_events, False)
        return np.where(enough[level], level, -1)


@dataclass(frozen=True)
class ItemSegments:
    """Items by the levels of one of their columns, the last level standing for a missing value.

    `members` (items x levels): 1 / how many levels the item has; `within` (the same entries): its share of all that
    counts in the level, times that; `shares` float64 [levels]: each level's share of all that counts.
    """

    members: SparseRows
    within: SparseRows
    shares: Floats64
    prior: float

    @classmethod
    def of(cls, data: Dataset, by: str, counted: Floats64, prior: float) -> ItemSegments:
        """From `counted` float64 [items]. Raises ConfigError where the items have no such column."""
        name = by.partition(".")[2]
        if name not in data.catalog.columns:
            raise ConfigError(_not_there(by, [f"item.{known}" for known in data.catalog.columns]))
        members = _membership(data.catalog.columns[name], by)
        part = members.value * counted[members.row_of]
        sizes = members.column_sums(part)
        share_within = np.divide(part, sizes[members.column], out=np.zeros(len(part)), where=part > 0)
        within = SparseRows(members.indptr, members.column, frozen(share_within), members.columns)
        shares = sizes / max(float(sizes.sum()), np.finfo(float).tiny)
        return cls(members, within, frozen(shares), prior)

    def scores(self, overall: Floats64, request: Request) -> tuple[Floats64, Ints64]:
        """A row of scores for each request, float64 [B, items], and its row in it: int64 [B]."""
        history, rows = request.history, len(request)
        liked = np.flatnonzero(history.weight > 0)
        weight = history.weight[liked].astype(np.float64)
        taken = self.members.take_rows(history.item[liked].astype(np.int64))
        cell = np.repeat(history.row[liked] * self.members.columns, taken.counts) + taken.column
        added = np.repeat(weight, taken.counts) * taken.value
        own = sums_at(cell, added, rows * self.members.columns)
        own = own.reshape(rows, self.members.columns)
        total = sums_at(history.row[liked], weight, rows)
        share = (own + self.prior * self.shares) / (total + self.prior)[:, None]
        return dense_products(share, self.within), np.arange(rows)


def levels_in_words(catalog: Table, by: str, item: Ints32) -> list[str]:
    """Among which items each of `item` int32 [M] competes, such as `in genre rock`; `by` as in `ItemSegments.of`."""
    name = by.partition(".")[2]
    column = catalog.columns[name].take(item)
    matrix, levels = (column.matrix, column.levels) if isinstance(column, TagsColumn) else _one_hot(column, by)
    texts = levels.texts(matrix.indices)
    spans = pairwise(matrix.indptr.tolist())
    return [f"in {name} {' and '.join(texts[start:stop]) or 'unknown'}" for start, stop in spans]


def _coded(column: Column | MissingColumn, by: str) -> tuple[Ids, Ints64]:
    """The levels of a column and the level of each row, -1 where missing: int64 [rows]."""
    match column:
        case CategoryColumn(codes, levels):
            return levels, codes.astype(np.int64)
        case NumberColumn(values):
            present = np.isfinite(values)
            whole, code = np.unique(np.floor(values[present]).astype(np.int64), return_inverse=True)
            row_codes = np.full(len(values), -1, np.int64)
            row_codes[present] = code.reshape(-1)
            return Ids.of(whole.tolist()), row_codes
        case MissingColumn(size):
            return Ids.of([]), np.full(size, -1, np.int64)
    raise ConfigError(f"popularity: {by} has several values a row, or is a date; use a category or a number")


def _membership(column: Column, by: str) -> SparseRows:
    """Which levels each row has, in equal parts that add up to 1; a row without any is in the last level."""
    matrix = column.matrix if isinstance(column, TagsColumn) else _one_hot(column, by)[0]
    missing = np.flatnonzero(matrix.counts == 0)
    row = np.concatenate([matrix.row_of, missing])
    level = np.concatenate([matrix.indices, np.full(len(missing), matrix.shape[1])])
    order = np.argsort(row, kind="stable")
    counts = np.maximum(matrix.counts, 1)
    return SparseRows(
        frozen(row_pointers(counts)),
        frozen(level[order].astype(np.int32)),
        frozen(1 / counts[row[order]]),
        matrix.shape[1] + 1,
    )


def _one_hot(column: Column, by: str) -> tuple[Csr, Ids]:
    """The level of each row as a matrix of ones, (rows x levels), and the levels."""
    levels, codes = _coded(column, by)
    known = np.flatnonzero(codes >= 0)
    return Csr.from_pairs(known, codes[known], None, (len(codes), len(levels))), levels


def _not_there(by: str, known: list[str]) -> str:
    return f"popularity: there is no column {by} to count by; there are: {', '.join(known) or 'none'}"
