"""Sparse rows in float64 and their helpers, against dense and Python references."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec_plugins.sparse_rows import SparseRows, dense_products, grades, strongest


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
