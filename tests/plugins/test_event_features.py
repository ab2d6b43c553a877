"""Times, last items and hours of events."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.expression_values import MissingColumn
from nbarec.tables import CategoryColumn, NumberColumn
from nbarec.testing.worlds import request_for, tags_of
from nbarec_plugins.event_features import (
    Calendar,
    days_before,
    earliest_of,
    hours_apart,
    last_items,
    latest_of,
    numbers_in,
    on_circle,
)

plays = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=25)


@given(plays, st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_the_last_items_are_those_of_a_list(drawn: list[tuple[int, int]], limit: int) -> None:
    users, items = zip(*drawn, strict=True)
    data = Dataset.from_arrays(list(users), list(items), time=np.arange(len(drawn)) + 1)
    found = last_items(data.events, data.events.item != 4, limit)
    for at, user in enumerate(data.users.all()):
        backwards = dict.fromkeys(
            item for one, item in reversed(drawn) if one == user and data.items.index([item])[0] != 4
        )
        expected = data.items.index(list(backwards)[:limit][::-1]).tolist()
        assert found.item[found.indptr[at] : found.indptr[at + 1]].tolist() == expected


def test_moments_of_no_time_are_left_out() -> None:
    place, moment = np.array([0, 0, 0, 1, 3]), np.array([5, 0, 9, 0, -7])
    assert latest_of(place, moment, 4).tolist() == [9, 0, 0, -7]
    assert earliest_of(place, moment, 4).tolist() == [5, 0, 0, -7]
    now = np.array([86_400, 0, 86_400])
    np.testing.assert_array_equal(days_before(now, np.array([43_200, 1, 0])), [0.5, math.nan, math.nan])


@pytest.mark.parametrize(("first", "second", "apart"), [(23, 1, 2), (0, 12, 12), (5, 5, 0), (3.5, 22, 5.5)])
def test_hours_lie_apart_around_the_clock(first: float, second: float, apart: float) -> None:
    assert hours_apart(np.array([first]), np.array([second])).tolist() == [apart]
    assert hours_apart(np.array([second]), np.array([first])).tolist() == [apart]


def test_numbers_are_read_from_texts() -> None:
    column = CategoryColumn.of(["07", "Monday", "sun", "x", None, "12"])
    np.testing.assert_array_equal(numbers_in(column, 6), [7, 0, 6, math.nan, math.nan, 12])
    assert np.isnan(numbers_in(tags_of([["3"]]), 1)).all()
    assert np.isnan(numbers_in(MissingColumn(2), 2)).all()


def test_hours_that_no_column_tells_are_read_from_the_time() -> None:
    time = np.array([86_400 * 4 + 3_600 * 22, 1, 1])  # Monday, 22:00
    data = Dataset.from_arrays(["u"] * 3, np.arange(3), time=time)
    given_hour = NumberColumn(np.array([4.0, math.nan, math.nan]))  # the events stand by time
    events = replace(data.events, columns={"hour": given_hour})
    calendar = Calendar(3.0)
    assert numbers_in(calendar.of_events(events, "hour"), 3).tolist() == [4, 3, 1]
    assert numbers_in(calendar.of_events(events, "weekday"), 3).tolist() == [3, 3, 1]
    assert isinstance(calendar.of_events(events, "device"), MissingColumn)
    request = request_for(data, [0, -1], now=[int(time[0]), 0], context={"device": "tv"})
    np.testing.assert_array_equal(numbers_in(calendar.of_request(request, "hour"), 2), [1, math.nan])
    assert calendar.can_tell(data, "hour")
    assert not calendar.can_tell(data, "device")


def test_a_circle_closes_and_knows_nothing_of_the_unknown() -> None:
    sine, cosine = on_circle(np.array([0.0, 24.0, 6.0, math.nan, math.inf]), 24.0)
    np.testing.assert_allclose(sine, [0, 0, 1, math.nan, math.nan], atol=1e-15)
    np.testing.assert_allclose(cosine, [1, 1, 0, math.nan, math.nan], atol=1e-15)
