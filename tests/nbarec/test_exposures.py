"""How often items are shown in resamples, against counting them one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.exposures import drawn_exposures
from nbarec.statistics import Resamples


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 5), st.integers(1, 7), st.integers(0, 99), st.integers(1, 9))
def test_exposures_match_the_reference(users: int, places: int, items: int, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    item = np.array([rng.permutation(max(items, places))[:places] for _ in range(users)]).reshape(users, places)
    item = np.where(item < items, item, -1).astype(np.int32)
    resamples = Resamples.draw(users, rng, count)
    found = list(drawn_exposures(item, items, resamples, count))
    assert len(found) == count
    for exposure, drawn in zip(found, resamples.each(), strict=True):
        shown = Counter(item[drawn].ravel().tolist())
        assert exposure.tolist() == [shown[one] for one in range(items)]


def test_many_users_do_not_run_over() -> None:
    users = 70_000
    resamples = Resamples.draw(users, np.random.default_rng(1), 3)
    for exposure in drawn_exposures(np.zeros((users, 1), np.int32), 2, resamples, 3):
        assert exposure.tolist() == [users, 0]
