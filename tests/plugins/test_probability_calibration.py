"""Calibration against pooling one pair at a time, and against probabilities that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec_plugins.probability_calibration import (
    ENOUGH,
    UNCHANGED,
    Calibration,
    calibration,
    isotonic,
    platt,
    pooled,
    probability_of,
)

METHODS: Any = ("isotonic", "platt", "none", "auto")

counted = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any), min_size=1, max_size=40)
entries = st.lists(st.tuples(st.integers(-20, 20), st.booleans(), st.sampled_from([1.0, 5.0])), min_size=2, max_size=80)


def slow_pools(hits: list[float], total: list[float]) -> list[tuple[float, float]]:
    """Pooling adjacent violators with a stack, one block at a time."""
    pools: list[tuple[float, float]] = []
    for hit, of in zip(hits, total, strict=True):
        pools.append((hit, of))
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            last, before = pools.pop(), pools.pop()
            pools.append((before[0] + last[0], before[1] + last[1]))
    return pools


@given(counted)
def test_pools_are_those_of_one_block_at_a_time(drawn: Any) -> None:
    hits = np.array([hit for hit, _ in drawn], np.float64)
    total = hits + [miss for _, miss in drawn]
    start = pooled(hits, total)
    found = list(zip(np.add.reduceat(hits, start).tolist(), np.add.reduceat(total, start).tolist(), strict=True))
    assert found == slow_pools(hits.tolist(), total.tolist())


def drawn_arrays(drawn: Any) -> tuple[Any, Any, Any]:
    margin, label, weight = (np.array(column) for column in zip(*drawn, strict=True))
    return margin / 4.0, label.astype(np.float32), weight.astype(np.float32)


@given(entries.filter(lambda drawn: len({label for _, label, _ in drawn}) == 2), st.sampled_from(METHODS))
@settings(deadline=None)
def test_order_is_kept_and_different_margins_stay_different(drawn: Any, method: Any) -> None:
    margin, label, weight = drawn_arrays(drawn)
    fitted = calibration(method, margin, label, weight)
    asked = np.unique(np.concatenate([margin, margin + 1 / 8, [margin.min() - 2, margin.max() + 2]]))
    found = fitted.calibrated(asked)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    chance = fitted.apply(asked)
    assert ((chance > 0) & (chance < 1)).all()


@given(entries.filter(lambda drawn: len({label for _, label, _ in drawn}) == 2), st.sampled_from(METHODS))
@settings(max_examples=30, deadline=None)
def test_an_entry_alone_gets_the_bits_that_it_gets_among_others(drawn: Any, method: Any) -> None:
    margin, label, weight = drawn_arrays(drawn)
    fitted = calibration(method, margin, label, weight)
    together = fitted.apply(margin / 3)
    alone = np.concatenate([fitted.apply(one[None] / 3) for one in margin])
    np.testing.assert_array_equal(together, alone)


def test_isotonic_is_the_share_of_each_pool_at_its_centre() -> None:
    margin = np.array([-2.0, -1, -1, 0, 1, 1, 2, 3])
    label = np.array([0, 1, 0, 0, 1, 0, 1, 1], np.float32)
    fitted = isotonic(margin, label, np.ones(8, np.float32))
    centres = np.array([-2.0, -2 / 3, 1.0, 2.5])
    # The first pool has no 1 and the last no 0: 1 / (1 + 2) and 1 - 1 / (2 + 2), moved to lie beyond their neighbours.
    np.testing.assert_allclose(fitted.margins, centres)
    np.testing.assert_allclose(fitted.apply(centres), [1 / 6, 1 / 3, 1 / 2, 3 / 4])
    halfway = probability_of((fitted.log_odds[1:] + fitted.log_odds[:-1]) / 2)
    np.testing.assert_allclose(fitted.apply((centres[1:] + centres[:-1]) / 2), halfway)


def test_weights_are_entries_that_stand_several_times() -> None:
    rng = np.random.default_rng(0)
    margin, weight = rng.normal(size=60).round(1), rng.integers(1, 4, size=60)
    label = (rng.random(60) < probability_of(margin)).astype(np.float32)
    each = np.repeat(np.arange(60), weight)
    asked = np.linspace(-3, 3, 50)
    for fit in (isotonic, platt):
        weighted = fit(margin, label, weight.astype(np.float32)).apply(asked)
        repeated = fit(margin[each], label[each], np.ones(len(each), np.float32)).apply(asked)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-6)


def test_platt_is_the_least_of_a_fine_grid() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(size=300) * 3
    hit = rng.random(300) < probability_of(0.4 * margin - 1)
    ones = int(hit.sum())
    target = np.where(hit, (ones + 1) / (ones + 2), 1 / (300 - ones + 2))
    fitted = platt(margin, hit.astype(np.float32), np.ones(300, np.float32))
    height = fitted.calibrated(np.zeros(1))[0]

    def loss(slope: float, constant: float) -> float:
        line = slope * margin + constant
        return float((np.logaddexp(0, line) - target * line).sum())

    least = loss(fitted.outside, height)
    for slope in (-1e-3, 0.0, 1e-3):
        for constant in (-1e-3, 0.0, 1e-3):
            assert least <= loss(fitted.outside + slope, height + constant) + 1e-9


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_probabilities_that_are_known_are_found(method: Any) -> None:
    rng = np.random.default_rng(2)
    margin = rng.normal(size=40_000) * 2
    truth = probability_of(0.5 * margin - 1.0)
    label = (rng.random(40_000) < truth).astype(np.float32)
    fitted = calibration(method, margin, label, np.ones(40_000, np.float32))
    inside = np.abs(margin) < 4
    assert np.abs(fitted.apply(margin) - truth)[inside].mean() < 0.015


def test_margins_that_tell_the_contrary_keep_their_order() -> None:
    margin = np.linspace(-1, 1, 200)
    label = (margin < 0).astype(np.float32)
    fitted = platt(margin, label, np.ones(200, np.float32))
    assert fitted.outside == 1e-3
    assert fitted.apply(margin).mean() == pytest.approx(0.5, abs=1e-3)
    flat = isotonic(margin, label, np.ones(200, np.float32))
    assert len(flat.margins) == 1
    assert (np.diff(flat.apply(margin)) > 0).all()


@pytest.mark.parametrize("margin", [0.0, 0.1, -0.7, -2.302585])
@pytest.mark.parametrize("weight", [1.0, 3.3])
def test_margins_that_are_all_alike_leave_the_slope_as_it_is(margin: float, weight: float) -> None:
    label = (np.arange(1001) % 10 == 0).astype(np.float32)
    weights = np.where(label > 0.5, 1.0, weight).astype(np.float32)
    fitted = platt(np.full(1001, margin), label, weights)
    assert fitted.outside == pytest.approx(1.0)
    assert fitted.apply(np.array([margin]))[0] == pytest.approx(101 / (101 + weight * 900), rel=0.02)


def test_auto_takes_steps_where_there_are_enough_entries() -> None:
    rng = np.random.default_rng(3)
    margin = rng.normal(size=4 * ENOUGH)
    label = (rng.random(len(margin)) < 0.5).astype(np.float32)
    few = np.flatnonzero(label)[: ENOUGH - 1].tolist() + np.flatnonzero(label == 0).tolist()
    weight = np.ones(len(margin), np.float32)
    same(calibration("auto", margin, label, weight), isotonic(margin, label, weight))
    same(calibration("auto", margin[few], label[few], weight[few]), platt(margin[few], label[few], weight[few]))
    assert calibration("none", margin, label, weight) is UNCHANGED
    np.testing.assert_allclose(UNCHANGED.apply(margin), 1 / (1 + np.exp(-margin)))


def same(first: Calibration, second: Calibration) -> None:
    np.testing.assert_array_equal(first.margins, second.margins)
    np.testing.assert_array_equal(first.log_odds, second.log_odds)
    assert first.outside == second.outside


def test_log_odds_of_any_size() -> None:
    with np.errstate(over="raise"):
        assert probability_of(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
