"""The boost against one row at a time, written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.marked import read_text
from nbarec.params import build
from nbarec.pipeline import Pipeline
from nbarec.testing.worlds import pool_in_order, pool_of, request_for, tiny_world
from nbarec_plugins.boost import Boost, nbarec_rankers

DATA = tiny_world()
EXPLICIT = [0, 1, 0, 0, 1, None, 0, 1]
LOUD = Expression("item.explicit")

scores = st.integers(-80, 80).map(lambda eighths: eighths / 8)
rows = st.lists(
    st.tuples(st.integers(-1, 4), st.dictionaries(st.integers(0, 7), scores, max_size=8)), min_size=1, max_size=6
)
shares = st.sampled_from([0.1, 0.29, 0.3, 0.5, 0.75, 1.0])
changes = st.sampled_from([{"multiply": 1.0}, {"multiply": 1.5}, {"multiply": 100.0}, {"add": 0.25}, {"add": 1000.0}])
penalties = st.sampled_from([{"multiply": 0.5}, {"multiply": 1e-6}, {"add": -2.0}])


def batch(drawn: list[tuple[int, dict[int, float]]], k: int) -> tuple[Request, Pool]:
    request = request_for(DATA, [user for user, _ in drawn], k=k)
    pool = pool_of(request, {"latent": [given for _, given in drawn]})
    return request, replace(pool, score=pool.scores[:, 0])


def rank(boost: Boost, request: Request, pool: Pool) -> np.ndarray:
    state = boost.fit(DATA, np.random.default_rng(0))
    assert state == NoState()
    return boost.rank(state, request, pool)


def slow_change(change: dict[str, float], score: float) -> float:
    if "add" in change:
        return score + change["add"]
    return score * change["multiply"] if score >= 0 else score / change["multiply"]


def slow_rank(drawn: list[tuple[int, dict[int, float]]], change: dict[str, float], most: int) -> list[float]:
    """The scores in the order of the pool: row by row, by item."""
    expected = []
    for _, given_scores in drawn:
        matching = [item for item in sorted(given_scores) if EXPLICIT[item]]
        lifted = sorted(matching, key=lambda item: (-given_scores[item], item))[:most]
        expected += [
            slow_change(change, score) if item in lifted else score for item, score in sorted(given_scores.items())
        ]
    return expected


@given(rows, changes, shares, st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_lifts_the_best_that_match_up_to_the_share(drawn, change, share, k):
    request, pool = batch(drawn, k)
    ranked = rank(Boost(where=LOUD, max_share=share, **change), request, pool)
    most = math.floor(round(share * 100) * k / 100)
    np.testing.assert_allclose(ranked, slow_rank(drawn, change, most), rtol=1e-6)
    assert ranked.dtype == np.float32
    assert (ranked >= pool.score).all()
    lifted = np.bincount(pool.row[ranked > pool.score], minlength=len(drawn))
    assert (lifted <= share * k + 1e-6).all()


@given(rows, penalties)
@settings(max_examples=50, deadline=None)
def test_penalty_lowers_all_that_match(drawn, change):
    request, pool = batch(drawn, 1)
    ranked = rank(Boost(where=LOUD, **change), request, pool)
    np.testing.assert_allclose(ranked, slow_rank(drawn, change, 8), rtol=1e-6)
    assert (ranked <= pool.score).all()


@given(rows, changes, shares, st.randoms())
@settings(max_examples=50, deadline=None)
def test_one_user_and_any_order_give_the_same_bits(drawn, change, share, random):
    boost = Boost(where=Expression("item.explicit or user.age < 18"), max_share=share, **change)
    request, pool = batch(drawn, 4)
    together = rank(boost, request, pool)
    alone = [rank(boost, *batch([row], 4)) for row in drawn]
    assert together.tobytes() == np.concatenate(alone).tobytes()
    shuffled = np.array(sorted(range(len(pool)), key=lambda at: (pool.row[at], random.random())), np.int64)
    assert rank(boost, request, pool.take(shuffled)).tobytes() == together[shuffled].tobytes()


def test_share_counts_places_of_the_slate_and_not_of_the_pool():
    request = request_for(DATA, [0], k=10)
    pool = pool_in_order(request, [list(range(8))])
    boost = Boost(where=Expression("item.events >= 0"), add=5.0, max_share=0.29)
    assert (rank(boost, request, pool) > pool.score).tolist() == [True, True, *[False] * 6]
    assert rank(boost, replace(request, k=3), pool).tolist() == pool.score.tolist()


def test_without_a_share_all_that_match_are_lifted():
    request = request_for(DATA, [0], k=2)
    pool = pool_in_order(request, [list(range(8))])
    assert (rank(Boost(where=Expression("item.events >= 0"), add=5.0), request, pool) > pool.score).all()


def test_share_is_of_the_decimal_that_was_written():
    """Of 50 places 0.58 are 29, though 0.58 * 50 lies below 29 in floating point."""
    assert math.floor(0.58 * 50) == 28
    data = Dataset.from_arrays(["ann"] * 40, np.arange(40))
    request = request_for(data, [-1], k=50)
    pool = pool_in_order(request, [list(range(40))])
    boost = Boost(where=Expression("item.events > 0"), add=5.0, max_share=0.58)
    assert np.count_nonzero(rank(boost, request, pool) > pool.score) == 29


def test_ties_go_by_item_position():
    request = request_for(DATA, [0], k=2)
    pool = pool_of(request, {"a": [{7: 1.0}], "b": [{4: 1.0}], "c": [{1: 1.0}]})
    assert pool.score.tolist() == [1.0, 1.0, 1.0]
    assert rank(Boost(where=LOUD, add=1.0, max_share=0.5), request, pool).tolist() == [2.0, 1.0, 1.0]


def test_unknown_is_not_boosted():
    request = request_for(DATA, [0, 3, -1])  # from DE, of no known country, nobody we know
    pool = pool_in_order(request, [[5, 3], [3], [3]])  # nobody knows where song 5 is licensed
    boost = Boost(where=Expression("user.country in item.regions"), multiply=10.0)
    assert rank(boost, request, pool).tolist() == [1.0, 5.0, 1.0, 1.0]


def test_boosts_follow_each_other():
    request = request_for(DATA, [0], k=4)
    pool = pool_in_order(request, [[3, 1, 7]])
    first = rank(Boost(where=LOUD, multiply=4.0, max_share=0.25), request, pool)
    second = rank(Boost(where=Expression("score >= 1"), add=1.0), request, pool.with_score("own", first))
    assert second.tolist() == [2.0, 3.0, pool.score[2]]


def test_largest_scores_stay_finite():
    request = request_for(DATA, [0])
    largest = float(np.finfo(np.float32).max)
    pool = replace(pool_in_order(request, [[1, 4]]), score=np.float32([largest, -largest]))
    assert np.isfinite(rank(Boost(where=LOUD, multiply=1e6), request, pool)).all()
    assert np.isfinite(rank(Boost(where=LOUD, multiply=1e-6), request, pool)).all()


def test_empty_pools():
    boost = Boost(where=LOUD, multiply=2.0, max_share=0.5)
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert rank(boost, request, pool_of(request, {"a": [{}, {}]})).shape == (0,)
    assert rank(boost, nobody, pool_of(nobody, {"a": []})).shape == (0,)
    assert rank(boost, nobody, pool_of(nobody, {})).shape == (0,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of multiply and add, and has neither"),
        ({"multiply": 2, "add": 1}, "exactly one of multiply and add, and has both"),
        ({"multiply": 0}, "multiply must be at least"),
        ({"multiply": 1e7}, "multiply must be at most 1000000"),
        ({"add": 1, "max_share": 0}, "max_share must be more than 0"),
        ({"add": 1, "max_share": 1.5}, "max_share must be at most 1"),
        ({"add": -1, "max_share": 0.5}, "this boost lowers scores; leave max_share out"),
        ({"multiply": 0.5, "max_share": 0.5}, "this boost lowers scores; leave max_share out"),
    ],
)
def test_wrong_parameters(given, message):
    with pytest.raises(ValueError, match=message):
        Boost(where=LOUD, **given)


def test_yaml_reads_as_written():
    problems: list[Any] = []
    root = read_text("{where: item.explicit, multiply: 2, max_share: 0.3}", "music.yaml")
    assert build(Boost, root, where="loud", problems=problems) == Boost(where=LOUD, multiply=2.0, max_share=0.3)
    assert problems == []


def test_pipeline_lifts_and_refuses_unknown_names(music_text: str):
    text = music_text.replace("filters:\n", "  - {id: own, use: boost, with: {where: WHERE, add: 10}}\nfilters:\n")
    slate = Pipeline.from_text(text.replace("WHERE", "item.energy > 0.5")).fit().recommend(["u1", "nobody"], k=5)
    assert (slate.score[:, 0] > 10).all()
    with pytest.raises(ConfigError, match=r"rank.own \(boost of .*item.energi"):
        Pipeline.from_text(text.replace("WHERE", "item.energi > 0.5")).fit()


def test_hook_names_the_ranker():
    assert list(nbarec_rankers()) == [Boost]
