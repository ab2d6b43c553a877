"""Levels of the context, such as devices and hours: of events, of requests, and where the two are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64
from nbarec.batch import Request
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.expression_values import MissingColumn
from nbarec.ids import Ids
from nbarec.tables import CategoryColumn, Column, NumberColumn, texts_of
from nbarec_plugins.event_features import Calendar, hours_apart, numbers_in
from nbarec_plugins.item_groups import NONE

DAY_HOURS = 24

CALENDAR = ("hour", "weekday")
"""What times tell, too."""

NO_LEVELS = Ids.of([])
"""For `ContextLevels.met`, where no codes are asked for."""


@dataclass(frozen=True)
class ContextLevels:
    """The levels of the context called `name`: those of its column, numbers by their whole part. Hours are 0 to 23, by
    the `calendar` where no column tells, and two of them go together if they lie at most `hours` apart.

    Methods raise ConfigError for a column of dates or of several values a row, speaking of the `parameter` of the
    component `who`.
    """

    name: str
    calendar: Calendar
    hours: int
    who: str = "context_features"
    parameter: str = "across"

    @property
    def _who(self) -> str:
        return f"{self.who}: `{self.parameter}: {self.name}`"

    def check(self, data: Dataset) -> None:
        """Raises ConfigError where there are events, and nothing tells their level."""
        if len(data.events) and not self.calendar.can_tell(data, self.name):
            advice = "; hour and weekday can also be read from their times" if self.name in CALENDAR else ""
            columns = ", ".join(data.events.columns) or "none"
            raise ConfigError(
                f"{self._who} is not known of the events; their columns are: {columns}{advice}; name the column in "
                f"data.events.columns, or leave {self.name} out"
            )

    def of_events(self, events: Events) -> tuple[Ids, Ints64, Ints64]:
        """The levels; and pairs of an event, int64 [M], and a level that goes with its own: int64 [M]."""
        column = self.calendar.of_events(events, self.name)
        if self.name != "hour":
            levels, code = coded(column, self._who)
            known = np.flatnonzero(code != NONE)
            return levels, known, code[known]
        hour = _whole_hours(column, len(events))
        known = np.flatnonzero(~np.isnan(hour))
        apart = np.arange(-min(self.hours, 12), min(self.hours, 11) + 1)  # 12 before is 12 behind
        near = (hour[known].astype(np.int64)[:, None] + apart) % DAY_HOURS
        return Ids.of(range(DAY_HOURS)), np.repeat(known, len(apart)), near.reshape(-1)

    def of_request(self, request: Request) -> tuple[Ids, Ints64]:
        """The levels that are asked for, and that of each request: int64 [B], `NONE` if unknown."""
        return coded(self.calendar.of_request(request, self.name), self._who)

    def met(self, levels: Ids, past: Events, request: Request) -> Met:
        """Where the level of each request is among `levels`, and how it meets those of the events of its row."""
        column = self.calendar.of_events(past, self.name)
        if self.name == "hour":
            hour = _whole_hours(self.calendar.of_request(request, self.name), len(request))
            apart = hours_apart(_whole_hours(column, len(past)), hour.take(past.row))
            code = np.where(np.isnan(hour), NONE, np.nan_to_num(hour)).astype(np.int64)
            return Met(code, code != NONE, ~np.isnan(apart), apart <= self.hours)
        own, code = coded(column, self._who)
        asked, of_own, of_levels = self._among(request, own, levels)
        known = (code != NONE) & asked.take(past.row)
        return Met(of_levels, asked, known, known & (code == of_own.take(past.row)))

    def _among(self, request: Request, own: Ids, levels: Ids) -> tuple[Bools, Ints64, Ints64]:
        """Whether the level of each request is known, bool [B], and where it is among `own` and among `levels`, `NONE`
        if nowhere: int64 [B] both."""
        given = request.context.get(self.name)
        if given is None or given.dtype.kind in "iufb":
            theirs, wanted = self.of_request(request)
            return wanted != NONE, recoded(theirs, wanted, own), recoded(theirs, wanted, levels)
        # Texts are looked up as they are: a column of them would take longer to make than all else here.
        texts = [text or "" for text in texts_of(given)]
        known = np.array([text != "" for text in texts], bool)
        return known, np.where(known, own.index(texts), NONE), np.where(known, levels.index(texts), NONE)


@dataclass(frozen=True)
class Met:
    """`code` int64 [B]: the level of each request among those that were given, `NONE` if it is none of them; `asked`
    bool [B]: whether it is known at all. `known` bool [events]: of which events of the history the level is known, as
    is that of their request; `same` bool [events]: where the two go together."""

    code: Ints64
    asked: Bools
    known: Bools
    same: Bools


def agreeing(contexts: Sequence[ContextLevels], past: Events, request: Request) -> Bools:
    """In which of these contexts each event of a history goes with its request: bool [contexts, events]."""
    found = np.zeros((len(contexts), len(past)), bool)
    for at, context in enumerate(contexts):  # a step a context
        found[at] = context.met(NO_LEVELS, past, request).same
    return found


def of_other_moments(contexts: Sequence[ContextLevels], past: Events, request: Request) -> Events:
    """The events that differ from their request in one of these contexts at least, all where none is named; the rows
    stay."""
    if not contexts:
        return past
    return past.where(np.asarray(agreeing(contexts, past, request).sum(axis=0) < len(contexts)))


def _whole_hours(column: Column | MissingColumn, size: int) -> Floats64:
    return np.asarray(np.floor(numbers_in(column, size)) % DAY_HOURS, np.float64)


def coded(column: Column | MissingColumn, who: str) -> tuple[Ids, Ints64]:
    """The levels of a column, numbers by their whole part, and the level of each row: int64 [rows], `NONE` if missing.

    Raises ConfigError, speaking for `who`, for dates and for several values a row.
    """
    match column:
        case CategoryColumn(codes, levels):
            return levels, codes.astype(np.int64)
        case NumberColumn(values):
            known = np.abs(values) < 2.0**53
            levels, at = Ids.of_whole_numbers(np.floor(values[known]).astype(np.int64))
            code = np.full(len(values), NONE, np.int64)
            code[known] = at
            return levels, code
        case MissingColumn(size):
            return Ids.of([]), np.full(size, NONE, np.int64)
    raise ConfigError(f"{who} has several values a row, or is a date; name a column of one category or number a row")


def recoded(own: Ids, code: Ints64, levels: Ids) -> Ints64:
    """Positions in `own`, `NONE` where missing, as positions in `levels`, `NONE` where that lacks one: int64 [rows]."""
    if own is levels:
        return code
    used = np.unique(code[code != NONE])
    table = np.full(len(own) + 1, NONE, np.int64)
    table[used] = levels.index(own.take(used))
    return np.asarray(table.take(code, mode="wrap"), np.int64)
