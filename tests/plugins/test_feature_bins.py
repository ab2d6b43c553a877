"""Bins against one value at a time, and the order of categories against every way to part them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.work import Work, working
from nbarec_plugins import feature_bins
from nbarec_plugins.feature_bins import ordered_categories, quantile_bins

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
columns = st.lists(st.one_of(floats, st.sampled_from([0.0, -0.0, 1.0, 2.5])), min_size=1, max_size=40)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(columns, st.integers(2, 9))
@settings(max_examples=150, deadline=None)
def test_bins_keep_the_order_of_values_and_have_one_of_their_own_for_the_unknown(
    values: list[float], most: int
) -> None:
    column = np.array(values, np.float32)[:, None]
    cut = quantile_bins(column, most, rng())
    found = cut.bins(column)[0]
    assert found.max(initial=0) < cut.width <= most + 1
    assert np.isfinite(cut.edges).all()
    assert (np.diff(cut.edges) > 0).all()
    for value, place in zip(column[:, 0].tolist(), found.tolist(), strict=True):
        expected = 0 if np.isnan(value) else 1 + sum(edge < value for edge in cut.edges.tolist())
        assert place == expected


@given(columns)
@settings(max_examples=60, deadline=None)
def test_few_values_have_a_bin_each(values: list[float]) -> None:
    column = np.clip(np.array(values, np.float32), -feature_bins.HIGHEST, feature_bins.HIGHEST)
    found = quantile_bins(column[:, None], 60, rng()).bins(column[:, None])[0]
    known = ~np.isnan(column)
    _, expected = np.unique(column[known], return_inverse=True)
    np.testing.assert_array_equal(found[known], expected + 1)


def test_many_values_are_cut_into_bins_of_about_the_same_size() -> None:
    column = rng().normal(size=(10_000, 1)).astype(np.float32)
    counts = np.bincount(quantile_bins(column, 50, rng()).bins(column)[0])[1:]
    assert len(counts) == 50
    assert 199 <= counts.min() <= counts.max() <= 201


def test_neighbours_among_floats_are_told_apart() -> None:
    low = np.float32(1.0)
    column = np.array([[low], [np.nextafter(low, np.float32(2))]], np.float32)
    np.testing.assert_array_equal(quantile_bins(column, 255, rng()).bins(column), [[1, 2]])


def test_workers_and_samples_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng().normal(size=(5000, 3)).astype(np.float32)
    whole = quantile_bins(values, 20, rng())
    with working(Work(workers=2)):
        parallel = quantile_bins(values, 20, rng())
        np.testing.assert_array_equal(parallel.bins(values), whole.bins(values))
    monkeypatch.setattr(feature_bins, "SAMPLED", 2000)
    counts = np.bincount(quantile_bins(values, 20, rng()).bins(values)[0])[1:]
    assert len(counts) == 20
    assert counts.min() > 150


def test_the_order_of_categories_has_the_best_of_all_splits() -> None:
    # What a split of labels in two gains is least squares of their means; the order alone must hold the best.
    draw = rng()
    codes = draw.integers(1, 6, (200, 1)).astype(np.int32)
    label = (draw.random(200) < codes[:, 0] * 7 % 5 / 5).astype(np.float64)
    place = ordered_categories(codes, [6], label, 0.0).numbers(codes)[:, 0]

    def explained(left: np.ndarray) -> float:
        return float(sum(side.sum() ** 2 / max(len(side), 1) for side in (label[left], label[~left])))

    levels = range(1, 6)
    best = max(explained(np.isin(codes[:, 0], one)) for size in range(1, 5) for one in combinations(levels, size))
    assert max(explained(place <= cut) for cut in range(4)) == pytest.approx(best, rel=1e-12)


def test_levels_with_few_entries_stand_in_the_middle_and_unknown_ones_nowhere() -> None:
    codes = np.array([[1]] * 50 + [[2]] * 50 + [[3], [0]], np.int32)
    label = np.array([0] * 50 + [1] * 25 + [0] * 25 + [1, 0], np.float64)
    order = ordered_categories(codes, [4], label, 20.0)
    np.testing.assert_array_equal(order.place, np.array([np.nan, 0, 2, 1], np.float32))
    assert ordered_categories(codes, [4], label, 0.0).place[3] == 2
    np.testing.assert_array_equal(order.numbers(np.array([[0], [2]], np.int32)), np.array([[np.nan], [2]], np.float32))


@pytest.mark.parametrize("smooth", [0.0, 20.0])
def test_levels_without_entries_are_unknown(smooth: float) -> None:
    codes = np.array([[1], [3], [3]], np.int32)
    order = ordered_categories(codes, [5], np.array([1.0, 0.0, 0.0]), smooth)
    np.testing.assert_array_equal(order.place, np.array([np.nan, 1, np.nan, 0, np.nan], np.float32))


def test_several_categories_keep_to_themselves() -> None:
    codes = np.array([[1, 2], [2, 1], [0, 0]], np.int32)
    order = ordered_categories(codes, [3, 4], np.array([1.0, 0.0, 0.0]), 1.0)
    assert order.numbers(codes).tolist()[:2] == [[1.0, 1.0], [0.0, 0.0]]
    assert ordered_categories(np.empty((3, 0), np.int32), [], np.ones(3), 1.0).numbers(codes[:, :0]).shape == (3, 0)
