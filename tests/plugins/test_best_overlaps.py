"""The best columns of a product against `kernels.best_first` over all of them, chains of ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec.batch import Candidates
from nbarec.kernels import TIE, best_first
from nbarec.sparse import Csr
from nbarec_plugins import overlaps, row_products
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.row_products import Product
from nbarec_plugins.sparse_rows import SparseRows

WAYS = [(8 << 18, 0.2, 2), (8, 0.0, 1), (800, 1e9, 1), (800, 0.0, 2), (8 << 18, 1e9, 1)]
"""Bytes a block; from what share of the columns on a row has counters; spare groups."""


def sparse(dense: np.ndarray) -> SparseRows:
    row, column = np.nonzero(dense)
    indptr = row_pointers(np.bincount(row, minlength=len(dense)))
    return SparseRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1])


def found_by(scores: np.ndarray, excluded: Csr, limit: int, chosen: tuple[int, float, int]) -> Candidates:
    """The best of a product whose rows are these scores: that of the identity with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_products, "BLOCK", chosen[0])
        for share in ("COUNTED", "COUNTED_SHORT", "SUMMED"):
            patch.setattr(row_products, share, chosen[1])
        patch.setattr(overlaps, "SPARE", chosen[2])
        product = Product(sparse(np.eye(len(scores))), sparse(scores).strips, (np.multiply,))
        return best_overlaps(product, lambda met: met.sums[0], excluded, limit)


def assert_best(scores: np.ndarray, barred: np.ndarray, limit: int) -> None:
    row, column = np.nonzero((scores > 0) & ~barred)
    expected = best_first(row, column, scores[row, column], len(scores), limit)
    at = np.nonzero(barred)
    excluded = Csr.from_pairs(at[0], at[1], None, scores.shape)
    for chosen in WAYS:
        found = found_by(scores, excluded, limit, chosen)
        np.testing.assert_array_equal(found.indptr, expected.indptr)
        np.testing.assert_array_equal(found.item, expected.item)
        np.testing.assert_array_equal(found.score, expected.score)
        assert found.item.dtype == np.int32
        assert found.score.dtype == np.float32


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 8), st.integers(0, 10**6))
def test_lists_equal_sorting_every_entry(rows: int, columns: int, limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [rng.random((rows, columns)), rng.integers(-1, 4, (rows, columns)) * 1.0, np.ones((rows, columns))]
    scores = kinds[seed % 3] * (rng.random((rows, columns)) < 0.8)
    assert_best(scores, rng.random((rows, columns)) < rng.choice([0.0, 0.2]), limit)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_chains_of_ties_lead_as_far_down_as_they_do(limit: int, seed: int) -> None:
    """Neighbours in the order differ by about a tie's tolerance: the last of a chain may be far below the first."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.0, 0.3, 0.9, 0.99, 1.5, 3.0, 20.0], (3, 200), p=[0.1, 0.2, 0.3, 0.2, 0.1, 0.05, 0.05])
    scores = 1.0 - TIE * np.cumsum(steps, axis=1)
    assert_best(rng.permuted(scores, axis=1), rng.random(scores.shape) < 0.1, limit)


def test_no_limit_no_rows_and_no_columns() -> None:
    scores = np.ones((2, 3))
    assert found_by(scores, Csr.empty(2, 3), 0, WAYS[0]).indptr.tolist() == [0, 0, 0]
    assert found_by(np.zeros((2, 3)), Csr.empty(2, 3), 5, WAYS[0]).indptr.tolist() == [0, 0, 0]
    assert found_by(np.zeros((0, 3)), Csr.empty(0, 3), 5, WAYS[0]).indptr.tolist() == [0]
    assert found_by(np.zeros((2, 0)), Csr.empty(2, 0), 5, WAYS[0]).indptr.tolist() == [0, 0, 0]


def test_what_is_excluded_may_be_newer_than_the_fit() -> None:
    excluded = Csr.from_pairs(np.array([0, 0, 1]), np.array([1, 4, 3]), None, (2, 5))
    found = found_by(np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), excluded, 5, WAYS[0])
    assert found.item.tolist() == [0, 2, 2, 1, 0]
