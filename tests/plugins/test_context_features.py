"""Context features against a plain loop over events, what they must not look at, and a known effect of the context."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.data import Dataset, EventColumns
from nbarec.errors import ConfigError
from nbarec.events import Combine
from nbarec.expressions import Expression
from nbarec.ids import Ids
from nbarec.params import Duration
from nbarec.states import flatten
from nbarec.tables import CategoryColumn, NumberColumn, Table
from nbarec.testing.check_worlds import bare_world, main_worlds
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import DAY, pool_in_order, request_for
from nbarec_plugins import context_features
from nbarec_plugins.context_features import ContextFeatures, nbarec_feature_providers

BUSY: Dataset = main_worlds()[1].data
RNG = np.random.default_rng(0)
PROVIDER = ContextFeatures(
    numbers=("hour", "volume"), by=("artist", "moods"), across=("device", "hour"), gap=Duration("10d"), prior=1.5
)
STATE = PROVIDER.fit(BUSY, RNG)
DEVICES = ("car", "phone", "fridge")

users = st.lists(st.integers(-1, len(BUSY.users) - 1), min_size=1, max_size=5)
moments = st.integers(BUSY.as_of - 60 * DAY, BUSY.as_of)
hours = st.sampled_from([0.0, 1.5, 13.0, math.nan])


def asked(rows: list[int], now: list[int], hour: list[float], data: Dataset = BUSY) -> tuple[Request, Pool]:
    devices = np.array([DEVICES[at % 3] for at in range(len(rows))], dtype=object)
    request = request_for(data, rows, now=now, context={"hour": np.array(hour), "device": devices})
    return request, pool_in_order(request, [[at % 3, 3, 7, 8, 12, 15] for at in range(len(rows))])


@cache
def levels(name: str, item: int) -> list[str]:
    return [level for level in BUSY.catalog.labels(name, [item])[0].split("|") if level != "-"]


def every_event() -> list[dict[str, Any]]:
    events, device, hour = BUSY.events, BUSY.events.columns["device"], BUSY.events.columns["hour"]
    assert isinstance(device, CategoryColumn)
    assert isinstance(hour, NumberColumn)
    names = [None if code < 0 else device.levels.texts([code])[0] for code in device.codes.tolist()]
    keys = ("user", "item", "weight", "time", "device", "hour")
    columns = (events.row, events.item, events.weight, events.time)
    told = zip(*(column.tolist() for column in columns), names, hour.values.tolist(), strict=True)
    return [dict(zip(keys, one, strict=True)) for one in told]


EVENTS = every_event()


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def together(context: str, first: Any, second: Any) -> bool:
    return bool(abs((first - second + 12) % 24 - 12) <= 2 if context == "hour" else first == second)


def lift(events: list[dict[str, Any]], context: str, level: Any, has: list[bool], known: list[bool], prior: float):
    """ln((n + prior) / (e + prior)) over the events of which context and group are known."""
    told = [event for event in zip(events, has, known, strict=True) if event[0][context] is not None and event[2]]
    every = [(together(context, event[context], level), own) for event, own, _ in told]
    both, group = sum(at and own for at, own in every), sum(own for _, own in every)
    there = sum(at for at, _ in every)
    return math.log((both + prior) / (group * there / len(every) + prior)) if group and there else math.nan


def slow_session(past: list[dict[str, Any]], now: int) -> list[dict[str, Any]]:
    session: list[dict[str, Any]] = []
    for event in reversed(past):
        following = session[0]["time"] if session else now
        if following - event["time"] > PROVIDER.gap:
            break
        session.insert(0, event)
    return session


def slow_group(name: str, past: list[dict[str, Any]], session: list[dict[str, Any]], item: int, now: dict[str, Any]):
    found: dict[str, list[float]] = {}
    liked, own = ([event for event in some if event["weight"] > 0] for some in (EVENTS, past))
    grouped = [event for event in session if levels(name, event["item"])]
    for level in levels(name, item):
        inside = [event for event in grouped if level in levels(name, event["item"])]
        last = [level in levels(name, event["item"]) for event in session[-1:] if levels(name, event["item"])]
        values = {f"context_session_{name}_share": len(inside) / len(grouped) if grouped else math.nan}
        values[f"context_session_{name}_last"] = float(last[0]) if last else math.nan
        for context in PROVIDER.across:
            for column, events, prior in ((name, liked, PROVIDER.prior), (f"own_{name}", own, PROVIDER.own_prior)):
                has = [level in levels(name, event["item"]) for event in events]
                known = [bool(levels(name, event["item"])) for event in events]
                values[f"context_{context}_{column}"] = lift(events, context, now[context], has, known, prior)
        for key, value in values.items():
            found.setdefault(key, []).append(value)
    means = {key: mean(values) for key, values in found.items()}
    key = f"context_session_{name}_last"
    return means | ({key: max(found[key])} if found and not math.isnan(found[key][0]) else {})


def slow(user: int, item: int, now: int, device: str, hour: float) -> dict[str, float]:
    """The columns of one entry."""
    past = [event for event in EVENTS if event["user"] == user and event["time"] <= now]
    session = slow_session(past, now)
    clock = (now // 3600) % 24 if math.isnan(hour) else hour
    weekday = (now // DAY + 3) % 7
    found = dict.fromkeys(PROVIDER.columns(), math.nan) | {"context_hour": hour}
    for name, value, turn in (("hour", clock, 24), ("weekday", weekday, 7)):
        found[f"context_{name}_sin"] = math.sin(2 * math.pi * value / turn)
        found[f"context_{name}_cos"] = math.cos(2 * math.pi * value / turn)
    found["context_session_events"] = len(session)
    if session:
        found["context_session_minutes"] = (now - session[0]["time"]) / 60
        found["context_session_skips"] = sum(event["weight"] < 0 for event in session) / len(session)
    at = {"device": device, "hour": math.floor(clock)}
    liked = [event for event in EVENTS if event["weight"] > 0]
    for context in PROVIDER.across:
        has = [event["item"] == item for event in liked]
        found[f"context_{context}_item"] = lift(liked, context, at[context], has, [True] * len(has), PROVIDER.prior)
    for name in PROVIDER.by:
        found |= slow_group(name, past, session, item, at)
    return found


@given(users, st.data())
@settings(max_examples=25, deadline=None)
def test_each_entry_is_told_as_a_loop_over_events_would(rows: list[int], data: st.DataObject) -> None:
    now, hour = [data.draw(moments) for _ in rows], [data.draw(hours) for _ in rows]
    request, pool = asked(rows, now, hour)
    columns = PROVIDER.columns_for(STATE, request, pool)
    for at, (row, item) in enumerate(zip(pool.row.tolist(), pool.item.tolist(), strict=True)):
        expected = slow(rows[row], item, now[row], DEVICES[row % 3], hour[row])
        assert {name: columns[name][at] for name in columns} == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


@given(users, st.data())
@settings(max_examples=25, deadline=None)
def test_a_batch_gives_each_user_what_he_gets_alone(
    feature_checks: ModuleType, rows: list[int], data: st.DataObject
) -> None:
    request, pool = asked(rows, [data.draw(moments) for _ in rows], [data.draw(hours) for _ in rows])
    assert not feature_checks.differing_alone(PROVIDER, STATE, request, pool)


@given(moments, st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_what_happens_later_than_now_changes_nothing(feature_checks: ModuleType, now: int, seed: int) -> None:
    rows = list(range(len(BUSY.users)))
    before, after = (
        PROVIDER.columns_for(STATE, *asked(rows, [now] * len(rows), [5.0] * len(rows), data))
        for data in (BUSY, feature_checks.scrambled_after(BUSY, now, seed))
    )
    assert before
    assert not feature_checks.differing(before, after)


def test_a_known_effect_of_the_context_is_found() -> None:
    rng, songs = np.random.default_rng(2), np.arange(60)
    device, genre = rng.integers(2, size=60_000), songs % 3
    # In the car (1) genre 0 is three times as likely as on the phone, the others alike.
    chance = np.where(genre == 0, np.where(device[:, None] == 1, 3.0, 1.0), 1.0)
    item = (chance.cumsum(axis=1) > rng.random(60_000)[:, None] * chance.sum(axis=1)[:, None]).argmax(axis=1)
    data = with_devices(rng.integers(50, size=60_000), item, device, genre)
    provider = ContextFeatures(by=("genre",), across=("device",))
    request = request_for(data, [-1, -1], context={"device": ["phone", "car"]})
    columns = provider.columns_for(provider.fit(data, RNG), request, pool_in_order(request, [[0, 1], [0, 1]]))
    lifts = columns["context_device_genre"]
    share = {"phone": 1 / 3, "car": 3 / 5}
    average = {0: np.isin(item, songs[genre == 0]).mean(), 1: np.isin(item, songs[genre == 1]).mean()}
    truth = [share["phone"], share["phone"], share["car"], (1 - share["car"]) / 2]
    expected = [math.log(part / average[at % 2]) for at, part in enumerate(truth)]
    np.testing.assert_allclose(lifts, expected, atol=0.03)
    assert np.isnan(columns["context_device_own_genre"]).all()


def with_devices(user: np.ndarray, item: np.ndarray, device: np.ndarray, genre: np.ndarray) -> Dataset:
    """A dataset of events with a device, of songs with a genre."""
    ones, users, songs = np.ones(len(user)), Ids.of(range(50)), Ids.of(range(len(genre)))
    column = CategoryColumn(device.astype(np.int32), Ids.of(["phone", "car"]))
    columns = EventColumns(user, item, ones, ones, np.zeros(len(user)), None, {"device": column})
    events = columns.sorted_events(50, len(genre), Combine())
    catalog = Table.of({"genre": genre.astype(str)})
    return Dataset.of(users, songs, events, catalog, Table(50))


def test_weekdays_may_be_named_and_texts_are_no_numbers() -> None:
    data = bare_world().data
    names = np.array(["Sunday", "tue", "someday"], dtype=object)
    request = request_for(data, [0, 1, 2], context={"weekday": names, "volume": ["3", "loud", "7"]})
    provider = ContextFeatures(numbers=("volume",))
    columns = provider.columns_for(provider.fit(data, RNG), request, pool_in_order(request, [[0]] * 3))
    expected = [math.sin(12 * math.pi / 7), math.sin(2 * math.pi / 7), math.nan]
    np.testing.assert_allclose(columns["context_weekday_sin"], expected, rtol=1e-6)
    np.testing.assert_array_equal(columns["context_volume"], [3, math.nan, 7])
    assert all(np.isnan(columns[f"context_{name}"]).all() for name in ("hour_sin", "session_events"))


def test_the_users_clock_may_be_ahead_of_utc() -> None:
    request, pool = request_for(BUSY, [0], now=[23 * 3600 + 4 * DAY]), pool_in_order(request_for(BUSY, [0]), [[0]])
    columns = ContextFeatures(utc_offset=2.0).columns_for(STATE, request, pool)
    assert columns["context_hour_sin"][0] == pytest.approx(math.sin(2 * math.pi / 24))
    assert columns["context_weekday_cos"][0] == pytest.approx(math.cos(2 * math.pi * 1 / 7))  # from Monday to Tuesday


def test_an_update_equals_a_refit(feature_checks: ModuleType) -> None:
    known, everything, new = feature_checks.halves(BUSY)
    updated, refitted = PROVIDER.update(PROVIDER.fit(known, RNG), everything, new), PROVIDER.fit(everything, RNG)
    first, second = (flatten(one)[0] for one in (updated, refitted))
    assert all(first[name].tobytes() == second[name].tobytes() for name in second)


def test_every_column_is_listed() -> None:
    assert list(PROVIDER.columns()) == list(PROVIDER.columns_for(STATE, *asked([0], [BUSY.as_of], [1.0])))


@pytest.mark.parametrize(
    ("provider", "data", "message"),
    [
        (ContextFeatures(across=("place",)), BUSY, "not known of the events; their columns are: device, hour; name"),
        (ContextFeatures(across=("hour",)), bare_world().data, "can also be read from their times; name"),
        (ContextFeatures(by=("author",)), BUSY, "'author', which the items have no column for"),
        (ContextFeatures(skipped=Expression("seconds < 30")), BUSY, "seconds"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_at_fit(provider: ContextFeatures, data: Dataset, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        provider.fit(data, RNG)


CHECKED = replace(PROVIDER, across=("device", "hour", "weekday"), by=("artist", "tempo", "moods"))


@pytest.mark.parametrize("check", checks(CHECKED), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message


def test_examples_and_registration() -> None:
    assert nbarec_feature_providers() == [ContextFeatures]
    assert doctest.testmod(context_features).failed == 0
