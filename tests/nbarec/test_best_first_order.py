"""The order of a pool by score, and the slates cut from it, against a loop over entries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import serving
from nbarec.batch import Pool
from nbarec.merging import merge
from nbarec.serving import best_first_order
from nbarec.slates import chosen
from nbarec.testing.worlds import candidates_of

N_ITEMS = 30
SMALLEST, LARGEST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)

scores = st.sampled_from([0.0, -0.0, 1.0, -1.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, np.nan]) | st.floats(width=32)
rows = st.lists(st.dictionaries(st.integers(0, N_ITEMS - 1), scores, max_size=12), max_size=6)


def pool_with(drawn: list[dict[int, float]]) -> Pool:
    pool = merge({"given": candidates_of([dict.fromkeys(row, 1.0) for row in drawn])}, len(drawn), N_ITEMS)
    score = [row[item] for row in drawn for item in sorted(row)]
    return replace(pool, score=np.array(score, np.float32))


def slow_order(row: dict[int, float]) -> list[int]:
    """The items of one row by score, ties by item; NaN comes last, as in any sort of NumPy."""
    return sorted(row, key=lambda item: (math.isnan(row[item]), 0.0 if math.isnan(row[item]) else -row[item], item))


@pytest.mark.parametrize("at_once", [1, 4, 1 << 15])
@settings(max_examples=100, deadline=None)
@given(drawn=rows)
def test_each_row_goes_by_score_and_ties_by_item(at_once: int, drawn: list[dict[int, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "SORTED_AT_ONCE", at_once)
        pool = pool_with(drawn)
        order = best_first_order(pool)
    assert order.dtype == np.int64
    spans = zip(pool.indptr, pool.indptr[1:], strict=False)
    assert [pool.item[order[first:last]].tolist() for first, last in spans] == [slow_order(row) for row in drawn]


@settings(max_examples=60, deadline=None)
@given(drawn=rows, k=st.integers(1, 14))
def test_a_slate_holds_the_first_entries_of_each_row(drawn: list[dict[int, float]], k: int) -> None:
    pool = pool_with(drawn)
    item, score = chosen(pool, k)
    assert item.shape == score.shape == (len(drawn), k)
    for row, (items, own) in enumerate(zip(item.tolist(), drawn, strict=True)):
        first = sorted(own)[:k]
        assert items == first + [-1] * (k - len(first))
        np.testing.assert_array_equal(score[row, : len(first)], np.array([own[one] for one in first], np.float32))
        assert np.isnan(score[row, len(first) :]).all()
