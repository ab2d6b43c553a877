"""Figures of quality equal what slow and obvious loops give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench import quality
from bench.worlds import Shape, World, made
from nbarec.arrays import frozen
from nbarec.batch import Candidates
from nbarec.sparse import Csr


@pytest.fixture(scope="module")
def world() -> World:
    return made("small", Shape(users=60, items=50, events=900, tested=40))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_recall_and_ndcg_of_lists(world: World, rng: np.random.Generator) -> None:
    lists = np.stack([rng.permutation(world.items)[:20] for _ in world.tested])
    lists[::3, 12:] = -1
    recalls, gains = [], []
    for user, listed in zip(world.tested, lists, strict=True):
        held_out = set(world.test_item[world.test_user == user].tolist())
        hits = [item in held_out for item in listed.tolist()]
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(20, len(held_out))))
        recalls.append(sum(hits) / len(held_out))
        gains.append(sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits)) / ideal)
    found = quality.of_lists(lists, world)
    assert found["recall@20"] == pytest.approx(np.mean(recalls))
    assert found["ndcg@20"] == pytest.approx(np.mean(gains))


def test_lists_of_candidates_as_rows() -> None:
    found = Candidates(
        frozen(np.array([0, 3, 3, 4])), frozen(np.array([7, 1, 5, 2], np.int32)), frozen(np.ones(4, np.float32))
    )
    assert quality.as_table(found, 2).tolist() == [[7, 1], [-1, -1], [2, -1]]


def test_equal_matrices_have_equal_checksums() -> None:
    row, column = np.array([0, 2, 2, 1]), np.array([1, 0, 3, 2])
    one = Csr.from_pairs(row, column, None, (3, 4))
    wider = quality.of_matrix(one.indptr.astype(np.int32), one.indices.astype(np.int64), one.data.astype(np.float64))
    other = Csr.from_pairs(row, column[::-1], None, (3, 4))
    assert quality.of_matrix(one.indptr, one.indices, one.data) == wider
    assert quality.of_matrix(other.indptr, other.indices, other.data) != wider


def test_the_mean_score_of_places(world: World, rng: np.random.Generator) -> None:
    users, items = (rng.standard_normal((count, 4)).astype(np.float32) for count in (world.users, world.items))
    best = np.argsort(-(users @ items.T), axis=1)[:, :20]
    worse = best.copy()
    worse[3, 19] = -1
    expected = np.mean([[users[user] @ items[item] for item in row] for user, row in enumerate(best)])
    assert quality.of_products(best, users, items, world)["score"] == pytest.approx(expected, rel=1e-5)
    assert quality.of_products(worse, users, items, world)["score"] != pytest.approx(expected, rel=1e-5)


def test_the_largest_similarities_to_others() -> None:
    indptr, column = np.array([0, 3, 3, 5]), np.array([0, 1, 2, 2, 0])
    value = np.array([1.0, 0.5, 0.25, 1.0, 0.75])
    assert quality.of_neighbours(indptr, column, value, 1)["similarity"] == pytest.approx((0.5 + 0.75) / 3)
    assert quality.of_neighbours(indptr, column, value, 9)["similarity"] == pytest.approx((0.75 + 0.75) / 3)


def test_the_loss_of_user_vectors(world: World, rng: np.random.Generator) -> None:
    rows = np.array([3, 17, 40])
    users, items = rng.standard_normal((3, 4)) * 0.3, rng.standard_normal((world.items, 4)) * 0.3
    total = 0.0
    for vector, user in zip(users, rows, strict=True):
        chosen = np.isin(np.arange(world.items), world.train_item[world.train_user == user])
        scores = items @ vector
        total += float((np.where(chosen, 10.0, 1.0) * (chosen - scores) ** 2).sum() + 2.0 * vector @ vector)
    assert quality.of_user_vectors(users, items, rows, world, 10.0, 2.0)["loss"] == pytest.approx(total / 3)


def test_the_energy_of_all_singular_values_is_one(world: World) -> None:
    values = np.linalg.svd(world.dataset().events.matrix().to_dense(), compute_uv=False)
    assert quality.of_singular_values(values, world)["energy"] == pytest.approx(1)
    assert quality.of_singular_values(values[:5], world)["energy"] < 0.9
