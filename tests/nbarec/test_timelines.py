"""Moments of the past: what was known at each, told by a slow loop."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import frozen
from nbarec.data import Dataset
from nbarec.door import Door
from nbarec.events import Events
from nbarec.tables import CategoryColumn, DateColumn, NumberColumn, TagsColumn
from nbarec.timelines import BYTES_AN_EVENT, Moments, Timeline

EVENT = st.tuples(
    st.integers(0, 3), st.integers(0, 4), st.integers(0, 6), st.sampled_from([-1.0, 0.0, 1.0]), st.booleans()
)
CLOCK = 77


def cut(told: list[tuple[int, int, int, float, bool]], *, timed: bool = True) -> tuple[Dataset, Events, Events]:
    """All events, those known before a cut and the later ones."""
    user, item, time, weight, later = (np.array(column) for column in zip(*told, strict=True))
    data = Dataset.from_arrays(
        np.append(user, np.arange(4)),
        np.append(item, np.zeros(4, int)),
        np.append(weight, np.ones(4)),
        value=np.arange(len(told) + 4),
        time=np.append(time, np.zeros(4, int)) * timed,
        catalog={"id": range(5)},
    )
    number = np.append(later, np.zeros(4, bool))
    mask = number[data.events.value.astype(int)]
    return data, data.events.where(~mask), data.events.where(mask)


def rows(events: Events, row: int) -> list[float]:
    """A row's events by their values, which name them."""
    return events.value[events.indptr[row] : events.indptr[row + 1]].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=25))
def test_what_was_known_at_a_moment_is_what_came_before_it(told: list[tuple[int, int, int, float, bool]]) -> None:
    data, known, later = cut(told)
    timeline = Timeline.of(known, later, CLOCK)
    moments = timeline.moments(np.arange(len(later)))
    histories = moments.histories()
    timed = data.events.time.any()
    for at in range(len(later)):
        user, now = int(later.row[at]), int(later.time[at])
        if not timed:
            assert rows(histories, at) == rows(known, user)
            assert moments.now[at] == CLOCK
            continue
        mine = known.row == user
        before = set(known.value[mine & (known.time <= now)].tolist())
        before |= set(later.value[(later.row == user) & (later.time < now)].tolist())
        assert set(rows(histories, at)) == before
        assert len(rows(histories, at)) == len(before)
        assert moments.now[at] == now
        in_order = histories.time[histories.indptr[at] : histories.indptr[at + 1]]
        assert (np.diff(in_order) >= 0).all()
    places = timeline.events.indptr[later.row]
    assert timeline.events.value[timeline.at].tolist() == later.value.tolist()
    assert (timeline.at - places >= moments.known).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=25))
def test_repeats_are_items_liked_at_a_moment_before(told: list[tuple[int, int, int, float, bool]]) -> None:
    _, known, later = cut(told)
    timeline = Timeline.of(known, later, CLOCK)
    histories = timeline.moments(np.arange(len(later))).histories()
    liked = {
        (row, item)
        for row, item, weight in zip(histories.row, histories.item, histories.weight, strict=True)
        if weight > 0
    }
    assert timeline.repeats.tolist() == [(at, item) in liked for at, item in enumerate(later.item.tolist())]


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=25), st.integers(0, 2**20))
def test_later_events_change_no_earlier_moment(told: list[tuple[int, int, int, float, bool]], seed: int) -> None:
    _, known, later = cut(told)
    rng = np.random.default_rng(seed)
    now = int(rng.integers(0, 7))
    future = later.time >= now
    other = later.at(np.arange(len(later)), later.indptr)
    items = np.where(future, rng.integers(0, 5, len(later)), later.item).astype(np.int32)
    weights = np.where(future, rng.random(len(later)), later.weight).astype(np.float32)
    changed = Events(**{**vars_of(other), "item": frozen(items), "weight": frozen(weights)})
    past = np.flatnonzero(later.time <= now)
    histories = [Timeline.of(known, one, CLOCK).moments(past).histories() for one in (later, changed)]
    for name in ("indptr", "item", "weight", "value", "time"):
        np.testing.assert_array_equal(getattr(histories[0], name), getattr(histories[1], name))


def vars_of(events: Events) -> dict[str, Any]:
    names = ("indptr", "item", "weight", "value", "time", "kind", "kinds", "columns", "n_items")
    return {name: getattr(events, name) for name in names}


def test_the_moments_of_users_are_the_clocks_and_know_everything() -> None:
    data, _, _ = cut([(0, 1, 3, 1.0, False), (2, 2, 5, 1.0, False), (0, 3, 1, 1.0, False)])
    moments = Moments.of_users(data, np.array([2, 0]))
    assert moments.now.tolist() == [5, 5]
    assert moments.number.tolist() == [0, 0]
    assert rows(moments.histories(), 1) == rows(data.events, 0)
    door = Door.of(data)
    users = data.users.take([2, 0])
    one, other = door.request_at(moments, door.asked(2, 3)), door.request(users, door.asked(2, 3))
    assert one.key.tolist() == other.key.tolist()
    assert one.user.tolist() == other.user.tolist() == [2, 0]
    assert one.k == other.k == 3
    np.testing.assert_array_equal(one.history.item, other.history.item)
    assert len(Moments.of_users(data)) == len(data.users)


def test_the_context_is_the_events_own_columns_and_kind() -> None:
    known = Dataset.from_arrays(["ann"], ["tea"], time=[1], kind=["play"]).events
    columns = {
        "device": CategoryColumn.of(["car"]),
        "seconds": NumberColumn(np.array([30.0])),
        "when": DateColumn(np.array([5])),
        "moods": TagsColumn.of(np.array([0]), ["calm"], 1),
    }
    first = Events(**{**vars_of(known), "columns": columns})
    rows_of_them = np.array([0, -1])
    later = Events(
        **{
            **vars_of(first),
            "indptr": np.array([0, 2]),
            "item": np.array([0, 0], np.int32),
            "weight": np.ones(2, np.float32),
            "value": np.ones(2, np.float32),
            "time": np.array([2, 3]),
            "kind": np.array([0, -1], np.int16),
            "columns": {name: column.take(rows_of_them) for name, column in columns.items()},
        }
    )
    values = Timeline.of(first, later, CLOCK).moments(np.array([0, 1])).values()
    assert set(values) == {"kind", "device", "seconds", "when"}
    assert values["kind"].tolist() == ["play", None]
    assert values["device"].tolist() == ["car", None]
    np.testing.assert_array_equal(values["seconds"], [30.0, np.nan])
    np.testing.assert_array_equal(values["when"], [5.0, np.nan])


@pytest.mark.parametrize(("size", "events"), [(1, 100), (3, 100), (100, 3), (100, 1), (2, 4)])
def test_batches_are_cut_by_requests_and_by_what_their_histories_take(size: int, events: int) -> None:
    known = np.array([0, 2, 2, 9, 0, 0, 1])
    empty = Events.empty(1, 1)
    zero = np.zeros(7, np.int64)
    spans = list(Moments(zero, zero, known, zero, empty).spans(size, events * BYTES_AN_EVENT))
    assert [at for span in spans for at in range(span.start, span.stop)] == list(range(7))
    for span in spans:
        assert span.stop - span.start <= size
        assert known[span].sum() <= events or span.stop - span.start == 1
    for one, after in pairwise(spans):  # no batch is smaller than it has to be
        assert one.stop - one.start == size or known[one].sum() + known[after.start] > events
