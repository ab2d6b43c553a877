"""The float64 sparse product and its helpers, against dense and Python references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec_plugins import sparse_rows
from nbarec_plugins.sparse_rows import SparseRows, dense_products, grades, overlaps, strongest, strongest_met


def sparse(dense: np.ndarray) -> SparseRows:
    row, column = np.nonzero(dense)
    indptr = row_pointers(np.bincount(row, minlength=len(dense)))
    return SparseRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1])


def dense_of(rows: SparseRows) -> np.ndarray:
    dense = np.zeros((rows.rows, rows.columns))
    dense[rows.row_of, rows.column] = rows.value
    return dense


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    m, n, p = (draw(st.integers(0, 7)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))
    left = rng.normal(size=(m, n)) * (rng.random((m, n)) < density)
    right = rng.normal(size=(n, p)) * (rng.random((n, p)) < density)
    return left, right


def product(left: np.ndarray, right: np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Common counts, sums of x y and sums of x, each dense; with so many pairs a block."""
    shape = (len(left), right.shape[1])
    common, both, alone = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_rows, "PAIRS", pairs)
        for met in overlaps(sparse(left), sparse(right), [np.multiply, lambda x, y: x]):
            at = (met.first + met.row, met.column)
            assert not common[at].any(), "an entry came twice"
            assert met.row.max(initial=0) < max(met.rows, 1)
            common[at], both[at], alone[at] = met.common, met.sums[0], met.sums[1]
    return common, both, alone


@given(matrices())
@settings(max_examples=60, deadline=None)
def test_overlaps_is_the_dense_product_and_blocks_change_no_bit(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = drawn
    common, both, alone = product(left, right, pairs=1 << 18)
    np.testing.assert_array_equal(common, (left != 0).astype(int) @ (right != 0).astype(int))
    np.testing.assert_allclose(both, left @ right, atol=1e-12)
    np.testing.assert_allclose(alone, left @ (right != 0), atol=1e-12)
    for pairs in (1, 3, 10):
        for whole, blocked in zip((common, both, alone), product(left, right, pairs), strict=True):
            np.testing.assert_array_equal(blocked, whole)


def test_a_long_row_in_few_columns_and_a_short_one_in_many_add_up_to_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(4, 300)), rng.normal(size=(300, 5))
    narrow = product(left, right, pairs=200)[1]
    wide = product(left, np.hstack([right, np.zeros((300, 5000))]), pairs=1 << 18)[1]
    np.testing.assert_array_equal(narrow, wide[:, :5])
    np.testing.assert_allclose(narrow, left @ right, rtol=1e-9)


def test_without_terms_only_common_entries_are_counted() -> None:
    left = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    (met,) = overlaps(sparse(left), sparse(np.ones((3, 40))), [])
    assert met.sums == ()
    np.testing.assert_array_equal(met.common, np.full(40, 2))


@given(
    st.lists(st.lists(st.sampled_from([-1.0, -0.25, 0.1, 0.1 + 1e-16, 0.3, 0.5, 1.0]), max_size=8), max_size=5),
    st.integers(1, 4),
)
@settings(max_examples=80, deadline=None)
def test_strongest_takes_the_largest_of_each_row_and_the_first_among_ties(rows: list[list[float]], limit: int) -> None:
    row = np.repeat(np.arange(len(rows)), [len(scores) for scores in rows])
    score = np.array([value for scores in rows for value in scores])
    expected = []
    for at, scores in enumerate(rows):
        best = sorted(range(len(scores)), key=lambda n: (-round(scores[n], 9), n))[:limit]
        expected += [int(np.flatnonzero(row == at)[n]) for n in sorted(best)]
    assert strongest(row, score, len(rows), limit).tolist() == expected


def test_grades_compare_scores_of_one_row_and_know_the_limit_of_each() -> None:
    row = np.array([0, 0, 0, 2, 2])
    grade, last = grades(row, np.array([4.0, 2.0, -4.0, 1e-300, 5e-301]), 3, np.array([2, 1, 2]))
    assert grade.tolist() == [2**30, 2**29, -(2**30), 2**30, 2**29]
    assert last[0] == 2**29
    assert (last[1:] < -(2**30)).all()


@given(matrices())
@settings(max_examples=30, deadline=None)
def test_dense_products_transposes_and_row_choices(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = drawn
    rows = sparse(right.T)
    np.testing.assert_allclose(dense_products(left, rows), left @ right, atol=1e-12)
    np.testing.assert_array_equal(dense_of(rows.transpose()), right)
    np.testing.assert_array_equal(
        rows.column_sums(rows.value), rows.transpose().counts * 0 + dense_of(rows).sum(axis=0)
    )


def test_rows_are_taken_and_replaced() -> None:
    dense = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    taken = sparse(dense).take_rows(np.array([2, -1, 0]))
    np.testing.assert_array_equal(dense_of(taken), [[3, 4], [0, 0], [1, 0]])
    new = sparse(np.array([[0.0, 7.0, 8.0]]))
    np.testing.assert_array_equal(
        dense_of(sparse(dense).replaced(np.array([1]), new, 4)), [[1, 0, 0], [0, 7, 8], [3, 4, 0], [0, 0, 0]]
    )


@settings(max_examples=40)
@given(matrices(), st.integers(1, 4), st.sampled_from([1, 3, 1 << 18]))
def test_the_strongest_of_a_product_against_sorting_each_row(
    both: tuple[np.ndarray, np.ndarray], limit: int, pairs: int
) -> None:
    left, right = both
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_rows, "PAIRS", pairs)
        blocks = (
            (met, met.sums[0], met.sums[0] > 0) for met in overlaps(sparse(left), sparse(right), (lambda x, y: x * y,))
        )
        found = strongest_met(blocks, limit, right.shape[1])
    assert (found.rows, found.columns) == (len(left), right.shape[1])
    expected = left @ right
    for row, scores in enumerate(dense_of(found)):
        best = np.sort(expected[row][expected[row] > 1e-12])[::-1][:limit]
        np.testing.assert_allclose(np.sort(scores[scores > 1e-12])[::-1], best)
