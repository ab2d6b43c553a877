"""Resamples of users who have several requests each, against drawing and adding up by hand."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec import exposures
from nbarec.exposures import drawn_exposures
from nbarec.paired import paired_tests
from nbarec.statistics import Resamples, mean_intervals, resampled_means

owners = st.lists(st.integers(1, 4), min_size=1, max_size=6).map(lambda sizes: np.repeat(np.arange(len(sizes)), sizes))


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def values_of(rows: int, seed: int) -> np.ndarray:
    """Two columns of whole numbers, of which some are undefined."""
    drawn = rng(seed).integers(-3, 4, (rows, 2)).astype(float)
    return np.where(rng(seed + 1).random((rows, 2)) < 0.2, np.nan, drawn)


@settings(max_examples=50, deadline=None)
@given(owners, st.integers(0, 99))
def test_users_are_drawn_with_all_their_rows(of: np.ndarray, seed: int) -> None:
    resamples = Resamples.of_rows(of * 7 + 2, rng(seed), 5)
    found = resampled_means(values_of(len(of), seed), resamples)
    drawn = np.concatenate(list(resamples.blocks()))
    for users, rows, means in zip(drawn, resamples.each(), found, strict=True):
        wanted = np.concatenate([np.flatnonzero(of == user) for user in users])
        np.testing.assert_array_equal(rows, wanted)
        for column, mean in zip(values_of(len(of), seed).T, means.tolist(), strict=True):
            known = column[wanted][~np.isnan(column[wanted])]
            np.testing.assert_allclose(mean, known.mean() if len(known) else np.nan, rtol=1e-12, atol=1e-12)


def test_a_row_a_user_is_what_it_always_was() -> None:
    values = values_of(30, 1)
    one, other = Resamples.draw(30, rng(), 200), Resamples.of_rows(np.arange(30), rng(), 200)
    np.testing.assert_array_equal(mean_intervals(values, one), mean_intervals(values, other))
    differences = values_of(30, 2)
    assert paired_tests(differences, rng(), 300) == paired_tests(differences, rng(), 300, of=np.arange(30))


def test_requests_that_say_the_same_make_an_interval_no_narrower() -> None:
    values = rng().random((40, 1))
    once = mean_intervals(values, Resamples.draw(40, rng(), 500))
    tenfold = mean_intervals(np.repeat(values, 10, axis=0), Resamples.of_rows(np.repeat(np.arange(40), 10), rng(), 500))
    np.testing.assert_allclose(once, tenfold, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(owners, st.integers(0, 4), st.integers(1, 6), st.integers(0, 99))
def test_exposures_count_all_rows_of_the_drawn(of: np.ndarray, places: int, items: int, seed: int) -> None:
    item = np.array([rng(seed + row).permutation(max(items, places))[:places] for row in range(len(of))])
    item = np.where(item < items, item, -1).astype(np.int32).reshape(len(of), places)
    resamples = Resamples.of_rows(of, rng(seed), 7)
    for exposure, rows in zip(drawn_exposures(item, items, resamples, 7), resamples.each(), strict=True):
        shown = Counter(item[rows].ravel().tolist())
        assert exposure.tolist() == [shown[one] for one in range(items)]


def test_one_user_with_many_rows_does_not_run_over() -> None:
    rows = np.repeat(np.arange(300), [400, *[1] * 299])  # 300 draws of 400 rows do not fit in 16 bits
    resamples = Resamples.of_rows(rows, rng(), 9)
    slates = np.zeros((len(rows), 1), np.int32)
    assert resamples.users * 400 >= 1 << exposures.BITS // 4
    for exposure, drawn in zip(drawn_exposures(slates, 2, resamples, 9), resamples.each(), strict=True):
        assert exposure.tolist() == [len(drawn), 0]


@settings(max_examples=40, deadline=None)
@given(owners, st.integers(0, 99))
def test_a_users_requests_change_their_signs_together(of: np.ndarray, seed: int) -> None:
    differences = rng(seed).integers(-3, 4, len(of)).astype(float)
    (test,) = paired_tests(differences[:, None], rng(seed), 200, of=of)
    users = int(of.max()) + 1
    assert test.users == users
    np.testing.assert_allclose(test.difference, differences.mean(), atol=1e-12)
    totals = np.bincount(of, differences)
    sums = [abs(np.dot(signs, totals)) for signs in product((1, -1), repeat=users)]
    np.testing.assert_allclose(test.permutation, np.mean([one >= abs(totals.sum()) - 1e-9 for one in sums]))
