"""Intervals: what they contain, how they shrink, and that the same seed gives the same ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import statistics
from nbarec.statistics import Resamples, mean_interval, mean_intervals, resampled_means, standard_interval


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


values = st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=12).map(np.array)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(1, 9))
def test_resampled_means_are_the_means_of_the_resamples(found: np.ndarray, count: int) -> None:
    resamples = Resamples.draw(len(found), rng(), count)
    means = resampled_means(found[:, None], resamples)[:, 0]
    assert len(means) == count
    for mean, drawn in zip(means, resamples.each(), strict=True):
        defined = [found[user] for user in drawn if not np.isnan(found[user])]
        assert mean == pytest.approx(np.mean(defined) if defined else np.nan, nan_ok=True)


def test_the_interval_is_that_of_the_resampled_means() -> None:
    found = rng().random(40)
    low, high = mean_interval(found, rng(8), resamples=500, level=0.9)
    generator = np.random.default_rng(int(rng(8).integers(2**63)))
    means = [np.mean(found[generator.integers(0, 40, 40)]) for _ in range(500)]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))


def test_the_interval_contains_the_mean_and_repeats() -> None:
    found = rng().random(200)
    low, high = mean_interval(found, rng(1))
    assert low < found.mean() < high
    assert mean_interval(found, rng(1)) == (low, high)
    assert mean_interval(found, rng(2)) != (low, high)


def test_the_interval_has_the_width_of_the_normal_one_and_shrinks_with_the_root_of_users() -> None:
    widths = {}
    for users in (400, 6400):
        found = rng(users).random(users)
        low, high = mean_interval(found, rng(), resamples=2000)
        widths[users] = high - low
        assert widths[users] == pytest.approx(2 * 1.96 * found.std() / np.sqrt(users), rel=0.1)
    assert widths[400] / widths[6400] == pytest.approx(4, rel=0.15)


def test_nineteen_of_twenty_intervals_contain_the_true_mean() -> None:
    generator = rng(11)
    intervals = [mean_interval(generator.random(60), generator, resamples=300) for _ in range(300)]
    assert 0.91 <= np.mean([low <= 0.5 <= high for low, high in intervals]) <= 0.98


def test_undefined_values_are_left_out() -> None:
    found = rng().random(300)
    found[::3] = np.nan
    low, high = mean_interval(found, rng())
    assert low < np.nanmean(found) < high
    assert np.isnan(mean_interval(np.full(5, np.nan), rng())).all()
    assert np.isnan(mean_interval(np.empty(0), rng())).all()


def test_a_single_user_has_no_interval() -> None:
    """Not one of width 0, as if the figure were certain; however many requests are the user's, or others undefined."""
    gaps = np.full(40, np.nan)
    gaps[7] = 0.5
    assert np.isnan(mean_interval(np.array([0.5]), rng())).all()
    assert np.isnan(mean_interval(gaps, rng())).all()
    requests = np.column_stack([rng().random(6), np.where(np.arange(6) < 4, rng().random(6), np.nan)])
    intervals = mean_intervals(requests, Resamples.of_rows(np.array([0, 0, 0, 0, 1, 1]), rng(), 50))
    assert not np.isnan(intervals[0]).any()
    assert np.isnan(intervals[1]).all()
    gaps[9] = 0.5
    assert mean_interval(gaps, rng()) == (0.5, 0.5)


def test_figures_share_their_resamples() -> None:
    """Two lists that differ by a constant differ by it in every resample."""
    found = rng().random(50)
    resamples = Resamples.draw(50, rng(), 100)
    means = resampled_means(np.column_stack([found, found + 0.25]), resamples)
    assert means[:, 1] - means[:, 0] == pytest.approx(0.25)
    intervals = mean_intervals(np.column_stack([found, np.full(50, np.nan)]), resamples)
    assert intervals.shape == (2, 2)
    assert np.isnan(intervals[1]).all()
    assert not np.isnan(intervals[0]).any()


def test_resamples_repeat_and_come_in_bounded_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS_IN_BLOCK", 64)
    resamples = Resamples.draw(10, rng(), 15)
    blocks = list(resamples.blocks())
    assert [block.shape for block in blocks] == [(6, 10), (6, 10), (3, 10)]
    assert (np.concatenate(list(resamples.blocks())) == np.concatenate(blocks)).all()
    assert 0 <= np.concatenate(blocks).min() <= np.concatenate(blocks).max() == 9
    assert resampled_means(np.arange(10.0)[:, None], resamples).shape == (15, 1)
    with pytest.raises(ValueError, match="resamples must be at least 1, not 0"):
        Resamples.draw(10, rng(), 0)


def test_the_standard_interval_is_centred_and_clipped() -> None:
    found = rng().random(400)
    resamples = Resamples.draw(400, rng())
    low, high = standard_interval(found.mean(), resampled_means(found[:, None], resamples)[:400, 0])
    assert (low + high) / 2 == pytest.approx(found.mean())
    assert high - low == pytest.approx(2 * 1.96 * found.std() / np.sqrt(400), rel=0.15)
    clipped = standard_interval(0.99, found, bounds=(0.0, 1.0))
    assert clipped[1] == 1.0
    assert clipped[0] > 0


def test_the_standard_interval_of_an_undefined_figure_is_undefined() -> None:
    assert np.isnan(standard_interval(float("nan"), np.full(9, 0.5))).all()
    assert np.isnan(standard_interval(0.5, np.full(9, np.nan))).all()
    assert standard_interval(0.5, np.full(1, 0.5)) == (0.5, 0.5)
