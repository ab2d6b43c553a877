"""Joining: new events and new ids added to what is known.

Positions never change: ids, kinds and levels that were not known before stand at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import A, AnyArray, Ints64, frozen, row_pointers
from nbarec.data import NO_KIND, Dataset
from nbarec.errors import DataError
from nbarec.events import Events
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn

_HOLDS = {NumberColumn: "numbers", CategoryColumn: "categories", TagsColumn: "tags", DateColumn: "dates"}


def join_columns(first: Column, second: Column) -> Column:
    """The rows of the second column after those of the first; levels that only the second has stand at the end.

    Raises DataError where the columns are not of one kind.
    """
    match first, second:
        case NumberColumn(), NumberColumn():
            return NumberColumn(_stacked(first.values, second.values))
        case DateColumn(), DateColumn():
            return DateColumn(_stacked(first.seconds, second.seconds))
        case CategoryColumn(), CategoryColumn():
            levels = _Joined.of(first.levels, second.levels)
            missing_last = np.append(levels.position, -1).astype(np.int32)
            return CategoryColumn(_stacked(first.codes, missing_last[second.codes]), levels.ids)
        case TagsColumn(), TagsColumn():
            return _join_tags(first, second)
    raise DataError(f"a column of {_HOLDS[type(first)]} and one of {_HOLDS[type(second)]} can't be joined")


def join_events(first: Events, second: Events) -> Events:
    """The events of both, row by row in the order of time; at one moment the first's come before the second's.

    Both have the same rows and the same items. A column that one side lacks is missing for that side's events, and
    pairs are combined as in the first. Raises ValueError where rows or items differ, DataError where columns of one
    name are not of one kind.
    """
    if (first.rows, first.n_items) != (second.rows, second.n_items):
        shapes = f"{first.rows} rows x {first.n_items} items and {second.rows} rows x {second.n_items} items"
        raise ValueError(f"events of {shapes} can't be joined; `with_growth` makes them equal")
    kinds = tuple(dict.fromkeys((*first.kinds, *second.kinds)))
    none_last = np.array([*map(kinds.index, second.kinds), NO_KIND], np.int16)
    unordered = replace(
        first,
        item=_stacked(first.item, second.item),
        weight=_stacked(first.weight, second.weight),
        value=_stacked(first.value, second.value),
        time=_stacked(first.time, second.time),
        kind=_stacked(first.kind, none_last[second.kind]),
        kinds=kinds,
        columns=_join_event_columns(first, second),
    )
    by_row_and_time = np.lexsort((unordered.time, _stacked(first.row, second.row)))
    return unordered.at(by_row_and_time, first.indptr + second.indptr)


def with_growth(events: Events, rows: int, n_items: int) -> Events:
    """The same events among more users and items: rows without events at the end, items that nobody touched.

    Raises ValueError where there would be fewer than there are.
    """
    if rows < events.rows or n_items < events.n_items:
        there = f"{events.rows} rows x {events.n_items} items"
        raise ValueError(f"events of {there} can't shrink to {rows} rows x {n_items} items")
    padding = np.full(rows - events.rows, len(events))
    return replace(events, indptr=frozen(np.append(events.indptr, padding)), n_items=n_items)


def join_datasets(data: Dataset, new: Dataset) -> tuple[Dataset, Dataset]:
    """(everything, `new` among everything's users and items): the two share ids, tables, kinds and levels.

    The tables have `data`'s columns. Rows that `data` knows keep its values; of added users and items the values are
    `new`'s, missing where `new` lacks the column. Everything's clock is the later of the two, and its pairs are
    combined as in `data`; `new` keeps its own clock and files. Weights stay as they are, so decayed ones must be
    decayed anew by the caller. Raises DataError where columns of one name are not of one kind.
    """
    users, items = _Joined.of(data.users, new.users), _Joined.of(data.items, new.items)
    catalog = _join_tables("item", data.catalog, new.catalog, items)
    audience = _join_tables("user", data.audience, new.audience, users)
    known = with_growth(data.events, len(users.ids), len(items.ids))
    added = new.events.take_rows(users.source)
    added = replace(added, item=frozen(items.position[added.item].astype(np.int32)), n_items=len(items.ids))
    # Joined to no event of the known ones, the new events get their kinds, levels, columns and combination.
    added = join_events(known.at(np.empty(0, np.int64), np.zeros_like(known.indptr)), added)
    everything = Dataset(
        users=users.ids,
        items=items.ids,
        events=join_events(known, added),
        catalog=catalog,
        audience=audience,
        as_of=max(data.as_of, new.as_of),
        files=data.files + new.files,
    )
    return everything, replace(everything, events=added, as_of=new.as_of, files=new.files)


@dataclass(frozen=True)
class _Joined:
    """First ids with the unknown ones of the second at the end; `known` of them were the first's.

    `position` int64 [second]: where each id of the second stands now; `source` int64 [ids]: the position in the
    second that each had, -1 where the second lacks it.
    """

    ids: Ids
    known: int
    position: Ints64
    source: Ints64

    @classmethod
    def of(cls, first: Ids, second: Ids) -> _Joined:
        """Join two sets of ids."""
        given = second.all()
        ids = first.extended(given)
        position = ids.index(given)
        source = np.full(len(ids), -1, np.int64)
        source[position] = np.arange(len(second))
        return cls(ids, len(first), position, source)


def _join_tags(first: TagsColumn, second: TagsColumn) -> TagsColumn:
    levels = _Joined.of(first.levels, second.levels)
    shape = (second.matrix.shape[0], len(levels.ids))
    moved = Csr.from_pairs(second.matrix.row_of, levels.position[second.matrix.indices], None, shape)
    stacked = Csr(
        frozen(row_pointers(_stacked(first.matrix.counts, moved.counts))),
        _stacked(first.matrix.indices, moved.indices),
        _stacked(first.matrix.data, moved.data),
        (first.matrix.shape[0] + shape[0], shape[1]),
    )
    return TagsColumn(stacked, levels.ids)


def _join_event_columns(first: Events, second: Events) -> Mapping[str, Column]:
    joined: dict[str, Column] = {}
    for name in dict.fromkeys((*first.columns, *second.columns)):
        like = (first if name in first.columns else second).columns[name]
        top, bottom = (_column_or_missing(events, name, like) for events in (first, second))
        joined[name] = _join_named("event", name, top, bottom)
    return joined


def _column_or_missing(events: Events, name: str, like: Column) -> Column:
    """The events' own column, or a column of the same kind as `like` with missing values alone."""
    return events.columns[name] if name in events.columns else like.take(np.full(len(events), -1))


def _join_tables(what: str, known: Table, new: Table, ids: _Joined) -> Table:
    """The known rows as they are, then the added ones with the new table's values."""
    if len(ids.ids) == ids.known:
        return known
    added = ids.source[ids.known :]
    columns = {
        name: _join_named(what, name, column, new.columns[name].take(added))
        for name, column in known.columns.items()
        if name in new.columns
    }
    grown = known.extended(len(ids.ids))
    return replace(grown, columns={**grown.columns, **columns})


def _join_named(what: str, name: str, first: Column, second: Column) -> Column:
    try:
        return join_columns(first, second)
    except DataError as error:
        raise DataError(f"{what} column {name!r}: {error}; map it as it was mapped before") from error


def _stacked(first: A, second: AnyArray) -> A:
    """The second array's values after the first's, in the first's type."""
    return frozen(np.concatenate([first, second]).astype(first.dtype, copy=False))  # type: ignore[return-value]
