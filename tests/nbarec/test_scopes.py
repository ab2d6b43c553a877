"""Scopes: every name over events, requests and the pool, unknown users and missing context included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbarec.batch import Candidates, Pool, Request
from nbarec.data import EventColumns
from nbarec.errors import ConfigError
from nbarec.events import Combine, Events
from nbarec.expressions import Expression, MissingColumn, Scope
from nbarec.ids import Ids
from nbarec.merging import merge
from nbarec.scopes import EventScope, ItemScope, PoolScope, RequestScope, as_written, column_of
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, DateColumn, NumberColumn, Table, TagsColumn

NOW = 1_000_000


def catalog() -> Table:
    return Table(
        3,
        {
            "genre": CategoryColumn.of(["rock", "pop", None]),
            "regions": TagsColumn.of(np.array([0, 0, 1]), ["DE", "FR", "US"], 3),
            "released": DateColumn(np.array([NOW - 86_400, 0, MISSING_DATE])),
            "id": CategoryColumn(np.arange(3, dtype=np.int32), Ids.of(["S1", "S2", "S3"])),
        },
    )


def audience() -> Table:
    return Table(2, {"country": CategoryColumn.of(["DE", "US"]), "age": NumberColumn(np.array([17.0, np.nan]))})


def events() -> Events:
    """User 0: a play of item 0, a like of item 2. User 1: a play of item 1."""
    columns = EventColumns(
        user=np.array([0, 0, 1]),
        item=np.array([0, 2, 1]),
        weight=np.array([1, -0.1, 2]),
        value=np.array([0.7, 3, 1]),
        time=np.array([NOW - 100, NOW - 50, NOW]),
        kind=CategoryColumn.of(["play", "like", None]),
        columns={
            "seconds": NumberColumn(np.array([29, np.nan, 31])),
            "device": CategoryColumn.of(["tv", "phone", "tv"]),
        },
    )
    return columns.sorted_events(2, 3, Combine())


def request() -> Request:
    """Known user 0, a user nobody knows with a history of one event, known user 1 without history."""
    context = {
        "hour": np.array([8, 21, 23]),
        "device": np.array(["tv", "phone", ""]),
        "vip": np.array([True, False, True]),
    }
    return Request(
        user=np.array([0, -1, 1], np.int32),
        key=np.array([1, 2, 3], np.uint64),
        history=events().take_rows(np.array([0, 1, -1])),
        excluded=Csr.empty(3, 3),
        context=context,
        catalog=catalog(),
        audience=audience().take(np.array([0, -1, 1])),
        now=np.array([NOW, NOW + 1, NOW + 2]),
        k=2,
    )


def pool() -> Pool:
    """Items 0 and 2 for row 0, nothing for row 1, items 0 and 1 for row 2."""
    indptr, item = np.array([0, 2, 2, 4]), np.array([0, 2, 1, 0], np.int32)
    merged = merge({"a": Candidates(indptr, item, np.array([4, 3, 2, 1], np.float32))}, 3, 3)
    features = {"a": np.array([0.1, 0.2, 0.3, np.nan], np.float32), "mood": np.array(["calm", "wild", "calm", "calm"])}
    return replace(merged, features=features, score=np.array([0.4, 0.3, 0.2, 0.1], np.float32))


def event_scope() -> EventScope:
    return EventScope(events(), catalog(), audience(), NOW)


def answers(scope: Scope, text: str) -> list[bool | None]:
    truth = Expression(text).truth(scope)
    return [bool(value) if known else None for value, known in zip(truth.values, truth.known, strict=True)]


def numbers(scope: Scope, text: str) -> list[float]:
    return list(Expression(text).numbers(scope).tolist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weight == -0.1", [False, True, False]),
        ("value >= 0.7", [True, True, True]),
        ("value == 0.7", [True, False, False]),
        ("time < now - 60s", [True, False, False]),
        ("kind in [play]", [True, False, None]),
        ("seconds >= 30", [False, None, True]),
        ("device == 'tv'", [True, False, True]),
        ("context.device == 'tv'", [True, False, True]),
        ("item.genre == 'rock'", [True, None, False]),
        ("item.id == 'S2'", [False, False, True]),
        ("now - item.released <= 1d", [True, None, False]),
        ("user.country in item.regions", [True, None, True]),
        ("user.age < 18", [True, True, None]),
        ("user.events == 2", [True, True, False]),
    ],
)
def test_names_over_events(text: str, expected: list[bool | None]) -> None:
    assert answers(event_scope(), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user.country == 'DE'", [True, None, False]),
        ("user.age < 18", [True, None, None]),
        ("user.events == 0", [False, False, True]),
        ("context.hour >= 20", [False, True, True]),
        ("context.device == 'tv'", [True, False, None]),
        ("context.vip", [True, False, True]),
        ("context.country == 'DE'", [None, None, None]),
        ("context.country == 3", [None, None, None]),
        ("now == 1000001", [False, True, False]),
    ],
)
def test_names_over_requests(text: str, expected: list[bool | None]) -> None:
    assert answers(RequestScope(request()), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("item.genre == 'rock'", [True, None, True, False]),
        ("user.country == 'DE'", [True, True, False, False]),
        ("user.country in item.regions", [True, None, False, True]),
        ("user.events", [True, True, False, False]),
        ("context.hour == 23", [False, False, True, True]),
        ("context.device == 'tv'", [True, True, None, None]),
        ("context.nowhere in item.regions", [None, None, None, None]),
        ("score >= 0.3", [True, True, False, False]),
        ("a == 0.2 or a == 0.3", [False, True, True, None]),
        ("mood == 'calm'", [True, False, True, True]),
        ("now == 1000002", [False, False, True, True]),
        ("item.id in [S1, S3]", [True, True, True, False]),
    ],
)
def test_names_over_the_pool(text: str, expected: list[bool | None]) -> None:
    assert answers(PoolScope(request(), pool()), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("item.genre == 'rock'", [True, False, None]),
        ("item.regions in [DE, US]", [True, True, None]),
        ("item.id in [S1, S3]", [True, False, True]),
        ("now - item.released <= 1d", [True, False, None]),
        ("now == 1000000", [True, True, True]),
    ],
)
def test_names_over_items(text: str, expected: list[bool | None]) -> None:
    assert answers(ItemScope(catalog(), NOW), text) == expected


def test_each_event_may_have_its_own_clock() -> None:
    scope = replace(event_scope(), now=np.array([NOW - 70, NOW, NOW + 70]))
    assert answers(scope, "now - time <= 60s") == [True, True, False]


def test_a_batch_and_its_rows_alone_agree() -> None:
    rule = "user.country in item.regions or context.hour > 20 and context.device == 'tv' or user.events < 2"
    whole = answers(PoolScope(request(), pool()), rule)
    alone = []
    for row in range(3):
        entries = np.flatnonzero(pool().row == row)
        part = replace(pool().take(entries), row=np.zeros(len(entries), np.int32), indptr=np.array([0, len(entries)]))
        alone += answers(PoolScope(request().take(np.array([row])), part), rule)
    assert alone == whole


def test_numbers_over_the_pool() -> None:
    assert numbers(PoolScope(request(), pool()), "score * 10 + user.events") == [6.0, 5.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("scope", "unknown"),
    [
        (event_scope(), ["item.tempo", "user.name", "context.hour", "score", "item", "user", "item."]),
        (RequestScope(request()), ["user.name", "item.genre", "score", "user", "context", "weight"]),
        (PoolScope(request(), pool()), ["user.name", "item.tempo", "b", "item", "context"]),
        (ItemScope(catalog(), NOW), ["user.events", "context.hour", "genre", "item", "item.", "now.x", "score"]),
    ],
)
def test_other_names_are_refused(scope: Scope, unknown: list[str]) -> None:
    for name in unknown:
        with pytest.raises(KeyError):
            scope.column(name)


def test_every_name_that_is_listed_has_a_column_of_full_size() -> None:
    scopes: list[Scope] = [event_scope(), RequestScope(request()), PoolScope(request(), pool())]
    for scope in (*scopes, ItemScope(catalog(), NOW)):
        names = scope.names()
        assert len(names) == len(set(names))
        for name in names:
            is_number = isinstance(scope.column(name), NumberColumn | DateColumn)
            rule = f"{name} > 0" if is_number else f"{name} in [a]"
            assert len(answers(scope, rule)) == scope.size


def test_a_wrong_name_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no name 'item.genr' here \(did you mean item.genre\?\)"):
        Expression("item.genr == 'rock'").truth(PoolScope(request(), pool()))
    with pytest.raises(ConfigError, match=r"the names are now, user\.events, user\.country, user\.age, context\.hour"):
        Expression("user.county == 'DE'").truth(RequestScope(request()))


def test_rows_without_events_requests_or_entries() -> None:
    nothing = np.empty(0, np.int64)
    assert answers(EventScope(Events.empty(2, 3), catalog(), audience(), NOW), "kind in [like] or value > 0") == []
    assert answers(RequestScope(request().take(nothing)), "context.device == 'tv' and user.events > 0") == []
    assert answers(PoolScope(request(), pool().take(nothing)), "mood == 'calm' and item.genre == 'rock'") == []
    column = RequestScope(request()).column("context.nowhere")
    assert column.take(np.array([0, 2])) == MissingColumn(2)


def test_arrays_as_columns() -> None:
    mixed = column_of(np.array(["a", None, float("nan"), "", 3], object))
    assert isinstance(mixed, CategoryColumn)
    assert [mixed.levels.texts([code])[0] if code >= 0 else None for code in mixed.codes] == [
        "a",
        None,
        None,
        None,
        "3",
    ]
    flags = column_of(np.array([True, False]))
    assert isinstance(flags, NumberColumn)
    assert flags.values.tolist() == [1.0, 0.0]


@given(st.integers(-999_999, 999_999), st.integers(-12, 12))
def test_a_decimal_of_six_digits_survives_float32(digits: int, exponent: int) -> None:
    written = float(f"{digits}e{exponent}")
    assert as_written(np.array([written, 0.5], np.float32)).tolist() == [written, 0.5]


@given(st.lists(st.floats(width=32)))
def test_any_float32_stays_the_same_float32(values: list[float]) -> None:
    narrow = np.array(values, np.float32)
    np.testing.assert_array_equal(as_written(narrow).astype(np.float32), narrow)
