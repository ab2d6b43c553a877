"""The accumulation kernel of sparse products, against dense references: whatever the blocks and the way to add up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec_plugins import row_products
from nbarec_plugins.overlaps import ListedOverlaps, Overlaps, TabledOverlaps
from nbarec_plugins.row_products import Product, multiplied
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.strips import LANES, Strips

TERMS = (np.multiply, lambda x, y: x, lambda x, y: y * y)
WAYS = [(8 << 18, 0.2), (8, 0.0), (8, 1e9), (80, 0.2), (800, 0.0), (8 << 18, 0.0), (8 << 18, 1e9)]
"""Bytes a block, and from what share of the columns on a row has counters: all, none or some."""


def sparse(dense: np.ndarray) -> SparseRows:
    row, column = np.nonzero(dense)
    indptr = row_pointers(np.bincount(row, minlength=len(dense)))
    return SparseRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1])


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    m, n, p = draw(st.integers(0, 7)), draw(st.integers(0, 7)), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))
    kind = draw(st.sampled_from(["ones", "levels", "values"]))
    left = np.ones((m, n)) if kind == "ones" else rng.normal(size=(m, n))
    right = {"ones": np.ones((n, p)), "levels": np.ones((n, p)) * rng.normal(size=(n, 1))}.get(
        kind, rng.normal(size=(n, p))
    )
    return left * (rng.random((m, n)) < density), right * (rng.random((n, p)) < density)


@contextmanager
def way(block: int, crowded: float, *, short: bool = True) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_products, "BLOCK", block)
        patch.setattr(row_products, "_sorts_short", lambda: short)
        for share in ("COUNTED", "COUNTED_SHORT", "SUMMED"):
            patch.setattr(row_products, share, crowded)
        yield


def dense_of(left: SparseRows, right: SparseRows) -> list[np.ndarray]:
    """How often rows and columns meet and the sums of `TERMS`, each dense."""
    product = Product(left, right.strips, TERMS)
    shape = (left.rows, right.columns)
    found = [np.zeros(shape, np.int64), *(np.zeros(shape) for _ in TERMS)]
    seen = np.zeros(left.rows, bool)
    for met in chain.from_iterable(map(product.overlaps, product.shards())):
        rows = met.rows
        assert not seen[rows].any(), "a row came twice"
        seen[rows] = True
        at = met.meetings()
        indptr, column = met.picked(at)
        row = np.repeat(rows, np.diff(indptr))
        for dense, entries in zip(found, (met.common, *met.sums), strict=True):
            dense[row, column] = entries.reshape(-1)[at]
    return found


@settings(max_examples=80, deadline=None)
@given(matrices())
def test_counts_and_sums_are_those_of_loops_and_no_way_changes_a_bit(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = drawn
    expected = dense_of(sparse(left), sparse(right))
    np.testing.assert_array_equal(expected[0], (left != 0).astype(int) @ (right != 0).astype(int))
    for found, dense in zip(expected[1:], (left @ right, left @ (right != 0), (left != 0) @ right**2), strict=True):
        np.testing.assert_allclose(found, dense, atol=1e-12)
    for (block, crowded), short in product(WAYS, (False, True)):
        with way(block, crowded, short=short):
            for whole, other in zip(expected, dense_of(sparse(left), sparse(right)), strict=True):
                np.testing.assert_array_equal(other, whole)


def test_sums_are_added_up_in_the_order_of_the_left_row_whatever_the_length() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(4, 300)), rng.normal(size=(300, 5))
    expected = np.zeros((4, 5))
    for middle in range(300):  # one addition after the other
        expected += left[:, middle : middle + 1] * right[middle]
    wide = np.hstack([right, np.zeros((300, 70_000))])
    for block, crowded in WAYS:
        with way(block, crowded):
            np.testing.assert_array_equal(dense_of(sparse(left), sparse(right))[1], expected)
            np.testing.assert_array_equal(dense_of(sparse(left), sparse(wide))[1][:, :5], expected)


def test_keys_that_32_bits_do_not_hold() -> None:
    """More columns and places than 32 bits tell apart, so that sorted keys are of 64."""
    columns, rows = 1 << 24, 40
    rng = np.random.default_rng(2)
    column = np.sort(rng.choice(columns, (rows, 500)), axis=1).astype(np.int32)
    value = rng.normal(size=rows * 500)
    right = SparseRows(np.arange(rows + 1) * 500, column.reshape(-1), value, columns)
    left = sparse(rng.normal(size=(1, rows)))
    product = Product(left, right.strips, (np.multiply,))
    (met,) = chain.from_iterable(map(product.overlaps, product.shards()))
    assert isinstance(met, ListedOverlaps)
    expected: dict[int, float] = {}
    for at, place in enumerate(column.reshape(-1).tolist()):
        expected[place] = expected.get(place, 0.0) + left.value[at // 500] * value[at]
    assert dict(zip(met.column.tolist(), met.sums[0].tolist(), strict=True)) == expected


def test_rows_with_few_pairs_are_listed_and_others_tabled() -> None:
    left, right = np.zeros((2, 40)), np.ones((40, 100))
    left[0], left[1, 0] = 1, 1
    right[0, 3:] = 0
    product = Product(sparse(left), sparse(right).strips, ())
    blocks: dict[int, Overlaps] = {
        int(met.rows[0]): met for met in chain.from_iterable(map(product.overlaps, product.shards()))
    }
    assert isinstance(blocks[0], TabledOverlaps)
    assert isinstance(blocks[1], ListedOverlaps)
    assert blocks[1].sums == ()
    np.testing.assert_array_equal(blocks[1].common, [1, 1, 1])


def test_strips_hold_rows_in_order_and_a_column_beyond_all_others_where_they_end() -> None:
    rows = sparse(np.pad(np.ones((2, LANES + 1)), [(0, 1), (0, 2)]))
    strips = rows.strips
    assert isinstance(strips, Strips)
    assert strips is rows.strips
    assert (strips.value, strips.level.tolist()) == (None, [1, 1, 0])
    assert (strips.first.tolist(), strips.strips.tolist(), strips.counts.tolist()) == (
        [0, 2, 4],
        [2, 2, 0],
        [17, 17, 0],
    )
    assert strips.column[:4].reshape(2, -1).tolist() == [[*range(17), *[19] * 15]] * 2
    assert (strips.column[strips.empty :] == 19).all()
    assert strips.column.dtype == np.uint16
    wide = SparseRows(rows.indptr, rows.column, np.arange(34.0), 1 << 16).strips
    assert wide.column.dtype == np.int32
    assert wide.value is not None
    assert wide.value[2:4].reshape(-1).tolist() == [*range(17, 34), *[0] * 15]


@settings(max_examples=40, deadline=None)
@given(matrices(), st.sampled_from(WAYS))
def test_the_whole_product_keeps_entries_that_cancel_out(
    drawn: tuple[np.ndarray, np.ndarray], chosen: tuple[int, float]
) -> None:
    left, right = drawn
    with way(*chosen):
        found = multiplied(sparse(left), sparse(right))
    dense = np.zeros((len(left), right.shape[1]))
    dense[found.row_of, found.column] = found.value
    np.testing.assert_allclose(dense, left @ right, atol=1e-12)
    assert len(found.column) == np.count_nonzero((left != 0).astype(int) @ (right != 0).astype(int))
    assert (np.diff(found.row_of * right.shape[1] + found.column) > 0).all()
