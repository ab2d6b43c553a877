"""The terms of every ranker: they add up to its score, and each is what its name says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import Ranker
from nbarec.contracts import check_terms
from nbarec.data import FLOAT32_LIMIT
from nbarec.explain import Explanation, Part, Step
from nbarec.expressions import Expression
from nbarec.model import Model
from nbarec.params import Duration
from nbarec.pipeline import Pipeline
from nbarec.plugins import registry
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec_plugins.adjust import Novelty, PopularityPenalty, Recency
from nbarec_plugins.blend import Blend, Case
from nbarec_plugins.boost import Boost
from nbarec_plugins.fm import Fm
from nbarec_plugins.gbdt import Gbdt
from nbarec_plugins.logistic import Logistic
from nbarec_plugins.multi import Multi
from nbarec_plugins.stack import Stack
from nbarec_plugins.weighted import Weighted

DATA = tiny_world()
MUSIC = Path(__file__).parents[2] / "configs" / "music.yaml"
MORE = """
  - {id: fewer, use: popularity_penalty, with: {power: 0.1}}
  - {id: newer, use: recency, with: {by: released, weight: 0.1}}
  - {id: both, use: weighted, with: {weights: {newer: 1.0, mixed: 0.5}}}
"""
RARE, CLEO = Expression("item.events < 2"), Expression("item.artist == 'cleo'")
CASES = (Case(RARE, {"alike": 3.0}), Case(Expression("user.events < 2"), {"latent": 2.0}))
COLUMNS = {"latent": 0.5, "alike": -2.0, "score": 1.5}
RANKERS: list[Ranker[Any]] = [
    Blend(),
    Blend(method="min_max", weights={"latent": 0.7}, cases=CASES),
    Blend(method="standardised", weights={"alike": 2.0, "latent": 0.5}, cases=CASES[:1]),
    Boost(where=CLEO, multiply=2.5),
    Boost(where=CLEO, multiply=1e-6),
    Boost(where=CLEO, add=40.0, max_share=0.1),
    Novelty(weight=0.3),
    PopularityPenalty(power=0.8),
    Recency(weight=0.25, half_life=Duration("20d"), missing=0.5),
    Stack(features=("scores", "ranks", "agreement")),
    Logistic(),
    Fm(),
    Gbdt(),
    *(Weighted(weights=COLUMNS, scale=scale) for scale in ("min_max", "standardised", "rank", "none")),
]
rankers = pytest.mark.parametrize("ranker", RANKERS, ids=lambda one: f"{one.name}{RANKERS.index(one)}")

scores = st.integers(-80, 80).map(lambda eighths: eighths / 8) | st.sampled_from([1e-30, 1e9, -3e38])
lists = st.dictionaries(st.integers(0, 7), scores, max_size=8)
rows = st.lists(st.tuples(st.integers(-1, 4), st.tuples(lists, lists)), min_size=1, max_size=5)


def batch(drawn: list[tuple[int, tuple[dict[int, float], dict[int, float]]]]) -> tuple[Request, Pool]:
    """The pool of two generators; its score is that of the second, where there is one."""
    request = request_for(DATA, [user for user, _ in drawn])
    pool = pool_of(request, {name: [lists[at] for _, lists in drawn] for at, name in enumerate(("latent", "alike"))})
    before = np.where(np.isnan(pool.scores[:, 1]), pool.score, pool.scores[:, 1])
    return request, replace(pool, score=before)


def told(ranker: Ranker[Any], request: Request, pool: Pool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The terms and the score."""
    state = ranker.fit(DATA, np.random.default_rng(0))
    terms, score = ranker.terms(state, request, pool), ranker.rank(state, request, pool)
    assert terms is not None
    check_terms("stage", terms, score)
    return dict(terms), score


def test_every_ranker_that_comes_along_is_here() -> None:
    there = {found.component for found in registry().registered if found.kind == "ranker"}
    assert there == {Multi, *(type(ranker) for ranker in RANKERS)}  # Multi has terms once it is taught: test_multi.py


@rankers
@settings(max_examples=40, deadline=None)
@given(drawn=rows)
def test_terms_add_up_and_depend_on_their_row_alone(ranker: Ranker[Any], drawn: Any) -> None:
    request, pool = batch(drawn)
    terms, score = told(ranker, request, pool)
    largest = np.zeros(len(request))
    np.maximum.at(largest, pool.row, np.abs(score.astype(np.float64)))
    away = np.abs(np.array(list(terms.values())).sum(axis=0) - score)
    assert (away <= 1e-6 * np.maximum(largest, 1e-30)[pool.row]).all()
    assert not any(values.flags.writeable for values in terms.values())
    alone = [told(ranker, *batch([row]))[0] for row in drawn]
    for name, values in terms.items():
        assert values.tobytes() == np.concatenate([one[name] for one in alone]).tobytes()


def scaled(values: list[float], flat: float) -> np.ndarray:
    low, high = min(values), max(values)
    return np.array([flat if low == high else (value - low) / (high - low) for value in values])


def of_both(latent: dict[int, float], alike: dict[int, float], user: int = 1) -> tuple[Request, Pool]:
    return batch([(user, (latent, alike))])


def test_blend_has_a_term_a_generator() -> None:
    request, pool = of_both({0: 4.0, 3: 2.0, 6: 1.0}, {6: 9.0, 0: 5.0})
    terms, _ = told(Blend(k=1, weights={"latent": 3.0}), request, pool)
    assert {name: values.tolist() for name, values in terms.items()} == {
        "latent": [3 / 2, 3 / 3, 3 / 4],
        "alike": [0.0, 0.0, 0.0],
    }
    cases = (Case(Expression("item.events < 1"), {"alike": 8.0}),)  # nobody played song 6
    terms, _ = told(Blend(k=1, weights={"latent": 3.0}, cases=cases), request, pool)
    assert {name: values.tolist() for name, values in terms.items()} == {
        "latent": [3 / 2, 3 / 3, 0.0],
        "alike": [0.0, 0.0, 4.0],
    }


def test_boost_tells_the_score_as_it_came_and_what_it_adds() -> None:
    request, pool = of_both({}, {5: 2.0, 0: 1.0, 7: -4.0})  # songs 5 and 7 are by cleo
    terms, _ = told(Boost(where=CLEO, multiply=4.0), request, pool)
    assert {name: values.tolist() for name, values in terms.items()} == {
        "score": [1.0, 2.0, -4.0],
        "boost": [0.0, 6.0, 3.0],
    }
    terms, _ = told(Boost(where=CLEO, add=-3.0), request, pool)
    assert terms["boost"].tolist() == [0.0, -3.0, -3.0]
    terms, score = told(Boost(where=CLEO, multiply=1e6), *of_both({}, {5: 3e38, 0: 1.0}))
    assert score[1] == np.float32(FLOAT32_LIMIT)  # beyond float32's range: what is added is what is left of it
    assert terms["boost"][1] == pytest.approx(FLOAT32_LIMIT - 3e38)


def test_adjustments_have_two_terms() -> None:
    """Song 0 has two of four users, song 3 one, and song 6 counts as if it had one: 1, 2 and 2 bits."""
    alike = {0: 5.0, 3: 4.0, 6: 1.0}
    request, pool = of_both({}, alike)
    s = scaled(list(alike.values()), 0.0)
    terms, _ = told(Novelty(weight=0.3), request, pool)
    np.testing.assert_allclose(terms["score"], 0.7 * s)
    np.testing.assert_allclose(terms["novelty"], [0.0, 0.3, 0.3])
    terms, _ = told(PopularityPenalty(power=2.0), request, pool)
    np.testing.assert_allclose(terms["score"], s)
    np.testing.assert_allclose(terms["rarity"], s * [0, 3, 3])
    terms, _ = told(Recency(weight=0.25, half_life=Duration("10d"), missing=0.5), request, pool)
    np.testing.assert_allclose(terms["score"], 0.75 * s)
    np.testing.assert_allclose(terms["freshness"], [0.25 / 2, 0.25 / 8, 0.25 / 2])


def test_weighted_has_a_term_a_column_of_a_sum_and_none_of_a_product() -> None:
    request, pool = of_both({0: 1.0, 3: 3.0, 5: 2.0}, {0: 8.0, 3: 4.0})
    terms, _ = told(Weighted(weights={"alike": -2.0, "latent": 0.5}), request, pool)
    assert {name: values.tolist() for name, values in terms.items()} == {
        "alike": [-2.0, 0.0, 0.0],
        "latent": [0.0, 0.5, 0.25],
    }
    product = Weighted(weights={"alike": 1.0, "latent": 0.5}, combine="product")
    assert product.terms(product.fit(DATA, np.random.default_rng(0)), request, pool) is None


def test_terms_of_a_sum_beyond_float32_are_scaled_down_with_it() -> None:
    request, pool = of_both({0: 3e38, 3: 1.0}, {0: 1e38, 3: 1.0})
    terms, score = told(Weighted(weights={"latent": 2.0, "alike": 2.0}, scale="none"), request, pool)
    assert score.tolist() == [FLOAT32_LIMIT, 4.0]
    np.testing.assert_allclose(terms["latent"], [0.75 * FLOAT32_LIMIT, 2.0], rtol=1e-6)


@rankers
def test_nothing_to_rank_has_no_terms_to_add(ranker: Ranker[Any]) -> None:
    for request, pool in (batch([]), of_both({}, {})):
        terms, score = told(ranker, request, pool)
        assert len(score) == 0
        assert all(len(values) == 0 for values in terms.values())


def test_a_blend_of_no_generator_has_no_terms() -> None:
    request = request_for(DATA, [0])
    assert Blend().terms(Blend().fit(DATA, np.random.default_rng(0)), request, pool_of(request, {})) is None


@pytest.fixture(scope="module")
def music() -> Model:
    """The shipped config, smaller, with the rankers that it has none of."""
    text = MUSIC.read_text("utf-8").replace("\nfilters:", f"{MORE}\nfilters:")
    return Pipeline.from_text(text).with_values({"data.users": 120, "data.songs": 90}).fit()


def ranked(explanations: tuple[tuple[Explanation, ...], ...]) -> Iterator[Step]:
    return (step for row in explanations for told in row for step in told.steps if step.step == "rank")


def total(parts: tuple[Part, ...]) -> float:
    return sum(part.amount for part in parts)


def test_every_number_of_a_pipeline_adds_up(music: Model) -> None:
    users = [*music.data.users.all()[:40], "stranger"]
    slate = music.recommend(users, explain=True, context={"hour": 12})
    expected = {"mixed", "engaged", "newcomers", "discovery", "fewer", "newer", "both"}
    assert {step.stage for step in ranked(slate.explanations)} == expected
    for step in ranked(slate.explanations):
        assert total(step.terms) == pytest.approx(step.score, abs=1e-6)
    for row, scores in zip(slate.explanations, slate.score, strict=True):
        for explained, score in zip(row, scores, strict=False):
            last = [step for step in explained.steps if step.step == "rank"][-1]
            assert total(last.terms) == pytest.approx(score, abs=1e-6)
    proposals = [one for row in slate.explanations for explained in row for one in explained.proposals]
    for one in proposals:
        if one.rest is not None:
            assert total(one.parts) + one.rest == pytest.approx(one.score, rel=1e-5, abs=1e-5)
    assert {one.stage for one in proposals if one.parts} >= {"latent", "alike"}
