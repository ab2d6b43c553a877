"""The determinantal process against determinants of the whole kernel, computed anew for every entry."""

from __future__ import annotations

import math
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
from nbarec_plugins.dpp import Dpp, nbarec_post_filters
from nbarec_plugins.greedy_order import GreedyState

N_ITEMS = 12
WORLD = Dataset.from_arrays(["u"] * N_ITEMS, np.arange(N_ITEMS))
BY_VECTORS = GreedyState(None)
GIVEN = StageRef("given")


def scored_pool(request: Request, rows: list[dict[int, float]], vectors: np.ndarray) -> Pool:
    pool = pool_of(request, {"given": rows})
    pool = sorted_by_score(pool.with_score("given", pool.scores[:, 0]))
    return replace(pool, vectors={"given": vectors.astype(np.float32)})


def ordered(vectors: object, score: list[float], k: int = 10, **parameters: float) -> list[int]:
    """The items of one row with these vectors and scores, in their new order."""
    request = request_for(WORLD, [0], k=k)
    pool = scored_pool(request, [dict(enumerate(score))], np.array(vectors, float))
    return pool.item[Dpp(vectors=GIVEN, **parameters).select(BY_VECTORS, request, pool)].tolist()


def similarity(vectors: np.ndarray) -> np.ndarray:
    """(1 + cosine) / 2, where a zero vector is orthogonal to all but itself."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape), where=length > 0)
    alike = (1 + unit @ unit.T) / 2
    np.fill_diagonal(alike, 1.0)
    return alike


def slow_dpp(items: list[int], scores: list[float], vectors: np.ndarray, spread: Dpp, k: int) -> list[int]:
    """The items of one row in their new order, by dense determinants of L."""
    window, rest = items[: spread.among], items[spread.among :]
    score = np.array(scores[: spread.among])
    span = score.max() - score.min()
    scaled = (score - score.min()) / span if span else np.ones(len(score))
    quality = np.exp(spread.relevance / (2 * (1 - spread.relevance)) * scaled)
    alike = similarity(vectors[window])
    kernel = quality[:, None] * alike * quality
    left, picked = list(range(len(window))), list[int]()
    while left and len(picked) < 2 * k:
        before = [np.linalg.det(matrix[np.ix_(picked, picked)]) if picked else 1.0 for matrix in (kernel, alike)]
        gains = []
        for i in left:
            chosen = np.ix_([*picked, i], [*picked, i])
            grows = np.linalg.det(alike[chosen]) / before[1] > 1e-6
            log = math.log(np.linalg.det(kernel[chosen]) / before[0]) if grows else -math.inf
            gains.append((1 - spread.relevance) * log)
        if max(gains) == -math.inf:
            break
        picked.append(left.pop(next(at for at, gain in enumerate(gains) if gain >= max(gains) - 1e-9)))
    return [window[at] for at in picked + left] + rest


rows = st.lists(st.dictionaries(st.integers(0, N_ITEMS - 1), st.sampled_from([0.0, 0.5, 0.75, 2.0])), max_size=5)


@given(
    rows,
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 0.6, 0.8, 0.9]),
    st.integers(1, 13),
    st.integers(1, 7),
    st.integers(1, 5),
)
@settings(max_examples=200, deadline=None)
def test_each_place_goes_to_the_greatest_determinant(drawn, seed, relevance, among, k, dimensions):
    vectors = np.random.default_rng(seed).integers(-2, 3, size=(N_ITEMS, dimensions)).astype(float)
    request = request_for(WORLD, [0] * len(drawn), k=k)
    pool = scored_pool(request, drawn, vectors)
    spread = Dpp(relevance=relevance, vectors=GIVEN, among=among)
    order = spread.select(BY_VECTORS, request, pool)
    for start, end in zip(pool.indptr[:-1], pool.indptr[1:], strict=True):
        items, scores = pool.item[start:end].tolist(), pool.score[start:end].tolist()
        expected = slow_dpp(items, scores, vectors, spread, k) if items else []
        assert pool.item[order[start:end]].tolist() == expected


def test_copies_wait_until_nothing_else_is_left_and_then_keep_their_order() -> None:
    vectors = [[1, 0], [2, 0], [1, 0], [1, 1], [0, 0], [0, 3], [0, 1]]
    # In two dimensions, and the mapped cosine's third, 0, 5 and 3 leave nothing of the others but item 4, of which
    # nothing is known.
    found = ordered(vectors, [7, 6, 5, 4, 3, 2, 1], relevance=0.5)
    assert sorted(found[:4]) == [0, 3, 4, 5]
    assert found[4:] == [1, 2, 6]


def test_an_opposite_vector_is_the_least_alike() -> None:
    assert ordered([[1, 0], [1, 0.1], [0, 1], [-1, 0]], [4, 3, 2, 1], relevance=0.2)[:2] == [0, 3]


@pytest.mark.parametrize("relevance", [0.999999, 1 - 1e-15])
def test_a_relevance_close_to_1_neither_overflows_nor_changes_the_order(relevance: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(N_ITEMS, 20))
    assert ordered(vectors, [*range(N_ITEMS, 0, -1)], relevance=relevance) == [*range(N_ITEMS)]


def test_lower_relevance_gives_less_alike_and_less_relevant_slates() -> None:
    rng = np.random.default_rng(5)
    data = Dataset.from_arrays(["u"] * 200, np.arange(200))
    request = request_for(data, [0] * 20, k=8)
    vectors = rng.normal(size=(200, 16)) + 3 * np.eye(16)[rng.integers(6, size=200)]
    # Each row likes one direction, so that its best items are alike.
    liked = vectors @ rng.normal(size=(16, 20))
    pool = scored_pool(request, [dict(enumerate(liked[:, row])) for row in range(20)], vectors)
    unlike, score = [], []
    for relevance in (1.0, 0.8, 0.5, 0.2):
        order = Dpp(relevance=relevance, vectors=GIVEN).select(BY_VECTORS, request, pool)
        chosen = order[pool.indptr[:-1, None] + np.arange(8)]
        unit = vectors[pool.item[chosen]] / np.linalg.norm(vectors[pool.item[chosen]], axis=2, keepdims=True)
        unlike.append(float(1 - ((unit.sum(axis=1) ** 2).sum(axis=1).mean() - 8) / 56))
        score.append(float(pool.score[chosen].mean()))
    assert all(more > less + 0.02 for less, more in pairwise(unlike))
    assert all(less < more for more, less in pairwise(score))


def test_the_module_registers_it() -> None:
    assert nbarec_post_filters() == [Dpp]
    assert Dpp.name == "dpp"
