"""Context features: the moment, the session so far, and what goes with this context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, param
from nbarec.data import Dataset
from nbarec.expression_values import MissingColumn
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.ids import Ids
from nbarec.params import Duration
from nbarec.scopes import column_of
from nbarec_plugins.context_levels import ContextLevels, Met
from nbarec_plugins.context_lifts import Lifts, log_lift
from nbarec_plugins.current_session import current_session, session_amounts, session_groups, session_lines
from nbarec_plugins.event_features import Calendar, Skips, known_by_now, numbers_in, on_circle
from nbarec_plugins.feature_columns import Lines, NamedFeatures, at_entries, held, word
from nbarec_plugins.group_counts import GroupCounts
from nbarec_plugins.item_groups import ItemGroups, groups_named


@dataclass(frozen=True)
class ContextFeaturesState:
    """`groups`: the levels of each column of `by`, `themselves`: each item as a group. Of each context of `across`: its
    `levels`, the `lifts` of each column of `by` and the `item_lifts`."""

    groups: Mapping[str, ItemGroups]
    themselves: ItemGroups
    levels: Mapping[str, Ids]
    lifts: Mapping[str, Mapping[str, Lifts]]
    item_lifts: Mapping[str, Lifts]


@dataclass(frozen=True)
class ContextFeatures(NamedFeatures[ContextFeaturesState]):
    """Says of each entry what the moment is like, and how its item goes with it.

    * Numbers of the context as they are: `context_X` for each of `numbers`; and `context_hour_sin`,
      `context_hour_cos`, `context_weekday_sin`, `context_weekday_cos` of `context.hour` and `context.weekday` (a number
      from Monday, 0, or an English name); where there is none, of `request.now`, `utc_offset` hours ahead of UTC.
    * The session so far: the events of the history up to now with no pause above `gap` between them and none to now.
      `context_session_events` and, where there are any, `context_session_minutes` since the first and
      `context_session_skips`, the share of skips. With `by: [genre]`, `context_session_genre_share`: of the events
      whose genre is known those of the item's genre, and `context_session_genre_last`: whether the last event has it.
    * With `across: [device]`, lifts over liked events (those of positive weight): `context_device_item` of all users'
      events with the item, `context_device_genre` of those with its genre, `context_device_own_genre` of the user's own
      with its genre. A lift is ln((n + prior) / (e + prior)), with n such events in the request's level of the context
      and e = (such events) (events in that level) / (all events): near 0 where the context says nothing or little is
      known, ln 2 where it makes them twice as likely. (`prior` for all users, `own_prior` for the user's own; DuMouchel
      1999.) With `across: [hour]` the level of a request is all hours within `hours` of its own.

    Of an item with several levels (tags) it is the mean over these. Numbers and dates of the catalogue are cut into 10
    ranges. Context is known of an event by its column of that name; hours and weekdays also by its time. Unknown (NaN)
    is: what a text says where a number is asked for, a session without times, a lift of what never happened, and all of
    a group for an item without a level or newer than the fit.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data, provider = tiny_world(), ContextFeatures(by=("artist",), gap=Duration("2d"))
    >>> request = request_for(data, [0], context={"hour": 6.0})  # anna: song 0, 1 day ago, and older ones
    >>> state = provider.fit(data, np.random.default_rng(0))
    >>> columns = provider.columns_for(state, request, pool_in_order(request, [[2, 3]]))  # by ada, bo
    >>> columns["context_hour_sin"].tolist(), columns["context_session_artist_last"].tolist()
    ([1.0, 1.0], [1.0, 0.0])
    """

    name: ClassVar[str] = "context_features"

    numbers: tuple[str, ...] = param((), doc="Numbers of the context that become columns, such as volume.")
    by: tuple[str, ...] = param((), doc="Columns of the catalogue whose levels group items: artist, genre, moods.")
    across: tuple[str, ...] = param((), doc="Contexts that lifts are told of: device, hour, weekday, place.")
    gap: Duration = param(Duration("30m"), gt=0, doc="A longer pause ends a session.")
    prior: float = param(10.0, gt=0, doc="How many expected events halve what all users' events say of a lift.")
    own_prior: float = param(2.0, gt=0, doc="How many expected events halve what the user's own say of a lift.")
    hours: int = param(2, ge=0, le=12, doc="Lifts across hour count events at most so many hours from the request's.")
    utc_offset: float = param(0.0, ge=-14, le=14, doc="Hours that the users' clock is ahead of UTC.")
    skipped: Expression | None = param(None, doc="Which events were skips; those of negative weight if left out.")

    def lines(self) -> Lines:
        """What it tells of the moment, and of an item at it."""
        return [
            *((f"context_{word(name)}", f"context.{name}") for name in self.numbers),
            *((f"context_{name}_{part}", f"{part} of the {name}") for name in _TURNS for part in ("sin", "cos")),
            ("context_session_events", "events in the session so far"),
            ("context_session_minutes", "minutes since the session began"),
            ("context_session_skips", "share of the session's events that were skips"),
            *(line for name in self.by for line in session_lines(word(name))),
            *(line for name in self.across for line in self._lift_lines(word(name))),
        ]

    def _lift_lines(self, context: str) -> Lines:
        found = [(f"context_{context}_item", f"log lift of the item at this {context}")]
        for name in map(word, self.by):  # a step a column of the catalogue
            found += [
                (f"context_{context}_{name}", f"log lift of the item's {name} at this {context}"),
                (
                    f"context_{context}_own_{name}",
                    f"log lift of the item's {name} at this {context} for the user alone",
                ),
            ]
        return found

    @property
    def _calendar(self) -> Calendar:
        return Calendar(self.utc_offset)

    def _levels(self, context: str) -> ContextLevels:
        return ContextLevels(context, self._calendar, self.hours)

    def fit(self, data: Dataset, rng: np.random.Generator) -> ContextFeaturesState:
        """Count; deterministic. Raises ConfigError where `by`, `across` or `skipped` does not fit the data."""
        return self._learnt(data)

    def update(self, state: ContextFeaturesState, data: Dataset, new: Dataset) -> ContextFeaturesState:
        """Equal to a refit: counting anew is cheap."""
        return self._learnt(data)

    def _learnt(self, data: Dataset) -> ContextFeaturesState:
        groups = groups_named(data.catalog, self.by, self.name)
        themselves = ItemGroups.themselves(len(data.items))
        Skips(self.skipped).check(data)
        liked = data.events.where(data.events.weight > 0)
        levels: dict[str, Ids] = {}
        lifts: dict[str, Mapping[str, Lifts]] = {}
        item_lifts: dict[str, Lifts] = {}
        for context in self.across:  # a step a context, and one a group in it
            self._levels(context).check(data)
            levels[context], event, code = self._levels(context).of_events(liked)
            number, item = len(levels[context]), liked.item.take(event)
            lifts[context] = {name: Lifts.of(code, number, item, group) for name, group in groups.items()}
            item_lifts[context] = Lifts.of(code, number, item, themselves)
        return ContextFeaturesState(groups, themselves, levels, lifts, item_lifts)

    def values(self, state: ContextFeaturesState, request: Request, pool: Pool) -> Mapping[str, Floats64 | Floats32]:
        """Columns of the moment, of the session, and of lifts."""
        past = known_by_now(request)
        inside = current_session(past, request.now, self.gap)
        amounts = session_amounts(inside, past, request, Skips(self.skipped))
        told: dict[str, Floats64 | Floats32] = {**at_entries({**self._moment(request), **amounts}, pool.row)}
        levels = {one: self._levels(one).met(state.levels[one], past, request) for one in self.across}
        liked = past.weight > 0
        themselves = state.themselves.members(pool.item)
        row = pool.row.take(themselves.entry)
        for context, level in levels.items():  # a step a context
            lift = state.item_lifts[context].at(level.code.take(row), themselves.level, self.prior)
            told[f"context_{word(context)}_item"] = themselves.mean(lift)
        for name in self.by:  # a step a column of the catalogue, and one a context in it
            counts = GroupCounts.of(state.groups[name], past, pool)
            told.update(session_groups(word(name), counts, inside))
            for context, level in levels.items():
                lifts = state.lifts[context][name]
                lift = lifts.at(level.code.take(counts.row), counts.wanted.level, self.prior)
                told[f"context_{word(context)}_{word(name)}"] = counts.wanted.mean(lift)
                told[f"context_{word(context)}_own_{word(name)}"] = self._own_lift(counts, level, liked)
        return told

    def _own_lift(self, counts: GroupCounts, level: Met, liked: Bools) -> Floats64:
        """The lift of each entry's level among the liked events of its own row: float64 [N]."""
        same, known = level.same & liked, level.known & liked
        both, group = counts.events(same), counts.events(known)
        return counts.wanted.mean(log_lift(both, group, counts.totals(same), counts.totals(known), self.own_prior))

    def _moment(self, request: Request) -> dict[str, Floats64]:
        """The numbers of the context, and the hour and the weekday on their circles: float64 [B] each."""
        rows, told = len(request), {}
        for name in self.numbers:  # a step a number
            given = request.context.get(name)
            column = MissingColumn(rows) if given is None else column_of(given)
            told[f"context_{word(name)}"] = held(numbers_in(column, rows))
        for name, turn in _TURNS.items():
            value = numbers_in(self._calendar.of_request(request, name), rows)
            told[f"context_{name}_sin"], told[f"context_{name}_cos"] = on_circle(value, turn)
        return told


_TURNS = {"hour": 24.0, "weekday": 7.0}


@hookimpl
def nbarec_feature_providers() -> Iterable[type[FeatureProvider[Any]]]:
    """The feature providers of this module."""
    return [ContextFeatures]
