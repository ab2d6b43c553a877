"""Item features against a plain loop over all events, and what they must not look at."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import frozen
from nbarec.batch import Pool, Request
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.joining import join_datasets
from nbarec.params import Duration
from nbarec.states import flatten
from nbarec.tables import MISSING_DATE
from nbarec.testing.check_worlds import bare_world, grown, main_worlds, silent_world
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import DAY, pool_in_order, request_for
from nbarec_plugins import item_features
from nbarec_plugins.item_features import ItemFeatures, nbarec_feature_providers

WORLD = main_worlds()[1]
BUSY: Dataset = WORLD.data
EVERY = list(range(len(BUSY.items)))
RNG = np.random.default_rng(0)


def asked(data: Dataset, now: list[int]) -> tuple[Request, Pool]:
    request = request_for(data, [-1] * len(now), now=now)
    return request, pool_in_order(request, [list(range(len(data.items)))] * len(now))


def told(provider: ItemFeatures, data: Dataset, now: int) -> list[dict[str, float]]:
    """The columns of each item."""
    request, pool = asked(data, [now])
    columns = provider.columns_for(provider.fit(data, RNG), request, pool)
    found: list[dict[str, float]] = [{} for _ in range(len(data.items))]
    for at, item in enumerate(pool.item.tolist()):
        found[item] = {name: float(values[at]) for name, values in columns.items()}
    return found


def slow(data: Dataset, item: int, now: int, prior: float, window: float) -> dict[str, float]:
    """The columns of one item, from lists of events."""
    events = data.events
    listed = zip(
        events.row.tolist(),
        events.item.tolist(),
        events.weight.tolist(),
        events.value.tolist(),
        events.time.tolist(),
        strict=True,
    )
    every = list(listed)
    own = [event for event in every if event[1] == item]
    count, owners = len(own), {row for row, *_ in own}
    counts = [sum(event[1] == other for event in every) for other in range(len(data.items))]
    below = sum(other < count for other in counts) + sum(other == count for other in counts) / 2
    nan = math.nan
    found = {
        "item_events": count, "item_events_log": math.log1p(count),
        "item_users": len(owners), "item_users_log": math.log1p(len(owners)),
        "item_popularity": below / len(counts),
        "item_age": nan, "item_days_since": nan, "item_trend": nan, "item_completion": nan, "item_skip_share": nan,
    }  # fmt: skip
    times = [time for *_, time in own if time]
    if times:
        found["item_age"], found["item_days_since"] = ((now - one) / DAY for one in (min(times), max(times)))
    released = int(data.catalog.columns["released"].seconds[item])  # type: ignore[union-attr]
    if released != MISSING_DATE:
        found["item_age"] = (now - released) / DAY
    if own:
        values, skips = [value for *_, value, _ in every], [weight < 0 for _, _, weight, _, _ in every]
        own_values, own_skips = sum(value for *_, value, _ in own), sum(weight < 0 for _, _, weight, _, _ in own)
        found["item_completion"] = (own_values + prior * sum(values) / len(values)) / (count + prior)
        found["item_skip_share"] = (own_skips + prior * sum(skips) / len(skips)) / (count + prior)

    def within(some: list[int], first: float, last: float) -> int:
        return sum(first <= data.as_of - time < last for time in some)

    known = [time for *_, time in every if time]
    late, early = within(known, 0, window), within(known, window, 2 * window)
    if late and early and times:
        share = late / (late + early)
        rate = (within(times, 0, window) + prior * share) / (within(times, window, 2 * window) + prior * (1 - share))
        found["item_trend"] = math.log(rate) - math.log(late / early)
    return found


@given(st.integers(0, 10**6), st.sampled_from([0.5, 5.0]), st.sampled_from(["3d", "20d"]))
@settings(max_examples=15, deadline=None)
def test_each_item_is_told_as_a_loop_over_all_events_would(seed: int, prior: float, window: str) -> None:
    rng = np.random.default_rng(seed)
    time = frozen(np.where(rng.random(len(BUSY.events)) < 0.2, 0, BUSY.events.time))
    data = BUSY.with_events(replace(BUSY.events, time=time).where(rng.random(len(BUSY.events)) < 0.7))
    provider = ItemFeatures(released="released", prior=prior, window=Duration(window))
    now = data.as_of + int(rng.integers(3 * DAY))
    found = told(provider, data, now)
    for item in EVERY:
        expected = slow(data, item, now, prior, float(Duration(window)))
        assert found[item] == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def test_the_history_of_the_request_has_no_part_in_it() -> None:
    provider = ItemFeatures()
    state = provider.fit(BUSY, RNG)
    request, pool = asked(BUSY, [BUSY.as_of] * 2)
    other = replace(request, history=BUSY.events.take_rows(np.array([0, 1])))
    before, after = (provider.columns_for(state, one, pool) for one in (request, other))
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_events_after_the_clock_of_the_data_are_no_trend() -> None:
    moved = replace(BUSY, as_of=BUSY.as_of - 30 * DAY)
    known = BUSY.with_events(BUSY.events.where(BUSY.events.time <= moved.as_of))
    known = replace(known, as_of=moved.as_of)
    some = [one["item_trend"] for one in told(ItemFeatures(), moved, BUSY.as_of)]
    expected = [one["item_trend"] for one in told(ItemFeatures(), known, BUSY.as_of)]
    assert some == pytest.approx(expected, nan_ok=True)
    assert any(abs(one) > 0.1 for one in some)


def test_an_expression_can_say_what_completion_is() -> None:
    provider = ItemFeatures(completion=Expression("hour / 24"), prior=1e-9)
    hour, item = BUSY.events.columns["hour"].values, BUSY.events.item  # type: ignore[union-attr]
    found = told(provider, BUSY, BUSY.as_of)
    expected = [float(np.mean(hour[item == one] / 24)) if (item == one).any() else math.nan for one in EVERY]
    assert [one["item_completion"] for one in found] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_an_item_newer_than_the_fit_is_unknown_but_for_its_release() -> None:
    everything, _ = grown(WORLD)
    provider = ItemFeatures(released="released")
    request, pool = asked(everything, [everything.as_of])
    columns = provider.columns_for(provider.fit(BUSY, RNG), request, pool)
    new = pool.item >= len(BUSY.items)
    assert new.sum() == 2
    assert all(np.isnan(values[new]).all() for name, values in columns.items() if name != "item_age")
    released = everything.catalog.columns["released"].seconds[pool.item[new]]  # type: ignore[union-attr]
    expected = np.where(released == MISSING_DATE, np.nan, (everything.as_of - released.astype(float)) / DAY)
    np.testing.assert_allclose(columns["item_age"][new], expected, rtol=1e-6)


def test_an_update_equals_a_refit() -> None:
    nothing = BUSY.with_events(BUSY.events.where(np.arange(len(BUSY.events)) % 2 == 0))
    everything, new = join_datasets(nothing, BUSY.with_events(BUSY.events.where(np.arange(len(BUSY.events)) % 2 == 1)))
    provider = ItemFeatures()
    updated, refitted = provider.update(provider.fit(nothing, RNG), everything, new), provider.fit(everything, RNG)
    first, second = (flatten(one)[0] for one in (updated, refitted))
    assert all(first[name].tobytes() == second[name].tobytes() for name in second)


def test_nothing_ever_happened() -> None:
    found = told(ItemFeatures(), silent_world().data, silent_world().data.as_of)
    assert all(one["item_events"] == 0 and math.isnan(one["item_trend"]) for one in found)


def test_events_without_times_tell_no_age_and_no_trend() -> None:
    for one in told(ItemFeatures(), bare_world().data, 0):
        assert {name for name, value in one.items() if math.isnan(value)} == {
            "item_age",
            "item_days_since",
            "item_trend",
        }


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (ItemFeatures(released="born"), "no such column; the date columns are: released; name one"),
        (ItemFeatures(released="tempo"), "holds no dates"),
        (ItemFeatures(completion=Expression("seconds / length")), "seconds"),
        (ItemFeatures(skipped=Expression("seconds < 30")), "seconds"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_at_fit(provider: ItemFeatures, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        provider.fit(BUSY, RNG)


@pytest.mark.parametrize("check", checks(ItemFeatures(released="released")), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message


def test_examples_and_registration() -> None:
    assert nbarec_feature_providers() == [ItemFeatures]
    assert doctest.testmod(item_features).failed == 0
