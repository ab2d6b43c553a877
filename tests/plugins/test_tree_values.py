"""Sums of trees and their parts, against one entry that goes down one tree at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.work import Work, working
from nbarec_plugins import tree_values
from nbarec_plugins.tree_values import Trees, expectations, on_grid

seeds = st.integers(0, 2**32 - 1)
FEATURES = 4


def drawn(seed: int, count: int = 7, depth: int = 3) -> Trees:
    """Trees with some nodes that are leaves, and unknown values on either side."""
    rng = np.random.default_rng(seed)
    nodes = 2**depth - 1
    column = rng.integers(0, 2 * FEATURES, (count, nodes)).astype(np.int32)
    threshold = rng.normal(size=(count, nodes)).astype(np.float32).round(1)
    ended = rng.random((count, nodes)) < 0.2
    column[ended], threshold[ended] = 0, np.inf
    leaves = on_grid(rng.normal(size=(count, nodes + 1)))
    entries = rng.integers(0, 9, (count, nodes + 1))
    expected = np.stack([expectations(one, n) for one, n in zip(leaves, entries, strict=True)])
    return Trees(column, threshold, expected, float(on_grid(np.array(rng.normal()))), FEATURES)


def entries(seed: int, count: int = 30) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32).round(1)
    values[np.random.default_rng(seed + 1).random(values.shape) < 0.2] = np.nan
    return values


def slow(trees: Trees, row: np.ndarray) -> tuple[float, np.ndarray, float]:
    """The margin, the part of each feature, and the start, of one entry."""
    margin, parts, start = trees.base, np.zeros(FEATURES), trees.base
    for column, threshold, expected in zip(trees.column, trees.threshold, trees.expected, strict=True):
        node = 0
        start += expected[0]
        for _ in range(trees.depth):
            value = row[column[node] % FEATURES]
            right = column[node] >= FEATURES if np.isnan(value) else value > threshold[node]
            child = 2 * node + 1 + int(right)
            parts[column[node] % FEATURES] += expected[child] - expected[node]
            node = child
        margin += expected[node]
    return margin, parts, start


@given(seeds, st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_margins_and_parts_are_those_of_a_walk_down_each_tree(seed: int, depth: int) -> None:
    trees, values = drawn(seed, depth=depth), entries(seed)
    margins, (parts, start) = trees.margins(values), trees.contributions(values)
    for at, row in enumerate(values):
        margin, expected, base = slow(trees, row)
        assert margins[at] == margin
        assert start == base
        np.testing.assert_array_equal(parts[at], expected)
    np.testing.assert_array_equal(parts.sum(axis=1) + start, margins)


def test_an_entry_has_the_same_margin_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    trees, values = drawn(5, count=60), entries(5, 1200)
    whole, (parts, _) = trees.margins(values), trees.contributions(values)
    with working(Work(workers=2)):
        np.testing.assert_array_equal(trees.margins(values), whole)
        np.testing.assert_array_equal(trees.contributions(values)[0], parts)
    monkeypatch.setattr(tree_values, "ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(trees.margins(np.asfortranarray(values)), whole)
    alone = np.concatenate([trees.margins(row[None]) for row in values[:50]])
    np.testing.assert_array_equal(alone, whole[:50])
    assert trees.margins(values[:0]).shape == (0,)
    assert trees.contributions(values[:0])[0].shape == (0, FEATURES)


def test_no_trees_give_the_base() -> None:
    some, values = drawn(0), entries(0)
    trees = Trees(some.column[:0], some.threshold[:0], some.expected[:0], 0.25, FEATURES)
    np.testing.assert_array_equal(trees.margins(values), np.full(30, trees.base))
    parts, start = trees.contributions(values)
    assert start == trees.base
    assert not parts.any()
    assert not trees.moved().any()


def test_infinite_values_are_known() -> None:
    threshold = np.array([[np.finfo(np.float32).max]], np.float32)
    expected = np.array([[0.5, 0.0, 1.0]])
    values = np.array([[np.inf], [-np.inf], [0], [np.nan]], np.float32)
    right = Trees(np.array([[1]], np.int32), threshold, expected, 0.0, 1)
    assert right.margins(values).tolist() == [0, 0, 0, 1]
    left = Trees(np.array([[0]], np.int32), threshold, expected, 0.0, 1)
    assert left.margins(values).tolist() == [0, 0, 0, 0]


def test_expectations_are_means_over_entries() -> None:
    found = expectations(np.array([1.0, 3.0, 5.0, 0.0]), np.array([1, 3, 2, 0]))
    np.testing.assert_allclose(found, [(1 + 9 + 10) / 6, 2.5, 5.0, 1, 3, 5, 0], atol=2**-28)


def test_what_moves_margins_is_told_by_splits_alone() -> None:
    column, threshold = np.array([[1, 0, 3]], np.int32), np.array([[0.5, np.inf, 0.1]], np.float32)
    expected = expectations(np.array([2.0, 0.0, 3.0, 5.0]), np.array([2, 0, 1, 1]))[None]
    trees = Trees(column, threshold, expected, 0.0, FEATURES)
    assert trees.asked.tolist() == [1, 3]
    assert trees.moved().tolist() == [0, 1.0, 0, 0.5]


def test_values_are_on_the_grid_and_within_what_sums_exactly() -> None:
    found = on_grid(np.array([0.1, -1e9, 1e9]))
    assert (found * tree_values.GRID == np.rint(found * tree_values.GRID)).all()
    assert found.tolist()[1:] == [-1024, 1024]
    assert abs(found[0] - 0.1) < 2**-28
