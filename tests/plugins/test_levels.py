"""The kinds of entries, for every type of column."""

from __future__ import annotations

import numpy as np
import pytest

from nbarec.errors import ConfigError
from nbarec.tables import CategoryColumn
from nbarec.testing.worlds import tiny_world
from nbarec_plugins.levels import column_named, groups_of, levels_of

CATALOG = tiny_world().full_catalog()


def kinds(by: str) -> list[list[int]]:
    levels = levels_of(column_named(CATALOG, by, "tester"))
    return [levels.indices[levels.indptr[row] : levels.indptr[row + 1]].tolist() for row in range(levels.shape[0])]


def test_levels_of_every_type_of_column():
    assert kinds("artist") == [[0], [0], [0], [1], [1], [2], [], [2]]
    assert kinds("item.moods") == [[0, 3], [0], [3], [2], [1, 2], [1], [], [0, 1]]
    assert kinds("explicit") == [[0], [1], [0], [0], [1], [], [0], [1]]
    assert [len(row) for row in kinds("released")] == [1, 1, 1, 1, 1, 1, 0, 1]
    assert len({row[0] for row in kinds("released") if row}) == 7


def test_levels_have_as_many_columns_as_there_are_levels():
    assert levels_of(column_named(CATALOG, "artist", "tester")).shape == (8, 3)
    assert levels_of(column_named(CATALOG, "artist", "tester").take(np.array([5]))).shape == (1, 3)
    assert levels_of(CategoryColumn.of([])).shape == (0, 0)
    assert levels_of(column_named(CATALOG, "tempo", "tester").take(np.array([7]))).nnz == 0


def test_groups_are_equal_where_values_are():
    groups = groups_of(column_named(CATALOG, "events", "tester"))
    assert (groups[:, None] == groups).tolist() == (
        CATALOG.columns["events"].values[:, None] == CATALOG.columns["events"].values
    ).tolist()


def test_who_asks_for_a_column_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match=r"tester has `by: item.artst`, .* no column 'artst'; did you mean 'artist'"):
        column_named(CATALOG, "item.artst", "tester")
