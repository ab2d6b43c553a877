"""Levels of items, means over them, and cells that count pairs either way."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.errors import ConfigError
from nbarec.tables import CategoryColumn, NumberColumn, Table
from nbarec.testing.worlds import tags_of
from nbarec_plugins.item_groups import RANGES, Cells, ItemGroups, groups_named

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=30)
asked = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=10)


def columns(some: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    row, level = np.array(some, np.int64).reshape(-1, 2).T
    return row, level


@given(pairs, asked, st.booleans())
@settings(max_examples=100, deadline=None)
def test_cells_count_pairs_by_line_and_by_sort(
    given_pairs: list[tuple[int, int]], wanted: list[tuple[int, int]], line: bool
) -> None:
    cells = Cells.of(*columns(given_pairs), 4, 6, 10**6 if line else -len(given_pairs))
    assert (cells.key is None) == line
    at = cells.find(*columns(wanted))
    counted = Counter(given_pairs)
    assert cells.counts().take(at).tolist() == [counted[pair] for pair in wanted]
    marked = np.arange(len(given_pairs)) % 2 == 0
    counted = Counter(given_pairs[::2])
    assert cells.counts_where(marked).take(at).tolist() == [counted[pair] for pair in wanted]


def test_means_and_extremes_over_the_levels_of_each_thing() -> None:
    members = ItemGroups.of(tags_of([["a", "b"], [], ["b"]])).members(np.array([0, 1, 2, 7]))
    assert members.several
    assert members.entry.tolist() == [0, 0, 2]
    values = np.array([1.0, 4.0, math.nan])
    nan = math.nan
    np.testing.assert_array_equal(members.mean(values), [2.5, nan, nan, nan])
    np.testing.assert_array_equal(members.least(values), [1, nan, nan, nan])
    np.testing.assert_array_equal(members.most(values), [4, nan, nan, nan])


def test_one_level_each() -> None:
    groups = ItemGroups.of(CategoryColumn.of(["x", None, "y"]))
    members = groups.members(np.array([2, 1, 0, 3]))
    assert (members.entry.tolist(), members.level.tolist(), groups.levels) == ([0, 2], [1, 0], 2)
    np.testing.assert_array_equal(members.mean(np.array([5.0, 6.0])), [5, math.nan, 6, math.nan])
    assert ItemGroups.themselves(3).members(np.array([2, 5])).level.tolist() == [2]


def test_numbers_are_cut_into_ranges_of_as_many_items_each() -> None:
    values = np.append(np.random.default_rng(0).normal(size=1000), math.nan)
    groups = ItemGroups.of(NumberColumn(values))
    assert groups.one[-1] == -1
    np.testing.assert_array_equal(np.bincount(groups.one[:-1]), np.full(RANGES, 100))
    order = np.argsort(values[:-1])
    assert (np.diff(groups.one[order]) >= 0).all()


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [1.0, 1.0, 2.0]])
def test_few_numbers_make_few_ranges(values: list[float]) -> None:
    groups = ItemGroups.of(NumberColumn(np.array(values)))
    assert len(groups.members(np.arange(len(values))).entry) == np.isfinite(values).sum()
    assert groups.one.max(initial=-1) < groups.levels


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    table = Table.of({"artist": ["ada"]})
    with pytest.raises(ConfigError, match=r"who: `by` names 'author', .* they have artist: name one"):
        groups_named(table, ("author",), "who")
