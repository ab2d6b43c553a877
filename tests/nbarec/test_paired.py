"""Paired tests against slow references: every sign written out, every resample drawn by hand; and what holds of all."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import paired, statistics
from nbarec.arrays import Floats64
from nbarec.paired import PairedTest, SignFlips, holm, paired_tests
from nbarec.statistics import Resamples


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def outcome(differences: object, resamples: int = 2000, seed: int = 3) -> PairedTest:
    return paired_tests(np.array(differences, np.float64)[:, None], rng(seed), resamples)[0]


def exact(differences: Floats64) -> float:
    """The share of all ways to give signs whose sum is at least as far from 0, of whole numbers."""
    observed = abs(differences.sum())
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=len(differences))]
    return float(np.mean([total >= observed for total in sums]))


whole = st.lists(st.integers(-6, 6), min_size=1, max_size=10).map(lambda found: np.array(found, np.float64))
values = st.lists(st.one_of(st.integers(-8, 8).map(float), st.just(float("nan"))), min_size=1, max_size=30).map(
    np.array
)


@settings(max_examples=60, deadline=None)
@given(whole)
def test_of_ten_users_the_permutation_test_is_exact(differences: Floats64) -> None:
    assert outcome(differences / 7, resamples=1024).permutation == exact(differences)


def test_where_the_ways_are_too_many_drawn_ones_come_near() -> None:
    differences = rng().integers(-6, 9, 10).astype(np.float64)
    drawn = outcome(differences, resamples=1023).permutation
    assert not SignFlips(10, 1023, 0).are_all
    assert drawn == pytest.approx(exact(differences), abs=0.05)
    assert drawn != exact(differences)


@settings(max_examples=20, deadline=None)
@given(values, st.integers(1, 50))
def test_the_bootstrap_is_that_of_the_resamples(differences: Floats64, count: int) -> None:
    found = outcome(differences, count)
    defined = differences[~np.isnan(differences)]
    if len(defined) < 2:
        assert np.isnan(found.bootstrap)
        assert np.isnan(found.ci95).all()
        return
    drawn = [differences[users] for users in Resamples.draw(len(differences), rng(), count).each()]
    means = np.array([np.mean(one[~np.isnan(one)]) for one in drawn if not np.isnan(one).all()])
    if not len(means):
        assert np.isnan(found.bootstrap)
        return
    mean = defined.mean()
    times = int((np.abs(means - mean) >= abs(mean) - 1e-12).sum())
    assert found.users == len(defined)
    assert found.difference == pytest.approx(mean)
    assert found.ci95 == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert found.bootstrap == (1 + times) / (1 + len(means))


def test_drawn_signs_are_counted_as_by_hand() -> None:
    differences = rng().integers(-6, 9, 40).astype(np.float64)
    generator = rng()
    generator.integers(2**63)  # the seed of the resamples
    flips = SignFlips(40, 300, int(generator.integers(2**63)))
    sums = [np.where(row == 1, -differences, differences).sum() for block in flips.blocks() for row in block]
    times = sum(abs(total) >= abs(differences.sum()) for total in sums)
    assert len(sums) == 300
    assert outcome(differences, 300).permutation == (1 + times) / 301


@settings(max_examples=30, deadline=None)
@given(values)
def test_the_other_way_round_the_sign_alone_changes(differences: Floats64) -> None:
    forth, back = outcome(differences, 200), outcome(-differences, 200)
    assert (back.users, back.difference) == pytest.approx((forth.users, -forth.difference), nan_ok=True)
    assert back.ci95 == pytest.approx((-forth.ci95[1], -forth.ci95[0]), nan_ok=True)
    np.testing.assert_equal((back.bootstrap, back.permutation), (forth.bootstrap, forth.permutation))


@settings(max_examples=20, deadline=None)
@given(values, st.floats(0.001, 1000))
def test_the_unit_of_the_values_does_not_matter(differences: Floats64, unit: float) -> None:
    one, other = outcome(differences, 100), outcome(differences * unit, 100)
    np.testing.assert_equal((one.bootstrap, one.permutation), (other.bootstrap, other.permutation))


@pytest.mark.parametrize("users", [2, 10, 500])
def test_equal_runs_have_p_1(users: int) -> None:
    assert outcome(np.zeros(users)) == PairedTest(users, 0.0, (0.0, 0.0), 1.0, 1.0)


def test_a_clear_difference_and_none() -> None:
    noise = rng().normal(size=400)
    clear = outcome(noise + 1)
    assert clear.bootstrap == clear.permutation == 1 / 2001
    assert 0.85 < clear.ci95[0] < clear.difference < clear.ci95[1] < 1.15
    none = outcome(noise - noise.mean() + 0.001)
    assert min(none.bootstrap, none.permutation) > 0.9
    assert none.ci95[0] < 0 < none.ci95[1]


def test_without_a_difference_p_is_uniform() -> None:
    """Six hundred figures of 40 users who differ by chance: p is at most a for a share a of them."""
    differences = rng(5).standard_t(6, (40, 600))
    tests = paired_tests(differences, rng(6), 500)
    permutation = np.array([test.permutation for test in tests])
    bootstrap = np.array([test.bootstrap for test in tests])
    for share in (0.05, 0.1, 0.3, 0.5, 0.8):
        error = 3 * np.sqrt(share * (1 - share) / 600)
        assert np.mean(permutation <= share) == pytest.approx(share, abs=error)
        assert np.mean(bootstrap <= share) == pytest.approx(share, abs=error + 0.03)  # right for many users only
    inside = np.mean([test.ci95[0] <= 0 <= test.ci95[1] for test in tests])
    assert 0.9 <= inside <= 0.97


def test_figures_share_their_draws_and_undefined_users_are_left_out() -> None:
    differences = rng().normal(size=(60, 1)) + 0.1
    gaps = differences.copy()
    gaps[::3] = np.nan
    nothing, single = np.full((60, 1), np.nan), np.full((60, 1), np.nan)
    single[7] = 0.5
    found = paired_tests(np.hstack([differences, gaps, differences, nothing, single]), rng(), 400)
    for at, alone in enumerate((differences, gaps, differences)):
        one, other = found[at], outcome(alone[:, 0], 400)
        assert (one.users, one.bootstrap, one.permutation) == (other.users, other.bootstrap, other.permutation)
        assert (one.difference, *one.ci95) == pytest.approx((other.difference, *other.ci95))
    assert [one.users for one in found] == [60, 40, 60, 0, 1]
    assert np.isnan([found[3].difference, *found[3].ci95, found[3].bootstrap, found[3].permutation]).all()
    assert (found[4].difference, found[4].permutation) == (0.5, 1.0)
    assert np.isnan([*found[4].ci95, found[4].bootstrap]).all()
    assert paired_tests(np.empty((9, 0)), rng(), 20) == []


def test_blocks_bound_the_memory_and_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    flips = SignFlips(6, 100, 1)
    assert flips.are_all
    ways = np.concatenate(list(flips.blocks()))
    assert sorted(map(tuple, ways)) == sorted(product((0.0, 1.0), repeat=6))
    differences = rng().normal(size=6)
    before = outcome(differences, 100)
    for module in (paired, statistics):
        monkeypatch.setattr(module, "DRAWS_IN_BLOCK", 48)
    assert [block.shape for block in flips.blocks()] == [(8, 6)] * 8
    assert np.array_equal(np.concatenate(list(flips.blocks())), ways)
    assert outcome(differences, 100).permutation == before.permutation
    drawn = [block.shape for block in SignFlips(20, 5, 1).blocks()]
    assert drawn == [(2, 20), (2, 20), (1, 20)]


def test_drawn_signs_are_fair_and_repeat() -> None:
    flips = SignFlips(50, 4000, 7)
    signs = np.concatenate(list(flips.blocks()))
    assert signs.shape == (4000, 50)
    assert set(np.unique(signs)) == {0.0, 1.0}
    assert np.abs(signs.mean(axis=0) - 0.5).max() < 4 * 0.5 / np.sqrt(4000)
    assert np.array_equal(np.concatenate(list(flips.blocks())), signs)


def test_a_test_needs_a_resample() -> None:
    with pytest.raises(ValueError, match="resamples must be at least 1, not 0"):
        outcome([0.5, 0.25], 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=8).map(np.array))
def test_holm_is_its_definition(p_values: Floats64) -> None:
    corrected = holm(p_values)
    ranked = sorted(value for value in p_values if not np.isnan(value))
    for value, found in zip(p_values, corrected, strict=True):
        if np.isnan(value):
            assert np.isnan(found)
            continue
        steps = [(len(ranked) - place) * p for place, p in enumerate(ranked) if p <= value]
        assert found == pytest.approx(min(1.0, max(steps[: ranked.index(value) + 1])))
        assert value <= found <= 1


def test_holm_of_known_values() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
