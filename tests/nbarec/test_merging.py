"""Merged proposals against a dictionary, and against a plain search for equal pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import rank_in_row, rows_of
from nbarec.batch import Candidates, Pool
from nbarec.merging import merge, of_items
from nbarec.testing.worlds import candidates_of

ROWS, ITEMS = 3, 6

Lists = list[dict[int, float]]
"""Of each row, item -> score."""

proposals = st.dictionaries(
    st.sampled_from(["similar", "latent", "trending"]),
    st.lists(
        st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from([0.25, 0.5, 1.0, 2.0]), max_size=5),
        min_size=ROWS,
        max_size=ROWS,
    ),
    max_size=3,
)


def best_first(scores: dict[int, float]) -> list[int]:
    return sorted(scores, key=lambda item: (-scores[item], item))


def entry(pool: Pool, at: int) -> tuple[float | None, ...]:
    """All that one entry holds, NaN as None."""
    numbers = [*pool.scores[at].tolist(), *pool.ranks[at].tolist(), pool.score[at].item()]
    said = (None if math.isnan(number) else number for number in numbers)
    return (int(pool.row[at]), int(pool.item[at]), *said)


@settings(max_examples=150)
@given(proposals)
def test_merged_lists_hold_every_pair_once_with_every_score_and_rank(proposed: dict[str, Lists]) -> None:
    pool = merge({stage: candidates_of(rows) for stage, rows in proposed.items()}, ROWS, ITEMS)
    pairs = sorted({(row, item) for rows in proposed.values() for row, scores in enumerate(rows) for item in scores})
    assert list(zip(pool.row.tolist(), pool.item.tolist(), strict=True)) == pairs
    assert pool.sources == tuple(proposed)
    assert pool.indptr.tolist() == [sum(row < bound for row, _ in pairs) for bound in range(ROWS + 1)]
    for at, (row, item) in enumerate(pairs):
        lists = [rows[row] for rows in proposed.values()]
        ranks = [best_first(scores).index(item) + 1 if item in scores else 0 for scores in lists]
        reciprocal = float(np.float32(sum(1 / rank for rank in ranks if rank)))
        assert entry(pool, at) == (row, item, *(scores.get(item) for scores in lists), *ranks, reciprocal)
    assert (len(pool), pool.rows, pool.features) == (len(pairs), ROWS, {})
    arrays = (pool.indptr, pool.row, pool.item, pool.scores, pool.ranks, pool.score)
    assert [str(array.dtype) for array in arrays] == ["int64", "int32", "int32", "float32", "int32", "float32"]
    assert not any(array.flags.writeable for array in arrays)
    assert pool.scores.shape == pool.ranks.shape == (len(pairs), len(proposed))


def test_merging_nothing() -> None:
    assert (len(merge({}, 2, 5)), merge({}, 2, 5).indptr.tolist()) == (0, [0, 0, 0])
    pool = merge({"latent": Candidates.empty(2)}, 2, 0)
    assert (len(pool), pool.rows, pool.scores.shape) == (0, 2, (0, 1))


def plainly(candidates: dict[str, Candidates], n_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs, scores and ranks by a search for each pair."""
    keys = [rows_of(one.indptr) * n_items + one.item for one in candidates.values()]
    pairs = np.unique(np.concatenate(keys))
    scores, ranks = np.full((len(pairs), len(keys)), np.nan, np.float32), np.zeros((len(pairs), len(keys)), np.int32)
    for source, (key, one) in enumerate(zip(keys, candidates.values(), strict=True)):
        at = np.searchsorted(pairs, key)
        scores[at, source], ranks[at, source] = one.score, rank_in_row(one.indptr)
    return pairs, scores, ranks


@pytest.mark.parametrize("n_items", [40, 2**31 - 1])
def test_many_lists_of_any_length_in_any_catalogue(n_items: int) -> None:
    rng = np.random.default_rng(3)
    candidates = {}
    for source in "abcdefghijk":
        rows = [rng.choice(40, rng.integers(0, 30), replace=False) + n_items - 40 for _ in range(50)]
        candidates[source] = candidates_of(
            [dict(zip(row.tolist(), rng.normal(size=len(row)), strict=True)) for row in rows]
        )
    pairs, scores, ranks = plainly(candidates, n_items)
    pool = merge(candidates, 50, n_items)
    assert (pool.row.astype(np.int64) * n_items + pool.item).tolist() == pairs.tolist()
    np.testing.assert_array_equal(pool.scores, scores)
    np.testing.assert_array_equal(pool.ranks, ranks)
    reciprocal = [float(np.float32(sum(1 / rank for rank in row if rank))) for row in ranks.tolist()]
    assert pool.score.tolist() == reciprocal


@settings(max_examples=60, deadline=None)
@given(proposals, st.lists(st.integers(0, ITEMS - 1), min_size=ROWS, max_size=ROWS))
def test_the_pool_of_given_items_has_what_was_said_of_them(lists: dict[str, Lists], items: list[int]) -> None:
    candidates = {name: candidates_of(rows) for name, rows in lists.items()}
    whole = merge(candidates, ROWS, ITEMS)
    given_items = of_items(whole, np.array(items, np.int32))
    assert given_items.row.tolist() == list(range(ROWS))
    assert given_items.indptr.tolist() == list(range(ROWS + 1))
    assert given_items.item.tolist() == items
    nothing = (*[None] * len(lists), *[0] * len(lists), 0.0)
    said = {(int(whole.row[at]), int(whole.item[at])): entry(whole, at) for at in range(len(whole))}
    for row, item in enumerate(items):
        assert entry(given_items, row) == said.get((row, item), (row, item, *nothing))
