"""Session: the next item, from the last items of the current session or playlist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Ints32, Ints64, frozen, rank_in_row, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.params import Duration
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.meetings import evidence_of_product
from nbarec_plugins.neighbours import Measure
from nbarec_plugins.overlaps import ratios
from nbarec_plugins.row_products import Product
from nbarec_plugins.session_links import NONE, Sessions, newest_sessions, session_numbers
from nbarec_plugins.sparse_rows import SparseRows


@dataclass(frozen=True)
class SessionState:
    """`neighbours` holds the items that each item leads to, and how strongly (items x items); `sessions` int64 [items]
    in how many sessions of training each item stands, which is what that rests on."""

    neighbours: SparseRows
    sessions: Ints64


@dataclass(frozen=True)
class Session(CandidateGenerator[SessionState]):
    """Scores item j by how strongly the last items of the current session lead to it (the item-to-item forms that
    Ludewig, Jannach 2018, "Evaluation of session-based recommendation algorithms", compare).

    A session is a run of a user's events with pauses of at most `gap`; with `by` it is all of his events with the same
    value in that column, such as a playlist's id (events without a value are one session more). Only events of positive
    weight take part. Data without times have no pauses: each user is one session.

    score(j) = sum over the last `last` different items i of recency^p strength(i -> j), where p = 0 for the newest
    item, 1 for the one before it; an item that was played again stands where it was played last.

    * `mode: cooccurrence`: strength = n_ij / sqrt(n_i n_j) n / (n + shrink), the cosine of the items' session
      incidence: n_i of the sessions have i, n = n_ij have both. With `steps` only sessions count where the two stand at
      most so many events apart, and n_ij adds up 1 / that distance (where they stand closest) in place of 1.
    * `mode: markov`: strength = c_ij / (sum over k of c_ik + shrink), the probability that j follows i, drawn towards 0
      where little is known of i. c_ij adds up 1 / distance whenever j follows i at most `steps` events later. One step,
      the default, is a first-order Markov chain; more are the sequential rules of Kamehkhosh, Jannach, Ludewig (2017).
      An item that follows itself says nothing. Order matters, which it does not in cooccurrence.

    Each item keeps its `neighbors` strongest j. The current session is that of the newest event in the request's
    history. Items sent with the request stand at its end, in their order and at the time `now`, so they are the current
    session, together with what is known from less than `gap` before. Items of the session itself may be proposed again,
    unless the stage excludes them (it does by default). Without a session, or where nothing is known of its items,
    there is no proposal.

    >>> users, items = [user for user in "abcd" for _ in range(3)], ["tea", "milk", "rusk"] * 3 + ["jam", "milk", "tea"]
    >>> data = Dataset.from_arrays(users, items)
    >>> data.items.all()
    ['jam', 'milk', 'rusk', 'tea']
    >>> follows = Session(mode="markov", shrink=0).fit(data, np.random.default_rng(0)).neighbours
    >>> follows.row_of.tolist(), follows.column.tolist(), follows.value.tolist()
    ([0, 1, 1, 3], [1, 2, 3, 1], [1.0, 0.75, 0.25, 1.0])
    """

    name: ClassVar[str] = "session"

    mode: Literal["cooccurrence", "markov"] = param(
        "cooccurrence", doc="Items of the same sessions, or items that follow one another."
    )
    gap: Duration = param(Duration("30m"), gt=0, doc="A longer pause ends a session; with `by` it ends none.")
    by: str | None = param(None, doc="A column of the events whose value tells sessions apart, instead of pauses.")
    steps: int | None = param(
        None, ge=1, le=100, doc="How many events apart items may stand; by default any in cooccurrence, 1 in markov."
    )
    last: int = param(10, ge=1, le=1000, doc="How many different items of the current session count, from its end.")
    recency: float = param(0.8, gt=0, le=1, doc="How much each item counts relative to the one after it.")
    neighbors: int = param(100, ge=1, doc="How many of the items that it leads to most strongly each item keeps.")
    shrink: float = param(10.0, ge=0, doc="How many sessions (markov: steps) halve what so few of them say.")
    stale: Literal["last", "nothing"] = param(
        "last", doc="Where the newest event is more than `gap` ago: go by that last session, or propose nothing."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> SessionState:
        """The strongest neighbours of every item; deterministic. Raises ConfigError where the events lack the column
        `by`, or the times that `stale: nothing` needs."""
        return self._learnt(data.events)

    def update(self, state: SessionState, data: Dataset, new: Dataset) -> SessionState:
        """Equal to a refit, to the bit: all is counted anew, since new events may prolong old sessions."""
        return self._learnt(data.events)

    def generate(self, state: SessionState, request: Request, limit: int) -> Candidates:
        """What the current session leads to, best first."""

        product = Product(self._current(request), state.neighbours.strips, (np.multiply,))
        return best_overlaps(product, lambda met: met.sums[0], request.excluded, limit)

    def evidence(self, state: SessionState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each of the session's last items i adds: recency^p strength(i -> j). Items that are not proposed have
        parts that add up to what the formula gives, and none where nothing leads to them."""
        because = "it often follows {}" if self.mode == "markov" else "it often goes with {}"
        return evidence_of_product(self._current(request), state.neighbours, row, item, limit, because)

    def _learnt(self, events: Events) -> SessionState:
        if self.stale == "nothing" and len(events) and not events.time.any():
            raise ConfigError(
                "session: stale: nothing needs the time of each event; name its column in data.events.columns.time, "
                "or leave it out"
            )
        sessions = Sessions.of(*self._numbered(events))
        size = np.bincount(sessions.incidence.column, minlength=events.n_items)
        if self.mode == "markov":
            links = sessions.followed(self.steps or 1)
            shrunk = links.totals() + self.shrink
            neighbours = links.strongest(lambda met: ratios(met.sums[0], met.of_rows(shrunk)), self.neighbors)
        else:
            cosine = Measure("cosine", self.shrink)
            of_row, of_column = cosine.scales(size.astype(np.float64))
            neighbours = sessions.together(self.steps).strongest(
                lambda met: cosine.strength(met, of_row, of_column), self.neighbors
            )
        return SessionState(neighbours, frozen(size))

    def _numbered(self, events: Events) -> tuple[Events, Ints64]:
        """The events that take part, and which session each is in."""
        liked = events.where(events.weight > 0)
        return liked, session_numbers(liked, self.gap, self.by, self.name)

    def _current(self, request: Request) -> SparseRows:
        """The last items of each row's current session and how much each counts: (B x items)."""
        history, number = self._numbered(request.history)
        newest = newest_sessions(history, number)
        if self.stale == "nothing":
            newest[self._stale(history, request.now)] = NONE
        at = np.flatnonzero(number == newest[history.row])
        # The events stand by row and in order, so an item's last event is its first from the end.
        key = (history.row[at] * history.n_items + history.item[at])[::-1]
        at = at[np.sort(len(at) - 1 - np.unique(key, return_index=True)[1])]
        row, item = history.row[at], history.item[at]
        counts = np.bincount(row, minlength=history.rows)
        from_end = counts[row] - rank_in_row(row_pointers(counts))
        counted = np.flatnonzero(from_end < self.last)
        counted = counted[np.lexsort((item[counted], row[counted]))]
        # A power from a table has the same bits in any batch.
        value = (self.recency ** np.arange(self.last))[from_end[counted]]
        indptr = row_pointers(np.minimum(counts, self.last))
        return SparseRows(indptr, item[counted], value, history.n_items)

    def _stale(self, history: Events, now: Ints64) -> Ints64:
        """The rows whose newest event is more than `gap` ago: int64."""
        filled = np.flatnonzero(history.counts)
        return filled[now[filled] - history.time[history.indptr[1:][filled] - 1] > self.gap]


@hookimpl
def nbarec_candidate_generators() -> list[type[Session]]:
    """The generators of this module."""
    return [Session]
