"""Novelty, popularity penalty and recency against one row at a time, written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec.batch import Pool, Request
from nbarec.components import Ranker
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.joining import join_datasets
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.tables import MISSING_DATE, DateColumn
from nbarec.testing.worlds import DAY, NOON, pool_of, request_for, tiny_world
from nbarec_plugins.adjust import Novelty, PopularityPenalty, Recency, nbarec_rankers
from nbarec_plugins.metrics import Novelty as NoveltyMetric
from nbarec_plugins.metrics import users_of_items

DATA = tiny_world()
HAVING = [2, 1, 1, 1, 1, 1, 0, 1]  # users with an event of each song, of the four who have any
RELEASED = [10, 400, 20, 30, 5, 60, None, 700]  # in days before NOON

scores = st.integers(-80, 80).map(lambda eighths: eighths / 8)
rows = st.lists(
    st.tuples(st.integers(-1, 4), st.dictionaries(st.integers(0, 7), scores, max_size=8)), min_size=1, max_size=6
)
tenths = st.integers(0, 10).map(lambda number: number / 10)
rankers = st.one_of(
    st.builds(Novelty, weight=tenths),
    st.builds(PopularityPenalty, power=st.floats(0, 4, width=16)),
    st.builds(Recency, weight=tenths, half_life=st.sampled_from(["1s", "7d", "300d"]), missing=tenths),
)
neutral = st.sampled_from([Novelty(weight=0), PopularityPenalty(power=0), Recency(weight=0)])


def batch(drawn: list[tuple[int, dict[int, float]]], now: int = NOON) -> tuple[Request, Pool]:
    request = request_for(DATA, [user for user, _ in drawn], now=now)
    pool = pool_of(request, {"latent": [given for _, given in drawn]})
    return request, replace(pool, score=pool.scores[:, 0])


def rank(ranker: Ranker[Any], request: Request, pool: Pool, data: Dataset = DATA) -> np.ndarray:
    return ranker.rank(ranker.fit(data, np.random.default_rng(0)), request, pool)


def slow_min_max(values: dict[int, float], flat: float) -> dict[int, float]:
    low, high = min(values.values(), default=0), max(values.values(), default=0)
    return {item: flat if low == high else (value - low) / (high - low) for item, value in values.items()}


def assert_ranks(ranker: Ranker[Any], drawn: list, slow_row: Callable[[dict[int, float]], dict[int, float]]) -> None:
    expected = [slow_row(dict(sorted(given_scores.items()))) for _, given_scores in drawn]
    ranked = rank(ranker, *batch(drawn))
    assert ranked.dtype == np.float32
    np.testing.assert_allclose(ranked, [s for row in expected for s in row.values()], rtol=1e-5, atol=1e-6)


@given(rows, tenths)
@settings(max_examples=60, deadline=None)
def test_novelty_is_the_mean_of_scaled_score_and_self_information(drawn, weight):
    def slow_row(given_scores: dict[int, float]) -> dict[int, float]:
        bits = slow_min_max({item: -math.log2(max(HAVING[item], 1) / 4) for item in given_scores}, 0.0)
        relevance = slow_min_max(given_scores, 0.0)
        return {item: (1 - weight) * relevance[item] + weight * bits[item] for item in given_scores}

    assert_ranks(Novelty(weight=weight), drawn, slow_row)


@given(rows, st.sampled_from([0.0, 0.5, 1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_penalty_divides_by_the_power_of_relative_popularity(drawn, power):
    def slow_row(given_scores: dict[int, float]) -> dict[int, float]:
        share = {item: max(HAVING[item], 1) / 4 for item in given_scores}
        most = max(share.values(), default=1)
        return {item: s / (share[item] / most) ** power for item, s in slow_min_max(given_scores, 1.0).items()}

    assert_ranks(PopularityPenalty(power=power), drawn, slow_row)


@given(rows, tenths, tenths, st.sampled_from([1, 7, 300]))
@settings(max_examples=60, deadline=None)
def test_recency_is_the_mean_of_scaled_score_and_freshness(drawn, weight, missing, days):
    def freshness(item: int) -> float:
        released = RELEASED[item]
        return missing if released is None else 2 ** (-released / days)

    def slow_row(given_scores: dict[int, float]) -> dict[int, float]:
        relevance = slow_min_max(given_scores, 0.0)
        return {item: (1 - weight) * relevance[item] + weight * freshness(item) for item in given_scores}

    assert_ranks(Recency(weight=weight, missing=missing, half_life=f"{days}d"), drawn, slow_row)


@given(rows, neutral)
@settings(max_examples=50, deadline=None)
def test_weight_0_keeps_the_order(drawn, ranker):
    request, pool = batch(drawn)
    ranked = rank(ranker, request, pool)
    same_row = pool.row[:, None] == pool.row[None]
    assert (
        (np.sign(pool.score[:, None] - pool.score[None]) == np.sign(ranked[:, None] - ranked[None]))[same_row]
    ).all()


@given(rows, rankers, st.randoms())
@settings(max_examples=100, deadline=None)
def test_one_user_and_any_order_give_the_same_finite_bits(drawn, ranker, random):
    request, pool = batch(drawn)
    together = rank(ranker, request, pool)
    assert np.isfinite(together).all()
    alone = [rank(ranker, *batch([row])) for row in drawn]
    assert together.tobytes() == np.concatenate(alone).tobytes()
    shuffled = np.array(sorted(range(len(pool)), key=lambda at: (pool.row[at], random.random())), np.int64)
    assert rank(ranker, request, pool.take(shuffled)).tobytes() == together[shuffled].tobytes()


@pytest.mark.parametrize("ranker", [Novelty(), PopularityPenalty(), Recency()])
def test_empty_pools(ranker):
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert rank(ranker, request, pool_of(request, {"a": [{}, {}]})).shape == (0,)
    assert rank(ranker, request, pool_of(request, {"a": [{}, {3: 1.0}]})).shape == (1,)
    assert rank(ranker, nobody, pool_of(nobody, {})).shape == (0,)


def test_novelty_is_what_the_metric_measures():
    request = request_for(DATA, [0])
    slate = type("Slate", (), {"item": np.arange(8)[:, None]})()
    measured = NoveltyMetric().per_user(slate, request.excluded, DATA)
    np.testing.assert_array_equal(Novelty().fit(DATA, np.random.default_rng(0)).bits, measured)


def test_a_skip_and_a_second_play_make_one_user_each():
    having, users = users_of_items(DATA)
    assert having.tolist() == [max(count, 1) for count in HAVING]
    assert users == 4


def test_data_without_events_rank_by_score():
    silent = DATA.with_events(DATA.events.take_rows(np.full(5, -1)))
    request, pool = batch([(0, {0: 2.0, 1: 4.0, 6: 3.0})])
    for ranker in (Novelty(weight=0.5), PopularityPenalty(power=2)):
        assert np.argsort(rank(ranker, request, pool, silent)).tolist() == [0, 2, 1]


def test_penalty_decides_where_scores_are_the_same_and_never_lifts_the_last():
    request, pool = batch([(0, {0: 1.0, 3: 1.0}), (0, {0: 1.0, 3: 0.9})])
    assert rank(PopularityPenalty(power=1), request, pool).tolist() == [1.0, 2.0, 1.0, 0.0]


def test_dates_to_come_are_new_and_far_ones_are_finite():
    far = np.array([NOON + 9 * DAY, NOON, -(2**62), 2**62, MISSING_DATE, MISSING_DATE, 0, 0])
    data = replace(DATA, catalog=replace(DATA.catalog, columns={"out": DateColumn(far)}))
    request = request_for(data, [0])
    pool = pool_of(request, {"a": [dict.fromkeys(range(5), 1.0)]})
    ranked = rank(Recency(weight=1, missing=0.25, half_life="1s"), request, pool, data)
    assert ranked.tolist() == [1.0, 1.0, 0.0, 1.0, 0.25]


def test_age_counts_from_the_request():
    request, pool = batch([(0, {4: 1.0})], now=NOON + 5 * DAY)
    assert rank(Recency(weight=1, half_life="10d"), request, pool).tolist() == [0.5]


@pytest.mark.parametrize("by", ["released", "item.released", None])
def test_date_column_by_any_name(by):
    request, pool = batch([(0, {0: 1.0})])
    assert rank(Recency(by, weight=1, half_life="10d"), request, pool).tolist() == [0.5]


def test_wrong_date_columns_are_told_at_fit():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"`by: item.relased`, but there is no column 'relased'; .* are: released"):
        Recency("item.relased").fit(DATA, rng)
    with pytest.raises(ConfigError, match="`by: tempo`, but 'tempo' holds no dates; the date columns are: released"):
        Recency("tempo").fit(DATA, rng)
    dates = dict.fromkeys(("released", "added"), DATA.catalog.columns["released"])
    two = replace(DATA, catalog=replace(DATA.catalog, columns=dates))
    with pytest.raises(ConfigError, match="the date columns are: released, added; name one in `by`"):
        Recency().fit(two, rng)
    with pytest.raises(ConfigError, match="the date columns are: none; give the catalogue one"):
        Recency().fit(replace(DATA, catalog=replace(DATA.catalog, columns={})), rng)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Novelty(weight=1.1), "weight must be at most 1, not 1.1"),
        (lambda: PopularityPenalty(power=-1), "power must be at least 0"),
        (lambda: Recency(half_life="0s"), "half_life must be at least 1s"),
        (lambda: Recency(missing=2), "missing must be at most 1"),
    ],
)
def test_wrong_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("ranker", [Novelty(), PopularityPenalty()])
def test_update_equals_a_refit(ranker):
    rng = np.random.default_rng(0)
    before = DATA.with_events(DATA.events.at(np.arange(3), row_pointers(np.array([3, 0, 0, 0, 0]))))
    new = Dataset.from_arrays(["eve", "eve", "fay"], ["s0", "s9", "s3"], time=[NOON, NOON, NOON])
    joined, aligned = join_datasets(before, new)
    updated = ranker.update(ranker.fit(before, rng), joined, aligned)
    refitted = ranker.fit(joined, rng)
    (name,) = vars(refitted)
    assert len(getattr(refitted, name)) == 9
    assert getattr(updated, name).tobytes() == getattr(refitted, name).tobytes()


def test_pipeline_saves_and_loads(music_text: str, tmp_path: Path):
    stages = [{"use": "novelty"}, {"use": "popularity_penalty"}, {"use": "recency", "with": {"by": "released"}}]
    added = "".join(f"  - {stage}\n".replace("'", "") for stage in stages)
    model = Pipeline.from_text(music_text.replace("filters:\n", added + "filters:\n")).fit()
    again = load_model(model.save(tmp_path / "model"))
    users = ["u1", "u2", "nobody"]
    assert again.recommend(users).item.tolist() == model.recommend(users).item.tolist()
    assert again.recommend(users).score.tobytes() == model.recommend(users).score.tobytes()


def test_hook_names_the_rankers():
    assert list(nbarec_rankers()) == [Novelty, PopularityPenalty, Recency]
