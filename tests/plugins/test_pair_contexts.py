"""The user's events with an item in contexts such as the request's, against a plain loop over his events."""

from __future__ import annotations

import math
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
from nbarec.tables import CategoryColumn, NumberColumn
from nbarec.testing.check_worlds import bare_world, main_worlds
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import DAY, pool_in_order, request_for
from nbarec_plugins.pair_features import PairFeatures

BUSY: Dataset = main_worlds()[1].data
RNG = np.random.default_rng(0)
AT = ("device", "hour")
STATE = PairFeatures().fit(BUSY, RNG)

providers = st.builds(
    PairFeatures,
    at=st.sampled_from([AT, ("hour",), ("device",)]),
    moment=st.sampled_from([(), ("device",), ("hour", "device")]),
    hours=st.sampled_from([0.0, 1.5, 3.0]),
    prior=st.sampled_from([0.5, 2.0]),
)
asks = st.lists(
    st.tuples(
        st.integers(-1, len(BUSY.users) - 1),
        st.integers(BUSY.as_of - 60 * DAY, BUSY.as_of),
        st.sampled_from(["car", "phone", "moon", None]),
        st.sampled_from([0.0, 7.0, 23.0, math.nan]),
    ),
    min_size=1,
    max_size=4,
)


def asked(one: list[Any], data: Dataset = BUSY) -> tuple[Request, Pool]:
    users, now, device, hour = ([each[part] for each in one] for part in range(4))
    context = {"device": np.array(device, object), "hour": np.array(hour)}
    request = request_for(data, users, now=now, context=context)
    return request, pool_in_order(request, [[at % 3, 4, 7, 12, 15] for at in range(len(one))])


def events_of(user: int, now: int) -> list[dict[str, Any]]:
    device, hour = BUSY.events.columns["device"], BUSY.events.columns["hour"]
    assert isinstance(device, CategoryColumn)
    assert isinstance(hour, NumberColumn)
    names = [*device.levels.texts(np.arange(len(device.levels))), None]
    past = np.flatnonzero((BUSY.events.row == user) & (BUSY.events.time <= now))
    return [
        {"item": int(BUSY.events.item[at]), "device": names[int(device.codes[at])], "hour": float(hour.values[at])}
        for at in past
    ]


def slow(provider: PairFeatures, one: Any, item: int) -> dict[str, float]:
    """The columns of one entry."""
    user, now, device, hour = one
    moment = {"device": device, "hour": (now // 3600) % 24 if math.isnan(hour) else hour}

    def same(event: dict[str, Any], name: str, hours: float) -> bool:
        if name == "hour":
            return bool(abs((event["hour"] - moment["hour"] + 12) % 24 - 12) <= hours)
        return moment[name] is not None and event[name] == moment[name]

    past = events_of(user, now)
    if provider.moment:
        past = [event for event in past if not all(same(event, name, 0) for name in provider.moment)]
    own = [event for event in past if event["item"] == item]
    found = {"pair_item_events": float(len(own))}
    for name in provider.at:
        if moment[name] is None:
            found |= {f"pair_item_at_{name}{part}": math.nan for part in ("", "_share", "_lift")}
            continue
        known = [event for event in past if event[name] is not None]
        here = [event for event in known if same(event, name, provider.hours)]
        both, item_known = [e for e in here if e["item"] == item], [e for e in known if e["item"] == item]
        found[f"pair_item_at_{name}"] = len(both)
        found[f"pair_item_at_{name}_share"] = len(both) / len(here) if here else math.nan
        expected = len(item_known) * len(here) / len(known) if known else 0
        lift = math.log((len(both) + provider.prior) / (expected + provider.prior))
        found[f"pair_item_at_{name}_lift"] = lift if item_known and here else math.nan
    agreeing = [sum(same(event, name, provider.hours) for name in provider.at) for event in own]
    unknown = all(moment[name] is None for name in provider.at)
    found["pair_item_at_all"] = math.nan if unknown else max(agreeing, default=0)
    return found


@given(providers, asks)
@settings(max_examples=80, deadline=None)
def test_each_entry_is_told_as_a_loop_over_events_would(
    feature_checks: ModuleType, provider: PairFeatures, one: list[Any]
) -> None:
    request, pool = asked(one)
    columns = provider.columns_for(STATE, request, pool)
    assert list(columns) == list(provider.columns())
    for at, (row, item) in enumerate(zip(pool.row.tolist(), pool.item.tolist(), strict=True)):
        expected = slow(provider, one[row], item)
        told = {name: columns[name][at] for name in expected}
        assert told == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)
    assert not feature_checks.differing_alone(provider, STATE, request, pool)


def test_in_data_of_one_event_a_moment_its_own_moment_says_nothing() -> None:
    data = Dataset.from_arrays(["u"] * 6, ["tea", "tea", "tea", "milk", "milk", "milk"])
    place = CategoryColumn.of(["home", "work", "garden", "work", "garden", "train"])
    data = data.with_events(replace(data.events, columns={"place": place}))
    request = request_for(data, [0], context={"place": "work"})
    pool = pool_in_order(request, [[0, 1]])
    for moment, events, share in (((), [3, 3], [0.5, 0.5]), (("place",), [2, 2], [math.nan, math.nan])):
        provider = PairFeatures(at=("place",), moment=moment)
        columns = provider.columns_for(provider.fit(data, RNG), request, pool)
        assert columns["pair_item_events"].tolist() == events
        np.testing.assert_array_equal(columns["pair_item_at_place_share"], share)


@pytest.mark.parametrize("name", ["at", "moment"])
def test_contexts_that_events_do_not_have_are_refused(name: str) -> None:
    provider = PairFeatures(**{name: ("place",)})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"pair_features: `{name}: place` is not known of the events"):
        provider.fit(bare_world().data, RNG)


def test_a_context_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two columns the name pair_item_at_hour"):
        PairFeatures(at=("hour", "hour"))


@pytest.mark.parametrize("check", checks(PairFeatures(at=AT, moment=("device",))), ids=lambda check: check.name)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message
