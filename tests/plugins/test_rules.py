"""The rules against one entry at a time, written out."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.params import Duration
from nbarec.testing.worlds import DAY, NOON, pool_in_order, request_for, tiny_world
from nbarec_plugins import rules
from nbarec_plugins.rules import ExcludeConsumed, Reject, Require, nbarec_post_filters

DATA = tiny_world()
AGES = [34, 15, None, 18, 16]
COUNTRIES = ["DE", "FR", "DE", None, "DE"]
EXPLICIT = [0, 1, 0, 0, 1, None, 0, 1]
REGIONS = [["DE", "FR"], ["DE"], ["FR"], ["DE", "FR"], ["DE"], [], ["FR"], ["DE", "FR"]]
LICENSED = Expression("user.country in item.regions")
FOR_ADULTS = Expression("user.age < 18 and item.explicit")

rows = st.lists(st.tuples(st.integers(-1, 4), st.permutations(range(8)), st.integers(0, 8)), min_size=1, max_size=6)
missing = st.sampled_from(["deny", "allow"])


def batch(drawn: list[tuple[int, list[int], int]]) -> tuple[Request, Pool]:
    request = request_for(DATA, [user for user, _, _ in drawn])
    return request, pool_in_order(request, [items[:length] for _, items, length in drawn])


def select(rule: PostFilter[NoState], request: Request, pool: Pool) -> np.ndarray:
    return rule.select(rule.fit(DATA, np.random.default_rng(0)), request, pool)


def kept_items(rule: PostFilter[NoState], request: Request, items: list[list[int]]) -> list[list[int]]:
    pool = pool_in_order(request, items)
    left = pool.take(select(rule, request, pool))
    return [left.item[left.row == row].tolist() for row in range(len(request))]


def known(values: list, at: int):
    return values[at] if at >= 0 else None


def licensed(user: int, item: int) -> bool | None:
    country, regions = known(COUNTRIES, user), REGIONS[item]
    return None if country is None or not regions else country in regions


def for_adults(user: int, item: int) -> bool | None:
    age, explicit = known(AGES, user), EXPLICIT[item]
    if (age is not None and age >= 18) or explicit == 0:
        return False
    return None if age is None or explicit is None else True


@given(rows, missing)
@settings(max_examples=60, deadline=None)
def test_require_and_reject_keep_what_they_say(drawn, missing):
    request, pool = batch(drawn)
    entries = [(drawn[row][0], item) for row, item in zip(pool.row.tolist(), pool.item.tolist(), strict=True)]
    unknown = missing == "allow"
    require, reject = Require(LICENSED, missing), Reject(FOR_ADULTS, missing)
    allowed = [unknown if (holds := licensed(*entry)) is None else holds for entry in entries]
    assert select(require, request, pool).tolist() == np.flatnonzero(allowed).tolist()
    allowed = [unknown if (holds := for_adults(*entry)) is None else not holds for entry in entries]
    assert select(reject, request, pool).tolist() == np.flatnonzero(allowed).tolist()


@given(rows, missing)
@settings(max_examples=30, deadline=None)
def test_reject_is_require_of_the_opposite(drawn, missing):
    request, pool = batch(drawn)
    opposite = Require(Expression(f"not ({FOR_ADULTS})"), missing)
    assert select(Reject(FOR_ADULTS, missing), request, pool).tolist() == select(opposite, request, pool).tolist()


RULES = [
    Require(LICENSED),
    Require(LICENSED, "allow"),
    Reject(FOR_ADULTS),
    Reject(FOR_ADULTS, "allow"),
    ExcludeConsumed(),
    ExcludeConsumed(within=Duration("9d"), where=Expression("kind == 'play'")),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(drawn=rows)
@settings(max_examples=20, deadline=None)
def test_keeps_a_part_in_order_and_the_same_the_second_time(rule, drawn):
    request, pool = batch(drawn)
    kept = select(rule, request, pool)
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    assert set(kept.tolist()) <= set(range(len(pool)))
    assert len(select(rule, request, pool.take(kept))) == len(kept)
    alone = [len(select(rule, *batch([row]))) for row in drawn]
    assert np.bincount(pool.row[kept], minlength=len(drawn)).tolist() == alone


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_empty_pools_and_requests(rule):
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert select(rule, request, pool_in_order(request, [[], []])).tolist() == []
    assert select(rule, nobody, pool_in_order(nobody, [])).tolist() == []


def test_minors_get_nothing_explicit_and_nothing_unmarked():
    request = request_for(DATA, [0, 1, 2, 3, -1])  # 34, 15, of unknown age, 18, nobody we know
    everything = [list(range(8))] * 5
    clean = [0, 2, 3, 6]
    all_songs = list(range(8))
    assert kept_items(Reject(FOR_ADULTS), request, everything) == [all_songs, clean, clean, all_songs, clean]


def test_license_of_the_context_country():
    rule = Require(Expression("context.country in item.regions"))
    everything = [list(range(8))] * 2
    somewhere = request_for(DATA, [0, 0], context={"country": ["DE", "FR"]})
    assert kept_items(rule, somewhere, everything) == [[0, 1, 3, 4, 7], [0, 2, 3, 6, 7]]
    assert kept_items(rule, request_for(DATA, [0, 0]), everything) == [[], []]


def test_score_and_features_reach_the_rule():
    request = request_for(DATA, [0])
    pool = pool_in_order(request, [[4, 2, 3]])
    pool = replace(pool, features={"p": np.array([0.1, 0.9, np.nan])})
    assert select(Require(Expression("p > 0.5")), request, pool).tolist() == [1]
    assert select(Require(Expression("score >= 0.5")), request, pool).tolist() == [0, 1]


def test_wrong_name_in_a_rule_is_an_error():
    request = request_for(DATA, [0])
    with pytest.raises(ConfigError, match=r"item\.regoins"):
        select(Require(Expression("'DE' in item.regoins")), request, pool_in_order(request, [[1]]))


windows = st.none() | st.integers(0, 50).map(lambda days: Duration(float(days * DAY)))
wheres = st.sampled_from([None, "weight > 0", "kind == 'play'", "weight < 0", "item.explicit", "user.age > 20"])


def slow_consumed(user: int, item: int, now: int, within: Duration | None, where: str | None) -> bool:
    events = DATA.events.take_rows(np.array([user]))
    for event in range(len(events)):
        kind = events.kinds[events.kind[event]]
        counts = {
            None: events.weight[event] > 0,
            "weight > 0": events.weight[event] > 0,
            "kind == 'play'": kind == "play",
            "weight < 0": events.weight[event] < 0,
            "item.explicit": EXPLICIT[item] == 1,
            "user.age > 20": (known(AGES, user) or 0) > 20,
        }[where]
        recent = within is None or now - events.time[event] <= within
        if events.item[event] == item and counts and recent:
            return True
    return False


@given(rows, windows, wheres, st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_exclude_consumed_looks_at_one_event_at_a_time(drawn, within, where, days):
    rule = ExcludeConsumed(within=within, where=None if where is None else Expression(where))
    request, pool = batch(drawn)
    now = NOON + DAY * days * np.arange(len(drawn))
    request = replace(request, now=now)
    expected = [
        at
        for at, (row, item) in enumerate(zip(pool.row.tolist(), pool.item.tolist(), strict=True))
        if not slow_consumed(drawn[row][0], item, int(now[row]), within, where)
    ]
    assert select(rule, request, pool).tolist() == expected


def test_repeats_and_dislikes():
    request = request_for(DATA, [0, 1])
    everything = [list(range(8))] * 2
    assert kept_items(ExcludeConsumed(), request, everything) == [[2, 3, 4, 5, 6, 7], [0, 1, 2, 4, 5, 6, 7]]
    month = ExcludeConsumed(within=Duration("30d"), where=Expression("kind == 'play'"))
    assert kept_items(month, request, everything)[0] == [0, 2, 3, 4, 5, 6, 7]


def test_window_ends_exactly_at_its_length_and_holds_what_comes_later():
    request = request_for(DATA, [3], now=NOON)  # song 2, eight days before
    week, eight_days = ExcludeConsumed(within=Duration("7d")), ExcludeConsumed(within=Duration("8d"))
    assert kept_items(week, request, [[2]]) == [[2]]
    assert kept_items(eight_days, request, [[2]]) == [[]]
    assert kept_items(week, request_for(DATA, [3], now=NOON - 20 * DAY), [[2]]) == [[]]


def test_clock_of_each_row_reaches_the_expression():
    rule = ExcludeConsumed(where=Expression("now - time <= 7d"))
    request = request_for(DATA, [3, 3], now=[NOON - DAY, NOON])
    assert kept_items(rule, request, [[2], [2]]) == [[], [2]]


def test_history_of_the_request_counts_not_the_stored_one():
    request = request_for(DATA, [0], history=Events.empty(1, 8))
    assert kept_items(ExcludeConsumed(), request, [[0, 1, 2]]) == [[0, 1, 2]]


def test_window_needs_time():
    timeless = Dataset.from_arrays([1, 1], [1, 2])
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="`within`, but the events have no time"):
        ExcludeConsumed(within=Duration("7d")).fit(timeless, rng)
    assert ExcludeConsumed().fit(timeless, rng) == NoState()


def test_where_is_checked_when_fitted():
    with pytest.raises(ConfigError, match="secnds"):
        ExcludeConsumed(where=Expression("secnds > 30")).fit(DATA, np.random.default_rng(0))


def test_wrong_parameters():
    with pytest.raises(ValueError, match="missing must be one of deny, allow"):
        Require(LICENSED, "forbid")
    with pytest.raises(ValueError, match="within"):
        ExcludeConsumed(within=-1.0)


def test_hook_names_the_filters():
    assert [rule.name for rule in nbarec_post_filters()] == ["exclude_consumed", "require", "reject"]


def test_examples_run():
    failed, tried = doctest.testmod(rules)
    assert failed == 0
    assert tried > 0
