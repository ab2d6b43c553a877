"""The layout of rows and columns for fitting: every term once, whatever is cut where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.work import Work, working
from nbarec_plugins import row_shards
from nbarec_plugins.ridge_rows import RidgeRows
from nbarec_plugins.row_shards import Layout, at_places, occurrences
from nbarec_plugins.sparse_rows import SparseRows

Terms = dict[int, list[tuple[int, float, float]]]


def matrix(seed: int, rows: int, columns: int, share: float, values: list[float]) -> np.ndarray:
    """A random matrix, NaN where nothing is stored."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, columns)) < share, rng.choice(values, (rows, columns)), np.nan)


def sparse(dense: np.ndarray) -> SparseRows:
    row, column = np.nonzero(~np.isnan(dense))
    indptr = np.append(0, np.cumsum(np.bincount(row, minlength=len(dense))))
    return SparseRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1])


def problem_of(pairs: SparseRows) -> RidgeRows:
    return RidgeRows.of(pairs, 2 * pairs.value, pairs.value + 1, np.asarray(1.0 + pairs.counts, np.float64))


def expected(dense: np.ndarray) -> Terms:
    """Column, strength and target of each row's terms."""
    known = {row: np.flatnonzero(~np.isnan(values)).tolist() for row, values in enumerate(dense)}
    return {row: [(at, 2 * dense[row, at], dense[row, at] + 1) for at in known[row]] for row in known if known[row]}


def laid_out(layout: Layout, columns: int) -> Terms:
    """The same, read from the blocks and the long rows."""
    terms: Terms = {}
    for shard in layout.shards:
        padded = [
            row for block in shard.blocks for row in zip(*np.broadcast_arrays(*vars(block).values()), strict=True)
        ]
        for row, ridge, (column, strength, target) in zip(shard.row.tolist(), shard.ridge, padded, strict=True):
            inside = column < columns
            assert not inside[np.count_nonzero(inside) :].any()  # the padding is at the end
            assert ridge == 1.0 + inside.sum()
            found = column[inside].tolist(), strength[inside].tolist(), target[inside].tolist()
            assert row not in terms
            terms[row] = list(zip(*found, strict=True))
    for at, row in enumerate(layout.long_row.tolist()):
        part = slice(layout.long.indptr[at], layout.long.indptr[at + 1])
        found = (
            layout.long.column[part].tolist(),
            layout.long.strength[part].tolist(),
            layout.long.target[part].tolist(),
        )
        terms[row] = list(zip(*found, strict=True))
    return terms


@given(
    seed=st.integers(0, 999),
    rows=st.integers(0, 40),
    columns=st.integers(0, 40),
    share=st.sampled_from([0.0, 0.1, 0.9]),
    values=st.sampled_from([[1.0], [0.5, -3.0]]),
    longest=st.sampled_from([1 << 20, 80]),
)
@settings(max_examples=80, deadline=None)
def test_every_term_of_rows_and_of_columns_is_laid_out_once(
    seed: int, rows: int, columns: int, share: float, values: list[float], longest: int
) -> None:
    dense = matrix(seed, rows, columns, share, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_shards, "SHARD_TERMS", 20)
        patch.setattr(row_shards, "BLOCK_BYTES", 100)
        patch.setattr(row_shards, "LONGEST_BYTES", longest)
        by_row = Layout.of_rows(sparse(dense), problem_of, 4)
        by_column = Layout.of_columns(sparse(dense), problem_of, 4)
    assert laid_out(by_row, columns) == expected(dense)
    assert laid_out(by_column, rows) == expected(dense.T)
    assert by_row.terms.tolist() == (~np.isnan(dense)).sum(axis=0).tolist()
    assert by_column.terms.tolist() == (~np.isnan(dense)).sum(axis=1).tolist()
    ridges = [1.0 + len(terms) for terms in expected(dense).values()]
    assert by_row.usual_ridge == (np.median(ridges) if ridges else 1.0)


def test_equal_strengths_are_kept_once_a_row_and_shards_have_about_as_many_terms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_shards, "SHARD_TERMS", 1 << 14)
    dense = matrix(1, 3000, 200, 0.2, [1.0])
    layout = Layout.of_rows(sparse(dense), problem_of, 4)
    blocks = [block for shard in layout.shards for block in shard.blocks]
    assert all(block.strength.shape[1] == block.target.shape[1] == 1 for block in blocks)
    terms = [sum(block.column.size for block in shard.blocks) for shard in layout.shards]
    assert len(terms) == 8
    assert max(terms[:-1]) < 1.2 * min(terms[:-1])
    lengths = [block.column.shape[1] for shard in layout.shards for block in shard.blocks[-1:]]
    assert lengths == sorted(lengths, reverse=True)  # what takes longest begins first


def test_there_are_not_too_many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_shards, "SHARD_TERMS", 1)
    assert 32 < len(Layout.of_rows(sparse(matrix(2, 500, 20, 0.3, [1.0])), problem_of, 4).shards) <= 64


def test_the_number_of_workers_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_shards, "SHARD_TERMS", 50)
    dense = matrix(3, 100, 60, 0.3, [1.0, 2.0])
    layouts = []
    for workers in (1, 2, 3):
        with working(Work(workers=workers)):
            pairs = sparse(dense)
            layouts.append([Layout.of_rows(pairs, problem_of, 4), Layout.of_columns(pairs, problem_of, 4)])
    for layout in layouts[1:]:
        for one, other, columns in zip(layouts[0], layout, (60, 100), strict=True):
            assert [shard.row.tolist() for shard in one.shards] == [shard.row.tolist() for shard in other.shards]
            assert laid_out(one, columns) == laid_out(other, columns)


@given(st.lists(st.integers(0, 9)))
def test_occurrences_are_counted_and_values_taken_in_parts(listed: list[int]) -> None:
    place, values = np.array(listed, np.int32), np.arange(10, dtype=np.uint8) * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_shards, "PART", 4)
        assert occurrences(place, 10).tolist() == [listed.count(number) for number in range(10)]
        found = at_places(values, place)
    assert found.tolist() == [3 * number for number in listed]
    assert found.dtype == values.dtype
