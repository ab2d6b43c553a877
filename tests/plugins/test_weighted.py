"""The weighted combination against one row at a time, written out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.errors import ConfigError
from nbarec.marked import read_text
from nbarec.params import build
from nbarec.pipeline import Pipeline
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec_plugins.weighted import Weighted, nbarec_rankers

DATA = tiny_world()
NAMES = ("latent", "alike", "price", "score")
SCALES = ("min_max", "standardised", "rank", "none")

scores = st.integers(-80, 80).map(lambda eighths: eighths / 8)
lists = st.dictionaries(st.integers(0, 7), scores, max_size=8)
prices = st.lists(st.none() | scores, min_size=8, max_size=8)
rows = st.lists(st.tuples(lists, lists, prices), min_size=1, max_size=6)
weights = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]), min_size=1)
sums = st.builds(Weighted, weights=weights.filter(lambda named: any(named.values())), scale=st.sampled_from(SCALES))
products = st.builds(
    Weighted,
    weights=weights.map(lambda named: {name: abs(weight) for name, weight in named.items()}).filter(
        lambda named: any(named.values())
    ),
    scale=st.sampled_from(["min_max", "rank", "none"]),
    combine=st.just("product"),
)


def batch(drawn: list[tuple[dict[int, float], dict[int, float], list[float | None]]]) -> tuple[Request, Pool]:
    request = request_for(DATA, [0] * len(drawn))
    pool = pool_of(request, {"latent": [row[0] for row in drawn], "alike": [row[1] for row in drawn]})
    entries = zip(pool.row.tolist(), pool.item.tolist(), strict=True)
    price = np.array([drawn[row][2][item] for row, item in entries], np.float64)
    return request, replace(pool, features={"price": price})


def rank(weighted: Weighted, request: Request, pool: Pool) -> np.ndarray:
    state = weighted.fit(DATA, np.random.default_rng(0))
    assert state == NoState()
    return weighted.rank(state, request, pool)


def slow_scale(scale: str, column: Mapping[int, float | None], neutral: float) -> dict[int, float]:
    known = [value for value in column.values() if value is not None]
    values = {item: min(known, default=neutral) if value is None else value for item, value in column.items()}
    if scale == "none":
        return values
    listed = list(values.values())
    if len(set(listed)) <= 1:
        return dict.fromkeys(values, neutral)
    low, high, count = min(listed), max(listed), len(listed)
    if scale == "min_max":
        return {item: (value - low) / (high - low) for item, value in values.items()}
    if scale == "rank":
        return {item: sum(other < value for other in listed) / (count - 1) for item, value in values.items()}
    mean = math.fsum(listed) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in listed) / count)
    return {item: (value - mean) / deviation for item, value in values.items()}


def slow_rank(weighted: Weighted, drawn: list[tuple[dict[int, float], dict[int, float], list[float | None]]]):
    """The scores in the order of the pool: row by row, by item."""
    is_sum, total = weighted.combine == "sum", sum(weighted.weights.values())
    for latent, alike, price in drawn:
        items = sorted({*latent, *alike})
        places = [sorted(given, key=lambda item, given=given: (-given[item], item)) for given in (latent, alike)]
        columns = {
            "latent": {item: latent.get(item) for item in items},
            "alike": {item: alike.get(item) for item in items},
            "price": {item: price[item] for item in items},
            "score": {item: sum(1 / (best.index(item) + 1) for best in places if item in best) for item in items},
        }
        scaled = {name: slow_scale(weighted.scale, columns[name], 0.0 if is_sum else 1.0) for name in weighted.weights}
        for item in items:
            if is_sum:
                yield math.fsum(weight * scaled[name][item] for name, weight in weighted.weights.items())
            else:
                factors = (max(scaled[name][item], 0) ** (w / total) for name, w in weighted.weights.items())
                yield math.prod(factors)


@given(rows, st.one_of(sums, products))
@settings(max_examples=150, deadline=None)
def test_is_the_combination_of_one_row_at_a_time(drawn, weighted):
    ranked = rank(weighted, *batch(drawn))
    assert ranked.dtype == np.float32
    np.testing.assert_allclose(ranked, list(slow_rank(weighted, drawn)), rtol=1e-5, atol=1e-4)


@given(rows, st.one_of(sums, products), st.randoms())
@settings(max_examples=80, deadline=None)
def test_one_user_and_any_order_give_the_same_finite_bits(drawn, weighted, random):
    request, pool = batch(drawn)
    together = rank(weighted, request, pool)
    assert np.isfinite(together).all()
    alone = [rank(weighted, *batch([row])) for row in drawn]
    assert together.tobytes() == np.concatenate(alone).tobytes()
    shuffled = np.array(sorted(range(len(pool)), key=lambda at: (pool.row[at], random.random())), np.int64)
    assert rank(weighted, request, pool.take(shuffled)).tobytes() == together[shuffled].tobytes()


@given(rows, st.sampled_from(SCALES))
@settings(max_examples=40, deadline=None)
def test_one_column_alone_gives_its_own_order(drawn, scale):
    request, pool = batch(drawn)
    ranked = rank(Weighted(weights={"score": 0.5, "latent": 0}, scale=scale), request, pool)
    same_row = pool.row[:, None] == pool.row[None]
    order = np.sign(pool.score[:, None] - pool.score[None])
    assert ((order == np.sign(ranked[:, None] - ranked[None])) | ~same_row).all()


def test_sums_do_not_depend_on_the_order_of_the_pool():
    """The mean of these three depends on the order of addition: 0 or a third."""
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{0: 1e16, 1: 1.0, 2: -1e16}]})
    weighted = Weighted(weights={"a": 1}, scale="standardised")
    forth, back = rank(weighted, request, pool), rank(weighted, request, pool.take(np.array([2, 1, 0])))
    assert forth.tobytes() == back[::-1].tobytes()


def test_names_are_score_then_columns_then_generators():
    request = request_for(DATA, [0])
    pool = pool_of(request, {"latent": [{3: 5.0}], "score": [{3: 9.0}]})
    pool = replace(pool.with_score("latent", np.float32([7.0])), score=np.float32([2.0]))
    assert rank(Weighted(weights={"latent": 1}, scale="none"), request, pool).tolist() == [7.0]
    assert rank(Weighted(weights={"score": 1}, scale="none"), request, pool).tolist() == [2.0]


def test_flags_and_whole_numbers_are_numbers():
    request = request_for(DATA, [0])
    columns = {"own": np.array([True, False]), "plays": np.array([3, 5], np.uint16)}
    pool = replace(pool_of(request, {"a": [{1: 1.0, 2: 1.0}]}), features=columns)
    assert rank(Weighted(weights={"own": 10, "plays": 1}, scale="none"), request, pool).tolist() == [13.0, 5.0]


def test_costs_lower_the_sum():
    request = request_for(DATA, [0])
    pool = replace(pool_of(request, {"a": [{1: 1.0, 2: 1.0}]}), features={"price": np.array([9.0, 1.0])})
    assert rank(Weighted(weights={"a": 1, "price": -0.5}), request, pool).tolist() == [-0.5, 0.0]


def test_column_that_tells_nothing_leaves_a_product_to_the_others():
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{1: 1.0, 2: 1.0, 3: 1.0}], "b": [{1: 4.0, 2: 2.0, 3: 0.0}]})
    ranked = rank(Weighted(weights={"a": 1, "b": 1}, combine="product"), request, pool)
    np.testing.assert_allclose(ranked, [1.0, math.sqrt(0.5), 0.0], rtol=1e-6)


def test_negative_values_count_as_0_in_a_product():
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [{1: 4.0, 2: -4.0}]})
    assert rank(Weighted(weights={"a": 2}, scale="none", combine="product"), request, pool).tolist() == [4.0, 0.0]


def test_largest_numbers_stay_finite():
    request = request_for(DATA, [0])
    pool = pool_of(request, {"a": [dict.fromkeys(range(3), 1.0)]})
    for column in ([1e300, -1e300, 5e-324], [1e308, 1e-200, 0.0], [np.nan, 1e-300, 2e-300]):
        priced = replace(pool, features={"price": np.array(column)})
        for scale in SCALES:
            for weight in (1e6, -1e6):
                assert np.isfinite(rank(Weighted(weights={"price": weight}, scale=scale), request, priced)).all()


@pytest.mark.parametrize("scale", SCALES)
def test_empty_pools(scale):
    weighted = Weighted(weights={"a": 1, "score": 1}, scale=scale)
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert rank(weighted, request, pool_of(request, {"a": [{}, {}]})).shape == (0,)
    assert rank(weighted, request, pool_of(request, {"a": [{}, {3: 1.0}]})).shape == (1,)
    assert rank(weighted, nobody, pool_of(nobody, {"a": []})).shape == (0,)


def test_wrong_columns_are_named_even_for_nobody():
    nobody = request_for(DATA, [])
    pool = pool_of(nobody, {"latent": []}).with_score("mixed", np.empty(0, np.float32))
    pool = replace(pool, features={**pool.features, "genre": np.empty(0, "U4")})
    with pytest.raises(ConfigError, match=r"'mixd', which is .* score, mixed, genre, latent; did you mean 'mixed'"):
        rank(Weighted(weights={"latent": 1, "mixd": 1}), nobody, pool)
    with pytest.raises(ConfigError, match=r"'zzz', .* score, mixed, genre, latent; name one of these"):
        rank(Weighted(weights={"zzz": 1}), nobody, pool)
    with pytest.raises(ConfigError, match="'genre', which holds texts; it needs a column of numbers or flags"):
        rank(Weighted(weights={"genre": 1}), nobody, pool)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": {}}, "at least one column a weight other than 0"),
        ({"weights": {"a": 0}}, "at least one column a weight other than 0"),
        ({"weights": {"a": 1e7}}, "weights.a must be at most 1000000"),
        ({"weights": {"a": 1, "b": -1}, "combine": "product"}, "takes no negative weight, as b has"),
        ({"weights": {"a": 1}, "combine": "product", "scale": "standardised"}, "take min_max, rank or none"),
        ({"weights": {"a": 1}, "scale": "zscore"}, "scale must be one of"),
    ],
)
def test_wrong_parameters(given, message):
    with pytest.raises(ValueError, match=message):
        Weighted(**given)


def test_yaml_reads_as_written():
    problems: list[Any] = []
    root = read_text("{weights: {mixed: 0.7, price: -1}, scale: rank}", "music.yaml")
    made = build(Weighted, root, where="all", problems=problems)
    assert made == Weighted(weights={"mixed": 0.7, "price": -1.0}, scale="rank")
    assert problems == []


def test_pipeline_combines_earlier_rankers_and_refuses_strangers(music_text: str):
    text = music_text.replace("filters:\n", "  - {id: all, use: weighted, with: {weights: WEIGHTS}}\nfilters:\n")
    model = Pipeline.from_text(text.replace("WEIGHTS", "{mixed: 0.7, similar: 0.2, trending: 0.1}")).fit()
    together = model.recommend(["u1", "u2", "nobody"])
    alone = [model.recommend([user]) for user in ("u1", "u2", "nobody")]
    assert together.score.tobytes() == b"".join(slate.score.tobytes() for slate in alone)
    with pytest.raises(ConfigError, match=r"rank.all \(weighted of .*'mixt', which.*did you mean 'mixed'"):
        Pipeline.from_text(text.replace("WEIGHTS", "{mixt: 0.7}")).fit()


def test_hook_names_the_ranker():
    assert list(nbarec_rankers()) == [Weighted]
