"""The blend against one row at a time, written out."""

from __future__ import annotations

import doctest
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import rank_in_row
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import NoState
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.ids import Ids
from nbarec.marked import read_text
from nbarec.merging import merge
from nbarec.params import build
from nbarec.testing.worlds import pool_of, request_for, sorted_by_score, tiny_world
from nbarec_plugins import blend
from nbarec_plugins.blend import Blend, Case, nbarec_rankers

DATA = tiny_world()
SOURCES = ("latent", "alike", "trending")
METHODS = ("reciprocal_rank", "min_max", "standardised")

scores = st.integers(-80, 80).map(lambda eighths: eighths / 8)  # exact in float32, and far from a near tie
lists = st.dictionaries(st.integers(0, 7), scores, max_size=8)
rows = st.lists(st.tuples(st.integers(-1, 4), st.tuples(lists, lists, lists)), min_size=1, max_size=6)
weights = st.dictionaries(st.sampled_from(SOURCES), st.floats(0, 100, width=16), min_size=1)
methods = st.sampled_from(METHODS)


def batch(drawn: list[tuple[int, tuple[dict[int, float], ...]]]) -> tuple[Request, Pool]:
    request = request_for(DATA, [user for user, _ in drawn])
    proposed = {source: [given[at] for _, given in drawn] for at, source in enumerate(SOURCES)}
    return request, pool_of(request, proposed)


def rank(blend: Blend, request: Request, pool: Pool) -> np.ndarray:
    state = blend.fit(DATA, np.random.default_rng(0))
    assert state == NoState()
    return blend.rank(state, request, pool)


def slow_value(method: str, k: float, listed: Mapping[int, float], item: int) -> float:
    """What one list says of one item."""
    best_first = sorted(listed, key=lambda i: (-listed[i], i))
    if method == "reciprocal_rank":
        return 1 / (k + best_first.index(item) + 1) if item in listed else 0.0
    if not listed:
        return 0.0
    low, high = min(listed.values()), max(listed.values())
    if low == high:
        return float(item in listed)
    if method == "min_max":
        return (listed[item] - low) / (high - low) if item in listed else 0.0
    mean = math.fsum(listed.values()) / len(listed)
    deviation = math.sqrt(math.fsum((s - mean) ** 2 for s in listed.values()) / len(listed))
    return (listed.get(item, low) - mean) / deviation


def slow_weights(blend: Blend, user: int, item: int) -> Mapping[str, float]:
    """The weights of an entry under the cases that `CASES` writes as expressions."""
    events = len(DATA.events.take_rows(np.array([user])))
    plays = int(np.sum(DATA.events.item == item))
    for case in blend.cases:
        if {"user.events < 2": events < 2, "item.events < 1": plays < 1}[str(case.when)]:
            return case.weights
    return blend.weights or dict.fromkeys(SOURCES, 1.0)


@given(rows, methods, st.sampled_from([0.0, 0.5, 60.0]), st.just({}) | weights, st.lists(weights, max_size=2))
@settings(max_examples=100, deadline=None)
def test_is_the_weighted_sum_of_one_row_at_a_time(drawn, method, k, usual, case_weights):
    whens = [Expression("user.events < 2"), Expression("item.events < 1")]
    cases = tuple(Case(when=when, weights=w) for when, w in zip(whens, case_weights, strict=False))
    blend = Blend(method=method, k=k, weights=usual, cases=cases)
    request, pool = batch(drawn)
    expected = []
    for row, item in zip(pool.row.tolist(), pool.item.tolist(), strict=True):
        user, given_lists = drawn[row]
        by_source = dict(zip(SOURCES, given_lists, strict=True))
        weight = slow_weights(blend, user, item)
        values = {source: slow_value(method, k, by_source[source], item) for source in SOURCES}
        expected.append(sum(weight.get(source, 0.0) * values[source] for source in SOURCES))
    ranked = rank(blend, request, pool)
    assert ranked.dtype == np.float32
    np.testing.assert_allclose(ranked, expected, rtol=1e-5, atol=1e-4)


@given(rows, methods, weights, st.randoms())
@settings(max_examples=60, deadline=None)
def test_one_user_and_any_order_give_the_same_bits(drawn, method, usual, random):
    blend = Blend(method=method, weights=usual, cases=(Case(Expression("item.events < 1"), {"alike": 0.3}),))
    request, pool = batch(drawn)
    together = rank(blend, request, pool)
    alone = [rank(blend, *batch([row])) for row in drawn]
    assert together.tobytes() == np.concatenate(alone).tobytes()
    shuffled = np.array(sorted(range(len(pool)), key=lambda at: (pool.row[at], random.random())), np.int64)
    assert rank(blend, request, pool.take(shuffled)).tobytes() == together[shuffled].tobytes()


@given(rows, methods)
@settings(max_examples=60, deadline=None)
def test_is_finite_and_grows_with_each_list(drawn, method):
    """Nobody is passed by an item that every list puts no higher."""
    request, pool = batch(drawn)
    score = rank(Blend(method=method), request, pool)
    assert np.isfinite(score).all()
    place = np.where(pool.ranks == 0, 99, pool.ranks)
    better = (place[:, None] <= place[None]).all(axis=2) & (pool.row[:, None] == pool.row[None])
    assert (score[:, None] >= score[None] - 1e-4)[better].all()


def test_reciprocal_ranks_of_the_reference_hybrid():
    request = request_for(DATA, [0, 4])
    lists_of_both = {"item_cf": [{2: 0.9, 3: 0.5}, {}], "content": [{3: 0.8, 2: 0.7, 4: 0.1}, {6: 0.2}]}
    pool = pool_of(request, lists_of_both)
    blend = Blend(k=0, weights={"item_cf": 0.6, "content": 0.4})
    expected = [0.6 / 1 + 0.4 / 2, 0.6 / 2 + 0.4 / 1, 0.4 / 3, 0.4 / 1]
    np.testing.assert_allclose(rank(blend, request, pool), np.float32(expected), rtol=0)


def seed_music() -> dict[str, dict[str, list[str]]]:
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("NBAREC_DATA", root.parent / "shared" / "data"))
    path = folder / "seed-music" / "expected.json"
    if not path.exists():
        pytest.skip(f"there is no {path}; set NBAREC_DATA to the folder of the real data")
    return json.loads(path.read_text())


def test_reference_lists_of_seed_music_blend_into_the_reference_hybrid():
    expected = seed_music()
    users = list(expected["hybrid"])
    songs = Ids.sorted_of(song for part in ("item_cf", "content") for row in expected[part].values() for song in row)
    candidates = {}
    for source in ("item_cf", "content"):
        listed = [expected[source][user] for user in users]
        indptr = np.append(0, np.cumsum([len(row) for row in listed]))
        item = songs.index(song for row in listed for song in row).astype(np.int32)
        candidates[source] = Candidates(indptr, item, (1 / rank_in_row(indptr)).astype(np.float32))
    pool = merge(candidates, len(users), len(songs))
    blend = Blend(k=0, weights={"item_cf": 0.6, "content": 0.4})
    pool = sorted_by_score(pool.with_score("hybrid", rank(blend, request_for(DATA, [-1] * len(users)), pool)))
    top = [songs.texts(pool.item[pool.row == row][:10]) for row in range(len(users))]
    assert top == [expected["hybrid"][user] for user in users]


def test_yaml_with_cases_reads_as_written():
    problems = []
    text = """
        method: min_max
        weights: {latent: 1.0, alike: 0.5}
        cases: [{when: user.events < 5, weights: {alike: 1.0}}, {when: item.events < 5, weights: {alike: 2}}]
    """
    made = build(Blend, read_text(text, "music.yaml"), where="mixed", problems=problems)
    cases = (Case(Expression("user.events < 5"), {"alike": 1.0}), Case(Expression("item.events < 5"), {"alike": 2.0}))
    assert problems == []
    assert made == Blend("min_max", weights={"latent": 1.0, "alike": 0.5}, cases=cases)


def test_yaml_case_without_weights_is_refused_where_it_stands():
    problems = []
    root = read_text("cases:\n  - {when: user.events < 5, weights: {}}", "music.yaml")
    assert build(Blend, root, where="mixed", problems=problems) is None
    assert [str(problem) for problem in problems] == [
        "music.yaml:2:5: mixed.cases[0]: weights must name at least one generator"
    ]


def test_default_is_the_published_constant():
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{1: 2.0}], "b": [{3: 9.0, 1: 1.0}]})
    np.testing.assert_allclose(rank(Blend(), request, pool), np.float32([1 / 61 + 1 / 62, 1 / 61]), rtol=0)


@pytest.mark.parametrize("method", ["min_max", "standardised"])
def test_flat_list_still_says_what_it_proposes(method):
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{1: 5.0, 2: 5.0}], "b": [{3: 1.0}]})
    assert rank(Blend(method=method, weights={"a": 0.5, "b": 2}), request, pool).tolist() == [0.5, 0.5, 2.0]


def test_standardised_counts_absent_as_the_last_of_the_list():
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{1: 3.0, 2: 1.0}], "b": [{7: 1.0}]})
    assert rank(Blend(method="standardised", weights={"a": 1}), request, pool).tolist() == [1.0, -1.0, -1.0]


def test_sums_are_added_in_the_order_of_the_list_whatever_the_order_of_the_pool():
    """The mean of these three depends on the order of addition: 0 or a third."""
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{0: 1e16, 1: 1.0, 2: -1e16}]})
    blend = Blend(method="standardised")
    orders = [np.array(order) for order in permutations(range(3))]
    assert len({rank(blend, request, pool.take(order))[np.argsort(order)].tobytes() for order in orders}) == 1


def test_first_case_that_holds_replaces_all_weights():
    new_item, new_user = Expression("item.events < 1"), Expression("user.events < 1")
    cases = (Case(new_user, {"trending": 4.0}), Case(new_item, {"alike": 3.0}))
    blend = Blend(k=0, weights={"alike": 1.0, "latent": 2.0}, cases=cases)
    request = request_for(DATA, [0, 4])
    both = {"alike": [{6: 1.0, 3: 0.5}] * 2, "latent": [{6: 1.0, 3: 0.5}] * 2, "trending": [{3: 1.0}] * 2}
    pool = pool_of(request, both)
    assert pool.item.tolist() == [3, 6, 3, 6]
    assert rank(blend, request, pool).tolist() == [1.5, 3.0, 4.0, 0.0]


def test_unknown_case_does_not_hold():
    blend = Blend(k=0, cases=(Case(Expression("user.age < 18"), {"a": 0.0}),))
    request = request_for(DATA, [0, 1, 2, -1])  # 34, 15, unknown age, unknown user
    pool = pool_of(request, {"a": [{0: 1.0}] * 4})
    assert rank(blend, request, pool).tolist() == [1.0, 0.0, 1.0, 1.0]


def test_context_and_features_reach_the_cases():
    cases = (Case(Expression("context.hour >= 22"), {"a": 2.0}), Case(Expression("p > 0.5"), {"a": 3.0}))
    request = request_for(DATA, [0, 1], context={"hour": [23, 9]})
    pool = replace(pool_of(request, {"a": [{0: 1.0}] * 2}), features={"p": np.array([0.9, 0.9])})
    assert rank(Blend(k=0, cases=cases), request, pool).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("method", METHODS)
def test_empty_pools(method):
    blend = Blend(method=method, cases=(Case(Expression("item.events < 1"), {"a": 1.0}),))
    request = request_for(DATA, [0, 1])
    for proposed in ([{}, {}], [{}, {3: 1.0}]):
        pool = pool_of(request, {"a": proposed})
        assert rank(blend, request, pool).shape == (len(pool),)
    nobody = request_for(DATA, [])
    assert rank(blend, nobody, pool_of(nobody, {"a": []})).shape == (0,)
    assert rank(Blend(method=method), request, pool_of(request, {})).shape == (0,)


@pytest.mark.parametrize(
    "blend",
    [Blend(weights={"alike": 1, "latnet": 1}), Blend(cases=(Case(Expression("score > 0"), {"latnet": 1}),))],
)
def test_unknown_generator_is_named(blend):
    request = request_for(DATA, [0])
    pool = pool_of(request, {"alike": [{}], "latent": [{}]})
    with pytest.raises(ConfigError, match="weights for 'latnet', but the generators here are: alike, latent"):
        rank(blend, request, pool)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blend(weights={"a": -1}), "weights.a must be at least 0, not -1"),
        (lambda: Blend(weights={"a": float("nan")}), "weights.a must be a number"),
        (lambda: Blend(weights={"a": 1e7}), "weights.a must be at most 1000000"),
        (lambda: Blend(k=-1), "k must be at least 0"),
        (lambda: Blend(method="sum"), "method must be one of"),
        (lambda: Case(Expression("score > 0"), {}), "weights must name at least one generator"),
        (lambda: Case(Expression("score > 0"), {"a": -2}), "weights.a must be at least 0, not -2"),
    ],
)
def test_wrong_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_hook_names_the_ranker():
    assert list(nbarec_rankers()) == [Blend]


def test_examples_run():
    failed, tried = doctest.testmod(blend)
    assert failed == 0
    assert tried > 0
