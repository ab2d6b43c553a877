"""Pipelines with rankers that learn: what is fitted when, what is told, kept and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from nbarec.components import Example, NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.testing.copies import differing, leaves

Plug = Callable[..., None]

pytestmark = pytest.mark.usefixtures("heard")


def test_stages_before_are_fitted_on_all_events_afterwards(learners: ModuleType, heard: list[list[Example]]) -> None:
    plain = learners.pipeline_of("{use: blend}").fit()
    model = learners.pipeline_of("{use: stack}", "{use: listens}").fit()
    for stage in plain.pipeline.stages.generators:
        assert not differing(leaves(model.fitted[stage.id].state), leaves(plain.fitted[stage.id].state))
    assert list(model.fitted) == ["similar", "popular", "alike", "stack", "listens"]
    assert model.fitted["stack"].state.weights
    assert len(heard) == 1


def test_a_ranker_sees_the_scores_of_the_ranker_before_and_what_it_cut(
    learners: ModuleType, heard: list[list[Example]]
) -> None:
    learners.pipeline_of("{id: mixed, use: stack, keep: 6}", "{use: listens}").fit()
    for one in heard[0]:
        np.testing.assert_array_equal(one.pool.features["mixed"], one.pool.score)
        assert np.diff(one.pool.indptr).max() == 6


def test_memory_and_workers_change_nothing(learners: ModuleType) -> None:
    found = []
    for memory, workers in (("2GiB", 1), ("1MiB", 1), ("1MiB", 2)):
        more = f"engine: {{memory: {memory}, workers: {workers}}}\n"
        pipeline = learners.pipeline_of("{use: stack}", more=more)
        found.append(pipeline.fit().fitted["stack"].state)
        assert pipeline.config.engine.work.memory <= 2 << 30
    assert found[0] == found[1] == found[2]


def test_the_clock_of_the_config_ends_what_is_known(learners: ModuleType, heard: list[list[Example]]) -> None:
    end = int(np.quantile(learners.pipeline_of("{use: listens}").load().events.time, 0.7))
    pipeline = learners.pipeline_of("{use: listens}", more=f"as_of: {end}\n")
    model = pipeline.fit()
    assert model.data.as_of == end
    for one in heard[-1]:
        assert one.request.now.max() < end
        assert one.request.history.time.max(initial=0) <= one.request.now.max()


def test_a_variant_learns_again_only_where_what_comes_before_differs(
    learners: ModuleType, heard: list[list[Example]]
) -> None:
    pipeline = learners.pipeline_of("{use: listens}")
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


def test_plugins_are_told_of_the_last_fit_of_each_stage_alone(learners: ModuleType, plug: Plug) -> None:
    told: list[str] = []

    @hookimpl
    def nbarec_after_fit(stage: str) -> None:
        told.append(stage)

    plug(learners.Listens, hooks=SimpleNamespace(nbarec_after_fit=nbarec_after_fit))
    learners.pipeline_of("{use: listens}").fit()
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


def test_what_was_learnt_is_saved_and_survives_an_update(learners: ModuleType, tmp_path: Path) -> None:
    model = learners.pipeline_of("{use: stack, with: {method: logistic}}").fit()
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
