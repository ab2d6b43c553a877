"""Pins against lists that are taken apart and put together again."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
from nbarec_plugins import pin
from nbarec_plugins.pin import Pin, nbarec_post_filters

DATA = tiny_world()
EXPLICIT = [0, 1, 0, 0, 1, None, 0, 1]
PINNED = Expression("item.explicit")

rows = st.lists(st.tuples(st.integers(-1, 4), st.permutations(range(8)), st.integers(0, 8)), max_size=6)


def batch(drawn: list[tuple[int, list[int], int]]) -> tuple[Request, Pool]:
    request = request_for(DATA, [user for user, _, _ in drawn])
    return request, pool_in_order(request, [items[:length] for _, items, length in drawn])


def select(pinning: Pin, request: Request, pool: Pool) -> np.ndarray:
    state = pinning.fit(DATA, np.random.default_rng(0))
    assert state == NoState()
    return pinning.select(state, request, pool)


def items_of(pinning: Pin, request: Request, items: list[list[int]]) -> list[list[int]]:
    pool = pool_in_order(request, items)
    left = pool.take(select(pinning, request, pool))
    return [left.item[left.row == row].tolist() for row in range(len(request))]


def slow_row(items: list[int], at: int, most: int) -> list[int]:
    pinned = [item for item in items if EXPLICIT[item]][:most]
    others = [item for item in items if item not in pinned]
    return others[: at - 1] + pinned + others[at - 1 :]


@given(rows, st.integers(1, 10), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_pinned_entries_stand_between_the_others(drawn, at, most):
    request, pool = batch(drawn)
    order = select(Pin(PINNED, at, most), request, pool)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(len(pool)))
    expected = [item for _, items, length in drawn for item in slow_row(items[:length], at, most)]
    assert pool.item[order].tolist() == expected
    assert pool.row[order].tolist() == pool.row.tolist()


@given(rows, st.integers(1, 10), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_row_alone_and_a_second_time(drawn, at, most):
    request, pool = batch(drawn)
    pinning = Pin(PINNED, at, most)
    order = select(pinning, request, pool)
    alone = [select(pinning, *batch([row])) + start for row, start in zip(drawn, pool.indptr, strict=False)]
    assert order.tolist() == [int(position) for row in alone for position in row]
    firm = Pin(PINNED, at, 8)  # all that match: with fewer, another one may be the best when it is asked again
    again = pool.take(select(firm, request, pool))
    assert select(firm, request, again).tolist() == list(range(len(pool)))


def test_up_down_and_beyond_the_end():
    request = request_for(DATA, [0])
    named = Expression("item.id == s4")
    with pytest.raises(ConfigError):
        select(Pin(named), request, pool_in_order(request, [[4]]))
    named = Expression("item.id in [s4, s7]")
    assert items_of(Pin(named), request, [[0, 1, 4, 7]]) == [[4, 0, 1, 7]]
    assert items_of(Pin(named, at=3), request, [[4, 0, 1, 2]]) == [[0, 1, 4, 2]]
    assert items_of(Pin(named, at=2, max=2), request, [[0, 1, 7, 4]]) == [[0, 7, 4, 1]]
    assert items_of(Pin(named, at=9), request, [[4, 0, 1]]) == [[0, 1, 4]]
    assert items_of(Pin(named), request, [[0, 1]]) == [[0, 1]]


def test_unknown_is_not_pinned():
    """Nobody knows whether song 5 is explicit, nor where dan listens."""
    request = request_for(DATA, [3])
    assert items_of(Pin(PINNED), request, [[0, 5, 1]]) == [[1, 0, 5]]
    assert items_of(Pin(Expression("user.country in item.regions")), request, [[5, 0, 1]]) == [[5, 0, 1]]
    assert items_of(Pin(Expression("context.place == 'gym'")), request, [[5, 0, 1]]) == [[5, 0, 1]]


def test_each_row_by_its_own_user_and_score():
    request = request_for(DATA, [0, 1], context={"hour": [8, 20]})
    licensed = Expression("user.country in item.regions and context.hour < 12")
    assert items_of(Pin(licensed), request, [[2, 1, 0], [1, 2, 0]]) == [[1, 2, 0], [1, 2, 0]]
    pool = pool_in_order(request, [[2, 1, 0], [1, 2, 0]])
    pool = replace(pool, features={"value": np.array([0.1, 0.9, np.nan, 0.1, 0.2, 0.7])})
    assert pool.item[select(Pin(Expression("value > 0.5")), request, pool)].tolist() == [1, 2, 0, 0, 1, 2]
    assert pool.item[select(Pin(Expression("score < 0.4"), at=2), request, pool)].tolist() == [2, 0, 1, 1, 0, 2]


def test_a_later_pin_moves_an_earlier_one_unless_its_place_is_behind():
    request = request_for(DATA, [0])
    first, third = Pin(Expression("item.artist == 'cleo'")), Pin(Expression("item.artist == 'bo'"), at=3)
    pool = pool_in_order(request, [[0, 1, 2, 3, 5]])
    ascending = pool.take(select(first, request, pool))
    ascending = ascending.take(select(third, request, ascending))
    assert ascending.item.tolist() == [5, 0, 3, 1, 2]
    falling = pool.take(select(third, request, pool))
    falling = falling.take(select(first, request, falling))
    assert falling.item.tolist() == [5, 0, 1, 3, 2]


def test_empty_pools_and_requests():
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert select(Pin(PINNED), request, pool_in_order(request, [[], []])).tolist() == []
    assert select(Pin(PINNED), nobody, pool_in_order(nobody, [])).tolist() == []
    assert select(Pin(PINNED, at=3), request, pool_in_order(request, [[], [3]])).tolist() == [0]


def test_wrong_parameters_and_names():
    with pytest.raises(ValueError, match="at must be at least 1, not 0"):
        Pin(PINNED, at=0)
    with pytest.raises(ValueError, match="max must be at least 1, not 0"):
        Pin(PINNED, max=0)
    request = request_for(DATA, [0])
    with pytest.raises(ConfigError, match=r"item\.explict"):
        select(Pin(Expression("item.explict")), request, pool_in_order(request, [[1]]))


def test_hook_and_examples():
    assert list(nbarec_post_filters()) == [Pin]
    failed, tried = doctest.testmod(pin)
    assert failed == 0
    assert tried > 0
