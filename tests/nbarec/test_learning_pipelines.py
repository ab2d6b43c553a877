"""Pipelines with rankers that learn: what is fitted when, what is told, kept and refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example, LearningRanker, NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.testing.copies import differing, leaves

Plug = Callable[..., None]

TEXT = """
nbarec: 1
seed: 3
data:
  use: music_world
  users: 40
  songs: 50
  days: 20
  feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}, success: seconds >= 30, decay: {half_life: 10d}}
candidates:
  - {id: similar, use: item_cf, k: 20, with: {neighbors: 10}}
  - {id: popular, use: popularity, k: 20, with: {window: 15d}}
  - {id: alike, use: content, k: 20, history: weight > 1, with: {fields: {genre: 1, tempo: 1}}}
rank: [RANK]
slate: {k: 8, fallback: popular}
"""


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


@pytest.fixture(autouse=True)
def heard(plug: Plug) -> Iterator[list[list[Example]]]:
    plug(Listens)
    Listens.heard.clear()
    yield Listens.heard
    Listens.heard.clear()


def text_of(*rankers: str) -> str:
    return TEXT.replace("RANK", ", ".join(rankers))


def test_stages_before_are_fitted_on_all_events_afterwards(heard: list[list[Example]]) -> None:
    plain = Pipeline.from_text(text_of("{use: blend}")).fit()
    model = Pipeline.from_text(text_of("{use: stack}", "{use: listens}")).fit()
    for stage in plain.pipeline.stages.generators:
        assert not differing(leaves(model.fitted[stage.id].state), leaves(plain.fitted[stage.id].state))
    assert list(model.fitted) == ["similar", "popular", "alike", "stack", "listens"]
    assert model.fitted["stack"].state.weights
    assert len(heard) == 1


def test_a_ranker_sees_the_scores_of_the_ranker_before_and_what_it_cut(heard: list[list[Example]]) -> None:
    Pipeline.from_text(text_of("{id: mixed, use: stack, keep: 6}", "{use: listens}")).fit()
    for one in heard[0]:
        np.testing.assert_array_equal(one.pool.features["mixed"], one.pool.score)
        assert np.diff(one.pool.indptr).max() == 6


def test_memory_and_workers_change_nothing() -> None:
    found = []
    for memory, workers in (("2GiB", 1), ("1MiB", 1), ("1MiB", 2)):
        text = text_of("{use: stack}") + f"engine: {{memory: {memory}, workers: {workers}}}\n"
        pipeline = Pipeline.from_text(text)
        found.append(pipeline.fit().fitted["stack"].state)
        assert pipeline.config.engine.work.memory <= 2 << 30
    assert found[0] == found[1] == found[2]


def test_the_clock_of_the_config_ends_what_is_known() -> None:
    text = text_of("{use: listens}")
    end = int(np.quantile(Pipeline.from_text(text).load().events.time, 0.7))
    pipeline = Pipeline.from_text(text + f"as_of: {end}\n")
    model = pipeline.fit()
    assert model.data.as_of == end
    for one in Listens.heard[-1]:
        assert one.request.now.max() < end
        assert one.request.history.time.max(initial=0) <= one.request.now.max()


def test_a_variant_learns_again_only_where_what_comes_before_differs(heard: list[list[Example]]) -> None:
    pipeline = Pipeline.from_text(text_of("{use: listens}"))
    data = pipeline.load()
    model = pipeline.fit(data)
    same = {"slate.k": 5}, {"filters": [{"use": "max_per", "with": {"by": "artist", "max": 1}}]}
    for values in same:
        pipeline.with_values(values).fit(data, like=model)
    assert len(heard) == 1
    other = (
        {"candidates.similar.k": 9},
        {"candidates.similar.with.neighbors": 3},
        {"candidates.similar.when": "user.age > 3"},
    )
    for count, values in enumerate(other):
        pipeline.with_values(values).fit(data, like=model)
        assert len(heard) == 2 + count


def test_plugins_are_told_of_the_last_fit_of_each_stage_alone(plug: Plug) -> None:
    told: list[str] = []

    @hookimpl
    def nbarec_after_fit(stage: str) -> None:
        told.append(stage)

    plug(Listens, hooks=SimpleNamespace(nbarec_after_fit=nbarec_after_fit))
    Pipeline.from_text(text_of("{use: listens}")).fit()
    assert sorted(told) == ["alike", "listens", "popular", "similar"]


def test_data_that_can_not_be_cut_are_refused_with_the_rankers_name_or_skipped() -> None:
    text = (
        "nbarec: 1\ndata: {use: music_world}\ncandidates: [{use: popularity}]\nrank: [{use: listens, on_error: FAIL}]"
    )
    data = Dataset.from_arrays(["ann", "bob"], ["tea", "rum"])
    with pytest.raises(ConfigError, match=r"rank.listens \(listens of .*\): the split random holds out none"):
        Pipeline.from_text(text.replace("FAIL", "fail")).fit(data)
    model = Pipeline.from_text(text.replace("FAIL", "skip")).fit(data)
    assert isinstance(model.fitted["listens"].state, NoState)
    assert model.recommend(["ann"]).items == [["rum"]]


def test_a_stage_that_can_not_be_fitted_on_the_earlier_part_is_named() -> None:
    pipeline = Pipeline.from_text(
        "nbarec: 1\ndata: {use: music_world}\ncandidates: [{id: alike, use: content}]\nrank: [{use: listens}]"
    )
    with pytest.raises(ConfigError, match=r"candidates.alike \(content of nbarec:content .*\): content compares items"):
        pipeline.fit(Dataset.from_arrays(["ann", "ann"], ["tea", "rum"]))


def test_what_was_learnt_is_saved_and_survives_an_update(tmp_path: Path) -> None:
    model = Pipeline.from_text(text_of("{use: stack, with: {method: logistic}}")).fit()
    loaded = load_model(model.save(tmp_path / "model"))
    assert loaded.fitted["stack"].state == model.fitted["stack"].state
    users = model.data.users.all()
    np.testing.assert_array_equal(loaded.recommend(users).score, model.recommend(users).score)
    new = Dataset.from_arrays(["u_new"], ["s_new"], time=[model.data.as_of + 60], kind=["play"])
    updated, told = loaded.update(new)
    assert told["stack"] == "updated"
    assert updated.fitted["stack"].state == model.fitted["stack"].state
    explained = updated.recommend(["U0001"], explain=True).explanations[0][0]
    terms = next(step.terms for step in explained.steps if step.stage == "stack")
    assert {"similar.score", "popular.score", "alike.score", "base"} == {term.name for term in terms}
