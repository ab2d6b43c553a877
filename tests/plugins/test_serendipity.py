"""Serendipity against a popularity list made for each user one by one, and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.sparse import Csr
from nbarec.testing.worlds import request_for, slate_of
from nbarec_plugins.metrics import Precision
from nbarec_plugins.popularity import Popularity
from nbarec_plugins.serendipity import Serendipity, nbarec_metrics

ITEMS, USERS = 8, 4
WHO = (*range(USERS), 99)

Happened = list[tuple[int, int, float]]
events = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.sampled_from([-1.0, 0.5, 2.0])), max_size=25
)
Rows = tuple[int, list[list[int]], list[set[int]]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """The places, and for each user and a stranger the filled ones and the relevant items."""
    k = draw(st.integers(1, ITEMS + 1))
    orders = [draw(st.permutations(range(ITEMS))) for _ in WHO]
    shown = [order[: draw(st.integers(0, min(k, ITEMS)))] for order in orders]
    return k, shown, [draw(st.sets(st.integers(0, ITEMS - 1))) for _ in WHO]


def world(happened: Happened) -> Dataset:
    user, item, weight = (np.array(column) for column in zip(*happened, strict=True)) if happened else ([], [], [])
    ids = {"catalog": {"id": np.arange(ITEMS)}, "audience": {"id": np.arange(USERS)}}
    return Dataset.from_arrays(np.asarray(user, int), np.asarray(item, int), weight, **ids)


def truth_of(relevant: list[set[int]]) -> Csr:
    pairs = [(row, item) for row, items in enumerate(relevant) for item in items]
    row, item = np.array(pairs, np.int64).reshape(-1, 2).T
    return Csr.from_pairs(row, item, None, (len(relevant), ITEMS))


def reference(happened: Happened, user: int, shown: list[int], relevant: set[int], k: int) -> float:
    owned = {item for who, item, weight in happened if who == user and weight > 0}
    users = {item: len({who for who, what, _ in happened if what == item}) for item in range(ITEMS)}
    listed = sorted((item for item in range(ITEMS) if item not in owned), key=lambda item: (-users[item], item))
    unexpected = set(shown) - set(listed[:k]) - owned
    return len(unexpected & relevant) / k if relevant else math.nan


@settings(max_examples=120, deadline=None)
@given(events, rows())
def test_every_value_is_that_of_the_reference(happened: Happened, drawn: Rows) -> None:
    (k, shown, relevant), data = drawn, world(happened)
    slate, truth = replace(slate_of(data, shown, k), users=WHO), truth_of(relevant)
    values = Serendipity().per_user(slate, truth, data)
    wanted = [reference(happened, *row, k) for row in zip(WHO, shown, relevant, strict=True)]
    assert values.dtype == np.float64
    assert values == pytest.approx(wanted, nan_ok=True)
    precision = Precision().per_user(slate, truth, data)
    assert (values <= precision)[~np.isnan(precision)].all()
    turned = replace(slate, item=slate.item[::-1], users=WHO[::-1])
    again = Serendipity().per_user(turned, truth.take_rows(np.arange(len(WHO))[::-1]), data)
    assert np.array_equal(again, values[::-1], equal_nan=True)


@settings(max_examples=50, deadline=None)
@given(events, st.integers(1, ITEMS))
def test_a_popularity_list_surprises_nobody(happened: Happened, k: int) -> None:
    """What the generator of that name recommends is expected, all of it, as long as it counts users."""
    liked = [event for event in happened if event[2] > 0]
    if not liked:
        return
    data = world(liked)
    generator = Popularity(count="users")
    request = request_for(data)
    listed = generator.generate(generator.fit(data, np.random.default_rng(0)), request, k)
    items = [listed.item[start:stop].tolist() for start, stop in zip(listed.indptr, listed.indptr[1:], strict=False)]
    slate = replace(slate_of(data, items, k), users=tuple(range(USERS)))
    truth = truth_of([set(range(ITEMS))] * USERS)
    assert (Serendipity().per_user(slate, truth, data) == 0).all()


def test_by_hand() -> None:
    """Item 0 has three users, item 1 two, item 2 one: user 0, who has item 0, would be shown 1 and 2; user 3 has no
    item, and would be shown 0 and 1. Item 5 is relevant to both and on no list."""
    data = world([(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0), (1, 1, 1.0), (2, 1, 1.0), (2, 2, 1.0)])
    slate = replace(slate_of(data, [[2, 5], [2, 5], [0, 5], [5]], 2), users=(0, 3, 0, 99))
    values = Serendipity().per_user(slate, truth_of([{2, 5}, {2, 5}, {0, 5}, set()]), data)
    assert values == pytest.approx([1 / 2, 2 / 2, 1 / 2, math.nan], nan_ok=True)


def test_the_hook_gives_the_metric_by_its_name() -> None:
    assert [metric.name for metric in nbarec_metrics()] == ["serendipity"]
