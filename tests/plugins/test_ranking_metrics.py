"""Capped recall, graded nDCG and limited AUC against slow references, and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Slate
from nbarec.data import Dataset
from nbarec.sparse import Csr
from nbarec.testing.worlds import slate_of
from nbarec_plugins.metrics import Ndcg, Recall
from nbarec_plugins.ranking_metrics import CappedRecall, GradedNdcg, LimitedAuc, nbarec_metrics
from nbarec_plugins.slate_histories import histories_of, owned_items

ITEMS, USERS = 7, 4
STRANGER = 99

events = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.sampled_from([-1.0, 0.5, 2.0])), max_size=14
)
relevance = st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from([0.25, 1.0, 3.0]), max_size=ITEMS)
Rows = tuple[int, list[list[int]], list[dict[int, float]]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """The places, and for each user and a stranger the filled ones and each relevant item's gain."""
    k = draw(st.integers(1, ITEMS + 1))
    orders = [draw(st.permutations(range(ITEMS))) for _ in range(USERS + 1)]
    return k, [order[: draw(st.integers(0, min(k, ITEMS)))] for order in orders], [draw(relevance) for _ in orders]


def world(happened: list[tuple[int, int, float]]) -> Dataset:
    user, item, weight = (np.array(column) for column in zip(*happened, strict=True)) if happened else ([], [], [])
    ids = {"catalog": {"id": np.arange(ITEMS)}, "audience": {"id": np.arange(USERS)}}
    return Dataset.from_arrays(np.asarray(user, int), np.asarray(item, int), weight, **ids)


def slates(data: Dataset, items: list[list[int]], places: int) -> Slate:
    """A slate for each user of the data in their order, and the rest for a stranger."""
    users = [*range(USERS), STRANGER][: len(items)]
    return replace(slate_of(data, items, places), users=tuple(users))


def truth_of(relevant: list[dict[int, float]]) -> Csr:
    triples = [(row, item, gain) for row, gains in enumerate(relevant) for item, gain in gains.items()]
    row, item, gain = np.array(triples).reshape(-1, 3).T
    return Csr.from_pairs(row.astype(int), item.astype(int), gain, (len(relevant), ITEMS))


def owned_by(happened: list[tuple[int, int, float]], user: int) -> set[int]:
    return {item for who, item, weight in happened if who == user and weight > 0}


def reference_ndcg(items: list[int], gains: dict[int, float], k: int) -> float:
    def discounted(listed: list[float]) -> float:
        return sum(gain / math.log2(place + 1) for place, gain in enumerate(listed[:k], start=1))

    ideal = discounted(sorted(gains.values(), reverse=True))
    return discounted([gains.get(item, 0.0) for item in items]) / ideal if ideal else math.nan


def reference_auc(items: list[int], relevant: set[int], owned: set[int]) -> float:
    """Every pair looked at; what is not in the slate shares the place behind its last."""
    place = {item: items.index(item) if item in items else len(items) for item in range(ITEMS)}
    pairs = list(product(relevant, set(range(ITEMS)) - relevant - owned))
    right = [1.0 if place[i] < place[n] else 0.5 if place[i] == place[n] else 0.0 for i, n in pairs]
    return sum(right) / len(right) if right else math.nan


@settings(max_examples=100, deadline=None)
@given(events, rows())
def test_every_value_is_that_of_the_reference(happened: list[tuple[int, int, float]], drawn: Rows) -> None:
    (k, items, relevant), data = drawn, world(happened)
    slate, truth = slates(data, items, k), truth_of(relevant)
    pairs = list(zip(items, relevant, strict=True))
    found = {metric.name: metric().per_user(slate, truth, data) for metric in nbarec_metrics()}
    assert all(values.dtype == np.float64 for values in found.values())
    recall = [len(gains.keys() & set(shown)) / min(k, len(gains)) if gains else math.nan for shown, gains in pairs]
    assert found["recall_capped"] == pytest.approx(recall, nan_ok=True)
    ndcg = [reference_ndcg(shown, gains, k) for shown, gains in pairs]
    assert found["ndcg_graded"] == pytest.approx(ndcg, nan_ok=True)
    who = [*range(USERS), STRANGER]
    auc = [reference_auc(s, set(g), owned_by(happened, u)) for u, (s, g) in zip(who, pairs, strict=True)]
    assert found["auc"] == pytest.approx(auc, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(events, rows(), st.sampled_from([0.1, 1.0, 5.0]))
def test_gains_that_are_alike_give_binary_ndcg(happened: list, drawn: Rows, gain: float) -> None:
    (k, items, relevant), data = drawn, world(happened)
    slate, truth = slates(data, items, k), truth_of([dict.fromkeys(gains, gain) for gains in relevant])
    graded, binary = (metric.per_user(slate, truth, data) for metric in (GradedNdcg(), Ndcg()))
    assert graded == pytest.approx(binary, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(ITEMS)), st.lists(st.sampled_from([0.3, 0.7, 1.1]), min_size=1), st.integers(1, ITEMS))
def test_a_perfect_slate_has_exactly_one(order: list[int], gains: list[float], k: int) -> None:
    gain = dict(zip(order, sorted(gains, reverse=True), strict=False))
    slate, truth, data = slates(world([]), [order[:k]], k), truth_of([gain]), world([])
    assert GradedNdcg().per_user(slate, truth, data) == [1.0]
    assert CappedRecall().per_user(slate, truth, data) == [1.0]
    if len(gain) == ITEMS:
        assert np.isnan(LimitedAuc().per_user(slate, truth, data)).all()
    elif k >= len(gain):
        assert LimitedAuc().per_user(slate, truth, data) == [1.0]
    else:
        assert LimitedAuc().per_user(slate, truth, data) == pytest.approx([0.5 + k / len(gain) / 2])


@settings(max_examples=40, deadline=None)
@given(events, rows(), st.permutations(range(USERS)))
def test_users_do_not_depend_on_each_other(happened: list, drawn: Rows, order: list[int]) -> None:
    (k, items, relevant), data = drawn, world(happened)
    slate, truth, at = slates(data, items[:USERS], k), truth_of(relevant[:USERS]), np.array(order)
    turned = replace(slate, item=slate.item[at], users=tuple(order))
    for metric in nbarec_metrics():
        values = metric().per_user(slate, truth, data)
        assert np.array_equal(metric().per_user(turned, truth.take_rows(at), data), values[at], equal_nan=True)


def test_ndcg_by_hand() -> None:
    """Gains 1, none, 4 stand in the slate; the best first three would be 4, 2, 1."""
    truth = truth_of([{3: 4.0, 1: 1.0, 5: 2.0, 6: 0.5}])
    values = GradedNdcg().per_user(slates(world([]), [[1, 0, 3]], 3), truth, world([]))
    assert values == pytest.approx([(1 + 4 / 2) / (4 + 2 / math.log2(3) + 1 / 2)])


def test_gains_that_are_not_positive_count_nothing() -> None:
    slate = slates(world([]), [[0, 1], [0, 1]], 2)
    values = GradedNdcg().per_user(slate, truth_of([{0: -2.0, 1: 1.0}, {0: -1.0, 1: 0.0}]), world([]))
    assert values == pytest.approx([1 / math.log2(3), math.nan], nan_ok=True)


def test_auc_by_hand() -> None:
    """Items 0 and 4 are relevant, the user has 1 and 2, so 3, 5 and 6 are the others: 0 is behind 3; 4 nowhere."""
    data = world([(0, 1, 1.0), (0, 2, 1.0), (0, 5, -1.0)])
    values = LimitedAuc().per_user(slates(data, [[1, 3, 0]], 4), truth_of([{0: 1.0, 4: 1.0}]), data)
    assert values == pytest.approx([(2 + (0 + 1 / 2 + 1 / 2)) / (2 * 3)])


def test_an_empty_slate_has_half_the_area() -> None:
    values = LimitedAuc().per_user(slates(world([]), [[]], 3), truth_of([{0: 1.0}]), world([]))
    assert values == [0.5]


def test_recall_has_two_denominators() -> None:
    slate, truth = slates(world([]), [[0, 1]], 2), truth_of([dict.fromkeys(range(5), 1.0)])
    assert CappedRecall().per_user(slate, truth, world([])) == [1.0]
    assert Recall().per_user(slate, truth, world([])) == [0.4]


def test_histories_are_those_of_the_slates_users() -> None:
    data = world([(0, 1, 1.0), (0, 2, -1.0), (2, 1, 0.5), (2, 1, -3.0)])
    slate = replace(slate_of(data, [[], [], []], 1), users=(2, STRANGER, 0))
    assert histories_of(slate, data).counts.tolist() == [2, 0, 2]
    owned = owned_items(slate, data)
    assert owned.to_dense().nonzero()[0].tolist() == [0, 2]
    assert owned.indices.tolist() == [1, 1]


def test_the_hook_gives_every_metric_by_its_name() -> None:
    assert [metric.name for metric in nbarec_metrics()] == ["recall_capped", "ndcg_graded", "auc"]
