"""Learnt lifts against true ones: how they are compared, and one run on a small world."""

from __future__ import annotations

import numpy as np
import pytest

import context_effects
from context_effects import beyond, effect, found


def test_constants_of_rows_and_columns_are_taken_away() -> None:
    rng = np.random.default_rng(0)
    share = rng.random((4, 6))
    share /= share.sum()
    constants = rng.normal(size=(4, 1)) + rng.normal(size=(1, 6))
    assert beyond(constants, share) == pytest.approx(0.0, abs=1e-9)
    left = beyond(rng.normal(size=(4, 6)), share)
    assert (share * left).sum(axis=0) == pytest.approx(0.0, abs=1e-9)
    assert (share * left).sum(axis=1) == pytest.approx(0.0, abs=1e-9)
    assert beyond(left + constants, share) == pytest.approx(left)


def test_a_lift_that_is_found_to_the_half_has_that_slope() -> None:
    rng = np.random.default_rng(1)
    true, share = rng.normal(size=(5, 7)), np.full((5, 7), 1 / 35)
    half = effect("met", "a x b", 0.5 * true + np.arange(7), true, share, 1.0)
    assert (half.correlation, half.slope) == pytest.approx((1.0, 0.5))
    assert effect("heard", "a x b", 0.5 * true, true, share, 0.5).slope == pytest.approx(1.0)
    assert effect("met", "a x b", -true, true, share, 1.0).correlation == pytest.approx(-1.0)


def test_what_the_device_does_is_found_in_a_small_world() -> None:
    told = found("met", users=400, seed=3, examples=4000)
    hours, energies = told.effects
    assert hours.correlation > 0.3
    assert energies.correlation > 0.5
    assert told.error < context_effects.LARGEST_ERROR
    lifts = {one.context: one for one in told.lifts}
    car = lifts["car: high energy against low"]
    assert car.true > 0.5 < 2 * car.learnt
