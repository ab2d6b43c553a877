"""Levels of the context: where those of events and those of requests go together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import frozen
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expression_values import MissingColumn
from nbarec.ids import Ids
from nbarec.tables import CategoryColumn, DateColumn, NumberColumn
from nbarec.testing.worlds import request_for, tags_of
from nbarec_plugins.context_levels import ContextLevels, coded, recoded
from nbarec_plugins.event_features import Calendar

hour = st.one_of(st.sampled_from([math.nan, -1.0, 25.5]), st.floats(0, 24))


@given(st.lists(hour, max_size=12), hour, st.integers(0, 12))
@settings(max_examples=80, deadline=None)
def test_hours_go_together_around_the_clock(drawn: list[float], now: float, hours: int) -> None:
    data = Dataset.from_arrays(["u"] * max(len(drawn), 1), np.arange(max(len(drawn), 1)))
    column = NumberColumn(np.array(drawn or [math.nan]))
    past = replace(data.events, columns={"hour": column})
    request = replace(request_for(data, [0], context={"hour": now}), history=past)
    levels = ContextLevels("hour", Calendar(0.0), hours)
    names, event, code = levels.of_events(past)
    met = levels.met(names, past, request)
    away = [abs((math.floor(one) - math.floor(now) + 12) % 24 - 12) if one == one and now == now else math.nan
            for one in column.values.tolist()]  # fmt: skip
    assert met.known.tolist() == [one == one for one in away]
    assert met.same.tolist() == [one <= hours for one in away]
    asked = int(met.code[0])
    assert asked == (math.floor(now) % 24 if now == now else -1)
    if now == now:
        assert event[code == asked].tolist() == np.flatnonzero(met.same).tolist()


def test_other_contexts_are_the_same_where_their_texts_are() -> None:
    data = Dataset.from_arrays(["u"] * 4, np.arange(4))
    past = replace(data.events, columns={"place": CategoryColumn.of(["home", None, "7", "work"])})
    levels = ContextLevels("place", Calendar(0.0), 2)
    names = Ids.of(["7", "moon"])
    for context, same, code in (("home", [0], -1), (7.0, [2], 0), ("moon", [], 1)):
        request = replace(request_for(data, [0], context={"place": context}), history=past)
        met = levels.met(names, past, request)
        assert (met.known.tolist(), np.flatnonzero(met.same).tolist()) == ([True, False, True, True], same)
        assert (met.code.tolist(), met.asked.tolist()) == ([code], [True])
    for context in ({}, {"place": np.array([""])}, {"place": np.array([None])}, {"place": np.array([math.nan])}):
        met = levels.met(names, past, replace(request, context=context))
        assert (met.code.tolist(), met.asked.tolist()) == ([-1], [False])
        assert not met.known.any()
        assert not met.same.any()


def test_numbers_have_levels_by_their_whole_part() -> None:
    levels, code = coded(NumberColumn(np.array([3.7, math.nan, -1.0, 3.0, math.inf])), "who")
    assert (levels.all(), code.tolist()) == ([-1, 3], [1, -1, 0, 1, -1])
    assert recoded(levels, code, Ids.of([3, 5])).tolist() == [0, -1, -1, 0, -1]


def test_texts_are_found_among_other_levels() -> None:
    column = CategoryColumn.of(["tv", None, "car", "boat"])
    levels, code = coded(column, "who")
    assert recoded(levels, code, Ids.of(["car", "tv"])).tolist() == [1, -1, 0, -1]
    assert recoded(levels, code, levels).tolist() == column.codes.tolist()
    assert recoded(*coded(MissingColumn(2), "who"), Ids.of(["car"])).tolist() == [-1, -1]


@pytest.mark.parametrize("column", [tags_of([["a"]]), DateColumn(frozen(np.zeros(1, np.int64)))])
def test_dates_and_several_values_are_refused(column: object) -> None:
    with pytest.raises(ConfigError, match="who has several values a row, or is a date"):
        coded(column, "who")  # type: ignore[arg-type]
