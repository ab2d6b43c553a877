"""Evidence: the strongest parts are told, and what is told adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.contracts import check_evidence
from nbarec.evidence import Evidence

parts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.floats(-5, 5, width=32)), max_size=20)


@settings(max_examples=100, deadline=None)
@given(parts, st.integers(1, 4))
def test_the_strongest_parts_of_each_pair_by_size(drawn: list[tuple[int, int, float]], limit: int) -> None:
    pair, item, amount = (np.array([one[at] for one in drawn]) for at in range(3))
    pair, item, amount = pair.astype(np.int64), item.astype(np.int32), amount.astype(np.float64)
    score = np.array([3.0, -1.0, 0.0, 8.0])
    told = Evidence.strongest(pair, item, amount, score, limit, "of {}")
    check_evidence("stage", told, 4, limit)
    np.testing.assert_allclose(told.score, score, atol=1e-12)
    for at in range(4):
        own = [(value, one) for who, one, value in drawn if who == at]
        expected = sorted(own, key=lambda part: -abs(part[0]))[:limit]
        span = slice(told.indptr[at], told.indptr[at + 1])
        assert list(zip(told.amount[span].tolist(), told.item[span].tolist(), strict=True)) == expected


def test_parts_that_are_no_items_have_labels() -> None:
    told = Evidence.strongest(
        np.array([0, 0, 1]),
        ["genre rock", "mood calm", "genre pop"],
        np.array([0.1, 0.5, 0.2]),
        np.ones(2),
        1,
        "it has {}",
    )
    assert told.label == ("mood calm", "genre pop")
    assert told.item.tolist() == [-1, -1]
    np.testing.assert_allclose(told.rest, [0.5, 0.8])


def test_a_score_can_be_one_part() -> None:
    told = Evidence.whole(["DE", "FR"], np.array([3.0, 4.0]), "popular in {}")
    assert told.amount.tolist() == [3.0, 4.0]
    assert told.rest.tolist() == [0.0, 0.0]
    assert len(told) == 2


@pytest.mark.parametrize("array", ["indptr", "item", "amount", "rest"])
def test_its_arrays_are_read_only(array: str) -> None:
    told = Evidence.whole(["DE"], np.ones(1), "popular in {}")
    assert not getattr(told, array).flags.writeable
