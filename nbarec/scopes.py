"""Scopes: which names an expression can use over events, over requests, over the pool and over the catalogue alone.

| name | events | requests | pool | items |
|---|---|---|---|---|
| `now` | the clock | the request's | the request's | the clock |
| `item.X` | of the event's item | | of the entry's item | of the item |
| `user.X` | of the event's user | of the user | of the user | |
| `user.events` | events of that row | length of the history | length of the history | |
| `context.X` | the event's own column X | of the request; missing where it lacks X | of the request | |
| others | `weight`, `value`, `time`, `kind`, the event's columns | | `score`, feature columns, generators' scores | |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints64
from nbarec.batch import Pool, Request
from nbarec.events import Events
from nbarec.expression_values import MissingColumn
from nbarec.ids import Ids
from nbarec.tables import CategoryColumn, Column, NumberColumn, Table, texts_of

_EVENT_NAMES = ("weight", "value", "time", "kind")


@dataclass(frozen=True)
class EventScope:
    """A row an event: `catalog` has a row an item, `audience` a row a row of the events, `now` is the clock,
    in seconds since 1970 UTC: one for all, or int64 with one an event."""

    events: Events
    catalog: Table
    audience: Table
    now: int | Ints64

    @property
    def size(self) -> int:
        """How many events there are."""
        return len(self.events)

    def column(self, name: str) -> Column:
        """The column of that name, a row an event; raises KeyError where there is none."""
        prefix, _, rest = name.partition(".")
        match prefix:
            case "item" if rest:
                return self.catalog.columns[rest].take(self.events.item)
            case "user" if rest == "events":
                return _numbers(self.events.counts[self.events.row])
            case "user" if rest:
                return self.audience.columns[rest].take(self.events.row)
            case "context" if rest:
                return self.events.columns[rest]
        return self._own(name)

    def _own(self, name: str) -> Column:
        match name:
            case "now":
                return _numbers(np.full(self.size, self.now))
            case "weight":
                return _numbers(self.events.weight)
            case "value":
                return _numbers(self.events.value)
            case "time":
                return _numbers(self.events.time)
            case "kind":
                return CategoryColumn(self.events.kind.astype(np.int32), Ids.of(self.events.kinds))
        return self.events.columns[name]

    def names(self) -> list[str]:
        """Every name there is."""
        columns = [name for name in self.events.columns if name not in _EVENT_NAMES]
        users = _prefixed("user", {"events": None, **self.audience.columns})
        aliases = _prefixed("context", self.events.columns)
        return [*_EVENT_NAMES, "now", *columns, *_prefixed("item", self.catalog.columns), *users, *aliases]


@dataclass(frozen=True)
class RequestScope:
    """A row a request."""

    request: Request

    @property
    def size(self) -> int:
        """How many requests there are."""
        return len(self.request)

    def column(self, name: str) -> Column | MissingColumn:
        """The column of that name, a row a request; raises KeyError where there is none."""
        prefix, _, rest = name.partition(".")
        match prefix:
            case "now" if not rest:
                return _numbers(self.request.now)
            case "user" if rest == "events":
                return _numbers(self.request.history.counts)
            case "user" if rest:
                return self.request.audience.columns[rest]
            case "context" if rest:
                given = self.request.context.get(rest)
                return MissingColumn(self.size) if given is None else column_of(given)
        raise KeyError(name)

    def names(self) -> list[str]:
        """Every name there is; any other `context.X` is missing, not unknown."""
        users = _prefixed("user", {"events": None, **self.request.audience.columns})
        return ["now", *users, *_prefixed("context", self.request.context)]


@dataclass(frozen=True)
class PoolScope:
    """A row an entry of the pool."""

    request: Request
    pool: Pool

    @property
    def size(self) -> int:
        """How many entries the pool has."""
        return len(self.pool)

    def column(self, name: str) -> Column | MissingColumn:
        """The column of that name, a row an entry; raises KeyError where there is none."""
        prefix, _, rest = name.partition(".")
        if name == "score":
            return _numbers(self.pool.score)
        if name in self.pool.features:
            return column_of(self.pool.features[name])
        if name in self.pool.sources:
            return _numbers(self.pool.scores[:, self.pool.sources.index(name)])
        if prefix == "item" and rest:
            return self.request.catalog.columns[rest].take(self.pool.item)
        return RequestScope(self.request).column(name).take(self.pool.row)

    def names(self) -> list[str]:
        """Every name there is; any other `context.X` is missing, not unknown."""
        features = dict.fromkeys(name for name in (*self.pool.features, *self.pool.sources) if name != "score")
        items = _prefixed("item", self.request.catalog.columns)
        return ["score", *features, *items, *RequestScope(self.request).names()]


@dataclass(frozen=True)
class ItemScope:
    """A row an item of the catalogue; `now` is the clock, in seconds since 1970 UTC."""

    catalog: Table
    now: int

    @property
    def size(self) -> int:
        """How many items there are."""
        return self.catalog.rows

    def column(self, name: str) -> Column:
        """The column of that name, a row an item; raises KeyError where there is none."""
        prefix, _, rest = name.partition(".")
        if name == "now":
            return _numbers(np.full(self.size, self.now))
        if prefix == "item" and rest:
            return self.catalog.columns[rest]
        raise KeyError(name)

    def names(self) -> list[str]:
        """Every name there is."""
        return ["now", *_prefixed("item", self.catalog.columns)]


def column_of(values: AnyArray) -> Column:
    """An array as a column: numbers and flags as numbers, anything else as text, where None and NaN are missing."""
    if values.dtype.kind in "iufb":
        return _numbers(values)
    return CategoryColumn.of(texts_of(values))


def as_written(values: Floats32) -> Floats64:
    """float32 numbers as the decimals of up to six digits that they stand for, where they stand for one: float64.

    A rating written 0.7 is held as the float32 0.69999999; the rule `value >= 0.7` must hold for it all the same.
    """
    exact = values.astype(np.float64)
    if (np.abs(exact) < 2**24).all() and (exact == np.rint(exact)).all():
        return exact  # plain counts and stars, the usual case: rounding would change none of them
    with np.errstate(all="ignore"):
        digits = 5 - np.floor(np.log10(np.abs(exact)))
        scale = 10.0 ** np.abs(np.clip(digits, -22, 22))  # a power of ten that float64 holds exactly
        rounded = np.where(digits >= 0, np.rint(exact * scale) / scale, np.rint(exact / scale) * scale)
        stands = (np.abs(digits) <= 22) & (rounded.astype(np.float32) == values)
    return np.where(stands, rounded, exact)


def _numbers(values: AnyArray) -> NumberColumn:
    return NumberColumn(as_written(values) if values.dtype == np.float32 else values.astype(np.float64))


def _prefixed(prefix: str, names: Iterable[str]) -> list[str]:
    return [f"{prefix}.{name}" for name in names]
