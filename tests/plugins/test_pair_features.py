"""Pair features against a plain loop over each user's events, and what they must not look at."""

from __future__ import annotations

import doctest
import math
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.params import StageRef
from nbarec.testing.check_worlds import bare_world, grown, main_worlds
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import DAY, pool_in_order, request_for
from nbarec_plugins import pair_features
from nbarec_plugins.pair_features import PairFeatures, PairFeaturesState, nbarec_feature_providers

WORLD = main_worlds()[1]
BUSY: Dataset = WORLD.data
RNG = np.random.default_rng(0)
VECTORS = np.random.default_rng(5).normal(size=(len(BUSY.items), 3)).astype(np.float32)
VECTORS[3] = 0
PROVIDER = PairFeatures(by=("artist", "moods"), last=3, neighbors=4, vectors=StageRef("latent"), hours=3.0)
STATE = PROVIDER.fit(BUSY, RNG)

users = st.lists(st.integers(-1, len(BUSY.users) - 1), min_size=1, max_size=5)
moments = st.integers(BUSY.as_of - 60 * DAY, BUSY.as_of)
hours = st.sampled_from([0.0, 1.0, 13.0, 23.0, math.nan])


def asked(rows: list[int], now: list[int], hour: list[float], data: Dataset = BUSY) -> tuple[Request, Pool]:
    request = request_for(data, rows, now=now, context={"hour": np.array(hour)})
    pool = pool_in_order(request, [[at % 3, 3, 7, 8, 12, 15] for at in range(len(rows))])
    return request, replace(pool, vectors={"latent": VECTORS})


def levels(data: Dataset, name: str, item: int) -> list[str]:
    return [level for level in data.catalog.labels(name, [item])[0].split("|") if level != "-"]


def history(data: Dataset, user: int, now: int) -> list[dict[str, Any]]:
    events = data.events.take_rows(np.array([user]))
    hour = data.events.columns["hour"].take(np.arange(len(data.events)))
    own = hour.values[data.events.row == user] if user >= 0 else []  # type: ignore[union-attr]
    told = zip(events.item.tolist(), events.weight.tolist(), events.time.tolist(), own, strict=True)
    every = [{"item": item, "weight": weight, "time": time, "hour": float(at)} for item, weight, time, at in told]
    return [event for event in every if event["time"] <= now]


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def share(part: list[Any], whole: list[Any]) -> float:
    return len(part) / len(whole) if whole else math.nan


def days_since(past: list[dict[str, Any]], now: int) -> float:
    times = [event["time"] for event in past if event["time"]]
    return (now - max(times)) / DAY if times else math.nan


def slow_group(data: Dataset, name: str, past: list[dict[str, Any]], item: int, now: int, hour: float):
    """The columns of one group, as means over the levels of the item."""
    known = [event for event in past if levels(data, name, event["item"])]
    near = [event for event in known if abs((event["hour"] - hour + 12) % 24 - 12) <= PROVIDER.hours]
    found: dict[str, list[float]] = {key: [] for key in _GROUP}
    for level in levels(data, name, item):
        own = [event for event in known if level in levels(data, name, event["item"])]
        own_near = [event for event in near if event in own]
        at_all = [] if math.isnan(hour) else own
        skips = [event for event in own if event["weight"] < 0]
        values = (len(own), share(own, known), days_since(own, now), share(skips, own), share(own_near, near))
        for key, value in zip(_GROUP, (*values, share(own_near, at_all)), strict=True):
            found[key].append(value)
    told = {f"pair_{name}_{key}": mean(values) for key, values in found.items()}
    since = [value for value in found["days_since"] if not math.isnan(value)]
    return told | {f"pair_{name}_days_since": min(since, default=math.nan)}


_GROUP = ("events", "share", "days_since", "skips", "at_hour", "hour_share")


def cosines(item: int, past: list[int]) -> list[float]:
    def unit(one: int) -> np.ndarray:
        return VECTORS[one].astype(float) / np.linalg.norm(VECTORS[one])

    return [float(unit(item) @ unit(one)) for one in past if VECTORS[one].any()] if VECTORS[item].any() else []


def slow(data: Dataset, state: PairFeaturesState, user: int, item: int, now: int, hour: float) -> Mapping[str, float]:
    """The columns of one entry."""
    past, near = history(data, user, now), state.neighbours
    own = [event for event in past if event["item"] == item]
    found = {"pair_item_events": float(len(own)), "pair_item_days_since": days_since(own, now)}
    liked = [event["item"] for event in past if event["weight"] > 0][::-1]
    last = list(dict.fromkeys(liked))[: PROVIDER.last]
    rows = [dict(zip(near.column[a:b].tolist(), near.value[a:b].tolist(), strict=True))
            for a, b in zip(near.indptr[:-1], near.indptr[1:], strict=True)]  # fmt: skip
    known = last if np.isin(item, data.events.item) else []
    similar = [rows[one].get(item, 0.0) for one in known]
    found |= {"pair_similarity_mean": mean(similar), "pair_similarity_max": max(similar, default=math.nan)}
    alike = cosines(item, last)
    found |= {"pair_latent_mean": mean(alike), "pair_latent_max": max(alike, default=math.nan)}
    for name in PROVIDER.by:
        found |= slow_group(data, name, past, item, now, hour)
    return found


@given(users, st.data())
@settings(max_examples=40, deadline=None)
def test_each_entry_is_told_as_a_loop_over_events_would(rows: list[int], data: st.DataObject) -> None:
    now, hour = [data.draw(moments) for _ in rows], [data.draw(hours) for _ in rows]
    request, pool = asked(rows, now, hour)
    columns = PROVIDER.columns_for(STATE, request, pool)
    at_now = [(moment // 3600) % 24 for moment in now]
    for at, (row, item) in enumerate(zip(pool.row.tolist(), pool.item.tolist(), strict=True)):
        at_hour = at_now[row] if math.isnan(hour[row]) else hour[row]
        expected = slow(BUSY, STATE, rows[row], item, now[row], at_hour)
        assert {name: columns[name][at] for name in columns} == pytest.approx(expected, rel=1e-5, abs=3e-6, nan_ok=True)


@given(users, st.data())
@settings(max_examples=25, deadline=None)
def test_a_batch_gives_each_user_what_he_gets_alone(
    feature_checks: ModuleType, rows: list[int], data: st.DataObject
) -> None:
    now, hour = [data.draw(moments) for _ in rows], [data.draw(hours) for _ in rows]
    request, pool = asked(rows, now, hour)
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


def test_similarities_are_cosines_of_common_users() -> None:
    data = Dataset.from_arrays(list("aabbcd"), ["tea", "milk", "tea", "milk", "tea", "rusk"])
    request = request_for(data, [0])  # milk 0, rusk 1, tea 2
    provider = PairFeatures(shrink=2.0)
    columns = provider.columns_for(provider.fit(data, RNG), request, pool_in_order(request, [[0, 1, 2]]))
    cosine = 2 / math.sqrt(2 * 3) * 2 / (2 + 2)
    assert columns["pair_similarity_max"].tolist() == pytest.approx([cosine, 0, cosine])
    assert columns["pair_similarity_mean"].tolist() == pytest.approx([cosine / 2, 0, cosine / 2])


def test_numbers_are_cut_into_ranges() -> None:
    tempo = np.arange(40.0)
    catalog = {"id": np.arange(40), "tempo": np.where(tempo == 39, np.nan, tempo)}
    data = Dataset.from_arrays(["u"] * 4, [0, 1, 20, 39], catalog=catalog)
    request, provider = request_for(data, [0]), PairFeatures(by=("item.tempo",))
    columns = provider.columns_for(provider.fit(data, RNG), request, pool_in_order(request, [[0, 2, 22, 35, 39]]))
    assert columns["pair_tempo_events"][[0, 1, 2, 3]].tolist() == [2, 2, 1, 0]
    assert np.isnan(columns["pair_tempo_events"][4])


def test_data_without_times_and_hours() -> None:
    data = bare_world().data
    request, provider = request_for(data, [0]), PairFeatures()
    columns = provider.columns_for(provider.fit(data, RNG), request, pool_in_order(request, [[0, 1]]))
    assert np.isnan(columns["pair_item_days_since"]).all()
    assert not np.isnan(columns["pair_item_events"]).any()


def test_items_newer_than_the_fit_have_no_group_and_no_similarity() -> None:
    everything, _ = grown(WORLD)
    request = request_for(everything, [0])
    pool = replace(pool_in_order(request, [[0, len(BUSY.items)]]), vectors={"latent": np.ones((30, 2), np.float32)})
    columns = PROVIDER.columns_for(STATE, request, pool)
    unknown = {name for name, values in columns.items() if np.isnan(values[pool.item == len(BUSY.items)]).all()}
    assert unknown >= {"pair_artist_share", "pair_moods_events", "pair_similarity_mean"}
    assert columns["pair_item_events"][pool.item == len(BUSY.items)] > 0


def test_an_update_equals_a_refit(feature_checks: ModuleType) -> None:
    known, everything, new = feature_checks.halves(BUSY)
    updated, refitted = PROVIDER.update(PROVIDER.fit(known, RNG), everything, new), PROVIDER.fit(everything, RNG)
    assert updated.neighbours.value.tobytes() == refitted.neighbours.value.tobytes()


def test_every_column_is_listed() -> None:
    provider = replace(PROVIDER, prefix="its_")
    assert list(provider.columns()) == list(provider.columns_for(STATE, *asked([0], [BUSY.as_of], [1.0])))


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (PairFeatures(by=("author",)), "'author', which the items have no column for; they have artist"),
        (PairFeatures(skipped=Expression("seconds < 30")), "seconds"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_at_fit(provider: PairFeatures, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        provider.fit(BUSY, RNG)


@pytest.mark.parametrize("by", [("artist", "item.artist"), ("item",)])
def test_a_name_that_stands_for_two_columns_is_refused(by: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="two columns the name"):
        PairFeatures(by=by)


@pytest.mark.parametrize("check", checks(replace(PROVIDER, by=("artist", "tempo"))), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message


def test_examples_and_registration() -> None:
    assert nbarec_feature_providers() == [PairFeatures]
    assert doctest.testmod(pair_features).failed == 0
