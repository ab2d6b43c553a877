"""Pair features: how well an entry's item goes with its user's own history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.params import StageRef
from nbarec.work import current
from nbarec_plugins.context_levels import ContextLevels, of_other_moments
from nbarec_plugins.event_features import (
    Calendar,
    LastItems,
    Skips,
    days_before,
    hours_apart,
    known_by_now,
    last_items,
    latest_of,
    numbers_in,
)
from nbarec_plugins.feature_columns import Lines, NamedFeatures, ratio, word
from nbarec_plugins.group_counts import GroupCounts
from nbarec_plugins.item_groups import Cells, ItemGroups, groups_named
from nbarec_plugins.neighbours import Measure, Signal
from nbarec_plugins.pair_contexts import at_contexts, context_lines
from nbarec_plugins.sparse_rows import SparseRows, sums_at
from nbarec_plugins.unit_cosines import mean_and_max

TABLE = 1 << 24
"""Bytes of the table in which the entries of some rows are looked up."""


@dataclass(frozen=True)
class PairFeaturesState:
    """`groups`: the levels of each column of `by`. `neighbours` holds each item's most similar items and how similar
    they are (items x items); `met` bool [items]: whether anything is known of an item's neighbours."""

    groups: Mapping[str, ItemGroups]
    neighbours: SparseRows
    met: Bools

    @cached_property
    def met_or_new(self) -> Bools:
        """`met`, and False at the end, for all items that came after the fit: bool [items + 1]."""
        return frozen(np.append(self.met, False))


@dataclass(frozen=True)
class PairFeatures(NamedFeatures[PairFeaturesState]):
    """Says of each entry how its item goes with the user's history, up to `request.now`.

    * `pair_item_events`: events of the user with the item, and `pair_item_days_since` the last of them;
    * `pair_similarity_mean`, `pair_similarity_max`: of the item's cosines (of the users that items have in common, as
      in `item_cf`, multiplied by n / (n + `shrink`) for n of them) with the `last` items that the user liked; each item
      has `neighbors` most similar ones, and 0 with all others;
    * with `vectors: latent`, `pair_latent_mean` and `pair_latent_max` of the cosines of that stage's item vectors;
    * with `by: [artist]`, of the history's events with an item of the same artist: `pair_artist_events`, how many;
      `pair_artist_share` of all events whose artist is known; `pair_artist_days_since` the last; `pair_artist_skips`,
      the share of skips; and by the hour of the day: `pair_artist_at_hour`, their share among the events within `hours`
      of the request's hour, and `pair_artist_hour_share`, the share of them that lie there.
    * with `at: [device]`, of the user's events whose device is that of the request: `pair_item_at_device`, how many are
      with the item; `pair_item_at_device_share` of all of them; and `pair_item_at_device_lift`, for n such events
      ln((n + `prior`) / (e + `prior`)), with e = (events with the item) (events at this device) / (events) of those
      whose device is known (DuMouchel 1999). `pair_item_at_all`: in how many contexts of `at` an event with the item
      agrees at most.

    Of an item with several levels (tags) it is the mean over these, and of days since the least. Numbers and dates are
    cut into 10 ranges of about as many items each. The hour is `context.hour`, of events their column `hour`; where
    there is none, it is that of the moment, `utc_offset` hours ahead of UTC. With `at: [hour]` hours agree that lie at
    most `hours` apart; other numbers agree by their whole part. With `moment`, nothing counts the events that agree
    with the request in all of these contexts: in data that hold an item only once for each user and moment, those that
    are there already would speak against themselves (see `again`).

    Liked items are those with an event of positive weight. Without a history, shares, days and similarities are unknown
    (NaN), and so are the similarities of an item that nobody had, everything of `by` for an item without a level,
    everything of `at` where the context of the request is, and lifts of an item that the user never took.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data, provider = tiny_world(), PairFeatures(by=("artist",))
    >>> request = request_for(data, [0])  # anna: song 0 40 days and 1 day ago, song 1 20 days ago, both by ada
    >>> state = provider.fit(data, np.random.default_rng(0))
    >>> columns = provider.columns_for(state, request, pool_in_order(request, [[0, 2, 3]]))  # by ada, ada, bo
    >>> [columns[name].tolist() for name in ("pair_item_events", "pair_artist_events", "pair_artist_days_since")]
    [[2.0, 0.0, 0.0], [3.0, 3.0, 0.0], [1.0, 1.0, nan]]
    """

    name: ClassVar[str] = "pair_features"

    by: tuple[str, ...] = param((), doc="Columns of the catalogue whose levels group items: artist, genre, moods.")
    at: tuple[str, ...] = param((), doc="Contexts in which the user's events with the item are counted: device, hour.")
    moment: tuple[str, ...] = param(
        (), doc="Contexts in which the data hold an item only once a user; events that agree in all are not counted."
    )
    last: int = param(50, ge=1, le=500, doc="How many of the items that the user liked last are compared with.")
    neighbors: int = param(50, ge=1, doc="How many of the most similar items each item keeps.")
    shrink: float = param(10.0, ge=0, doc="Cosines of n common users are multiplied by n / (n + shrink).")
    vectors: StageRef | None = param(None, doc="A generator whose item vectors are compared as well.")
    hours: float = param(2.0, ge=0, le=12, doc="How far from the request's hour an event counts as at that hour.")
    prior: float = param(2.0, gt=0, doc="How many expected events halve what the user's own say of a lift.")
    utc_offset: float = param(0.0, ge=-14, le=14, doc="Hours that the users' clock is ahead of UTC.")
    skipped: Expression | None = param(None, doc="Which events were skips; those of negative weight if left out.")

    def vectors_named(self) -> Iterable[str]:
        """The generator in `vectors`."""
        return () if self.vectors is None else (self.vectors,)

    def lines(self) -> Lines:
        """What it tells of a user and an item."""
        lines = [
            ("pair_item_events", "events of the user with the item"),
            ("pair_item_days_since", "days since the user's last event with the item"),
            (
                "pair_similarity_mean",
                f"mean cosine of the item, by common users, with the user's last {self.last} items",
            ),
            ("pair_similarity_max", f"largest cosine of the item, by common users, with the user's last {self.last}"),
        ]
        if self.vectors is not None:
            lines += [
                (f"pair_{self.vectors}_mean", f"mean cosine of {self.vectors}'s vectors with the user's last items"),
                (f"pair_{self.vectors}_max", f"largest cosine of {self.vectors}'s vectors with the user's last items"),
            ]
        lines += context_lines(self.at)
        return lines + [line for name in self.by for line in self._group_lines(word(name))]

    def _group_lines(self, name: str) -> Lines:
        near = f"within {self.hours:g} hours of this time of day"
        return [
            (f"pair_{name}_events", f"events of the user with the item's {name}"),
            (f"pair_{name}_share", f"share of the user's events with the item's {name}"),
            (f"pair_{name}_days_since", f"days since the user's last event with the item's {name}"),
            (f"pair_{name}_skips", f"share of skips among the user's events with the item's {name}"),
            (f"pair_{name}_at_hour", f"share of the item's {name} among the user's events {near}"),
            (f"pair_{name}_hour_share", f"share of the user's events with the item's {name} that lie {near}"),
        ]

    @property
    def _at(self) -> list[ContextLevels]:
        # Levels are whole hours, so part of an hour further brings no other one in.
        return [ContextLevels(one, Calendar(self.utc_offset), int(self.hours), self.name, "at") for one in self.at]

    @property
    def _moment(self) -> list[ContextLevels]:
        return [ContextLevels(one, Calendar(self.utc_offset), 0, self.name, "moment") for one in self.moment]

    def fit(self, data: Dataset, rng: np.random.Generator) -> PairFeaturesState:
        """Groups and neighbours; deterministic. Raises ConfigError where `by`, `at`, `moment` or `skipped` does not fit
        the data."""
        return self._learnt(data)

    def update(self, state: PairFeaturesState, data: Dataset, new: Dataset) -> PairFeaturesState:
        """Equal to a refit."""
        return self._learnt(data)

    def _learnt(self, data: Dataset) -> PairFeaturesState:
        groups = groups_named(data.catalog, self.by, "pair_features")
        Skips(self.skipped).check(data)
        for context in (*self._at, *self._moment):
            context.check(data)
        signal = Signal.of(data.events, "cosine")
        every = np.arange(data.events.n_items)
        near = Measure("cosine", self.shrink).nearest(signal, every, self.neighbors)
        return PairFeaturesState(groups, near, frozen(signal.size > 0))

    def values(self, state: PairFeaturesState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        """Sums over each row's history, in the order of time."""
        past = of_other_moments(self._moment, known_by_now(request), request)
        liked = last_items(past, past.weight > 0, self.last)
        told = self._plays(past, request, pool)
        told["pair_similarity_mean"], told["pair_similarity_max"] = _similarities(state, liked, request.n_items, pool)
        if self.vectors is not None:
            found = mean_and_max(pool.vectors[self.vectors], pool.indptr, pool.item, liked.indptr, liked.item)
            told[f"pair_{self.vectors}_mean"], told[f"pair_{self.vectors}_max"] = found
        if self.by:
            profile = _Profile.of(past, request, self)
            for name in self.by:  # a step a column of the catalogue
                told.update(profile.told(word(name), state.groups[name], pool))
        return told

    def _plays(self, past: Events, request: Request, pool: Pool) -> dict[str, Floats64]:
        cells = Cells.of(past.row, past.item.astype(np.int64), past.rows, request.n_items, len(pool))
        at = cells.find(pool.row.astype(np.int64), pool.item.astype(np.int64))
        last = latest_of(cells.cell, past.time, cells.places).take(at)
        return {
            "pair_item_events": cells.counts().take(at),
            "pair_item_days_since": days_before(request.now.take(pool.row), last),
            **at_contexts(self._at, past, request, pool, cells, at, self.prior),
        }


def _similarities(state: PairFeaturesState, liked: LastItems, items: int, pool: Pool) -> tuple[Floats64, Floats64]:
    """The mean and the largest similarity of each entry's item to the liked items of its row: float64 [N] both; there
    are so many `items` now.

    Each liked item looks its neighbours up among the entries: they are few, and the entries stand in a table of some
    rows and all items.
    """
    total, largest = np.zeros(len(pool)), np.zeros(len(pool))
    items = max(items, len(state.met))
    rows = max(current().block_bytes(TABLE) // 4 // max(items, 1), 1)
    place = np.zeros(min(rows, pool.rows) * items, np.int32)  # from 1; 0 is that of items without an entry
    for first, last in _spans(pool.rows, rows):  # a step some rows
        inside = slice(int(pool.indptr[first]), int(pool.indptr[last]))
        here = slice(int(liked.indptr[first]), int(liked.indptr[last]))
        cell = (pool.row[inside].astype(np.int64) - first) * items + pool.item[inside]
        place[cell] = np.arange(1, len(cell) + 1)
        known = np.where(liked.item[here] < len(state.met), liked.item[here], -1).astype(np.int64)
        near = state.neighbours.take_rows(known)
        at = place.take(np.repeat((liked.row[here] - first) * items, near.counts) + near.column)
        place[cell] = 0
        total[inside] = sums_at(at, near.value, len(cell) + 1)[1:]
        best = np.zeros(len(cell) + 1)
        np.maximum.at(best, at, near.value)
        largest[inside] = best[1:]
    counts = liked.counts.take(pool.row)
    met = (counts > 0) & state.met_or_new.take(pool.item, mode="clip")
    mean = ratio(total, counts)
    return np.where(met, mean, np.nan), np.where(met, largest, np.nan)


def _spans(rows: int, size: int) -> Iterable[tuple[int, int]]:
    return ((first, min(first + size, rows)) for first in range(0, rows, size))


@dataclass(frozen=True)
class _Profile:
    """A history to be counted by groups: `skip`, `skip_known` and `near` bool [events], the last: at the hour of the
    request; `hour_known` bool [events]: whether that can be told."""

    past: Events
    now: Ints64
    skip: Bools
    skip_known: Bools
    near: Bools
    hour_known: Bools

    @classmethod
    def of(cls, past: Events, request: Request, asked: PairFeatures) -> _Profile:
        """The history of a request, by the parameters of the provider."""
        calendar = Calendar(asked.utc_offset)
        hour = numbers_in(calendar.of_events(past, "hour"), len(past))
        wanted = numbers_in(calendar.of_request(request, "hour"), len(request))
        apart = hours_apart(hour, wanted.take(past.row))
        known, skip = Skips(asked.skipped).of_history(past, request)
        return cls(past, request.now, skip, known, apart <= asked.hours, ~np.isnan(apart))

    def told(self, name: str, groups: ItemGroups, pool: Pool) -> dict[str, Floats64]:
        """The columns of one group of items: float64 [N] each."""
        counts = GroupCounts.of(groups, self.past, pool)
        events, near, mean = counts.events(), counts.events(self.near), counts.wanted.mean
        since = days_before(self.now.take(counts.row), counts.latest())
        return {
            f"pair_{name}_events": mean(events),
            f"pair_{name}_share": mean(ratio(events, counts.totals())),
            f"pair_{name}_days_since": counts.wanted.least(since),
            f"pair_{name}_skips": mean(ratio(counts.events(self.skip), counts.events(self.skip_known))),
            f"pair_{name}_at_hour": mean(ratio(near, counts.totals(self.near))),
            f"pair_{name}_hour_share": mean(ratio(near, counts.events(self.hour_known))),
        }


@hookimpl
def nbarec_feature_providers() -> Iterable[type[FeatureProvider[Any]]]:
    """The feature providers of this module."""
    return [PairFeatures]
