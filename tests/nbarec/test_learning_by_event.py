"""Examples by event: each held-out event at its moment, with its context and what was known then, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import Ints64
from nbarec.components import Example, HeldOut
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.model import Model
from nbarec.testing.copies import differing, leaves
from nbarec.timelines import Timeline

pytestmark = pytest.mark.usefixtures("heard")

EVENTS = HeldOut(fraction=0.2, by="event")
SHOWN = replace(EVENTS, shown=Expression("kind == 'play' or kind == 'skip'"))


def per_request(examples: list[Example]) -> Iterator[tuple[Example, int]]:
    return ((one, row) for one in examples for row in range(len(one.request)))


def row_of(events: Events, row: int) -> list[tuple[int, int, float]]:
    span = slice(events.indptr[row], events.indptr[row + 1])
    return list(zip(events.item[span].tolist(), events.time[span].tolist(), events.weight[span].tolist(), strict=True))


def test_a_request_is_one_held_out_event_that_counts_at_its_moment(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: wonders}")
    data = pipeline.load()
    examples, holdout = learners.told(pipeline, data, EVENTS)
    events, known = learners.held(pipeline, holdout), pipeline.weighted(holdout.train).events
    wanted = np.flatnonzero(events.weight > 0)
    assert sum(len(one.request) for one in examples) == len(wanted)
    kinds, hits = [], 0
    for (one, row), at in zip(per_request(examples), wanted.tolist(), strict=True):
        user, now = int(events.row[at]), int(events.time[at])
        assert one.request.user[row] == user
        assert one.request.now[row] == now
        before = row_of(known, user)
        later = [event for event in row_of(events, user) if event[1] < now]
        assert row_of(one.request.history, row) == before + later
        kinds.append(one.request.context["kind"][row])
        seconds: Any = events.columns["seconds"]
        np.testing.assert_array_equal(one.request.context["seconds"][row], seconds.values[at])
        entries = slice(one.pool.indptr[row], one.pool.indptr[row + 1])
        mine = one.pool.item[entries] == events.item[at]
        np.testing.assert_array_equal(one.label[entries], mine)
        liked, long = events.kinds[events.kind[at]] == "like", seconds.values[at] >= 60
        np.testing.assert_array_equal(one.labels["liked"][entries], mine & liked)
        np.testing.assert_array_equal(one.labels["long"][entries], mine & long)
        hits += int(mine.sum())
    assert kinds == [events.kinds[kind] for kind in events.kind[wanted]]
    assert hits > 10


def test_pools_are_those_that_would_have_been_served_at_the_moment(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: wonders}")
    data = pipeline.load()
    examples, holdout = learners.told(pipeline, data, EVENTS)
    model = learners.pipeline_of("{use: blend}").fit(holdout.train)
    for one, row in list(per_request(examples))[::40]:
        user = int(one.request.user[row])
        mine = np.where(np.arange(len(data.users)) == user, 0, -1)  # his history as it was, and nobody else's
        then = model.data.with_events(one.request.take(np.array([row])).history.take_rows(mine))
        served = Model(model.pipeline, then, model.fitted)
        for source, name in enumerate(one.pool.sources):
            slate = served.recommend(data.users.take([user]), stage=name, now=int(one.request.now[row]))
            entries = np.flatnonzero((one.pool.row == row) & (one.pool.ranks[:, source] > 0))
            best = entries[np.argsort(one.pool.ranks[entries, source])]
            assert slate.item[0][slate.item[0] >= 0].tolist() == one.pool.item[best].tolist()
            np.testing.assert_array_equal(slate.score[0, : len(best)], one.pool.scores[best, source])


def test_the_pool_of_what_was_shown_is_that_item_alone(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: wonders}")
    data = pipeline.load()
    whole, holdout = learners.told(pipeline, data, replace(EVENTS, relevant=SHOWN.shown))
    shown, _ = learners.told(pipeline, data, SHOWN)
    events = learners.held(pipeline, holdout)
    wanted = np.flatnonzero([events.kinds[kind] in ("play", "skip") for kind in events.kind])
    unproposed = 0
    for (one, row), (other, same), at in zip(per_request(shown), per_request(whole), wanted.tolist(), strict=True):
        assert one.pool.indptr[row] == row
        assert one.pool.item[row] == events.item[at]
        assert one.label[row] == (events.weight[at] > 0)
        assert one.labels["liked"][row] == 0
        there = other.pool.find(np.array([same]), np.array([events.item[at]]))[0]
        unproposed += int(there < 0)
        if there < 0:
            assert np.isnan(one.pool.scores[row]).all()
            assert not one.pool.ranks[row].any()
            assert one.pool.score[row] == 0
        else:
            np.testing.assert_array_equal(one.pool.scores[row], other.pool.scores[there])
            np.testing.assert_array_equal(one.pool.ranks[row], other.pool.ranks[there])
            assert one.pool.score[row] == other.pool.score[there]
    assert 0 < unproposed < len(wanted)
    assert {0.0, 1.0} == {float(value) for one in shown for value in one.label}


def moved(data: Dataset, mask: np.ndarray) -> Ints64:
    """The times of all events, where those of the mask stand in another order: drawn anew from among the user's."""
    rng, time = np.random.default_rng(9), data.events.time.copy()
    for user in range(data.events.rows):
        mine = np.flatnonzero(mask & (data.events.row == user))
        time[mine] = np.sort(rng.choice(time[mine], len(mine))) if len(mine) else time[mine]
    return time


def until(examples: list[Example], moment: int) -> dict[tuple[int, int], dict[str, object]]:
    """All of a request but its labels, by user and number among his, of those up to a moment."""
    found: dict[tuple[int, int], dict[str, object]] = {}
    for one, row in per_request(examples):
        if one.request.now[row] <= moment:
            entries = np.flatnonzero(one.pool.row == row)
            pool = one.pool.take(entries)
            parts = (pool.item, dict(pool.proposals), dict(pool.features), pool.score)
            user = int(one.request.user[row])
            number = sum(1 for key in found if key[0] == user)
            found[user, number] = leaves([one.request.take(np.array([row])), parts])
    return found


@pytest.mark.parametrize("held_out", [EVENTS, SHOWN], ids=["proposed", "shown"])
def test_what_comes_after_a_moment_moves_no_request_until_then(learners: ModuleType, held_out: HeldOut) -> None:
    """Not one bit of pools, features, history and context, also where a ranker before has learnt."""
    pipeline = learners.pipeline_of("{use: stack, with: {held_out: {by: event}}}", "{use: wonders}")
    data = pipeline.load()
    before, holdout = learners.told(pipeline, data, held_out)
    moment = int(np.quantile(holdout.test.time, 0.5))
    mask = data.events.time > moment
    other = learners.scrambled(data, mask, moved(data, mask))
    assert (other.events.item[mask] != data.events.item[mask]).mean() > 0.8
    after, _ = learners.told(pipeline, replace(other, as_of=data.as_of), held_out)
    one, two = until(before, moment), until(after, moment)
    assert len(one) > 50
    assert one.keys() == two.keys()
    assert not [key for key in one if differing(one[key], two[key])]
    latest = int(data.events.time.max())
    assert until(before, latest).keys() != one.keys()


def test_a_timeline_that_peeks_is_caught(learners: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same check fails where a history knows its own event: it can tell."""
    whole = Timeline.of

    def peeking(known: Events, later: Events, clock: int) -> Timeline:
        honest = whole(known, later, clock)
        return replace(honest, known=honest.events.counts[later.row])

    pipeline = learners.pipeline_of("{use: wonders}")
    data = pipeline.load()
    _, holdout = learners.told(pipeline, data, EVENTS)
    moment = int(np.quantile(holdout.test.time, 0.5))
    mask = data.events.time > moment
    other = learners.scrambled(data, mask, moved(data, mask))
    monkeypatch.setattr(Timeline, "of", peeking)
    one, two = (until(learners.told(pipeline, given, EVENTS)[0], moment) for given in (data, other))
    assert [key for key in one if differing(one[key], two[key])]


def test_memory_cuts_other_batches_of_the_same_requests(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: wonders}")
    data = pipeline.load()
    whole, _ = learners.told(pipeline, data, EVENTS)
    few = learners.pipeline_of("{use: wonders}", more="engine: {memory: 1MiB}\n")
    parts, _ = learners.told(few, data, EVENTS)
    assert len(parts) > len(whole)
    one, two = (until(examples, int(data.events.time.max())) for examples in (whole, parts))
    assert not [key for key in one if differing(one[key], two[key])]


def test_without_times_what_was_known_before_the_cut_is_all_there_is(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: stack}", text=learners.BARE)
    examples, holdout = learners.told(pipeline, learners.timeless(), HeldOut(fraction=0.2, by="event", users=50))
    train = holdout.train
    assert sum(len(one.request) for one in examples) == 50
    for one, row in per_request(examples):
        assert row_of(one.request.history, row) == row_of(train.events, int(one.request.user[row]))
        assert one.request.now[row] == train.as_of
        assert not one.request.context
