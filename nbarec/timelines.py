"""Moments: when requests are made and what was known then, for whoever goes back to the past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from nbarec.arrays import AnyArray, Bools, Ints64, concat_ranges, frozen, rank_in_row, row_pointers
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.ids import Ids
from nbarec.joining import join_events
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, TagsColumn

BYTES_AN_EVENT = 64
"""About what an event of a history takes in a batch, with its columns and the pairs that are made of it."""


@dataclass(frozen=True)
class Moments:
    """M requests of the past: a row of an evaluation or of examples each.

    `user` int64 [M] positions, `now` int64 [M] (seconds since 1970 UTC), `known` int64 [M]: how many of the user's
    events in the `timeline` (a row a user, by time) were known then; `number` int64 [M]: which of the user's held-out
    events the request stands for, from 1, and 0 where it stands for none; `context` a row a request.
    """

    user: Ints64
    now: Ints64
    known: Ints64
    number: Ints64
    timeline: Events
    context: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def of_users(cls, data: Dataset, users: Ints64 | None = None) -> Moments:
        """One request for each user at positions int64 [M], for all by default: everything is known, and it is the
        clock's moment."""
        user = np.arange(len(data.users)) if users is None else users
        now, number = np.full(len(user), data.as_of, np.int64), np.zeros(len(user), np.int64)
        return cls(frozen(user), frozen(now), frozen(data.events.counts[user]), frozen(number), data.events)

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Moments:
        """The moments at these positions."""
        return replace(
            self,
            user=frozen(self.user[rows]),
            now=frozen(self.now[rows]),
            known=frozen(self.known[rows]),
            number=frozen(self.number[rows]),
            context={name: column.take(rows) for name, column in self.context.items()},
        )

    def histories(self) -> Events:
        """What was known at each moment: M rows of events."""
        return self.timeline.at(concat_ranges(self.timeline.indptr[self.user], self.known), row_pointers(self.known))

    def values(self) -> dict[str, AnyArray]:
        """The context as a request has it: float64 [M] (NaN: missing) or texts [M] (None: missing)."""
        return {name: _values(column) for name, column in self.context.items()}

    def spans(self, size: int, memory: int) -> Iterator[slice]:
        """Batches of neighbours: at most `size` requests, whose histories take about as many bytes as `memory` says.
        One request is a batch whatever its length. A loop over batches."""
        events, start = np.append(0, np.cumsum(self.known)), 0
        most = max(memory // BYTES_AN_EVENT, 1)
        while start < len(self):
            full = int(np.searchsorted(events, events[start] + most, side="right")) - 1
            stop = min(max(full, start + 1), start + size, len(self))
            yield slice(start, stop)
            start = stop


@dataclass(frozen=True)
class Timeline:
    """What was known and what came later, in one: `events`, a row a user, and of each of the L `later` events where it
    stands there (`at` int64 [L]) and how many of the user's events were known at its moment (`known` int64 [L]).

    Where there are times, those are the events known before the cut that are not after the moment, and the later ones
    strictly before it: events of one moment do not know each other. Without times they are the ones known before the
    cut, and the moment is the `clock`'s.
    """

    events: Events
    later: Events
    at: Ints64
    known: Ints64
    now: Ints64

    @classmethod
    def of(cls, known: Events, later: Events, clock: int) -> Timeline:
        """Both have the same users, items, kinds and columns."""
        events = join_events(known, later)
        order = np.lexsort((np.append(known.time, later.time), np.append(known.row, later.row)))
        place = np.empty(len(events), np.int64)
        place[order] = np.arange(len(events))
        at = place[len(known) :]
        before = at - events.indptr[later.row]
        if not events.time.any():
            counts = known.counts[later.row]
            return cls(events, later, frozen(at), frozen(counts), frozen(np.full(len(later), clock, np.int64)))
        # Of one user and moment what was known before stands first: a prefix of the row is known, up to the first of
        # the later events of the moment.
        tied = np.zeros(len(later), bool)
        tied[1:] = (later.row[1:] == later.row[:-1]) & (later.time[1:] == later.time[:-1])
        first = np.maximum.accumulate(np.where(tied, 0, np.arange(len(later))))
        return cls(events, later, frozen(at), frozen(before[first]), frozen(later.time.copy()))

    @cached_property
    def repeats(self) -> Bools:
        """Which later events are of an item that the user liked already, by what was known then: bool [L]."""
        liked = np.flatnonzero(self.events.weight > 0)
        pairs = self.events.row[liked] * self.events.n_items + self.events.item[liked]
        pairs, first = np.unique(pairs, return_index=True)  # the first of each pair: events stand in the order of time
        wanted = self.later.row * self.events.n_items + self.later.item
        found = np.searchsorted(pairs, wanted)
        same = np.append(pairs, -1)[found] == wanted
        since = np.append(liked[first], 0)[found]
        return np.asarray(same & (since < self.events.indptr[self.later.row] + self.known))

    def moments(self, which: Ints64) -> Moments:
        """The moments of later events at these positions, int64 [M], with their columns and kinds as context."""
        kind = CategoryColumn(self.later.kind.astype(np.int32), Ids.of(self.later.kinds))
        columns: dict[str, Column] = {"kind": kind} if self.later.kinds else {}
        columns |= {name: one for name, one in self.later.columns.items() if not isinstance(one, TagsColumn)}
        return Moments(
            user=frozen(self.later.row[which]),
            now=frozen(self.now[which]),
            known=frozen(self.known[which]),
            number=frozen(rank_in_row(self.later.indptr)[which]),
            timeline=self.events,
            context={name: column.take(which) for name, column in columns.items()},
        )


def _values(column: Column) -> AnyArray:
    match column:
        case CategoryColumn(codes, levels):
            used, at = np.unique(codes, return_inverse=True)
            known = levels.texts(used[used >= 0])
            return frozen(np.array([*([None] * (len(used) - len(known))), *known], object)[at])
        case DateColumn(seconds):
            return frozen(np.where(seconds == MISSING_DATE, np.nan, seconds.astype(np.float64)))
        case NumberColumn(values):
            return frozen(values)
    raise TypeError(f"a request's context holds numbers and texts, no {type(column).__name__}")
