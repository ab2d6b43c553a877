"""The stack against one entry at a time, and in a world where it is known who is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example
from nbarec.contracts import check_terms
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import pool_of, request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins.blend import Blend
from nbarec_plugins.stack import Stack, StackState, nbarec_rankers

DATA = tiny_world()
SOURCES = ("latent", "alike", "trending")
ALL: Any = ("scores", "ranks", "agreement")
STACKS = (
    Stack(),
    Stack(features=ALL),
    Stack(method="logistic", features=ALL, k=3),
    Stack(method="logistic", features=ALL, negative=True),
)

scores = st.integers(-80, 80).map(lambda eighths: eighths / 8)
lists = st.dictionaries(st.integers(0, 7), scores, max_size=8)
rows = st.lists(st.tuples(st.integers(-1, 4), st.tuples(lists, lists, lists)), min_size=1, max_size=5)
weights = st.dictionaries(
    st.sampled_from([*(f"{one}.{what}" for one in SOURCES for what in ("score", "rank")), "agreement"]),
    st.floats(-4, 4, width=16),
    min_size=1,
)


def batch(drawn: list[tuple[int, tuple[dict[int, float], ...]]]) -> tuple[Request, Pool]:
    request = request_for(DATA, [user for user, _ in drawn])
    return request, pool_of(request, {source: [given[at] for _, given in drawn] for at, source in enumerate(SOURCES)})


def slow_features(given: Mapping[str, Mapping[int, float]], item: int, k: float) -> dict[str, float]:
    """Everything that is told of one item for one user."""
    found = {}
    for source, listed in given.items():
        low, high = (min(listed.values()), max(listed.values())) if listed else (0.0, 0.0)
        if low == high:
            found[f"{source}.score"] = float(item in listed)
        else:
            mean = math.fsum(listed.values()) / len(listed)
            spread = math.sqrt(math.fsum((s - mean) ** 2 for s in listed.values()) / len(listed))
            found[f"{source}.score"] = (listed.get(item, low) - mean) / spread
        rank = sorted(listed, key=lambda i: (-listed[i], i)).index(item) + 1 if item in listed else math.inf
        found[f"{source}.rank"] = (k + 1) / (k + rank)
    return {**found, "agreement": sum(item in listed for listed in given.values()) / len(given)}


@given(rows, weights, st.floats(-2, 2), st.sampled_from([0.0, 60.0]))
@settings(max_examples=80, deadline=None)
def test_is_the_weighted_sum_of_one_entry_at_a_time(drawn: Any, weighed: Any, base: float, k: float) -> None:
    request, pool = batch(drawn)
    stack, state = Stack(features=ALL, k=k), StackState(weighed, base)
    expected = []
    for row, item in zip(pool.row.tolist(), pool.item.tolist(), strict=True):
        found = slow_features(dict(zip(SOURCES, drawn[row][1], strict=True)), item, k)
        expected.append(base + sum(weight * found[name] for name, weight in weighed.items()))
    ranked = stack.rank(state, request, pool)
    np.testing.assert_allclose(ranked, expected, rtol=1e-5, atol=1e-4)
    terms = stack.terms(state, request, pool)
    assert terms is not None
    check_terms("stack", terms, ranked)
    assert set(terms) == {*(f"{one}.{what}" for one in SOURCES for what in ("score", "rank")), "agreement"} | (
        {"base"} if base else set()
    )


@given(rows)
@settings(max_examples=30, deadline=None)
def test_before_anything_is_learnt_it_is_the_plain_sum_of_standardised_scores(drawn: Any) -> None:
    request, pool = batch(drawn)
    blend = Blend(method="standardised")
    for stack in STACKS:
        state = stack.fit(DATA, np.random.default_rng(0))
        np.testing.assert_array_equal(
            stack.rank(state, request, pool),
            blend.rank(blend.fit(DATA, np.random.default_rng(0)), request, pool),
        )


def planted(users: int = 400, seed: int = 1) -> Example:
    """The world of 300 items in which `right` and `half` see the taste of a user through noise, half as well the
    latter, and `noise` sees nothing of it. A user chooses 5 of the 20 items that suit his taste best."""
    rng = np.random.default_rng(seed)
    world = Dataset.from_arrays([f"u{n}" for n in range(users)], [f"s{n % 300:03}" for n in range(users)])
    request = request_for(world)
    taste = rng.normal(size=(users, 300))
    chosen = np.argsort(-taste, axis=1)[:, :20]
    seen = {
        "right": taste + rng.normal(size=taste.shape),
        "half": taste + 2 * rng.normal(size=taste.shape),
        "noise": rng.normal(size=taste.shape),
    }
    proposed = {}
    for source, score in seen.items():
        best = np.argsort(-score, axis=1)[:, :60]
        proposed[source] = [
            dict(zip(at.tolist(), own[at].tolist(), strict=True)) for at, own in zip(best, score, strict=True)
        ]
    pool = pool_of(request, proposed)
    likes = np.zeros(taste.shape, bool)
    np.put_along_axis(likes, rng.permuted(chosen, axis=1)[:, :5], True, axis=1)
    return Example(request, pool, frozen(likes[pool.row, pool.item].astype(np.float32)))


@pytest.fixture(scope="module")
def world() -> Example:
    return planted()


@pytest.mark.parametrize("method", ["nnls", "logistic"])
def test_noise_weighs_nothing_and_the_better_generator_more(method: Any, world: Example) -> None:
    state = Stack(method=method).learn([world], DATA, np.random.default_rng(0))
    assert state.weights["right.score"] > 1.3 * state.weights["half.score"] > 0
    assert state.weights["noise.score"] < 0.02 * state.weights["right.score"]
    assert (state.users, state.entries, state.chosen) == (400, len(world.pool), int(world.label.sum()))


@pytest.mark.parametrize("method", ["nnls", "logistic"])
def test_learnt_weights_find_more_than_equal_ones(method: Any, world: Example) -> None:
    other, stack = planted(seed=2), Stack(method=method)
    learnt = stack.learn([world], DATA, np.random.default_rng(0))
    assert found_in_ten(stack, learnt, other) > 1.15 * found_in_ten(stack, StackState({}), other)


def found_in_ten(stack: Stack, state: StackState, example: Example) -> float:
    """How many of a user's first ten he chose."""
    pool = example.pool
    order = np.lexsort((-stack.rank(state, example.request, pool), pool.row))
    place = np.arange(len(pool)) - pool.indptr[pool.row[order]]
    return float(example.label[order][place < 10].sum()) / len(example.request)


def test_logistic_scores_are_log_odds(world: Example) -> None:
    stack = Stack(method="logistic", features=ALL)
    state = stack.learn([world], DATA, np.random.default_rng(0))
    chance = 1 / (1 + np.exp(-stack.rank(state, world.request, world.pool).astype(np.float64)))
    assert chance.sum() == pytest.approx(world.label.sum(), rel=1e-3)
    sure = chance > np.quantile(chance, 0.99)
    assert chance[sure].mean() == pytest.approx(world.label[sure].mean(), abs=0.1)


@pytest.mark.parametrize("stack", STACKS)
def test_what_teaches_nothing_leaves_all_generators_alike(stack: Stack) -> None:
    request, pool = batch([(0, ({3: 1.0, 4: 0.5}, {4: 2.0}, {}))])
    nothing, everything = np.zeros(2, np.float32), np.ones(2, np.float32)
    for examples in ([], [Example(request, pool, nothing)], [Example(request, pool, everything)]):
        assert stack.learn(examples, DATA, np.random.default_rng(0)) == StackState({})
    nobody = request_for(DATA, [])
    empty = Example(nobody, pool_of(nobody, {"a": []}), np.empty(0, np.float32))
    assert stack.learn([empty], DATA, np.random.default_rng(0)) == StackState({})


def test_a_generator_that_is_always_wrong_leaves_all_alike_too() -> None:
    request, pool = batch([(0, ({3: 1.0, 4: 0.5}, {}, {}))] * 5)
    wrong = Example(request, pool, np.tile([0, 1], 5).astype(np.float32))
    assert Stack().learn([wrong], DATA, np.random.default_rng(0)) == StackState({})
    free = Stack(method="logistic", negative=True).learn([wrong], DATA, np.random.default_rng(0))
    assert free.weights["latent.score"] < 0


def test_pools_without_generators() -> None:
    request = request_for(DATA, [0, 1])
    pool = pool_of(request, {})
    assert Stack().rank(StackState({}), request, pool).shape == (0,)
    assert Stack().terms(StackState({}), request, pool) is None


def test_too_many_examples_for_the_memory_are_refused(world: Example) -> None:
    with working(Work(memory=1 << 20)), pytest.raises(ConfigError, match=r"set held_out\.users to fewer users"):
        Stack().learn([world], DATA, np.random.default_rng(0))


def test_an_update_keeps_the_weights() -> None:
    state = StackState({"latent.score": 2.0})
    assert Stack().update(state, DATA, DATA) is state


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"features": ()}, "features must name at least one"),
        ({"features": ("places",)}, "features"),
        ({"negative": True}, "nnls has no weights below 0"),
        ({"ridge": 0}, "ridge must be more than 0"),
        ({"method": "least_squares"}, "method must be one of"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stack(**parameters)


@pytest.mark.parametrize("check", [one for stack in STACKS for one in checks(stack)], ids=lambda one: one.name)
def test_keeps_the_promises_of_a_ranker(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_hook_names_the_ranker() -> None:
    assert list(nbarec_rankers()) == [Stack]
