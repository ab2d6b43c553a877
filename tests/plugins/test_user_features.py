"""User features against a plain loop over each user's events, and what they must not look at."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import frozen
from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.params import Duration
from nbarec.testing.check_worlds import bare_world, main_worlds
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import DAY, pool_in_order, request_for
from nbarec_plugins import feature_columns, user_features
from nbarec_plugins.user_features import UserFeatures, nbarec_feature_providers

BUSY: Dataset = main_worlds()[1].data
LATEST = BUSY.as_of
PROVIDER = UserFeatures(windows=(Duration("10d"), Duration("36h")))

users = st.lists(st.integers(-1, len(BUSY.users) - 1), min_size=1, max_size=6)
moments = st.integers(LATEST - 60 * DAY, LATEST)


def asked(rows: list[int], now: list[int], data: Dataset = BUSY) -> tuple[Request, Pool]:
    request = request_for(data, rows, now=now)
    return request, pool_in_order(request, [[at % 3, 5] for at in range(len(rows))])


def slow(data: Dataset, user: int, now: int) -> dict[str, float]:
    """The columns of one user, from a list of his events."""
    events = data.events.take_rows(np.array([user]))
    told = zip(events.item.tolist(), events.weight.tolist(), events.value.tolist(), events.time.tolist(), strict=True)
    past = [event for event in told if event[3] <= now]
    count, items = len(past), {item for item, *_ in past}
    found = dict.fromkeys(PROVIDER.columns(), math.nan)
    found |= {"user_events": count, "user_events_log": math.log1p(count), "user_items": len(items)}
    if past:
        found["user_repeat_share"] = 1 - len(items) / count
        found["user_skip_share"] = sum(weight < 0 for _, weight, _, _ in past) / count
        found["user_value"] = sum(value for *_, value, _ in past) / count
    ages = [(now - time) / DAY for *_, time in past if time]
    if ages:
        found["user_days_since"], found["user_tenure"] = min(ages), max(ages)
        found["user_per_day"] = count / max(max(ages), 1)
        found["user_share_10d"] = sum(age <= 10 for age in ages) / len(ages)
        found["user_share_36h"] = sum(age <= 1.5 for age in ages) / len(ages)
    return found


@given(users, st.data())
@settings(max_examples=60, deadline=None)
def test_each_user_is_told_as_a_loop_over_his_events_would(rows: list[int], data: st.DataObject) -> None:
    now = [data.draw(moments) for _ in rows]
    forgotten = frozen(np.where(np.arange(len(BUSY.events)) % data.draw(st.integers(2, 9)), BUSY.events.time, 0))
    world = BUSY.with_events(replace(BUSY.events, time=forgotten))
    request, pool = asked(rows, now, world)
    columns = PROVIDER.columns_for(NoState(), request, pool)
    for at, row in enumerate(pool.row.tolist()):
        expected = slow(world, rows[row], now[row])
        assert {name: columns[name][at] for name in columns} == pytest.approx(expected, rel=1e-6, nan_ok=True)


@given(users, st.data())
@settings(max_examples=30, deadline=None)
def test_a_batch_gives_each_user_what_he_gets_alone(
    feature_checks: ModuleType, rows: list[int], data: st.DataObject
) -> None:
    request, pool = asked(rows, [data.draw(moments) for _ in rows])
    assert not feature_checks.differing_alone(PROVIDER, NoState(), request, pool)


@given(moments, st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_what_happens_later_than_now_changes_nothing(feature_checks: ModuleType, now: int, seed: int) -> None:
    rows = list(range(len(BUSY.users)))
    before, after = (
        PROVIDER.columns_for(NoState(), *asked(rows, [now] * len(rows), data))
        for data in (BUSY, feature_checks.scrambled_after(BUSY, now, seed))
    )
    assert before
    assert not feature_checks.differing(before, after)


def test_a_rule_can_say_what_a_skip_is() -> None:
    request, pool = asked([0, 1, -1], [LATEST] * 3)
    provider = UserFeatures(skipped=Expression("kind == 'like'"))
    likes = BUSY.events.kind == BUSY.events.kinds.index("like")
    share = provider.columns_for(provider.fit(BUSY, np.random.default_rng(0)), request, pool)["user_skip_share"]
    expected = [likes[BUSY.events.row == user].mean() for user in (0, 1)]
    np.testing.assert_allclose(share[[0, 2]], expected, rtol=1e-6)
    assert np.isnan(share[4])


def test_events_without_times_tell_amounts_and_no_ages() -> None:
    data = bare_world().data
    request = request_for(data, [0])
    columns = UserFeatures().columns_for(NoState(), request, pool_in_order(request, [[0]]))
    unknown = {name for name, values in columns.items() if np.isnan(values).any()}
    times = {"user_days_since", "user_tenure", "user_per_day", "user_share_7d", "user_share_30d"}
    assert unknown == times


def test_a_rule_that_does_not_fit_the_data_is_refused_at_fit() -> None:
    provider = UserFeatures(skipped=Expression("seconds < 30"))
    with pytest.raises(ConfigError, match="seconds"):
        provider.fit(BUSY, np.random.default_rng(0))


def test_columns_are_listed_under_their_prefix() -> None:
    request, pool = asked([0], [LATEST])
    provider = UserFeatures(prefix="all_")
    assert list(provider.columns()) == list(provider.columns_for(NoState(), request, pool))
    assert all(name.startswith("all_user_") and line for name, line in provider.columns().items())
    assert all(values.dtype == np.float32 for values in provider.columns_for(NoState(), request, pool).values())


@pytest.mark.parametrize("prefix", ["All", "a b", "9", "a.b"])
def test_a_prefix_must_make_names(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix must be"):
        UserFeatures(prefix=prefix)


def test_two_windows_of_one_length_are_refused() -> None:
    with pytest.raises(ValueError, match="two columns the name user_share_7d"):
        UserFeatures(windows=(Duration("7d"), Duration("1w")))


@pytest.mark.parametrize("check", checks(UserFeatures), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message


def test_examples_and_registration() -> None:
    assert nbarec_feature_providers() == [UserFeatures]
    assert doctest.testmod(user_features).failed == doctest.testmod(feature_columns).failed == 0
