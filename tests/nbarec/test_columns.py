"""Columns that are taken late against taking at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbarec.columns import Columns

WHOLE = {"price": np.arange(7) * 1.5, "scores": np.arange(14, dtype=np.float32).reshape(2, 7)}


@given(st.lists(st.integers(0, 6), max_size=8), st.data())
def test_what_is_taken_twice_is_what_numpy_takes_twice(first: list[int], data: st.DataObject) -> None:
    second = data.draw(st.lists(st.integers(0, len(first) - 1), max_size=5)) if first else []
    at, again = np.array(first, np.int64), np.array(second, np.int64)
    once = Columns(WHOLE).taken(at)
    twice = once.taken(again)
    assert list(twice) == list(WHOLE)
    assert len(twice) == 2
    for name, values in WHOLE.items():
        np.testing.assert_array_equal(once[name], values[..., at])
        np.testing.assert_array_equal(twice[name], values[..., at[again]])
        assert not twice[name].flags.writeable
        assert twice[name] is twice[name]  # taken once


def test_whole_columns_are_not_copied() -> None:
    assert Columns(WHOLE)["price"] is WHOLE["price"]


def test_a_column_that_is_not_there() -> None:
    taken = Columns(WHOLE).taken(np.array([0]))
    assert "cost" not in taken
    with pytest.raises(KeyError, match="cost"):
        taken["cost"]
