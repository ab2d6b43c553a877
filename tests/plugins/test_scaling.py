"""Scaling against one group at a time, written out."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec_plugins.scaling import Runs, as_scores, min_max_in_rows

eighths = st.integers(-80, 80).map(lambda number: number / 8)
rows = st.lists(st.lists(eighths, max_size=6), max_size=6)
flats = st.sampled_from([0.0, 1.0])


def runs_of(drawn: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    row = np.repeat(np.arange(len(drawn)), [len(values) for values in drawn]).astype(np.int32)
    return row, np.array([value for values in drawn for value in values], np.float64)


@given(rows, flats)
@settings(max_examples=80, deadline=None)
def test_min_max_and_standardised_are_those_of_each_group(drawn, flat):
    row, value = runs_of(drawn)
    runs = Runs.of(row, value)
    scaled, standard = [], []
    for values in drawn:
        same = len(set(values)) == 1
        mean = math.fsum(values) / max(len(values), 1)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(len(values), 1))
        scaled += [flat if same else (v - min(values)) / (max(values) - min(values)) for v in values]
        standard += [flat if same else (v - mean) / deviation for v in values]
    np.testing.assert_allclose(runs.min_max(flat), scaled, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(runs.standardised(flat), standard, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(min_max_in_rows(row, value, flat=flat), runs.min_max(flat))
    assert runs.group.tolist() == [at for at, values in enumerate(drawn) if values]


def test_equal_values_are_flat_whatever_their_mean_rounds_to():
    runs = Runs.of(np.zeros(3, np.int64), np.full(3, 0.1))
    assert runs.standardised(flat=0.0).tolist() == [0.0] * 3
    assert runs.min_max(flat=1.0).tolist() == [1.0] * 3


def test_spread_too_small_to_square_stays_finite():
    runs = Runs.of(np.zeros(2, np.int64), np.array([0.0, 1e-200]))
    assert np.isfinite(runs.standardised(flat=0.0)).all()
    assert runs.min_max(flat=0.0).tolist() == [0.0, 1.0]


def test_scores_stay_within_what_float32_holds():
    scores = as_scores(np.array([1e300, -1e300, 0.5]))
    largest = float(np.finfo(np.float32).max)
    assert scores.tolist() == [largest, -largest, 0.5]
    assert scores.dtype == np.float32
    assert not scores.flags.writeable
