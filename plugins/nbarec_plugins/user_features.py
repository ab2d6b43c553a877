"""User features: how much, how lately and how well a user's history went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, NoState, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.params import Duration
from nbarec_plugins.event_features import Skips, days_before, earliest_of, known_by_now, latest_of
from nbarec_plugins.feature_columns import DAY, Lines, NamedFeatures, at_entries, days_word, held, ratio
from nbarec_plugins.sparse_rows import sums_at


@dataclass(frozen=True)
class UserFeatures(NamedFeatures[NoState]):
    """Says of each entry what its user did so far, from the request's history alone, up to `request.now`.

    * `user_events`, `user_events_log` = ln(1 + events), `user_items` (different ones), `user_repeat_share` = 1 -
      items / events;
    * `user_days_since` the last event, `user_tenure`: days since the first, `user_per_day` = events / max(tenure, 1);
    * `user_share_7d` and so on: the share of the events that lie within each of `windows`;
    * `user_skip_share`: of the events of which it is known; `user_value`: the mean value.

    A user without a history has 0 events and 0 items, and all else is unknown (NaN). So is what needs times where the
    events have none.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0, 4])  # anna: song 0 40 days and 1 day ago, song 1 20 days ago; eve: none
    >>> columns = UserFeatures().columns_for(NoState(), request, pool_in_order(request, [[3], [3]]))
    >>> [columns[name].tolist() for name in ("user_events", "user_days_since", "user_share_7d")]
    [[3.0, 0.0], [1.0, nan], [0.3333333432674408, nan]]
    """

    name: ClassVar[str] = "user_features"

    windows: tuple[Duration, ...] = param(
        (Duration("7d"), Duration("30d")), gt=0, doc="How far back the shares of recent events look."
    )
    skipped: Expression | None = param(None, doc="Which events were skips; those of negative weight if left out.")

    def lines(self) -> Lines:
        """What it tells of a user."""
        recent = [(_share_name(window), f"share of the user's events in the last {window}") for window in self.windows]
        return [
            ("user_events", "events of the user so far"),
            ("user_events_log", "ln(1 + events of the user so far)"),
            ("user_items", "different items of the user so far"),
            ("user_repeat_share", "share of the user's events with an item that he had before"),
            ("user_days_since", "days since the user's last event"),
            ("user_tenure", "days since the user's first event"),
            ("user_per_day", "events a day since the user's first event"),
            *recent,
            ("user_skip_share", "share of the user's events that were skips"),
            ("user_value", "mean value of the user's events"),
        ]

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where `skipped` does not fit the data."""
        Skips(self.skipped).check(data)
        return NoState()

    def values(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats32]:
        """Each user's numbers, at each of his entries."""
        past = known_by_now(request)
        told = {**_amounts(past), **self._times(past, request), **self._quality(past, request)}
        return at_entries(told, pool.row)

    def _times(self, past: Events, request: Request) -> dict[str, Floats64]:
        row, rows, now = past.row, past.rows, request.now
        tenure = days_before(now, earliest_of(row, past.time, rows))
        told = {
            "user_days_since": days_before(now, latest_of(row, past.time, rows)),
            "user_tenure": tenure,
            "user_per_day": past.counts / np.maximum(tenure, 1.0),
        }
        age = days_before(now.take(row), past.time)
        timed = np.bincount(row[~np.isnan(age)], minlength=rows)
        for window in self.windows:  # a step a window: few
            told[_share_name(window)] = ratio(np.bincount(row[age <= window / DAY], minlength=rows), timed)
        return told

    def _quality(self, past: Events, request: Request) -> dict[str, Floats64]:
        row, rows = past.row, past.rows
        known, skip = Skips(self.skipped).of_history(past, request)
        value = sums_at(row, past.value.astype(np.float64), rows)
        return {
            "user_skip_share": ratio(np.bincount(row[skip], minlength=rows), np.bincount(row[known], minlength=rows)),
            "user_value": held(ratio(value, past.counts)),
        }


def _share_name(window: Duration) -> str:
    return f"user_share_{days_word(window)}"


def _amounts(past: Events) -> dict[str, AnyArray]:
    items = past.matrix().counts
    return {
        "user_events": past.counts,
        "user_events_log": np.log1p(past.counts),
        "user_items": items,
        "user_repeat_share": ratio(past.counts - items, past.counts),
    }


@hookimpl
def nbarec_feature_providers() -> Iterable[type[FeatureProvider[Any]]]:
    """The feature providers of this module."""
    return [UserFeatures]
