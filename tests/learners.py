"""Rankers that learn, made up to be watched, and what they are told on a small music world.

Tests import no other test, so `tests/conftest.py` loads this module and hands it out as the fixture `learners`; the
fixture `heard` plugs its rankers in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example, HeldOut, LearningRanker, NoState
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.learning import Past
from nbarec.params import param
from nbarec.pipeline import Pipeline
from nbarec.splits import Holdout
from nbarec.work import Work, working

DATA = """
nbarec: 1
seed: 3
data:
  use: music_world
  users: 40
  songs: 50
  days: 20
  feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}, success: seconds >= 30, decay: {half_life: 10d}}
"""
"""The head of a config."""

TEXT = f"""{DATA}
candidates:
  - {{id: similar, use: item_cf, k: 20, with: {{neighbors: 10}}}}
  - {{id: popular, use: popularity, k: 20, with: {{window: 15d}}}}
  - {{id: alike, use: content, k: 20, history: weight > 1, with: {{fields: {{genre: 1, tempo: 1}}}}}}
rank: [RANK]
slate: {{k: 8, fallback: popular}}
"""
"""A config without its rankers."""

BARE = "nbarec: 1\ndata: {use: music_world}\ncandidates: [{use: item_cf}]\nrank: [RANK]\n"
"""A config for data that have users and items and perhaps nothing else."""


@dataclass(frozen=True)
class Known:
    """What a ranker was told."""

    means: Floats64


@dataclass(frozen=True)
class Listens(LearningRanker[Known]):
    """Scores as before, and the share of the entries that were chosen; what it is told is kept in `heard`."""

    name: ClassVar[str] = "listens"
    heard: ClassVar[list[list[Example]]] = []

    def fit(self, data: Dataset, rng: np.random.Generator) -> Known:
        return Known(frozen(np.zeros(0)))

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> Known:
        told = list(examples)
        self.heard.append(told)
        return Known(frozen(np.array([one.label.mean() for one in told if len(one.label)])))

    def rank(self, state: Known, request: Request, pool: Pool) -> Floats32:
        return frozen(pool.score + np.float32(state.means.sum()))


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


def pipeline_of(*rankers: str, text: str = TEXT, more: str = "") -> Pipeline:
    """The config with these rankers and what else is written below it."""
    return Pipeline.from_text(text.replace("RANK", ", ".join(rankers)) + more)


def told(pipeline: Pipeline, data: Dataset, held_out: HeldOut) -> tuple[list[Example], Holdout]:
    """The examples of the last ranker, and what was held out for them."""
    past = Past(pipeline, data)
    with working(Work()):
        examples = list(past.examples(pipeline.stages.rankers[-1], held_out))
    return examples, next(iter(past.cuts.values())).holdout


def held(pipeline: Pipeline, holdout: Holdout) -> Events:
    """The held-out events under their weights."""
    feedback: Any = pipeline.section.feedback
    events: Events = replace(feedback, decay=None).apply(holdout.train.with_events(holdout.test)).events
    return events


def timeless() -> Dataset:
    """60 users and 30 items, and events without times."""
    rng = np.random.default_rng(0)
    return Dataset.from_arrays([f"u{n}" for n in rng.integers(60, size=600)], rng.integers(30, size=600))


def scrambled(data: Dataset, mask: np.ndarray, time: Ints64 | None = None) -> Dataset:
    """The same with other items, kinds, values and seconds for the events of the mask; users stay, and times where no
    other ones are given."""
    events, rng = data.events, np.random.default_rng(9)
    seconds: Any = events.columns["seconds"]
    heard = frozen(np.where(mask, rng.random(len(events)) * 300, seconds.values))
    return data.with_events(
        replace(
            events,
            time=events.time if time is None else frozen(time),
            item=frozen(np.where(mask, rng.integers(0, events.n_items, len(events)), events.item).astype(np.int32)),
            kind=frozen(np.where(mask, rng.integers(0, len(events.kinds), len(events)), events.kind).astype(np.int16)),
            value=frozen(np.where(mask, rng.random(len(events)), events.value).astype(np.float32)),
            columns={**events.columns, "seconds": replace(seconds, values=heard)},
        )
    )
