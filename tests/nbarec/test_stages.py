"""Stages that read another stage's vectors: the names are checked before any data are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, Ints64
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import CandidateGenerator, NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.params import StageRef
from nbarec.pipeline import Pipeline

Plug = Callable[..., None]


@dataclass(frozen=True)
class Plain(CandidateGenerator[NoState]):
    """Proposes nothing and has no vectors."""

    name: ClassVar[str] = "plain"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def generate(self, state: NoState, request: Request, limit: int) -> Candidates:
        return Candidates.empty(len(request))


@dataclass(frozen=True)
class Placing(Plain):
    """Proposes nothing, but places items."""

    name: ClassVar[str] = "placing"

    def item_vectors(self, state: NoState) -> Floats32:
        return np.ones((10, 2), np.float32)


@dataclass(frozen=True)
class Reads(PostFilter[NoState]):
    """Reads the vectors of `of`."""

    name: ClassVar[str] = "reads"
    of: StageRef = param(doc="Whose vectors.")

    def vectors_named(self) -> Iterable[str]:
        return (self.of,)

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        return np.arange(len(pool))


def text_of(of: str, candidates: str = "{id: flat, use: plain}, {id: latent, use: placing}") -> str:
    return f"""nbarec: 1
data: {{use: music_world, users: 10, songs: 10}}
candidates: [{candidates}]
filters:
  - {{id: first, use: reads, with: {{of: latent}}}}
  - {{id: second, use: reads, with: {{of: {of}}}}}
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        Pipeline.from_text(text)
    return str(raised.value)


def test_a_generator_without_vectors_is_refused_with_its_line(plug: Plug) -> None:
    plug(Plain, Placing, Reads)
    found = refusal(text_of("flat"))
    assert "config:6:5: second: the generator 'flat' has no item vectors; those that have are latent" in found
    assert "first" not in found
    alone = refusal(text_of("latent", "{id: latent, use: plain}"))
    assert "config:5:5: first: the generator 'latent' has no item vectors; no generator of this config has any" in alone


def test_a_name_that_is_no_generator_is_refused_with_its_line(plug: Plug) -> None:
    plug(Plain, Placing, Reads)
    found = refusal(text_of("latnet"))
    assert "config:6:5: second: 'latnet' is no candidate generator of this config; they are flat, latent" in found
    assert "config:6:5: second: 'first' is no candidate generator" in refusal(text_of("first"))


def test_only_generators_that_are_asked_for_give_vectors(plug: Plug) -> None:
    plug(Plain, Placing, Reads)
    pipeline = Pipeline.from_text(text_of("latent"))
    assert [stage.id for stage in pipeline.stages.giving_vectors] == ["latent"]
    unread = Pipeline.from_text(text_of("latent").split("filters:")[0])
    assert unread.stages.giving_vectors == ()
