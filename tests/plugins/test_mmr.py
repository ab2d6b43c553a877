"""Maximal marginal relevance against a slow loop over entries."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.data import Dataset
from nbarec.params import StageRef
from nbarec.testing.worlds import pool_of, request_for, sorted_by_score
from nbarec_plugins.greedy_order import GreedyState
from nbarec_plugins.mmr import Mmr, nbarec_post_filters

N_ITEMS = 12
WORLD = Dataset.from_arrays(["u"] * N_ITEMS, np.arange(N_ITEMS))
BY_VECTORS = GreedyState(None)


def scored_pool(request: Request, rows: list[dict[int, float]], vectors: np.ndarray) -> Pool:
    pool = pool_of(request, {"given": rows})
    pool = sorted_by_score(pool.with_score("given", pool.scores[:, 0]))
    return replace(pool, vectors={"given": vectors.astype(np.float32)})


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / lengths if lengths else 0.0


def slow_mmr(items: list[int], scores: list[float], vectors: np.ndarray, spread: Mmr, k: int) -> list[int]:
    """The items of one row in their new order."""
    window, rest = items[: spread.among], items[spread.among :]
    low, high = min(scores[: spread.among]), max(scores[: spread.among])
    relevance = {i: (s - low) / (high - low) if high > low else 1.0 for i, s in zip(window, scores, strict=False)}
    left, picked = list(window), list[int]()
    while left and len(picked) < 2 * k:
        gains = []
        for i in left:
            redundant = max((cosine(vectors[i], vectors[j]) for j in picked), default=0.0)
            gains.append(spread.relevance * relevance[i] - (1 - spread.relevance) * redundant)
        best = next(place for place, gain in enumerate(gains) if gain >= max(gains) - 1e-9)
        picked.append(left.pop(best))
    return picked + left + rest


rows = st.lists(st.dictionaries(st.integers(0, N_ITEMS - 1), st.sampled_from([0.0, 0.5, 0.75, 2.0])), max_size=5)
weights = st.sampled_from([0.0, 0.2, 0.5, 0.8, 0.99])


@given(rows, st.integers(0, 10**6), weights, st.integers(1, 13), st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_each_place_goes_to_the_greatest_marginal_relevance(drawn, seed, relevance, among, k):
    vectors = np.random.default_rng(seed).integers(-2, 3, size=(N_ITEMS, 3)).astype(float)
    request = request_for(WORLD, [0] * len(drawn), k=k)
    pool = scored_pool(request, drawn, vectors)
    spread = Mmr(relevance=relevance, vectors=StageRef("given"), among=among)
    order = spread.select(BY_VECTORS, request, pool)
    for start, end in zip(pool.indptr[:-1], pool.indptr[1:], strict=True):
        items, scores = pool.item[start:end].tolist(), pool.score[start:end].tolist()
        expected = slow_mmr(items, scores, vectors, spread, k) if items else []
        assert pool.item[order[start:end]].tolist() == expected


def test_lower_relevance_gives_less_alike_and_less_relevant_slates() -> None:
    rng = np.random.default_rng(5)
    data = Dataset.from_arrays(["u"] * 200, np.arange(200))
    request = request_for(data, [0] * 20, k=8)
    vectors = rng.normal(size=(200, 6)) + 3 * np.eye(6)[rng.integers(6, size=200)]
    # Each row likes one direction, so that its best items are alike.
    liked = vectors @ rng.normal(size=(6, 20))
    pool = scored_pool(request, [dict(enumerate(liked[:, row])) for row in range(20)], vectors)
    unlike, score = [], []
    for relevance in (1.0, 0.8, 0.5, 0.2):
        order = Mmr(relevance=relevance, vectors=StageRef("given")).select(BY_VECTORS, request, pool)
        chosen = order[pool.indptr[:-1, None] + np.arange(8)]
        unit = vectors[pool.item[chosen]] / np.linalg.norm(vectors[pool.item[chosen]], axis=2, keepdims=True)
        unlike.append(float(1 - ((unit.sum(axis=1) ** 2).sum(axis=1).mean() - 8) / 56))
        score.append(float(pool.score[chosen].mean()))
    assert all(more > less + 0.02 for less, more in pairwise(unlike))
    assert all(less < more for more, less in pairwise(score))


class Exactly(Mmr):
    """The same without the quick way."""

    def fill(self, order, rows, space, pool, most):
        return rows


def scored_world(vectors: np.ndarray, seed: int, rows: int = 40) -> tuple[Request, Pool]:
    """Rows of all items, with scores and vectors from few enough values that some are equal."""
    rng = np.random.default_rng(seed)
    data = Dataset.from_arrays(["u"] * len(vectors), np.arange(len(vectors)))
    request = request_for(data, [0] * rows, k=10)
    scores = rng.integers(0, 200, size=(rows, len(vectors))) / 7
    return request, scored_pool(request, [dict(enumerate(row.tolist())) for row in scores], vectors)


@pytest.mark.parametrize("relevance", [0.0, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("factors", [1, 3, 64])
def test_the_quick_way_gives_the_picks_of_the_exact_one(relevance: float, factors: int) -> None:
    vectors = np.random.default_rng(factors).normal(size=(60, factors))
    vectors[5:9] = vectors[0]  # copies: ties wherever their scores are equal
    vectors[20:24] = 0
    request, pool = scored_world(vectors, 1)
    quick, exact = (kind(relevance=relevance, vectors=StageRef("given"), among=50) for kind in (Mmr, Exactly))
    np.testing.assert_array_equal(quick.select(BY_VECTORS, request, pool), exact.select(BY_VECTORS, request, pool))


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e-15, 1e15, 1e30])
def test_vectors_may_have_any_length(size: float) -> None:
    vectors = np.random.default_rng(2).normal(size=(60, 8)).astype(np.float32)
    vectors[::7] *= np.float32(size)
    vectors[3::7] = 0
    request, pool = scored_world(vectors, 2)
    quick, exact = (kind(relevance=0.3, vectors=StageRef("given")) for kind in (Mmr, Exactly))
    np.testing.assert_array_equal(quick.select(BY_VECTORS, request, pool), exact.select(BY_VECTORS, request, pool))


def test_what_float32_can_not_tell_apart_is_told_exactly() -> None:
    # Ten thousand times in a row, two entries follow the best: equally good, and as unlike it but for 1e-8.
    angle = np.array([0.0, 1.0, 1.0 + 1e-7])
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    vectors = np.concatenate([vectors, vectors[[0, 2, 1]]])
    request = request_for(WORLD, [0, 0], k=2)
    pool = scored_pool(request, [{0: 2.0, 1: 1.0, 2: 1.0}, {3: 2.0, 4: 1.0, 5: 1.0}], vectors)
    order = Mmr(relevance=0.5, vectors=StageRef("given")).select(BY_VECTORS, request, pool)
    assert pool.item[order].tolist() == [0, 2, 1, 3, 4, 5]


def test_most_rows_are_decided_quickly() -> None:
    vectors = np.random.default_rng(3).normal(size=(60, 16))
    request, pool = scored_world(vectors, 3)
    pool = replace(pool, score=np.random.default_rng(4).random(len(pool), np.float32))
    pool = sorted_by_score(pool)
    spread = Mmr(vectors=StageRef("given"))
    order, rows = np.arange(len(pool)), np.arange(40)
    left = spread.fill(order, rows, spread.space(BY_VECTORS, pool), pool, 20)
    assert len(left) < 10
    done = np.setdiff1d(rows, left)
    exact = Exactly(vectors=StageRef("given")).select(BY_VECTORS, request, pool)
    np.testing.assert_array_equal(order.reshape(40, 60)[done], exact.reshape(40, 60)[done])


@pytest.mark.parametrize("relevance", [-0.1, 1.1])
def test_relevance_is_a_share(relevance: float) -> None:
    with pytest.raises(ValueError, match="relevance must be at"):
        Mmr(relevance=relevance)


def test_the_module_registers_it() -> None:
    assert nbarec_post_filters() == [Mmr]
    assert Mmr.name == "mmr"
