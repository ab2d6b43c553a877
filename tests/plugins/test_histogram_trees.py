"""Trees against one that looks at every split of every node by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.work import Work, working
from nbarec_plugins import histogram_trees
from nbarec_plugins.histogram_trees import PACKED, Growth, Quantised, Shape, grow, quantised, unpacked

seeds = st.integers(0, 2**32 - 1)
growths = st.builds(
    Growth,
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 3.0, 8.0]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 300.0]),
)


def drawn(seed: int, entries: int = 80, features: int = 3, width: int = 6) -> tuple[np.ndarray, Quantised]:
    """Bins, some unknown, and whole-numbered gradients that depend on them; a unit of either is 1."""
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, width, (features, entries)).astype(np.uint8)
    gradient = np.where(bins[0] > 2, 40, -30) + np.where(bins[-1] == 0, 25, -5) + rng.integers(-20, 20, entries)
    return bins, Quantised((gradient * PACKED + rng.integers(1, 9, entries)).astype(np.float64), 1.0, 1.0)


def slow_tree(
    bins: np.ndarray, values: Quantised, rows: np.ndarray, growth: Growth
) -> dict[int, tuple[int, int, bool]]:
    """Feature, last bin on the left and whether unknown values go right, of each node that splits, by its place in a
    heap; the first of the best, features one after the other, then unknown values on the right before the left."""
    gradient, hessian = (part.astype(int) for part in unpacked(values.packed))
    found = {}

    def score(chosen: np.ndarray) -> float:
        below = float(hessian[chosen].sum()) + growth.l2
        return float(gradient[chosen].sum()) ** 2 / below if below else 0.0

    def split(node: int, inside: np.ndarray, level: int) -> None:
        if level == growth.depth or len(inside) < 2 * growth.min_leaf:
            return
        least = max(growth.min_leaf * int(hessian[inside].sum()) / len(inside), 1.0)
        best, chosen = -math.inf, None
        for feature in range(len(bins)):
            for missing_right in (True, False):
                for last in range(1, int(bins.max()) + 1):
                    column = bins[feature, inside]
                    right = (column > last) | ((column == 0) & missing_right)
                    sides = inside[~right], inside[right]
                    if min(int(hessian[side].sum()) for side in sides) < least:
                        continue
                    total = score(sides[0]) + score(sides[1])
                    if total > best:
                        best, chosen = total, (feature, last, missing_right, sides)
        # Scores are twice the loss.
        if chosen is None or best - score(inside) <= max(2 * growth.min_gain, 1e-10 * score(inside)):
            return
        feature, last, missing_right, sides = chosen
        if not (bins[feature, inside] == 0).any():
            missing_right = bool(hessian[sides[1]].sum() > hessian[sides[0]].sum())
        found[node] = (feature, last, missing_right)
        split(2 * node + 1, sides[0], level + 1)
        split(2 * node + 2, sides[1], level + 1)

    split(0, rows, 0)
    return found


def told(tree: Shape) -> dict[int, tuple[int, int, bool]]:
    splits = np.flatnonzero(tree.bin >= 0).tolist()
    return {at: (int(tree.feature[at]), int(tree.bin[at]), bool(tree.missing_right[at])) for at in splits}


@given(seeds, growths, st.booleans(), st.sampled_from([0, 10**9]))
@settings(max_examples=40, deadline=None)
def test_every_split_is_that_of_a_tree_that_tries_all(seed: int, growth: Growth, some: bool, together: int) -> None:
    bins, values = drawn(seed)
    rows = np.flatnonzero(np.random.default_rng(seed).random(80) < 0.7) if some else np.arange(80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram_trees, "TOGETHER", together)
        patch.setattr(histogram_trees, "COUNTED_AT_ONCE", 16)
        tree = grow(bins, 6, rows, values, np.arange(3), growth)
    assert told(tree) == slow_tree(bins, values, rows, growth)
    np.testing.assert_array_equal(tree.leaf, tree.leaves_of(bins[:, rows]))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_what_is_subtracted_is_what_would_be_counted(seed: int) -> None:
    bins, values = drawn(seed)
    growing = histogram_trees._Growing(
        bins, 6, values, np.arange(3), Growth(depth=3, min_leaf=1), [np.arange(3)], np.arange(80), values.packed
    )
    growing.places = np.arange(80)
    level = histogram_trees._Level(np.zeros(1, np.int64), np.array([0, 80]), np.full(1, -1))
    tree = Shape.of(3, 80)
    for at in range(3):
        splits = growing.splits(level)
        direct = growing._level_sums(np.arange(3), level, np.ones(len(level.place), bool), None)
        counted = np.repeat((level.counts >= 2).reshape(-1, min(2, len(level.counts))).any(axis=1), min(2, at + 1))
        np.testing.assert_array_equal(growing.sums[0][:, counted], direct[:, counted])
        level = growing.parted(tree, level, splits, at)


def test_features_that_are_not_among_those_chosen_are_not_asked_for() -> None:
    bins, values = drawn(1)
    tree = grow(bins, 6, np.arange(80), values, np.array([1, 2]), Growth(min_leaf=2))
    assert set(tree.feature[tree.bin >= 0].tolist()) <= {1, 2}
    assert (tree.bin >= 0).any()


def test_workers_change_no_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histogram_trees, "SHARD", 2)
    rng = np.random.default_rng(3)
    bins = rng.integers(0, 40, (9, 40_000)).astype(np.uint8)
    gradient = np.where(bins[2] > 10, 1.0, -1.0) * np.where(bins[7] > 20, 1.0, -0.5) + rng.normal(size=40_000)
    values = quantised(gradient, np.ones(40_000), rng)
    alone = grow(bins, 40, np.arange(40_000), values, np.arange(9), Growth())
    with working(Work(workers=2)):
        together = grow(bins, 40, np.arange(40_000), values, np.arange(9), Growth())
    assert told(alone) == told(together)
    assert {alone.feature[0], alone.feature[1]} == {2, 7}
    np.testing.assert_array_equal(alone.leaf, together.leaf)


@pytest.mark.parametrize("gradient", [np.zeros(50), np.full(50, -0.3)])
def test_gradients_that_are_all_alike_make_no_split(gradient: np.ndarray) -> None:
    bins = np.random.default_rng(0).integers(0, 6, (2, 50)).astype(np.uint8)
    values = Quantised(np.rint(gradient * 100) * PACKED + 7, 0.01, 0.01)
    tree = grow(bins, 6, np.arange(50), values, np.arange(2), Growth(min_leaf=1))
    assert (tree.bin < 0).all()
    assert not tree.leaf.any()


def test_one_bin_and_few_entries_make_no_split() -> None:
    bins, values = drawn(0)
    assert (grow(np.ones_like(bins), 6, np.arange(80), values, np.arange(3), Growth(min_leaf=1)).bin < 0).all()
    assert (grow(bins, 6, np.arange(80), values, np.arange(3), Growth(min_leaf=41)).bin < 0).all()
    assert (grow(bins, 6, np.arange(80), values, np.arange(3), Growth(min_gain=1e9)).bin < 0).all()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_whole_numbers_are_near_and_right_in_the_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradient, hessian = rng.normal(size=4000), rng.random(4000)
    found = quantised(gradient, hessian, rng)
    whole = unpacked(found.packed)
    for part, unit, exact in zip(whole, (found.gradient_unit, found.hessian_unit), (gradient, hessian), strict=True):
        np.testing.assert_array_equal(part, np.rint(part))
        assert np.abs(part * unit - exact).max() <= unit * (1 + 1e-6)
        assert abs((part * unit - exact).sum()) < 6 * unit * math.sqrt(4000 / 4)


def test_gradients_too_small_to_be_squared_make_no_error() -> None:
    bins, _ = drawn(0)
    rng = np.random.default_rng(0)
    for gradient in (np.zeros(80), np.where(bins[0] > 2, 1e-200, -1e-200)):
        tree = grow(bins, 6, np.arange(80), quantised(gradient, np.ones(80), rng), np.arange(3), Growth(min_leaf=1))
        assert (tree.bin[0] >= 0) == gradient.any()


def test_sums_of_as_many_as_are_counted_at_once_are_exact() -> None:
    count = histogram_trees.COUNTED_AT_ONCE
    gradient, hessian = np.full(count, -1.0), np.ones(count)
    packed = quantised(gradient, hessian, np.random.default_rng(0)).packed
    total = unpacked(np.bincount(np.zeros(count, int), weights=packed))
    assert total[0][0] == -histogram_trees.GRADIENT_STEPS * count
    assert total[1][0] == histogram_trees.HESSIAN_STEPS * count
