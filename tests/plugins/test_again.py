"""Own items again against a plain loop over each user's events, and the words for why."""

from __future__ import annotations

import doctest
import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Request
from nbarec.components import NoState
from nbarec.contracts import check_candidates, check_evidence
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.params import Duration
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, NumberColumn
from nbarec.testing.check_worlds import bare_world, main_worlds
from nbarec.testing.checks import Check, checks
from nbarec.testing.worlds import DAY, request_for, tiny_world
from nbarec_plugins import again
from nbarec_plugins.again import Again, nbarec_candidate_generators

BUSY: Dataset = main_worlds()[1].data
RNG = np.random.default_rng(0)

models = st.builds(
    Again,
    half_life=st.sampled_from([None, Duration("3d"), Duration("1s")]),
    across=st.sampled_from([(), ("device",), ("hour", "device"), ("weekday",)]),
    elsewhere=st.sampled_from([0.25, 0.5, 1.0]),
    moment=st.sampled_from([(), ("device",), ("device", "hour")]),
    hours=st.integers(0, 3),
)
asks = st.lists(
    st.tuples(
        st.integers(-1, len(BUSY.users) - 1),
        st.integers(BUSY.as_of - 60 * DAY, BUSY.as_of),
        st.sampled_from(["car", "phone", "moon", None]),
        st.sampled_from([0.0, 7.0, 23.0, math.nan]),
        st.sets(st.integers(0, len(BUSY.items) - 1), max_size=3),
    ),
    min_size=1,
    max_size=5,
)


def request_of(asked: list[Any]) -> Request:
    users, now, device, hour, without = ([one[part] for one in asked] for part in range(5))
    row = [at for at, items in enumerate(without) for _ in items]
    item = [one for items in without for one in sorted(items)]
    excluded = Csr.from_pairs(np.array(row, int), np.array(item, int), None, (len(asked), len(BUSY.items)))
    context = {"device": np.array(device, object), "hour": np.array(hour)}
    return request_for(BUSY, users, now=now, context=context, excluded=excluded)


def lists(found: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(found.item.tolist(), found.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def same(name: str, event: dict[str, Any], now: int, device: str | None, hour: float, hours: int) -> bool:
    """Whether one context of an event is that of the request."""
    match name:
        case "device":
            return device is not None and event["device"] == device
        case "weekday":
            return bool((event["time"] // DAY) % 7 == (now // DAY) % 7)
    at = (now // 3600) % 24 if math.isnan(hour) else hour
    return bool(abs((event["hour"] - at + 12) % 24 - 12) <= hours)


def events_of(user: int, now: int) -> list[dict[str, Any]]:
    at = np.flatnonzero(BUSY.events.row == user)
    device, hour = BUSY.events.columns["device"], BUSY.events.columns["hour"]
    assert isinstance(device, CategoryColumn)
    assert isinstance(hour, NumberColumn)
    names = [*device.levels.texts(np.arange(len(device.levels))), None]
    return [
        {
            "item": int(BUSY.events.item[one]),
            "weight": float(BUSY.events.weight[one]),
            "time": int(BUSY.events.time[one]),
            "device": names[int(device.codes[one])],
            "hour": float(hour.values[one]),
        }
        for one in at
        if BUSY.events.time[one] <= now
    ]


def slow(model: Again, one: Any) -> dict[int, float]:
    """The score of each item."""
    user, now, device, hour, without = one
    past = [
        event
        for event in events_of(user, now)
        if not model.moment or not all(same(name, event, now, device, hour, 0) for name in model.moment)
    ]
    newest, scores = max((event["time"] for event in past), default=0), defaultdict[int, float](float)
    sizes = defaultdict[int, float](float)
    for event in past:
        decay = 1.0 if model.half_life is None else 0.5 ** ((newest - event["time"]) / model.half_life)
        others = sum(not same(name, event, now, device, hour, model.hours) for name in model.across)
        amount = event["weight"] * decay * model.elsewhere**others
        scores[event["item"]] += amount
        sizes[event["item"]] += abs(amount)
    return {item: score for item, score in scores.items() if score > 1e-9 * sizes[item] and item not in without}


@given(models, asks, st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_lists_equal_a_loop_over_events_and_a_batch_changes_no_bit(model: Again, asked: list[Any], limit: int) -> None:
    request = request_of(asked)
    found = model.generate(model.fit(BUSY, RNG), request, limit)
    check_candidates("again", found, request, limit)
    for at, (one, proposed) in enumerate(zip(asked, lists(found), strict=True)):
        expected = slow(model, one)
        best = sorted(expected.values(), reverse=True)[:limit]
        kept = [score for score in best if score > 1e-30]  # smaller ones may be lost, which a loop would keep
        assert [score for _, score in proposed][: len(kept)] == pytest.approx(kept, rel=1e-5)
        assert all(score == pytest.approx(expected[item], rel=1e-5, abs=1e-30) for item, score in proposed)
        assert lists(model.generate(NoState(), request.take(np.array([at])), limit)) == [proposed]


@given(models, asks)
@settings(max_examples=60, deadline=None)
def test_evidence_adds_up_to_the_score(model: Again, asked: list[Any]) -> None:
    request = request_of(asked)
    found = model.generate(NoState(), request, 20)
    row, item = found.row.astype(np.int32), found.item
    told = model.evidence(NoState(), request, row, item, 3)
    check_evidence("again", told, len(row), 3)
    assert told.score == pytest.approx(found.score, rel=1e-5)
    twice = model.evidence(NoState(), request, np.tile(row, 2)[::-1], np.tile(item, 2)[::-1], 3)
    assert twice.score == pytest.approx(np.tile(found.score, 2)[::-1], rel=1e-5)
    everything = model.evidence(NoState(), request, row, item, 99)
    disliked = [any(e["weight"] < 0 for e in events_of(asked[r][0], asked[r][1]) if e["item"] == i)
                for r, i in zip(row.tolist(), item.tolist(), strict=True)]  # fmt: skip
    assert everything.rest[~np.array(disliked, bool)] == pytest.approx(0, abs=1e-9)


def home() -> Dataset:
    data = Dataset.from_arrays(["u"] * 7, ["tea"] * 5 + ["milk"] * 2)
    place = CategoryColumn.of(["home", "home", "work", None, "home", "work", "work"])
    day = NumberColumn(np.array([1.0, 2.0, 1.0, 1.0, 2.0, 1.0, 1.0]))
    return data.with_events(replace(data.events, columns={"place": place, "day": day}))


@pytest.mark.parametrize(
    ("across", "said"),
    [
        ((), ["5 times"]),
        (("place",), ["3 times with place home", "2 times at other moments"]),
        (
            ("place", "day"),
            ["2 times with place home and day 2", "once with place home", "2 times at other moments"],
        ),
    ],
)
def test_reasons_say_how_often_and_in_which_contexts(across: tuple[str, ...], said: list[str]) -> None:
    data, model = home(), Again(across=across, elsewhere=0.1)
    tea = data.items.index(["tea"]).astype(np.int32)
    request = request_for(data, [0], context={"place": "home", "day": 2.0}, excluded=Csr.empty(1, 2))
    told = model.evidence(model.fit(data, RNG), request, np.zeros(1, np.int32), tea)
    assert sorted(told.label) == sorted(said)
    assert told.because == "you took it {}"


def test_where_an_item_stands_once_a_moment_other_moments_speak() -> None:
    data = Dataset.from_arrays(["u"] * 5, ["tea", "tea", "tea", "milk", "milk"])
    place = CategoryColumn.of(["home", "work", "garden", "work", "garden"])
    data = data.with_events(replace(data.events, columns={"place": place}))
    request = request_for(data, [0], context={"place": "home"}, excluded=Csr.empty(1, 2))
    score = {model.moment: sorted(s for _, s in lists(model.generate(NoState(), request, 9))[0])
             for model in (Again(), Again(moment=("place",)))}  # fmt: skip
    assert score == {(): [2.0, 3.0], ("place",): [2.0, 2.0]}


def test_what_is_disliked_as_much_as_liked_is_not_proposed() -> None:
    data = Dataset.from_arrays(["u"] * 4, ["tea", "tea", "tea", "milk"], weight=[0.1, 0.2, -0.3, 1.0])
    found = Again().generate(NoState(), request_for(data, [0], excluded=Csr.empty(1, 2)), 9)
    assert data.items.take(found.item) == ["milk"]


def test_who_was_away_for_years_finds_his_items_in_their_order() -> None:
    data, model = tiny_world(), Again(half_life=Duration("1d"))
    late = data.as_of + 4000 * DAY
    now, then = (request_for(data, [0], now=moment, excluded=Csr.empty(1, 8)) for moment in (data.as_of, late))
    assert lists(model.generate(NoState(), now, 9)) == lists(model.generate(NoState(), then, 9))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Again(half_life=Duration("1d")), "half_life needs the time of each event"),
        (Again(across=("place",)), r"`across: place` is not known of the events; their columns are: none"),
        (Again(moment=("hour",)), r"`moment: hour` is not known .* can also be read from their times"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_at_fit(model: Again, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.fit(bare_world().data, RNG)


def test_a_context_is_named_once() -> None:
    with pytest.raises(ValueError, match="across must name each context once"):
        Again(across=("hour", "hour"))


@pytest.mark.parametrize(
    "check",
    checks(Again(half_life=Duration("5d"), across=("device", "hour"), moment=("device",))),
    ids=lambda check: check.name,
)
def test_contract(check: Check) -> None:
    outcome = check.outcome
    assert outcome.verdict != "failed", outcome.message


def test_examples_and_registration() -> None:
    assert nbarec_candidate_generators() == [Again]
    assert doctest.testmod(again).failed == 0
