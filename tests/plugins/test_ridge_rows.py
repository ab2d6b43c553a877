"""Rows of ridge regressions: padding, and taking some of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec_plugins.ridge_rows import RidgeRows, blocks_of, padded_lengths


@given(count=st.integers(0, 10**7))
@settings(max_examples=200)
def test_padding_is_at_most_an_eighth_and_none_for_short_rows(count: int) -> None:
    (padded,) = padded_lengths(np.array([count])).tolist()
    assert count <= padded <= max(count, 15, count * 1.125)
    if count < 16:
        assert padded == count


def test_few_lengths_serve_many_rows() -> None:
    assert len(np.unique(padded_lengths(np.arange(100_000)))) < 140


def small() -> RidgeRows:
    """Three rows of 2, 0 and 1 terms."""
    column, strength = np.array([4, 1, 2], np.int32), np.array([1.0, 2.0, 3.0])
    return RidgeRows(np.array([0, 2, 2, 3]), column, strength, strength + 10, np.array([0.5, 0.1, 0.7]))


def test_rows_are_taken_in_any_order() -> None:
    taken = small().take(np.array([2, 0]))
    assert taken.indptr.tolist() == [0, 1, 3]
    assert taken.column.tolist() == [2, 4, 1]
    assert taken.target.tolist() == [13.0, 11.0, 12.0]
    assert taken.ridge.tolist() == [0.7, 0.5]


def test_an_offset_leaves_its_part_of_each_target() -> None:
    assert small().without(np.arange(5, dtype=np.float32)).target.tolist() == [11.0 - 4, 12.0 - 2, 13.0 - 6]
    assert small().without(None).target.tolist() == [11.0, 12.0, 13.0]


def test_the_usual_ridge_is_the_median_of_rows_with_terms() -> None:
    assert small().usual_ridge == 0.6
    assert small().take(np.array([1])).usual_ridge == 1.0


@given(lengths=st.lists(st.integers(0, 60), max_size=30), limit=st.sampled_from([1, 500, 10**6]))
@settings(max_examples=60, deadline=None)
def test_blocks_hold_every_row_with_terms_once_within_the_limit(lengths: list[int], limit: int) -> None:
    indptr, terms = np.append(0, np.cumsum(lengths)).astype(np.int64), sum(lengths)
    rows = RidgeRows(indptr, np.arange(terms, dtype=np.int32), np.ones(terms), np.ones(terms), np.ones(len(lengths)))
    seen = []
    for block in blocks_of(rows, np.arange(len(lengths)), 8, 4, limit):
        places = block.column.shape[1]
        assert len(block.row) == 1 or len(block.row) * (8 + 4 * places) <= limit
        for row, column, strength, target in zip(
            block.row.tolist(), block.column, block.strength, block.target, strict=True
        ):
            seen.append(row)
            assert column[: lengths[row]].tolist() == list(range(indptr[row], indptr[row + 1]))
            assert strength.tolist() == target.tolist() == [1.0] * lengths[row] + [0.0] * (places - lengths[row])
    assert sorted(seen) == [row for row, length in enumerate(lengths) if length]
