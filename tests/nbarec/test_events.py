"""Events: rows in the order of time, and one weight a pair against a dictionary."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import EventColumns
from nbarec.events import Combine, Events
from nbarec.tables import CategoryColumn, NumberColumn

ROWS, ITEMS = 4, 5

Event = tuple[int, int, float, int]
"""User, item, weight, time."""

events_in = st.lists(
    st.tuples(
        st.integers(0, ROWS - 1),
        st.integers(0, ITEMS - 1),
        st.sampled_from([-2, -0.5, 0, 0.1, 1, 3]),
        st.integers(0, 3),
    ),
    max_size=25,
)
combines = st.builds(Combine, st.sampled_from(["sum", "mean", "max", "last"]), st.sampled_from([None, 0.75, 2.0]))


def events_of(listed: list[Event], combine: Combine | None = None) -> Events:
    """`value` and the column `place` hold each event's place in the list."""
    user, item, weight, time = (np.array([event[part] for event in listed]) for part in range(4))
    place = np.arange(len(listed))
    columns = EventColumns(
        user=user.astype(np.int64),
        item=item.astype(np.int64),
        weight=weight,
        value=place,
        time=time,
        kind=CategoryColumn.of([("play", "skip", None)[at % 3] for at in place]),
        columns={"place": NumberColumn(place.astype(np.float64))},
    )
    return columns.sorted_events(ROWS, ITEMS, combine or Combine())


def listed_by_row(events: Events) -> list[list[int]]:
    """The places in the list of each row's events."""
    return [events.value[start:end].astype(int).tolist() for start, end in pairwise(events.indptr.tolist())]


def in_time_order(listed: list[Event], user: int) -> list[int]:
    """As Python's stable sort has it."""
    return sorted((at for at, event in enumerate(listed) if event[0] == user), key=lambda at: listed[at][3])


def check_aligned(events: Events, listed: list[Event]) -> None:
    """Everything that belongs to an event is still beside it."""
    for at, place in enumerate(events.value.astype(int).tolist()):
        _, item, weight, time = listed[place]
        assert (events.item[at], events.weight[at], events.time[at]) == (item, np.float32(weight), time)
        kind = ("play", "skip", None)[place % 3]
        assert (events.kinds[events.kind[at]] if events.kind[at] >= 0 else None) == kind
        number = events.columns["place"]
        assert isinstance(number, NumberColumn)
        assert number.values[at] == place


@given(events_in)
def test_a_row_is_in_the_order_of_time_and_then_of_arrival(listed: list[Event]) -> None:
    events = events_of(listed)
    assert listed_by_row(events) == [in_time_order(listed, user) for user in range(ROWS)]
    check_aligned(events, listed)
    assert len(events) == len(listed)
    assert events.row.tolist() == [listed[place][0] for place in events.value.astype(int)]
    assert events.counts.tolist() == [len(row) for row in listed_by_row(events)]
    arrays = (events.indptr, events.item, events.weight, events.value, events.time, events.kind)
    assert [str(array.dtype) for array in arrays] == ["int64", "int32", "float32", "float32", "int64", "int16"]
    assert not any(array.flags.writeable for array in arrays)


def combined(weights: list[float], combine: Combine) -> float:
    found = {"sum": sum(weights), "mean": sum(weights) / len(weights), "max": max(weights), "last": weights[-1]}
    value = found[combine.by]
    return value if combine.max is None else min(max(value, -combine.max), combine.max)


@settings(max_examples=200)
@given(events_in, combines, st.booleans())
def test_one_weight_a_pair_agrees_with_a_dictionary(listed: list[Event], combine: Combine, alike: bool) -> None:
    if alike:
        listed = [(user, item, 1.0, time) for user, item, _, time in listed]
    events = events_of(listed, combine)
    weights: dict[tuple[int, int], list[float]] = {}
    for user in range(ROWS):
        for place in in_time_order(listed, user):
            weights.setdefault((user, listed[place][1]), []).append(float(np.float32(listed[place][2])))
    matrix = events.matrix()
    pairs = list(zip(matrix.row_of.tolist(), matrix.indices.tolist(), strict=True))
    assert pairs == sorted(weights)
    expected = [combined(weights[pair], combine) for pair in pairs]
    np.testing.assert_allclose(events.pair_weights(), expected, rtol=1e-15, atol=1e-15)
    assert (matrix.data == events.pair_weights().astype(np.float32)).all()
    assert (matrix.shape, str(matrix.data.dtype)) == ((ROWS, ITEMS), "float32")
    assert events.pair_weights().dtype == np.float64


def test_repeated_events_by_hand() -> None:
    listed: list[Event] = [(1, 2, 3.0, 9), (1, 2, -1.0, 5), (1, 0, 1.0, 5), (1, 2, 0.5, 9)]
    found = {
        by: events_of(listed, Combine(by)).matrix().to_dense()[1].tolist() for by in ("sum", "mean", "max", "last")
    }
    assert found["sum"] == [1, 0, 2.5, 0, 0]
    assert found["mean"] == [1, 0, float(np.float32(2.5 / 3)), 0, 0]
    assert found["max"] == [1, 0, 3, 0, 0]
    assert found["last"] == [1, 0, 0.5, 0, 0]
    assert events_of(listed, Combine("mean")).pair_weights().tolist() == [1, 2.5 / 3]
    assert events_of(listed, Combine(max=2)).pair_weights().tolist() == [1, 2]
    disliked = events_of([(0, 0, -3.0, 1), (0, 0, -4.0, 2)], Combine(max=2.0))
    assert disliked.pair_weights().tolist() == [-2]


def test_the_matrix_is_made_once() -> None:
    events = events_of([(0, 1, 1.0, 1)])
    assert events.matrix() is events.matrix()
    assert replace(events, combine=Combine("last")).matrix() is not events.matrix()


@pytest.mark.parametrize("wrong", [{"by": "median"}, {"max": 0.0}, {"max": -1.0}])
def test_a_wrong_combine_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"by must be one of|max must be more than 0"):
        Combine(**wrong)  # type: ignore[arg-type]


@given(events_in, st.data())
def test_a_mask_keeps_rows_and_order(listed: list[Event], data: st.DataObject) -> None:
    events = events_of(listed)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(listed), max_size=len(listed))), bool)
    kept = events.where(mask)
    wanted = set(events.value[mask].astype(int).tolist())
    assert listed_by_row(kept) == [[at for at in row if at in wanted] for row in listed_by_row(events)]
    check_aligned(kept, listed)
    assert kept.rows == ROWS


@given(events_in, st.lists(st.integers(-1, ROWS - 1), max_size=7))
def test_rows_are_taken_in_any_order_and_minus_one_has_no_events(listed: list[Event], rows: list[int]) -> None:
    events = events_of(listed)
    taken = events.take_rows(np.array(rows))
    by_row = [*listed_by_row(events), []]
    assert listed_by_row(taken) == [by_row[row] for row in rows]
    check_aligned(taken, listed)
    assert taken.matrix().shape == (len(rows), ITEMS)
    dense = np.vstack([events.matrix().to_dense(), np.zeros((1, ITEMS))])
    assert (taken.matrix().to_dense() == dense[np.array(rows, int)]).all()


def test_empty_events() -> None:
    events = Events.empty(3, 4)
    assert (len(events), events.rows, events.counts.tolist(), events.row.tolist()) == (0, 3, [0, 0, 0], [])
    assert events.matrix().shape == (3, 4)
    assert events.matrix().nnz == len(events.pair_weights()) == 0
    assert events.where(np.empty(0, bool)).rows == 3
    assert events.take_rows(np.array([2, -1])).rows == 2
    assert Events.empty(0, 0).matrix().shape == (0, 0)
