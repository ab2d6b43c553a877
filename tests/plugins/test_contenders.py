"""The strongest entries of a product against sorting each row, and rows of results in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec.sparse import Csr
from nbarec.work import Work, working
from nbarec_plugins import overlaps, row_products, row_slots
from nbarec_plugins.contenders import Wanted, strongest_met
from nbarec_plugins.row_products import Product
from nbarec_plugins.row_slots import RowSlots
from nbarec_plugins.sparse_rows import SparseRows

WAYS = [(8 << 18, 0.2, 2), (8, 0.0, 1), (800, 1e9, 1), (800, 0.0, 2), (8 << 18, 1e9, 1)]
"""Bytes a block; from what share of the columns on a row has counters; spare groups."""


def sparse(dense: np.ndarray) -> SparseRows:
    row, column = np.nonzero(dense)
    indptr = row_pointers(np.bincount(row, minlength=len(dense)))
    return SparseRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1])


@contextmanager
def way(block: int, crowded: float, spare: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_products, "BLOCK", block)
        for share in ("COUNTED", "COUNTED_SHORT", "SUMMED"):
            patch.setattr(row_products, share, crowded)
        patch.setattr(overlaps, "SPARE", spare)
        yield


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left, right and which entries of their product are barred."""
    m, n, p = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))
    values = draw(st.sampled_from([[1.0], [0.5, 1.0, 2.0], [-1.0, 0.3, 1.0], [-2.0, -1.0]]))
    left, right = (rng.choice(values, shape) * (rng.random(shape) < density) for shape in ((m, n), (n, p)))
    return left, right, rng.random((m, p)) < draw(st.sampled_from([0.0, 0.1, 0.5]))


def expected_of(scores: np.ndarray, limit: int) -> list[list[int]]:
    """The columns of the best of each row, ascending; NaN is no entry."""
    found = []
    for row in scores:
        size = np.nanmax(np.abs(row), initial=0) or 1
        able = [column for column in range(len(row)) if not np.isnan(row[column])]
        best = sorted(able, key=lambda column: (-round(row[column] / size, 8), column))[:limit]
        found.append(sorted(best))
    return found


@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(1, 6), st.sampled_from(WAYS), st.booleans())
def test_the_strongest_against_sorting_each_row(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], limit: int, chosen: tuple[int, float, int], negative: bool
) -> None:
    left, right, barred = drawn
    scores = left @ right
    scores[(np.abs(scores) < 1e-9) | barred | ((scores < 0) & (not negative))] = np.nan
    row, column = np.nonzero(barred)
    excluded = Csr.from_pairs(row, column, None, scores.shape)
    with way(*chosen):
        product = Product(sparse(left), sparse(right).strips, (np.multiply,))
        found = strongest_met(product, lambda met: met.sums[0] * 2.0, Wanted(limit, excluded, 1e-9, negative))
    assert (found.rows, found.columns) == scores.shape
    columns = [found.column[a:b].tolist() for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]
    assert columns == expected_of(scores, limit)
    np.testing.assert_allclose(found.value, 2 * scores[found.row_of, found.column])
    assert not any(array.flags.writeable for array in (found.indptr, found.column, found.value))


def test_a_thousand_columns_in_groups_and_ties_at_the_end() -> None:
    """Counters in groups at equal distances, lists in groups of neighbours: either finds the same."""
    rng = np.random.default_rng(3)
    right = (rng.random((60, 1003)) < 0.3) * 1.0
    left = (rng.random((30, 60)) < 0.4) * 1.0
    nothing = Csr.empty(30, 1003)
    found = []
    for chosen in WAYS:
        with way(*chosen):
            product = Product(sparse(left), sparse(right).strips, (np.multiply,))
            found.append(strongest_met(product, lambda met: met.sums[0], Wanted(20, nothing)))
    columns = [found[0].column[a:b].tolist() for a, b in zip(found[0].indptr[:-1], found[0].indptr[1:], strict=True)]
    scores = left @ right
    scores[scores == 0] = np.nan
    assert columns == expected_of(scores, 20)
    for other in found[1:]:
        np.testing.assert_array_equal(other.column, found[0].column)
        np.testing.assert_array_equal(other.value, found[0].value)


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_finds_the_same_bits(workers: int) -> None:
    rng = np.random.default_rng(4)
    rows = sparse(rng.normal(size=(300, 80)) * (rng.random((300, 80)) < 0.2))
    columns = rows.transpose()
    nothing = Csr.empty(300, 300)

    def found() -> SparseRows:
        with way(8 << 9, 0.2, 2):
            product = Product(rows, columns.strips, (np.multiply,))
            return strongest_met(product, lambda met: met.sums[0] * 1.0, Wanted(10, nothing, negative=True))

    alone = found()
    with working(Work(workers=workers)):
        together = found()
    for name in ("indptr", "column", "value"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))


@given(st.lists(st.integers(0, 4), max_size=9), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rows_that_come_in_any_order_stand_where_they_belong(room: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, np.array(room, np.int64) + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_slots, "ROWS", 2)
        slots = RowSlots.of(np.array(room, np.int64), (np.int32, np.float64))
        for row in rng.permutation(len(room)):
            place = np.arange(counts[row])
            slots.put(np.array([row]), counts[row : row + 1], (row * 10 + place, row + place / 10))
        indptr, (whole, real) = slots.closed()
    assert np.diff(indptr).tolist() == counts.tolist()
    assert whole.tolist() == [row * 10 + place for row, count in enumerate(counts) for place in range(count)]
    np.testing.assert_allclose(real, whole / 10)
