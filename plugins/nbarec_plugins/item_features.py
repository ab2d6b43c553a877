"""Item features: how old, how popular, how well received an item is, as of the time of the fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats32, Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.params import Duration
from nbarec.tables import MISSING_DATE, DateColumn, Table
from nbarec_plugins.event_features import Skips, days_before, earliest_of, latest_of, scope_of
from nbarec_plugins.feature_columns import DAY, Lines, NamedFeatures, held, taken
from nbarec_plugins.sparse_rows import sums_at


@dataclass(frozen=True)
class ItemFeaturesState:
    """`told` float32 [items] each: the columns that do not depend on the request. `first` and `last` int64 [items]:
    when the first and the last event of each item happened, 0 where it has none whose time is known."""

    told: Mapping[str, Floats32]
    first: Ints64
    last: Ints64


@dataclass(frozen=True)
class ItemFeatures(NamedFeatures[ItemFeaturesState]):
    """Says of each entry how its item did among all users, in the events that it was fitted on.

    * `item_age`: days from the date in column `released`, or where there is none from the item's first event;
    * `item_events`, `item_users`, each also as ln(1 + n); `item_popularity`: the share of items with fewer events, ties
      counted half, which does not grow with the data;
    * `item_trend` = ln((r + prior R) / (b + prior B)) - ln(R / B): r and b are the item's events in the last `window`
      and in the one before it, R and B the shares of all such events that lie in each. 0 is an item that grows as all
      do; few events say little (a gamma prior on the rates, as DuMouchel 1999 has it for counts);
    * `item_completion`: the mean of `completion`, or of the events' values, and `item_skip_share`: both with `prior`
      events of the mean of all items added (an m-estimate: Cestnik 1990);
    * `item_days_since` the last event.

    An item of the catalogue without events has 0 events and users, and all else but its age is unknown (NaN). Of an
    item that came after the fit all is unknown but its release. Events without times tell no age and no trend.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data, provider = tiny_world(), ItemFeatures(released="released")
    >>> request = request_for(data, [4])
    >>> state = provider.fit(data, np.random.default_rng(0))
    >>> columns = provider.columns_for(state, request, pool_in_order(request, [[0, 7, 6]]))
    >>> [columns[name].tolist() for name in ("item_age", "item_events", "item_days_since")]
    [[10.0, 700.0, nan], [3.0, 1.0, 0.0], [1.0, 10.0, nan]]
    """

    name: ClassVar[str] = "item_features"

    released: str | None = param(
        None, doc="The catalogue's date column that ages count from; the item's first event if left out."
    )
    window: Duration = param(Duration("7d"), gt=0, doc="Trends compare the last so long with the same before it.")
    completion: Expression | None = param(
        None, doc="How much of an item was taken, such as `seconds / length`; the events' value if left out."
    )
    skipped: Expression | None = param(None, doc="Which events were skips; those of negative weight if left out.")
    prior: float = param(5.0, gt=0, doc="How many average events are added to each item's before its rates are told.")

    def lines(self) -> Lines:
        """What it tells of an item."""
        since = "first event" if self.released is None else f"{self.released}, or else its first event"
        taken_as = "value" if self.completion is None else str(self.completion)
        return [
            ("item_age", f"days since the item's {since}"),
            ("item_events", "events of the item"),
            ("item_events_log", "ln(1 + events of the item)"),
            ("item_users", "users of the item"),
            ("item_users_log", "ln(1 + users of the item)"),
            ("item_popularity", "share of the items that have fewer events"),
            (
                "item_trend",
                f"log ratio of the item's rate in the last {self.window} to the one before, less that of all",
            ),
            ("item_completion", f"mean {taken_as} of the item's events, drawn towards that of all"),
            ("item_skip_share", "share of the item's events that were skips, drawn towards that of all"),
            ("item_days_since", "days since the item's last event"),
        ]

    def fit(self, data: Dataset, rng: np.random.Generator) -> ItemFeaturesState:
        """Count; deterministic. Raises ConfigError where a column or an expression does not fit the data."""
        return self._counted(data)

    def update(self, state: ItemFeaturesState, data: Dataset, new: Dataset) -> ItemFeaturesState:
        """Equal to a refit: counting anew is cheap, and trends change with the clock."""
        return self._counted(data)

    def values(self, state: ItemFeaturesState, request: Request, pool: Pool) -> Mapping[str, Floats64 | Floats32]:
        """The item's numbers at each entry; ages by `request.now`."""
        now = request.now.take(pool.row)
        told: dict[str, Floats64 | Floats32] = {name: taken(one, pool.item) for name, one in state.told.items()}
        told["item_days_since"] = days_before(now, _at(state.last, pool.item))
        told["item_age"] = self._age(state, request, pool, now)
        return told

    def _age(self, state: ItemFeaturesState, request: Request, pool: Pool, now: Ints64) -> Floats64:
        """Days, below 0 before the release: float64 [N]."""
        by_event = days_before(now, _at(state.first, pool.item))
        if self.released is None:
            return by_event
        released = _dates(request.catalog, self.released).seconds.take(pool.item)
        return np.where(released == MISSING_DATE, by_event, (now - released.astype(np.float64)) / DAY)

    def _counted(self, data: Dataset) -> ItemFeaturesState:
        if self.released is not None:
            _dates(data.catalog, self.released)
        events, items = data.events, data.events.n_items
        count = np.bincount(events.item, minlength=items)
        users = np.bincount(events.matrix().indices, minlength=items)
        told = {
            "item_events": count,
            "item_events_log": np.log1p(count),
            "item_users": users,
            "item_users_log": np.log1p(users),
            "item_popularity": _share_below(count),
            "item_trend": self._trend(data),
            "item_completion": held(self._mean(events, *self._completions(data))),
            "item_skip_share": self._mean(events, *_as_numbers(*Skips(self.skipped).of_data(data))),
        }
        return ItemFeaturesState(
            {name: frozen(column.astype(np.float32)) for name, column in told.items()},
            frozen(earliest_of(events.item.astype(np.int64), events.time, items)),
            frozen(latest_of(events.item.astype(np.int64), events.time, items)),
        )

    def _completions(self, data: Dataset) -> tuple[Bools, Floats64]:
        """Of which events it is known how much was taken, bool [events], and how much: float64, 0 where unknown."""
        if self.completion is None:
            return np.ones(len(data.events), bool), data.events.value.astype(np.float64)
        amount = self.completion.numbers(scope_of(data))
        known = ~np.isnan(amount)
        return known, np.where(known, amount, 0.0)

    def _mean(self, events: Events, known: Bools, amount: Floats64) -> Floats64:
        """The mean amount of each item with `prior` times that of all added, NaN without any: float64 [items]."""
        item = events.item[known]
        overall = float(amount[known].mean()) if len(item) else 0.0
        count = np.bincount(item, minlength=events.n_items)
        total = sums_at(item, amount[known], events.n_items)
        mean = (total + self.prior * overall) / (count + self.prior)
        return np.where(count > 0, mean, np.nan)

    def _trend(self, data: Dataset) -> Floats64:
        """The formula of the class; NaN where nothing is known of one of the windows, or of the item."""
        events, items = data.events, data.events.n_items
        timed = (events.time != 0) & (events.time <= data.as_of)
        item, age = events.item[timed], data.as_of - events.time[timed]
        late = np.bincount(item[age < self.window], minlength=items)
        early = np.bincount(item[(age >= self.window) & (age < 2 * self.window)], minlength=items)
        if not late.any() or not early.any():
            return np.full(items, np.nan)
        share = float(late.sum() / (late.sum() + early.sum()))
        rates = np.log((late + self.prior * share) / (early + self.prior * (1 - share)))
        known = np.bincount(item, minlength=items) > 0
        return np.where(known, rates - np.log(share / (1 - share)), np.nan)


def _as_numbers(known: Bools, holds: Bools) -> tuple[Bools, Floats64]:
    return known, holds.astype(np.float64)


def _share_below(count: Ints64) -> Floats64:
    """The share of all counts that are less than each, equal ones counted half: float64 [items]."""
    ordered = np.sort(count)
    below = np.searchsorted(ordered, count, side="left") + np.searchsorted(ordered, count, side="right")
    return below / (2 * max(len(count), 1))


def _at(moment: Ints64, item: AnyArray) -> Ints64:
    """The moment of each item, 0 for one that is beyond the end: int64 [N]."""
    if not len(item) or int(item.max()) < len(moment):
        return moment.take(item)
    return np.append(moment, 0).take(np.minimum(item, len(moment)))


def _dates(catalog: Table, name: str) -> DateColumn:
    """The date column of that name, written `released` or `item.released`; raises ConfigError where there is none."""
    column = catalog.columns.get(name.removeprefix("item."))
    if isinstance(column, DateColumn):
        return column
    fault = "there is no such column" if column is None else "that column holds no dates"
    dates = ", ".join(one for one, held_ in catalog.columns.items() if isinstance(held_, DateColumn)) or "none"
    raise ConfigError(
        f"item_features has `released: {name}`, but {fault}; the date columns are: {dates}; name one of them, or leave "
        "it out to count from each item's first event"
    )


@hookimpl
def nbarec_feature_providers() -> Iterable[type[FeatureProvider[Any]]]:
    """The feature providers of this module."""
    return [ItemFeatures]
