"""The profile of data against what a slow, obvious count says."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.data_profile import MOST_PERIODS, DataProfile
from nbarec.errors import DataError
from nbarec.model import Model
from nbarec.sample_users import drawn_users, group_bounds, sample_users

NOTHING = np.zeros(0, np.int64)
COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=30)
DAY = 86_400


def profile(item_events: list[int], user_events: list[int] | None = None, time: np.ndarray = NOTHING) -> DataProfile:
    return DataProfile(np.array(item_events), np.array(user_events or [1]), 0, time)


def slow_gini(counts: list[int]) -> float:
    """Half of the mean difference of all pairs over the mean (Gini 1912)."""
    differences = sum(abs(one - other) for one in counts for other in counts)
    return differences / (2 * len(counts) * sum(counts)) if sum(counts) else float("nan")


@settings(max_examples=50)
@given(COUNTS)
def test_the_tail_is_what_a_slow_count_says(counts: list[int]) -> None:
    found = profile(counts)
    assert found.gini == pytest.approx(slow_gini(counts), nan_ok=True)
    assert found.rare_items == sum(count < 5 for count in counts)
    top = sorted(counts, reverse=True)
    expected = sum(top[: max(round(0.2 * len(top)), 1)]) / sum(top) if sum(top) else float("nan")
    assert found.share_of_top(0.2) == pytest.approx(expected, nan_ok=True)
    across, up = found.concentration()
    for x, y in zip(across.tolist(), up.tolist(), strict=True):
        assert y == pytest.approx(sum(top[: round(x * len(top))]) / max(sum(top), 1))
    assert across[0] == 0
    assert across[-1] == 1


@settings(max_examples=50)
@given(COUNTS)
def test_every_user_is_in_the_bin_of_his_events(counts: list[int]) -> None:
    names, users = profile([1], counts).users_by_events()
    assert sum(users.tolist()) == len(counts)
    for name, count in zip(names, users.tolist(), strict=True):
        low, _, high = name.partition("–")
        assert count == sum(int(low) <= one <= int(high or low) for one in counts)


def test_bins_double() -> None:
    assert profile([1], [0, 1, 2, 3, 4, 7, 8]).users_by_events()[0] == ["0", "1", "2–3", "4–7", "8–15"]


@pytest.mark.parametrize(("days", "period"), [(30, "day"), (200, "week"), (1200, "month"), (9000, "year")])
def test_activity_is_counted_by_a_period_of_which_there_are_not_many(days: int, period: str) -> None:
    start = int(datetime(2020, 1, 15, tzinfo=UTC).timestamp())
    time = start + DAY * np.random.default_rng(0).integers(0, days, 500)
    time[:2] = start, start + DAY * (days - 1)
    name, starts, events = profile([1], [1], time).activity()
    assert name == period
    assert len(starts) == len(events) <= MOST_PERIODS
    assert events.sum() == 500
    bounds = [*np.array(starts, "datetime64[s]").astype(np.int64).tolist(), 2**62]
    assert events.tolist() == [int(((time >= low) & (time < high)).sum()) for low, high in pairwise(bounds)]


def test_data_without_times_or_events_have_a_profile() -> None:
    data = Dataset.from_arrays(["a", "b"], ["x", "x"])
    found = DataProfile.of(data)
    assert found.activity()[1] == []
    assert found.density == 1.0
    assert found.events == 2
    empty = Dataset.from_arrays([], [], catalog={"id": ["x"]}, audience={"id": ["a"]})
    assert np.isnan(DataProfile.of(empty).gini)
    assert DataProfile.of(empty).users_by_events()[0] == ["0"]


def test_repeated_events_are_one_pair() -> None:
    data = Dataset.from_arrays(["a", "a", "b"], ["x", "x", "y"])
    assert DataProfile.of(data).density == 0.5


def test_the_users_drawn_are_spread_from_light_to_heavy_and_the_seed_decides() -> None:
    users = [f"u{at}" for at in range(90) for _ in range(at + 1)]
    data = Dataset.from_arrays(users, [f"i{at % 7}" for at in range(len(users))])
    drawn = drawn_users(data, seed=3)
    events = data.events.counts[data.users.index(drawn)]
    assert len(set(drawn)) == 10
    assert events.tolist() == sorted(events.tolist())
    light, regular = group_bounds(data)
    groups = [int(one > light) + int(one > regular) for one in events.tolist()]
    assert [groups.count(group) for group in range(3)] == [3, 4, 3] or min(map(groups.count, range(3))) >= 3
    assert drawn_users(data, seed=3) == drawn
    assert drawn_users(data, seed=4) != drawn


def test_few_users_are_all_drawn_and_those_without_events_never() -> None:
    data = Dataset.from_arrays(["b", "a", "a"], ["x", "x", "y"], audience={"id": ["a", "b", "new"]})
    assert drawn_users(data, seed=0) == ["b", "a"]
    empty = Dataset.from_arrays([], [], catalog={"id": ["x"]}, audience={"id": ["new"]})
    assert drawn_users(empty, seed=0) == []


def test_samples_tell_what_the_model_says(music_model: Model) -> None:
    users = music_model.data.users.take([0, 5])
    found = sample_users(music_model, users)
    slate = music_model.recommend(users, explain=True)
    assert [[one.id for one in user.slate] for user in found] == slate.items
    because = [[one.because for one in row] for row in slate.explanations]
    assert [[one.why.because for one in user.slate] for user in found] == because
    for user, name in zip(found, users, strict=True):
        row = int(music_model.data.users.index([name])[0])
        events = music_model.data.events.take_rows(np.array([row]))
        liked = events.item[events.weight > 0].tolist()
        latest = list(dict.fromkeys(reversed(liked)))[:8]
        assert [one.id for one in user.known] == music_model.data.items.texts(latest)
        assert user.events == len(events)


def test_a_user_that_the_model_lacks_is_named(music_model: Model) -> None:
    with pytest.raises(DataError, match="no user 'stranger'; its ids are such as"):
        sample_users(music_model, ["stranger"])
