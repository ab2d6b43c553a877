"""Labels of examples: those that a ranker asks for, and none where there is nothing to learn from."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nbarec.components import HeldOut
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression

pytestmark = pytest.mark.usefixtures("heard")


def test_by_users_a_further_label_is_whether_any_held_out_event_fulfils_it(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: wonders}")
    data = pipeline.load()
    examples, holdout = learners.told(pipeline, data, HeldOut(fraction=0.2))
    events = learners.held(pipeline, holdout)
    seconds: Any = events.columns["seconds"]
    pairs = list(zip(events.row.tolist(), events.item.tolist(), strict=True))
    liked = {pair for pair, kind in zip(pairs, events.kind, strict=True) if events.kinds[kind] == "like"}
    long = {pair for pair, value in zip(pairs, seconds.values, strict=True) if value >= 60}
    found = 0
    for one in examples:
        of_entries = list(zip(one.request.user[one.pool.row].tolist(), one.pool.item.tolist(), strict=True))
        np.testing.assert_array_equal(one.labels["liked"], [pair in liked for pair in of_entries])
        np.testing.assert_array_equal(one.labels["long"], [pair in long for pair in of_entries])
        assert not one.request.context
        found += int(one.labels["long"].sum())
    assert found > 20


def test_shown_without_events_is_refused(learners: ModuleType) -> None:
    with pytest.raises(ConfigError, match="shown is about single events; write by: event"):
        learners.pipeline_of("{use: stack, with: {held_out: {shown: kind == 'skip'}}}")


def test_labels_of_events_are_of_the_event_itself(learners: ModuleType) -> None:
    """Not of another held-out event of the same user and item."""
    user, item, time = ["ann", "ann", "ann", "bob", "bob", "bob"], ["a", "b", "b", "a", "b", "c"], [1, 10, 11, 2, 3, 4]
    data = Dataset.from_arrays(user, item, time=time, kind=["play", "play", "like", "play", "play", "play"])
    text = learners.BARE.replace("{use: music_world}", "{use: music_world, feedback: {weights: {play: 1, like: 3}}}")
    pipeline = learners.pipeline_of("{use: wonders, with: {long: time == 10}}", text=text)
    held_out = HeldOut(split="global_time", fraction=0.4, by="event", shown=Expression("value > 0"))
    (example,), _ = learners.told(pipeline, data, held_out)
    assert example.request.now.tolist() == [10, 11]
    assert example.request.context["kind"].tolist() == ["play", "like"]
    assert example.label.tolist() == [1, 1]
    assert example.labels["liked"].tolist() == [0, 1]
    assert example.labels["long"].tolist() == [1, 0]
    assert example.request.history.counts.tolist() == [1, 2]


@pytest.mark.parametrize("by", ["user", "event"])
def test_where_nothing_counts_there_are_no_examples(learners: ModuleType, by: Any) -> None:
    pipeline = learners.pipeline_of("{use: wonders}")
    assert learners.told(pipeline, pipeline.load(), HeldOut(by=by, relevant=Expression("value > 1e9")))[0] == []


def test_a_label_of_a_name_that_is_not_there_names_the_ranker(learners: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"rank.wonders \(wonders of .*'?secnds'?"):
        learners.pipeline_of("{use: wonders, with: {long: secnds > 3}}").fit()
