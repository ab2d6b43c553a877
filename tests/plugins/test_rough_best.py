"""The best of each row from rough scores, against sorting all exact ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64, Ints64
from nbarec.kernels import NOT_PROPOSED, top_of_dense
from nbarec.sparse import Csr
from nbarec_plugins.rough_best import best_of_rough, error_share


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 5),
    items=st.integers(1, 400),
    limit=st.integers(1, 30),
    levels=st.sampled_from([2, 5, 1 << 30]),
    margin=st.sampled_from([1e-12, 1e-3, 0.5]),
    chain=st.booleans(),
)
def test_rough_scores_within_their_margin_change_nothing(
    seed: int, rows: int, items: int, limit: int, levels: int, margin: float, chain: bool
) -> None:
    """Few levels make ties; a chain of ties reaches far below what rough scores rule out."""
    rng = np.random.default_rng(seed)
    scores: Floats64 = rng.integers(-levels, levels, (rows, items)) / levels
    if chain:
        scores[0] = 1.0 - 0.9e-9 * rng.permutation(items)
    row, item = np.nonzero(rng.random((rows, items)) < 0.2)
    excluded = Csr.from_pairs(row, item, None, (rows, items))
    off = rng.uniform(-0.99, 0.99, scores.shape) * margin
    rounding = np.abs(scores).max() * 2.0**-22
    rough = (scores + off).astype(np.float32)

    def exact(row: Ints64, item: Ints64) -> Floats64:
        return scores[row, item]

    found = best_of_rough(rough, np.full(rows, margin + rounding), exact, excluded, limit)
    allowed = np.where(scores > 0, scores, NOT_PROPOSED)
    allowed[excluded.row_of, excluded.indices] = NOT_PROPOSED
    wanted = top_of_dense(allowed, limit)
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.item, wanted.item)
    np.testing.assert_array_equal(found.score, wanted.score)


def test_a_row_without_a_margin_has_no_scores() -> None:
    rough = np.zeros((2, 6), np.float32)
    rough[1] = [1, 5, 3, 0, 2, 4]
    scores = rough.astype(np.float64)
    found = best_of_rough(rough, np.array([0.0, 1e-6]), lambda row, item: scores[row, item], Csr.empty(2, 6), 2)
    assert found.indptr.tolist() == [0, 0, 2]
    assert found.item.tolist() == [1, 5]
    assert len(best_of_rough(rough, np.ones(2), lambda row, item: scores[row, item], Csr.empty(2, 6), 0)) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3000))
def test_the_error_of_single_precision_is_bounded(seed: int, terms: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((2, terms))
    rough = float(np.cumsum(one.astype(np.float32) * other.astype(np.float32), dtype=np.float32)[-1])
    assert abs(rough - one @ other) <= error_share(terms) * np.linalg.norm(one) * np.linalg.norm(other)
