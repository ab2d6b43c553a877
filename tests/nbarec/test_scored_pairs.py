"""Exact scores of pairs, each alone, and the best of rows that are sorted side by side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import scored_pairs
from nbarec.arrays import Floats32, Floats64, row_pointers
from nbarec.batch import Candidates
from nbarec.kernels import TIE, best_first
from nbarec.scored_pairs import clear_best, pair_products, stacked


def score_of(user: Floats64, vector: Floats32) -> float:
    """One pair alone, in double precision."""
    return float(np.einsum("d,d->", user, vector.astype(np.float64)))


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9, 64, 127, 128, 129, 300])
def test_the_score_of_a_pair_depends_on_the_pair_alone(length: int) -> None:
    rng = np.random.default_rng(length)
    users, items = rng.normal(size=(20, length)), rng.normal(size=(30, length)).astype(np.float32)
    row, item = rng.integers(20, size=999), rng.integers(30, size=999)
    expected = [score_of(users[u], items[i]) for u, i in zip(row, item, strict=True)]
    for pairs in (1, 2, 7, 500, 999):
        assert pair_products(users, items, row[:pairs], item[:pairs]).tolist() == expected[:pairs]
    exact = [math.fsum(users[u] * items[i].astype(np.float64)) for u, i in zip(row, item, strict=True)]
    np.testing.assert_allclose(expected, exact, rtol=1e-14, atol=1e-13)


@given(
    counts=st.lists(st.integers(0, 9), max_size=12),
    limit=st.integers(1, 4),
    above=st.sampled_from([-np.inf, 0.0]),
    length=st.sampled_from([1, 9]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_the_best_side_by_side_are_those_of_best_first(
    counts: list[int], limit: int, above: float, length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(len(counts)), counts)
    item = np.concatenate([np.empty(0, np.int64), *(rng.permutation(10)[:count] for count in counts)])
    users, items = rng.normal(size=(len(counts), length)), rng.normal(size=(10, length)).astype(np.float32)
    items[rng.random(10) < 0.2] = items[0]  # ties
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored_pairs, "BLOCK", int(rng.choice([1, 40, 1 << 16])))
        found, left_out = clear_best(users, items, row, item, limit, above)
    score = pair_products(users, items, row, item)
    kept = score > above
    expected = best_first(row[kept], item[kept], score[kept], len(counts), limit)
    served = np.diff(expected.indptr) * ~left_out
    assert np.diff(found.indptr).tolist() == served.tolist()
    clear = ~left_out[np.repeat(np.arange(len(counts)), np.diff(expected.indptr))]
    assert found.item.tolist() == expected.item[clear].tolist()
    assert found.score.tolist() == expected.score[clear].tolist()
    for at, count in enumerate(counts):
        scores = np.sort(score[(row == at) & kept])[::-1]
        tied = len(scores) > 1 and bool((-np.diff(scores[: limit + 1]) <= TIE * abs(scores[0])).any())
        assert left_out[at] == (tied or count > 2 * limit)


def test_stacked_candidates_stand_one_below_the_other() -> None:
    parts = [
        Candidates(
            row_pointers(np.array(counts)), np.arange(sum(counts), dtype=np.int32), np.ones(sum(counts), np.float32)
        )
        for counts in ([2, 0], [], [1])
    ]
    assert stacked(parts).indptr.tolist() == [0, 2, 2, 3]
    assert stacked(iter(parts)).item.tolist() == [0, 1, 0]
    assert len(stacked([])) == 0
