"""Labels of examples: those that a ranker asks for, and none where there is nothing to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32
from nbarec.batch import Pool, Request
from nbarec.components import Example, HeldOut, LearningRanker, NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.learning import Past
from nbarec.params import param
from nbarec.pipeline import Pipeline
from nbarec.work import Work, working

TEXT = """
nbarec: 1
seed: 3
data:
  use: music_world
  users: 40
  songs: 50
  days: 20
  feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}, success: seconds >= 30}
candidates: [{id: similar, use: item_cf, k: 20}, {id: popular, use: popularity, k: 20}]
rank: [RANK]
"""


@dataclass(frozen=True)
class Wonders(LearningRanker[NoState]):
    """Leaves the scores as they are, and asks for two labels."""

    name: ClassVar[str] = "wonders"

    long: Expression = param(Expression("seconds >= 60"), doc="What is long.")

    def labels(self) -> Mapping[str, Expression]:
        return {"liked": Expression("kind == 'like'"), "long": self.long}

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        return pool.score


@pytest.fixture(autouse=True)
def plugged(plug: Callable[..., None]) -> None:
    plug(Wonders)


def pipeline_of(ranker: str = "{use: wonders}") -> Pipeline:
    return Pipeline.from_text(TEXT.replace("RANK", ranker))


def told(pipeline: Pipeline, data: Dataset, held_out: HeldOut) -> tuple[list[Example], Past]:
    past = Past(pipeline, data)
    with working(Work()):
        return list(past.examples(pipeline.stages.rankers[0], held_out)), past


def test_by_users_a_further_label_is_whether_any_held_out_event_fulfils_it() -> None:
    pipeline = pipeline_of()
    data = pipeline.load()
    examples, past = told(pipeline, data, HeldOut(fraction=0.2))
    holdout = next(iter(past.cuts.values())).holdout
    feedback: Any = pipeline.section.feedback
    events = replace(feedback, decay=None).apply(holdout.train.with_events(holdout.test)).events
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


def test_shown_without_events_is_refused() -> None:
    with pytest.raises(ConfigError, match="shown is about single events; write by: event"):
        pipeline_of("{use: stack, with: {held_out: {shown: kind == 'skip'}}}")


def test_labels_of_events_are_of_the_event_itself() -> None:
    """Not of another held-out event of the same user and item."""
    user, item, time = ["ann", "ann", "ann", "bob", "bob", "bob"], ["a", "b", "b", "a", "b", "c"], [1, 10, 11, 2, 3, 4]
    data = Dataset.from_arrays(user, item, time=time, kind=["play", "play", "like", "play", "play", "play"])
    text = TEXT.replace("RANK", "{use: wonders}").replace("seconds >= 30", "value > 0")
    pipeline = Pipeline.from_text(text.replace("wonders}", "wonders, with: {long: time == 10}}"))
    held_out = HeldOut(split="global_time", fraction=0.4, by="event", shown=Expression("value > 0"))
    (example,), _ = told(pipeline, data, held_out)
    assert example.request.now.tolist() == [10, 11]
    assert example.request.context["kind"].tolist() == ["play", "like"]
    assert example.label.tolist() == [1, 1]
    assert example.labels["liked"].tolist() == [0, 1]
    assert example.labels["long"].tolist() == [1, 0]
    assert example.request.history.counts.tolist() == [1, 2]


@pytest.mark.parametrize("by", ["user", "event"])
def test_where_nothing_counts_there_are_no_examples(by: Any) -> None:
    pipeline = pipeline_of()
    assert told(pipeline, pipeline.load(), HeldOut(by=by, relevant=Expression("value > 1e9")))[0] == []


def test_a_label_of_a_name_that_is_not_there_names_the_ranker() -> None:
    with pytest.raises(ConfigError, match=r"rank.wonders \(wonders of .*'?secnds'?"):
        pipeline_of("{use: wonders, with: {long: secnds > 3}}").fit()
