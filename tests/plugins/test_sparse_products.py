"""Products of sparse and dense matrices, against the dense ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.sparse import Csr
from nbarec.work import Work, working
from nbarec_plugins import sparse_products
from nbarec_plugins.sparse_products import PIECE, PaddedRows, SparseProducts
from nbarec_plugins.sparse_rows import SparseRows

SEEDS = st.integers(0, 2**32 - 1)


def sparse(dense: AnyArray) -> SparseRows:
    row, column = np.nonzero(dense)
    matrix = Csr.from_pairs(row, column, None, dense.shape)
    return SparseRows.from_csr(matrix, np.ones(matrix.nnz, bool), dense[row, column].astype(np.float64))


def numbers(seed: int, rows: int, columns: int, share: float) -> Floats64:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, columns)) < share, rng.normal(size=(rows, columns)), 0.0)


@settings(max_examples=40, deadline=None)
@given(
    SEEDS,
    st.integers(0, 12),
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from([1, 3, PIECE]),
    st.sampled_from([0.1, 0.6, 1.0]),
)
def test_a_product_is_the_dense_one(seed: int, rows: int, columns: int, width: int, piece: int, share: float) -> None:
    """Whatever blocks, pieces and shards it is cut into; and a row by itself has the same bits."""
    dense, right = numbers(seed, rows, columns, share), np.random.default_rng(seed).normal(size=(columns, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_products, "PIECE", piece)
        patch.setattr(sparse_products, "BLOCK_BYTES", 200)
        patch.setattr(sparse_products, "SHARD_ENTRIES", 7)
        product = PaddedRows.of(sparse(dense), np.float64).times(right)
        for row in range(rows):
            alone = PaddedRows.of(sparse(dense[row : row + 1]), np.float64).times(right)
            np.testing.assert_array_equal(product[row], alone[0])
    np.testing.assert_allclose(product, dense @ right, rtol=1e-12, atol=1e-12)
    assert product.dtype == np.float64


@pytest.mark.parametrize("layout", [np.float32, np.float64])
@pytest.mark.parametrize("dense", [np.float32, np.float64])
def test_it_adds_up_in_the_dtype_of_the_layout(layout: type[np.float32], dense: type[np.float32]) -> None:
    left = numbers(1, 50, 400, 0.5)
    right = np.random.default_rng(0).normal(size=(400, 7)).astype(dense)
    product = PaddedRows.of(sparse(left), layout).times(right)
    assert product.dtype == layout
    error = 1e-12 if layout == np.float64 else 2e-5
    np.testing.assert_allclose(product, left @ right.astype(np.float64), atol=error)


def test_long_and_empty_rows_add_up() -> None:
    dense = np.zeros((5, 3 * PIECE + 7))
    dense[1], dense[3, :5] = 1.0, 2.0
    right = np.random.default_rng(0).normal(size=(dense.shape[1], 3))
    products = SparseProducts.of(sparse(dense))
    np.testing.assert_allclose(products.forward.times(right.astype(np.float32)), dense @ right, atol=1e-3)
    left = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(products.backward.times(left.astype(np.float32)), dense.T @ left, atol=1e-5)
    assert products.square_sum == (dense**2).sum()
    np.testing.assert_array_equal(PaddedRows.of(sparse(dense[:1])).times(right), np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(PaddedRows.of(sparse(dense[:0])).times(right), np.zeros((0, 3), np.float32))
    assert PaddedRows.of(sparse(np.zeros((4, 0)))).times(np.zeros((0, 2))).tolist() == [[0.0, 0.0]] * 4


def test_workers_and_memory_change_no_bit() -> None:
    dense = numbers(2, 300, 1500, 0.5)
    right = np.random.default_rng(0).normal(size=(1500, 16)).astype(np.float32)
    layout = PaddedRows.of(sparse(dense))
    wanted = layout.times(right)
    assert len(layout._shards()) > 2
    for work in (Work(workers=2), Work(workers=3), Work(memory=1 << 18)):
        with working(work):
            np.testing.assert_array_equal(PaddedRows.of(sparse(dense)).times(right), wanted)
