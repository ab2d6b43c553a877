"""Figures of probabilities against the same counted one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbarec_plugins.probability_figures import Quality, area_under_curve, calibration_error, log_loss, reliability

entries = st.lists(
    st.tuples(st.integers(0, 10).map(lambda tenths: tenths / 10), st.booleans(), st.sampled_from([1.0, 4.0])),
    min_size=1,
    max_size=60,
)


def arrays(drawn: Any) -> tuple[Any, Any, Any]:
    chance, label, weight = (np.array(column) for column in zip(*drawn, strict=True))
    return chance.astype(np.float64), label.astype(np.float32), weight.astype(np.float32)


@given(entries)
def test_area_is_the_share_of_pairs_in_the_right_order(drawn: Any) -> None:
    ones = [(chance, weight) for chance, label, weight in drawn if label]
    zeros = [(chance, weight) for chance, label, weight in drawn if not label]
    found = area_under_curve(*arrays(drawn))
    if not ones or not zeros:
        assert math.isnan(found)
        return
    right = sum(w * v * ((p > q) + 0.5 * (p == q)) for p, w in ones for q, v in zeros)
    assert found == pytest.approx(right / sum(w * v for _, w in ones for _, v in zeros))


@given(entries)
def test_log_loss_is_the_mean_surprise(drawn: Any) -> None:
    lost = [-weight * math.log(q if y else 1 - q) for p, y, weight in drawn for q in [min(max(p, 1e-15), 1 - 1e-15)]]
    assert log_loss(*arrays(drawn)) == pytest.approx(sum(lost) / sum(weight for *_, weight in drawn), rel=1e-6)


@given(entries)
def test_every_entry_stands_in_one_bin_and_equal_ones_in_the_same(drawn: Any) -> None:
    chance, label, weight = arrays(drawn)
    predicted, observed, counts = reliability(chance, label, weight, bins=4)
    assert len(counts) <= 4
    assert (np.diff(predicted) > 0).all()
    assert counts.sum() == pytest.approx(weight.sum())
    assert (predicted * counts).sum() == pytest.approx((weight * chance).sum(), abs=1e-4)
    assert (observed * counts).sum() == pytest.approx((weight * label).sum(), abs=1e-4)
    assert len(predicted) == len(np.unique(chance)) or len(np.unique(chance)) > 1


def test_bins_have_about_as_many_entries_each() -> None:
    chance = np.random.default_rng(0).random(1000) ** 4
    *_, counts = reliability(chance, np.zeros(1000, np.float32), np.ones(1000, np.float32))
    assert len(counts) == 10
    assert np.abs(counts - 100).max() <= 1


def test_calibration_error_of_a_known_curve() -> None:
    found = calibration_error(np.array([0.1, 0.5]), np.array([0.2, 0.3]), np.array([3.0, 1.0]))
    assert found == pytest.approx((3 * 0.1 + 1 * 0.2) / 4)


def test_quality_is_all_of_them() -> None:
    rng = np.random.default_rng(1)
    chance = rng.random(20_000)
    label = (rng.random(20_000) < chance).astype(np.float32)
    weight = np.ones(20_000, np.float32)
    quality = Quality.of(chance, label, weight)
    assert quality.ece < 0.02
    assert quality.auc == area_under_curve(chance, label, weight)
    assert quality.log_loss == log_loss(chance, label, weight)
    assert [list(one) for one in quality.curve] == [["predicted", "observed", "entries"]] * 10
    assert Quality.of(np.clip(chance + 0.2, 0, 1), label, weight).ece > 0.15


def test_nothing_has_no_figures() -> None:
    nothing = Quality.of(np.empty(0), np.empty(0, np.float32), np.empty(0, np.float32))
    assert math.isnan(nothing.auc)
    assert math.isnan(nothing.ece)
    assert math.isnan(nothing.log_loss)
    assert nothing.curve == []
