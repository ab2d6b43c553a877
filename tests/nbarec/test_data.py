"""Datasets from arrays: what stands where, and what is refused with its row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbarec.data import Dataset, EventColumns, FileReport
from nbarec.errors import DataError
from nbarec.events import Combine
from nbarec.tables import CategoryColumn, NumberColumn


def rows_of(data: Dataset) -> list[tuple[Any, ...]]:
    """Every event with its outside ids, user by user."""
    events = data.events
    users, items = data.users.take(events.row), data.items.take(events.item)
    return list(zip(users, items, events.weight.tolist(), events.value.tolist(), events.time.tolist(), strict=True))


def test_events_stand_by_user_and_time_under_ids_in_natural_order() -> None:
    data = Dataset.from_arrays(
        ["bo", "ann", "bo"], [10, 9, 9], [1, 2, 3], value=[4, 5, 6], time=[30, 20, 10], kind=["play", "skip", "play"]
    )
    assert (data.users.all(), data.items.all()) == (["ann", "bo"], [9, 10])
    assert rows_of(data) == [("ann", 9, 2, 5, 20), ("bo", 9, 3, 6, 10), ("bo", 10, 1, 4, 30)]
    assert [data.events.kinds[kind] for kind in data.events.kind] == ["skip", "play", "play"]
    assert (data.catalog.rows, data.audience.rows, data.as_of) == (2, 2, 30)
    assert data.item_counts.tolist() == [2, 1]


def test_weights_values_times_and_kinds_have_defaults() -> None:
    plain = Dataset.from_arrays([1, 1], [5, 6])
    assert rows_of(plain) == [(1, 5, 1, 1, 0), (1, 6, 1, 1, 0)]
    assert (plain.events.kinds, plain.events.kind.tolist(), plain.as_of) == ((), [-1, -1], 0)
    assert rows_of(Dataset.from_arrays([1], [5], [2.5])) == [(1, 5, 2.5, 2.5, 0)]
    assert Dataset.from_arrays([1], [5]).events.combine == Combine()
    assert Dataset.from_arrays([1], [5], combine=Combine("last")).events.combine.by == "last"


@given(
    st.lists(
        st.tuples(
            st.integers(-3, 3) | st.sampled_from(["2", "x", "007"]),
            st.integers(0, 4),
            st.integers(-5, 5),
            st.integers(-9, 9),
        ),
        max_size=15,
    )
)
def test_no_event_is_lost_or_changed(listed: list[tuple[int | str, int, int, int]]) -> None:
    user, item, weight, time = ([event[part] for event in listed] for part in range(4))
    data = Dataset.from_arrays(np.array(user, object), item, weight, time=time)  # type: ignore[arg-type]
    said = [(str(u), str(i), w, t) for u, i, w, t in listed]
    found = [(str(u), str(i), w, t) for u, i, w, _, t in rows_of(data)]
    assert sorted(found) == sorted(said)
    position = {str(id_): at for at, id_ in enumerate(data.users.all())}
    assert found == sorted(said, key=lambda event: (position[event[0]], event[3]))
    assert data.as_of == max(time, default=0)


@pytest.mark.parametrize("nothing", [[], np.array([]), np.array([], int), np.array([], str), np.array([], object)])
def test_no_events_are_an_empty_dataset(nothing: Any) -> None:
    data = Dataset.from_arrays(nothing, nothing, nothing, time=nothing, kind=nothing)
    assert (len(data.users), len(data.items), len(data.events), data.as_of) == (0, 0, 0, 0)
    assert data.events.matrix().shape == (0, 0)
    assert (data.full_catalog().rows, data.full_audience().rows, data.item_counts.tolist()) == (0, 0, [])
    assert rows_of(Dataset.from_arrays(nothing, nothing)) == []


@pytest.mark.parametrize(
    ("user", "item", "more", "said"),
    [
        ([1, 2], [1], {}, "user has 2 rows and item has 1; they must match"),
        ([1, 2], [1, 2], {"kind": ["play"]}, "user has 2 rows and kind has 1; they must match"),
        ([1, 2], [1, 2], {"weight": [1]}, r"weight has shape \(1,\); one number for each of 2 rows is needed"),
        ([1, 2], [1, 2], {"time": [[1, 2]]}, r"time has shape \(1, 2\)"),
        ([1, 2], [1, 2], {"weight": [1, np.nan]}, "row 1: weight is nan; it must be a finite number"),
        ([1, 2], [1, 2], {"value": [-np.inf, 1]}, "row 0: value is -inf; it must be a finite number"),
        ([1, 2], [1, 2], {"weight": [1, 1e300]}, r"row 1: weight is 1e\+300; .* not above 3.4e\+38 in size"),
        ([1, 2], [1, 2], {"time": [1e300, 1]}, r"row 0: time is 1e\+300; .* not above 9e\+15 in size"),
        ([1, 2], [1, 2], {"weight": ["a", "b"]}, "weight must be numbers: could not convert"),
        ([1, 2], [1, 2], {"weight": [1, None]}, "row 1: weight is nan"),
        ([1, 2], [1, 2], {"time": np.array(["2024-01-01", "NaT"], "M8[s]")}, "row 1: the time is missing"),
        ([1, None], [1, 2], {}, "row 1: the user id is missing"),
        (["a", "b"], ["", "x"], {}, "row 0: the item id is missing"),
        (["a", "b"], np.array(["x", np.nan], object), {}, "row 1: the item id is nan; it must be a whole number or"),
        (np.array([1, True], object), [1, 2], {}, "row 1: the user id is True; it must be a whole number or text"),
        (np.array([1.5, 2], object), [1, 2], {}, "row 0: the user id is 1.5; it must be a whole number or text"),
        ([1.5, 2], [1, 2], {}, "user ids must be one column of whole numbers or text, not float64"),
        ([True, False], [1, 2], {}, "user ids must be one column of whole numbers or text, not bool"),
        ([1, 2], [[1], [2]], {}, r"item ids must be one column .*, not int64 of shape \(2, 1\)"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(user: Any, item: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Dataset.from_arrays(user, item, **more)


def test_times_are_whole_seconds_and_datetime64_is_read_as_such() -> None:
    moments = ["1969-12-31T23:59:59.500", "2024-01-01T00:00:00.999"]
    for unit in ("ms", "ns"):
        data = Dataset.from_arrays([0, 1], [0, 0], time=np.array(moments, f"M8[{unit}]"))
        assert data.events.time.tolist() == [-1, 1_704_067_200]
    assert Dataset.from_arrays([0, 1], [0, 0], time=[-0.5, 1.75]).events.time.tolist() == [-1, 1]


def test_the_clock_stands_at_the_latest_event_even_before_1970() -> None:
    assert Dataset.from_arrays([0, 0], [0, 1], time=[-50, -20]).as_of == -20
    data = Dataset.from_arrays([0, 0], [0, 1], time=[5, 7])
    assert Dataset.of(data.users, data.items, data.events, data.catalog, data.audience, as_of=99).as_of == 99


def test_a_number_and_the_text_that_says_it_are_one_user() -> None:
    data = Dataset.from_arrays(np.array([7, "7", np.int64(7)], object), [1, 2, 3])
    assert data.users.all() == ["7"]
    assert data.events.counts.tolist() == [3]


def test_the_given_arrays_stay_writable() -> None:
    user, item, weight, time = (np.arange(3) for _ in range(4))
    Dataset.from_arrays(user, item, weight.astype(float), time=time)
    assert all(array.flags.writeable for array in (user, item, weight, time))


def test_other_events_under_the_same_ids_and_clock() -> None:
    data = Dataset.from_arrays([0, 1], [0, 1], time=[5, 7])
    fewer = data.with_events(data.events.where(data.events.time < 6))
    assert (len(fewer.events), fewer.as_of, fewer.users is data.users) == (1, 7, True)
    assert fewer.item_counts.tolist() == [1, 0]


def test_the_full_tables_know_ids_and_counts() -> None:
    data = Dataset.from_arrays(["b", "a", "b"], [20, 10, 20])
    catalog, audience = data.full_catalog(), data.full_audience()
    assert (catalog.labels("id", [0, 1]), catalog.labels("events", [0, 1])) == (["10", "20"], ["1", "2"])
    assert audience.labels("id", [0, 1]) == ["a", "b"]
    assert data.catalog.columns == {}


def test_events_without_kinds_and_with_more_columns() -> None:
    number = NumberColumn(np.array([1.0, 2.0, 3.0]))
    columns = EventColumns(
        user=np.array([1, 0, 1]),
        item=np.array([0, 0, 1]),
        weight=np.ones(3),
        value=np.ones(3),
        time=np.array([3, 1, 2]),
        columns={"seconds": number},
    )
    events = columns.sorted_events(3, 2, Combine())
    seconds = events.columns["seconds"]
    assert isinstance(seconds, NumberColumn)
    assert (seconds.values.tolist(), events.kinds, events.indptr.tolist()) == ([2, 3, 1], (), [0, 1, 3, 3])


def test_more_kinds_than_can_be_numbered_are_refused() -> None:
    n = 2**15
    kind = CategoryColumn.of(list(range(n)))
    zeros = np.zeros(n, np.int64)
    columns = EventColumns(user=zeros, item=zeros, weight=zeros, value=zeros, time=zeros, kind=kind)
    with pytest.raises(DataError, match="there are 32,768 kinds of event; 32,767 is the most there can be"):
        columns.sorted_events(1, 1, Combine())


def test_a_file_report_adds_up() -> None:
    report = FileReport("plays.csv", "event", 1_200, 34, ("34 rows: no user",))
    assert str(report) == "plays.csv: 1,234 event rows = 1,200 accepted + 34 rejected\n  34 rows: no user"


def test_arrays_bring_tables_of_items_and_users() -> None:
    data = Dataset.from_arrays(
        [2, 1],
        ["b", "a"],
        catalog={
            "id": ["c", "a", "b"],
            "tempo": [90.0, float("nan"), 120.0],
            "genre": ["rock", None, "jazz"],
            "moods": [["calm", "sad"], [], ["calm"]],
            "released": np.array(["2024-05-01", "NaT", "2025-01-01"], "datetime64[D]"),
        },
        audience={"id": [1, 3], "age": [20, 30]},
    )
    assert data.items.all() == ["a", "b", "c"]
    assert data.users.all() == [1, 2, 3]
    assert data.catalog.labels("tempo", range(3)) == ["-", "120", "90"]
    assert data.catalog.labels("genre", range(3)) == ["-", "jazz", "rock"]
    assert data.catalog.labels("moods", range(3)) == ["-", "calm", "calm|sad"]
    assert data.catalog.labels("released", range(3)) == ["-", "2025-01-01", "2024-05-01"]
    assert data.audience.labels("age", range(3)) == ["20", "-", "30"]


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        ({"genre": ["rock"]}, "need one called 'id'"),
        ({"id": ["a", "a"]}, "stands twice"),
        ({"id": ["a"], "genre": ["rock", "jazz"]}, "column 'genre' has 2 rows where others have 1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(catalog: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.from_arrays(["u"], ["a"], catalog=catalog)
