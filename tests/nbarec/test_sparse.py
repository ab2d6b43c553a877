"""Sparse rows against dense matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.sparse import Csr, SortedPairs


@dataclass(frozen=True)
class Triples:
    """Unsorted (row, column, value) with repeats; the values are quarters, which add up exactly."""

    rows: int
    columns: int
    row: np.ndarray
    column: np.ndarray
    data: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    def csr(self, *, ones: bool = False) -> Csr:
        return Csr.from_pairs(self.row, self.column, None if ones else self.data, self.shape)

    def dense(self) -> np.ndarray:
        dense = np.zeros(self.shape)
        for row, column, value in zip(self.row, self.column, self.data, strict=True):
            dense[row, column] += value
        return dense

    def pairs(self) -> list[tuple[int, int]]:
        return sorted({(int(row), int(column)) for row, column in zip(self.row, self.column, strict=True)})


@st.composite
def triples(draw: st.DrawFn) -> Triples:
    rows, columns = draw(st.integers(0, 5)), draw(st.sampled_from([0, 1, 2, 3, 4, 7, 8, 9]))
    entries = st.tuples(
        st.integers(0, max(rows - 1, 0)), st.integers(0, max(columns - 1, 0)), st.integers(-8, 8).map(lambda n: n / 4)
    )
    listed = draw(st.lists(entries, max_size=20)) if rows and columns else []
    row, column, data = ([entry[part] for entry in listed] for part in range(3))
    return Triples(rows, columns, np.array(row, np.int64), np.array(column, np.int64), np.array(data, np.float64))


def check_form(matrix: Csr) -> None:
    """What every Csr promises."""
    assert [str(a.dtype) for a in (matrix.indptr, matrix.indices, matrix.data)] == ["int64", "int32", "float32"]
    assert (matrix.indptr[0], matrix.indptr[-1], len(matrix.indptr)) == (0, matrix.nnz, matrix.shape[0] + 1)
    for row in range(matrix.shape[0]):
        columns = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].tolist()
        assert columns == sorted(set(columns))
    assert not any(array.flags.writeable for array in (matrix.indptr, matrix.indices, matrix.data))


@settings(max_examples=150)
@given(triples())
def test_equal_pairs_are_added_and_every_pair_is_stored_even_at_zero(entries: Triples) -> None:
    matrix = entries.csr()
    check_form(matrix)
    assert (matrix.to_dense() == entries.dense()).all()
    stored = list(zip(matrix.row_of.tolist(), matrix.indices.tolist(), strict=True))
    assert stored == entries.pairs()
    assert matrix.counts.tolist() == [sum(row == at for row, _ in stored) for at in range(entries.rows)]


@given(triples())
def test_without_values_pairs_are_counted(entries: Triples) -> None:
    counted = entries.csr(ones=True)
    check_form(counted)
    ones = Csr.from_pairs(entries.row, entries.column, np.ones(len(entries.row)), entries.shape)
    assert (counted.to_dense() == ones.to_dense()).all()


@given(triples())
def test_transposed_twice_is_the_same(entries: Triples) -> None:
    matrix = entries.csr()
    flipped = matrix.transpose()
    check_form(flipped)
    assert flipped.shape == matrix.shape[::-1]
    assert (flipped.to_dense() == matrix.to_dense().T).all()
    again = flipped.transpose()
    assert (again.indptr == matrix.indptr).all()
    assert (again.indices == matrix.indices).all()
    assert (again.data == matrix.data).all()


@given(triples(), st.data())
def test_rows_are_taken_in_any_order_and_minus_one_is_empty(entries: Triples, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(-1, entries.rows - 1), max_size=8))
    taken = entries.csr().take_rows(np.array(wanted))
    check_form(taken)
    dense = np.vstack([entries.dense(), np.zeros((1, entries.columns))])
    assert taken.shape == (len(wanted), entries.columns)
    assert (taken.to_dense() == dense[wanted].reshape(taken.shape)).all()


@given(triples())
def test_contains_knows_every_pair_and_no_other(entries: Triples) -> None:
    pairs = set(entries.pairs())
    around = [(row, column) for row in range(-2, entries.rows + 2) for column in range(-2, 18)]
    row, column = (np.array(part) for part in zip(*around, strict=True))
    found = entries.csr().contains(row, column)
    assert found.tolist() == [pair in pairs for pair in around]
    shaped = entries.csr().contains(row.reshape(2, -1), column.reshape(2, -1))
    assert (shaped == found.reshape(2, -1)).all()


@pytest.mark.parametrize(("row", "column"), [(2, 0), (0, 5), (0, 8), (-1, 0), (0, -1)])
def test_what_lies_outside_is_refused(row: int, column: int) -> None:
    with pytest.raises(ValueError, match=r"must lie inside 2 x 5"):
        Csr.from_pairs(np.array([0, row]), np.array([0, column]), None, (2, 5))


def test_the_largest_position_has_its_place() -> None:
    width = 2**31 - 1
    matrix = Csr.from_pairs(np.array([3, 0, 3]), np.array([width - 1, width - 1, 0]), None, (4, width))
    assert matrix.indices.tolist() == [width - 1, 0, width - 1]
    assert matrix.contains(np.array([3, 2, 0]), np.array([width - 1, width - 1, 0])).tolist() == [True, False, False]


def test_an_empty_matrix() -> None:
    matrix = Csr.empty(2, 3)
    check_form(matrix)
    assert (matrix.shape, matrix.nnz) == ((2, 3), 0)
    assert (matrix.to_dense() == np.zeros((2, 3))).all()


def test_pairs_sorted_without_their_order_refuse_values() -> None:
    pairs = SortedPairs.of(np.array([1, 0]), np.array([0, 0]), (2, 1), in_order=False)
    assert pairs.counts().tolist() == [1, 1]
    with pytest.raises(ValueError, match="in_order=True"):
        pairs.sums(np.ones(2))
