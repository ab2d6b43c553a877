"""Dataset: everything that is known before a request, with ids turned into positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from nbarec.arrays import Floats64, Ints64, frozen, row_pointers, stable_order
from nbarec.errors import DataError
from nbarec.events import Combine, Events
from nbarec.ids import Ids, TextOrNumber
from nbarec.tables import CategoryColumn, Column, NumberColumn, Table

NO_KIND = -1
KINDS_LIMIT = int(np.iinfo(np.int16).max)
FLOAT32_LIMIT = float(np.finfo(np.float32).max)
SECONDS_LIMIT = 2.0**53  # up to here every whole number has a float64 of its own


@dataclass(frozen=True)
class FileReport:
    """What became of one input: rows `accepted` and `rejected`, why, and what a reader should know."""

    path: str
    what: str
    accepted: int
    rejected: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        total = self.accepted + self.rejected
        counts = f"{self.path}: {total:,} {self.what} rows = {self.accepted:,} accepted + {self.rejected:,} rejected"
        return "\n".join([counts, *(f"  {note}" for note in self.notes)])


@dataclass(frozen=True)
class Dataset:
    """Users, items, what users did, and what is known of both.

    `catalog` has a row an item and `audience` a row a user, in the order of `items` and `users`. `as_of` is the
    one clock, in seconds since 1970 UTC: the latest event unless the config says otherwise.
    """

    users: Ids
    items: Ids
    events: Events
    catalog: Table
    audience: Table
    as_of: int
    files: tuple[FileReport, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        user: Sequence[TextOrNumber] | np.ndarray,
        item: Sequence[TextOrNumber] | np.ndarray,
        weight: Sequence[float] | np.ndarray | None = None,
        *,
        value: Sequence[float] | np.ndarray | None = None,
        time: Sequence[float] | np.ndarray | None = None,
        kind: Sequence[str] | np.ndarray | None = None,
        combine: Combine | None = None,
        catalog: Mapping[str, Any] | None = None,
        audience: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """From one array entry an event; weights default to 1, values to the weights.

        `catalog` and `audience` are columns of items and of users (see `Table.of`), with their ids in the column
        `id`; an item or user without events may stand there too.

        `time` is in seconds since 1970 UTC (a part of a second is dropped), or datetime64. Raises DataError where
        lengths differ, an id is missing or a number is not finite, naming the row (from 0).
        """
        rows = len(user)
        for what, column in (("item", item), ("kind", kind)):
            if column is not None and len(column) != rows:
                raise DataError(f"user has {rows} rows and {what} has {len(column)}; they must match")
        users, user_at, audience_table = _described("user", user, audience)
        items, item_at, catalog_table = _described("item", item, catalog)
        weights = np.ones(rows) if weight is None else weight
        columns = EventColumns(
            user=user_at,
            item=item_at,
            weight=_numbers("weight", weights, rows, FLOAT32_LIMIT),
            value=_numbers("value", weights if value is None else value, rows, FLOAT32_LIMIT),
            time=_seconds(np.zeros(rows) if time is None else time, rows),
            kind=None if kind is None else CategoryColumn.of([str(k) for k in kind]),
        )
        events = columns.sorted_events(len(users), len(items), combine or Combine())
        return cls.of(users, items, events, catalog_table, audience_table)

    @classmethod
    def of(
        cls, users: Ids, items: Ids, events: Events, catalog: Table, audience: Table, as_of: int | None = None
    ) -> Dataset:
        """From parts that belong together; the clock stands at the latest event unless it is given."""
        if as_of is None:
            as_of = int(events.time.max()) if len(events) else 0
        return cls(users, items, events, catalog, audience, as_of)

    def with_events(self, events: Events) -> Dataset:
        """The same users and items with other events; the clock stays."""
        return replace(self, events=events)

    @property
    def item_counts(self) -> Ints64:
        """Events of each item: int64 [items]."""
        return np.bincount(self.events.item, minlength=len(self.items))

    def full_catalog(self) -> Table:
        """The catalogue with two more columns: `id`, and `events`, how many events each item has."""
        counted = NumberColumn(frozen(self.item_counts.astype(np.float64)))
        return self.catalog.with_column("id", _id_column(self.items)).with_column("events", counted)

    def full_audience(self) -> Table:
        """The audience with one more column: `id`."""
        return self.audience.with_column("id", _id_column(self.users))


@dataclass(frozen=True)
class EventColumns:
    """Events as they come in, in any order: per event `user` and `item` int64 positions, `weight`, `value`
    float64, `time` int64 seconds, `kind`, further `columns`."""

    user: np.ndarray
    item: np.ndarray
    weight: np.ndarray
    value: np.ndarray
    time: np.ndarray
    kind: CategoryColumn | None = None
    columns: Mapping[str, Column] | None = None

    def sorted_events(self, n_users: int, n_items: int, combine: Combine) -> Events:
        """A row a user, by time; events of one moment stay in the order they came in.

        Raises DataError where there are more kinds than int16 can number.
        """
        order = self._order(n_users.bit_length())
        indptr = row_pointers(np.bincount(self.user, minlength=n_users))
        kinds, codes = self._kinds()
        return Events(
            indptr=frozen(indptr),
            item=frozen(self.item.astype(np.int32).take(order)),
            weight=frozen(self.weight.astype(np.float32).take(order)),
            value=frozen(self.value.astype(np.float32).take(order)),
            time=frozen(self.time.astype(np.int64).take(order)),
            kind=frozen(codes.astype(np.int16).take(order)),
            kinds=kinds,
            columns={name: column.take(order) for name, column in (self.columns or {}).items()},
            n_items=n_items,
            combine=combine,
        )

    def _order(self, user_bits: int) -> Ints64:
        """Positions that sort events by user, and those of a user by time: int64 [events]."""
        first, last = (int(self.time.min()), int(self.time.max())) if len(self.time) else (0, 0)
        if first == last:
            return stable_order(self.user, user_bits)
        by_time = stable_order(self.time - first, (last - first).bit_length())
        return by_time.take(stable_order(self.user.take(by_time), user_bits))

    def _kinds(self) -> tuple[tuple[str, ...], np.ndarray]:
        if self.kind is None:
            return (), np.full(len(self.user), NO_KIND)
        if len(self.kind.levels) > KINDS_LIMIT:
            raise DataError(
                f"there are {len(self.kind.levels):,} kinds of event; {KINDS_LIMIT:,} is the most there can be"
            )
        return tuple(map(str, self.kind.levels.all())), self.kind.codes


def _id_column(ids: Ids) -> CategoryColumn:
    return CategoryColumn(frozen(np.arange(len(ids), dtype=np.int32)), ids)


def _described(
    what: str, ids: Sequence[Any] | np.ndarray, columns: Mapping[str, Any] | None
) -> tuple[Ids, Ints64, Table]:
    """Ids of events and table together, the position of each event's id, and the table in the order of the ids."""
    if columns is None:
        known, at = _positions(what, ids)
        return known, at, Table(len(known))
    if "id" not in columns:
        raise DataError(f"the columns of {what}s need one called 'id' that holds their ids")
    own = np.asarray(columns["id"])
    known, at = _positions(what, [*np.asarray(ids).tolist(), *own.tolist()])
    if len(np.unique(at[len(ids) :])) < len(own):
        raise DataError(f"an id stands twice in the table of {what}s; keep one row for each")
    row = np.full(len(known), -1)
    row[at[len(ids) :]] = np.arange(len(own))
    table = Table.of(columns).take(row)
    described = {name: column for name, column in table.columns.items() if name != "id"}
    return known, at[: len(ids)], replace(table, columns=described)


def _positions(what: str, ids: Sequence[Any] | np.ndarray) -> tuple[Ids, Ints64]:
    array = np.asarray(ids) if len(ids) else np.empty(0, np.int64)
    if array.dtype.kind not in "iuUO" or array.ndim != 1:
        shaped = "" if array.ndim == 1 else f" of shape {array.shape}"
        raise DataError(f"{what} ids must be one column of whole numbers or text, not {array.dtype}{shaped}")
    if array.dtype.kind in "iu":
        return Ids.of_whole_numbers(array)
    listed = array.tolist()
    _check_ids(what, listed)
    unique = list(set(listed))
    found = Ids.sorted_of(unique)
    position = dict(zip(unique, found.index(unique).tolist(), strict=True))
    return found, np.array([position[value] for value in listed], np.int64)


def _check_ids(what: str, ids: Sequence[Any]) -> None:
    for row, value in enumerate(ids):
        if value is None or value == "":
            raise DataError(f"row {row}: the {what} id is missing")
        if isinstance(value, bool) or not isinstance(value, str | Integral):
            raise DataError(f"row {row}: the {what} id is {value!r}; it must be a whole number or text")


def _seconds(times: Sequence[float] | np.ndarray, rows: int) -> Ints64:
    array = np.asarray(times)
    if array.dtype.kind == "M":
        missing = np.flatnonzero(np.isnat(array))
        if len(missing):
            raise DataError(f"row {missing[0]}: the time is missing")
        array = array.astype("datetime64[s]").astype(np.int64)
    return np.floor(_numbers("time", array, rows, SECONDS_LIMIT)).astype(np.int64)


def _numbers(what: str, values: Sequence[float] | np.ndarray, rows: int, limit: float) -> Floats64:
    try:
        numbers = np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what} must be numbers: {error}") from error
    if numbers.shape != (rows,):
        raise DataError(f"{what} has shape {numbers.shape}; one number for each of {rows} rows is needed")
    bad = np.flatnonzero(~(np.abs(numbers) <= limit))
    if len(bad):
        said = f"row {bad[0]}: {what} is {numbers[bad[0]]}"
        raise DataError(f"{said}; it must be a finite number, and not above {limit:.2g} in size")
    return numbers
