"""What feature providers read from events: those known by now, their times, and which of them were skips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats64, Ints32, Ints64, rank_in_row, row_pointers, stable_order
from nbarec.batch import Request
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.expression_values import MissingColumn
from nbarec.expressions import Expression
from nbarec.scopes import EventScope, column_of
from nbarec.tables import CategoryColumn, Column, NumberColumn
from nbarec_plugins.feature_columns import DAY

HOUR = 3_600.0
THURSDAY = 3
"""1970-01-01 was one; Monday is 0."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""How English names of weekdays begin."""

NEVER = np.iinfo(np.int64).min
"""A moment before all others."""

C = TypeVar("C", bound=Column | MissingColumn)


def known_by_now(request: Request) -> Events:
    """The history without anything later than `request.now`; the rows stay."""
    past = request.history
    return past.where(past.time <= request.now.take(past.row))


def seconds_of(moment: Ints64) -> Floats64:
    """Moments in seconds since 1970 UTC; NaN for 0, which stands for no time: float64."""
    return np.where(moment == 0, np.nan, moment.astype(np.float64))


def days_before(now: Ints64, moment: Ints64) -> Floats64:
    """Days from each moment to its `now`, at least 0, NaN where either is unknown (0): float64 [N]."""
    return np.asarray(np.maximum(seconds_of(now) - seconds_of(moment), 0.0) / DAY, np.float64)


def latest_of(place: Ints64, moment: Ints64, places: int) -> Ints64:
    """The latest known moment at each place, 0 where there is none: int64 [places]. `place`, `moment` int64 [N]."""
    latest = np.full(places, NEVER)
    np.maximum.at(latest, place, np.where(moment == 0, NEVER, moment))
    return np.where(latest == NEVER, 0, latest)


def earliest_of(place: Ints64, moment: Ints64, places: int) -> Ints64:
    """The earliest known moment at each place, 0 where there is none: int64 [places]."""
    return -latest_of(place, -moment, places)


@dataclass(frozen=True)
class LastItems:
    """Items row by row, in the order of time: `indptr` int64 [rows + 1], `row` int64 [N], `item` int32 [N]."""

    indptr: Ints64
    row: Ints64
    item: Ints32

    @property
    def counts(self) -> Ints64:
        """How many each row has: int64 [rows]."""
        return np.diff(self.indptr)


def last_items(events: Events, wanted: Bools, limit: int) -> LastItems:
    """The `limit` items that each row took last, each once, of those of its events that are `wanted`: bool [events]."""
    at = np.flatnonzero(wanted)
    row, item = events.row.take(at), events.item.take(at)
    pair = row * events.n_items + item
    order = stable_order(pair, int(pair.max(initial=0)).bit_length())
    ordered = pair.take(order)
    newest = np.sort(order[np.append(ordered[1:] != ordered[:-1], True)[: len(order)]])
    counts = np.bincount(row.take(newest), minlength=events.rows)
    newest = newest[rank_in_row(row_pointers(counts)) > np.repeat(counts - limit, counts)]
    return LastItems(row_pointers(np.minimum(counts, limit)), row.take(newest), item.take(newest))


@dataclass(frozen=True)
class Skips:
    """Which events were skips: those of negative weight, or those for which `rule` holds where there is one."""

    rule: Expression | None

    def check(self, data: Dataset) -> None:
        """Raises ConfigError, with a caret, where the rule has a name or types that do not fit these data."""
        if self.rule is not None:
            self.rule.check(scope_of(data))

    def of_data(self, data: Dataset) -> tuple[Bools, Bools]:
        """For each event whether it is known, and whether it was a skip: bool [events] both."""
        return self._told(data.events, scope_of(data) if self.rule is not None else None)

    def of_history(self, past: Events, request: Request) -> tuple[Bools, Bools]:
        """The same of the events of a request."""
        if self.rule is None:
            return self._told(past, None)
        return self._told(past, EventScope(past, request.catalog, request.audience, request.now.take(past.row)))

    def _told(self, events: Events, scope: EventScope | None) -> tuple[Bools, Bools]:
        if self.rule is None or scope is None:
            return np.ones(len(events), bool), np.asarray(events.weight < 0)
        truth = self.rule.truth(scope)
        return truth.known, truth.holds


def scope_of(data: Dataset) -> EventScope:
    """What a rule over the events of a dataset can name."""
    return EventScope(data.events, data.full_catalog(), data.full_audience(), data.as_of)


@dataclass(frozen=True)
class Calendar:
    """Hours 0..24 and weekdays 0..6 (Monday is 0): the column of that name where there is one, else by the clock, which
    is `utc_offset` hours ahead of UTC."""

    utc_offset: float

    def of_events(self, events: Events, name: str) -> Column | MissingColumn:
        """Column `name` of the events, a row an event."""
        return self._filled(events.columns.get(name, MissingColumn(len(events))), events.time, name)

    def of_request(self, request: Request, name: str) -> Column | MissingColumn:
        """The context `name` of a request, a row a request."""
        given = request.context.get(name)
        column = MissingColumn(len(request)) if given is None else column_of(given)
        return self._filled(column, request.now, name)

    def can_tell(self, data: Dataset, name: str) -> bool:
        """Whether the events of these data say what `name` is."""
        return name in data.events.columns or (name in ("hour", "weekday") and bool(data.events.time.any()))

    def _filled(self, column: Column | MissingColumn, moment: Ints64, name: str) -> Column | MissingColumn:
        if name not in ("hour", "weekday") or not isinstance(column, MissingColumn | NumberColumn):
            return column
        if isinstance(column, NumberColumn) and not np.isnan(column.values).any():
            return column
        local = seconds_of(moment) / HOUR + self.utc_offset
        read = np.floor(local % 24) if name == "hour" else (np.floor(local / 24) + THURSDAY) % 7
        if isinstance(column, MissingColumn):
            return NumberColumn(read)
        return NumberColumn(np.where(np.isnan(column.values), read, column.values))


def numbers_in(column: Column | MissingColumn, size: int) -> Floats64:
    """The number in each row: numbers, texts that are whole numbers, and weekdays by their English names; NaN for
    anything else: float64 [size]."""
    match column:
        case NumberColumn(values):
            return values
        case CategoryColumn(codes, levels):
            used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(levels)))
            table = np.full(len(levels) + 1, np.nan)
            table[used] = [_number(text) for text in levels.texts(used)]
            return table.take(codes, mode="wrap")
    return np.full(size, np.nan)


def _number(text: str) -> float:
    if text[:3].lower() in WEEKDAYS:
        return float(WEEKDAYS.index(text[:3].lower()))
    return float(text) if text.isdecimal() else float("nan")


def hours_apart(first: Floats64, second: Floats64) -> Floats64:
    """How far two hours of the day lie apart, at most 12, NaN where either is unknown: float64."""
    return np.asarray(np.abs((first - second + 12.0) % 24.0 - 12.0), np.float64)


def on_circle(value: Floats64, turn: float) -> tuple[AnyArray, AnyArray]:
    """Sine and cosine of a number that begins anew at `turn`, NaN where it is unknown."""
    known = np.isfinite(value)
    # Only angles of one turn: others are computed another way, together with their neighbours in the array.
    angle = np.where(known, value, 0.0) % turn * (2 * np.pi / turn)
    return np.where(known, np.sin(angle), np.nan), np.where(known, np.cos(angle), np.nan)
