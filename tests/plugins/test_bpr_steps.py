"""The step of personalised ranking: its slope against differences of a slow objective, and what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64, Ints64, row_pointers
from nbarec_plugins import bpr_batches
from nbarec_plugins.bpr_batches import Batch, Draws, Pattern, batches_of, history_pairs
from nbarec_plugins.bpr_steps import Drawn, Slope, UnitSteps, to_unit
from nbarec_plugins.sparse_rows import SparseRows


def rows_of_weights(weights: Floats64) -> SparseRows:
    row, column = np.nonzero(weights)
    indptr = row_pointers(np.bincount(row, minlength=len(weights)))
    return SparseRows(indptr, column.astype(np.int32), weights[row, column], weights.shape[1])


def random_rows(rng: np.random.Generator, users: int, items: int) -> Floats64:
    """Two items a user or more."""
    chosen = rng.random((users, items)) < 0.3
    chosen[:, :2] |= chosen.sum(axis=1, keepdims=True) < 2
    return np.where(chosen, rng.uniform(0.5, 2.0, (users, items)), 0.0)


def slow_objective(weights: Floats64, vectors: Floats64, drawn: Drawn, temperature: float) -> float:
    """A loop over pairs; vectors of any length."""

    def cosine(left: Floats64, right: Floats64) -> float:
        return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))

    total, pair = 0.0, 0
    for user in range(len(weights)):
        history = weights[user] @ vectors
        for item in np.flatnonzero(weights[user]):
            start = int(drawn.group[pair]) * drawn.size
            group = [other for other in drawn.item[start : start + drawn.size].tolist() if weights[user, other] == 0]
            mine = cosine(history - weights[user, item] * vectors[item], vectors[item])
            others = sum(math.exp(cosine(history, vectors[other]) / temperature) for other in group)
            own = math.exp(mine / temperature)
            total += math.log(own / (own + others))
            pair += 1
    return total


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]), st.sampled_from([0.2, 1.0]), st.sampled_from([3, 1 << 13]))
def test_the_slope_is_that_of_a_slow_objective(seed: int, size: int, temperature: float, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    users, items, factors = 4, 8, 3
    weights = random_rows(rng, users, items)
    vectors = rng.standard_normal((items, factors)).astype(np.float32)
    to_unit(vectors)
    drawn = Drawn.of(rng.permutation(items)[:4], size, int((weights > 0).sum()), rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpr_batches, "CHUNK", chunk)
        batch = Batch.of(rows_of_weights(weights))
    ascent, loss = Slope(batch, vectors, drawn, temperature).ascent()
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert loss == pytest.approx(-slow_objective(weights, exact, drawn, temperature), rel=1e-4, abs=1e-5)
    lengthwise = ascent.astype(np.float64) - (ascent * exact).sum(axis=1, keepdims=True) * exact
    wanted = np.zeros_like(exact)
    for item, factor in np.ndindex(*exact.shape):
        sides = []
        for move in (1e-5, -1e-5):
            moved = exact.copy()
            moved[item, factor] += move
            moved[item] /= np.linalg.norm(moved[item])
            sides.append(slow_objective(weights, moved, drawn, temperature))
        wanted[item, factor] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(lengthwise, wanted, atol=2e-3 * max(1.0, np.abs(wanted).max()))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0.0, 1.0))
def test_no_item_of_a_users_own_counts_against_him(seed: int, count: int, power: float) -> None:
    """Own items among the drawn are found, all of them and no others; a draw has no item twice."""
    rng = np.random.default_rng(seed)
    weights = random_rows(rng, 6, 10)
    batch = Batch.of(rows_of_weights(weights))
    drawn = Draws(np.arange(1.0, 11.0) ** power)(count, rng)
    assert len(drawn) == len(set(drawn.tolist())) == min(count, 10)
    place = np.full(10, -1)
    place[drawn] = np.arange(len(drawn))
    pair, at = batch.own(place)
    found = set(zip(batch.row[pair].tolist(), drawn[at].tolist(), strict=True))
    assert found == {(user, item) for user, item in np.argwhere(weights > 0).tolist() if item in drawn}


def test_a_user_who_has_all_that_is_drawn_learns_nothing() -> None:
    weights = np.array([[1.0, 1.0, 1.0, 0.0]])
    vectors = np.eye(4, 3, dtype=np.float32) + np.float32(0.3)
    to_unit(vectors)
    drawn = Drawn.of(np.array([2, 0]), 2, 3, np.random.default_rng(0))
    ascent, loss = Slope(Batch.of(rows_of_weights(weights)), vectors, drawn, 0.1).ascent()
    assert loss == 0.0
    np.testing.assert_array_equal(ascent, 0.0)


def test_histories_that_cancel_stay_finite() -> None:
    """Opposite items: the history is zero, and so is what is left without one of two equal items' opposite."""
    vectors = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], np.float32)
    drawn = Drawn.of(np.array([2]), 1, 2, np.random.default_rng(0))
    ascent, loss = Slope(Batch.of(rows_of_weights(np.array([[1.0, 1.0, 0.0]]))), vectors, drawn, 0.1).ascent()
    assert np.isfinite(ascent).all()
    assert np.isfinite(loss)


def test_draws_follow_their_chances() -> None:
    rng, chance = np.random.default_rng(0), np.array([1.0, 2.0, 3.0, 4.0])
    first = np.array([Draws(chance)(1, rng)[0] for _ in range(4000)])
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, chance / 10, atol=0.03)
    places = np.array([Draws(chance)(3, rng) for _ in range(3000)])
    np.testing.assert_allclose((places == 3).mean(axis=0), (places == 3).mean(), atol=0.04)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_batches_hold_every_pair_of_users_with_two_or_more(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((12, 7)) < 0.25, rng.integers(1, 99, (12, 7)) / 7.0, 0.0)
    pairs = rows_of_weights(weights)
    batches = list(batches_of(pairs, size, rng))
    learnt = np.repeat(pairs.counts > 1, pairs.counts)
    got = [pair for batch in batches for pair in zip(batch.item.tolist(), batch.weight.tolist(), strict=True)]
    wanted = zip(pairs.column[learnt].tolist(), pairs.value[learnt].astype(np.float32).tolist(), strict=True)
    assert sorted(got) == sorted(wanted)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_patterns_multiply_both_ways(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = random_rows(rng, 5, 9)
    batch = Batch.of(rows_of_weights(weights))
    values = rng.standard_normal(len(batch.item)).astype(np.float32)
    matrix = np.zeros(weights.shape)
    matrix[batch.row, batch.item] = values
    of_items, of_users = (rng.standard_normal((n, 3)).astype(np.float32) for n in (9, 5))
    np.testing.assert_allclose(batch.by_user.times(values, of_items), matrix @ of_items, atol=1e-4)
    np.testing.assert_allclose(batch.by_item.times(values, of_users), matrix.T @ of_users, atol=1e-4)


def test_a_pattern_longer_than_a_piece() -> None:
    rng = np.random.default_rng(0)
    column = np.arange(3000, dtype=np.int32)
    dense, values = rng.standard_normal((3000, 2)).astype(np.float32), rng.standard_normal(3000).astype(np.float32)
    order: Ints64 = rng.permutation(3000)
    pattern = Pattern.of(np.array([0, 3000]), column, 3000, order)
    np.testing.assert_allclose(pattern.times(values, dense)[0], values[order] @ dense, atol=1e-3)


def test_history_pairs_keep_what_has_a_place() -> None:
    kept = history_pairs(rows_of_weights(np.array([[1.0, 2.0, 0.0], [0.0, 3.0, 4.0]])), np.array([-1, 0, 1]), 2)
    assert (kept.indptr.tolist(), kept.column.tolist(), kept.value.tolist()) == ([0, 1, 3], [0, 0, 1], [2.0, 3.0, 4.0])


def test_steps_climb_and_keep_the_length() -> None:
    rng = np.random.default_rng(0)
    vectors, goal = (rng.standard_normal((5000, 4)).astype(np.float32) for _ in range(2))
    to_unit(vectors)
    to_unit(goal)
    steps = UnitSteps(vectors)
    before = np.vecdot(vectors, goal).mean()
    for _ in range(30):
        steps.move(goal.copy(), 0.02)
    assert np.vecdot(vectors, goal).mean() > before + 0.2
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
