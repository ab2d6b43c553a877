"""Fitting: what each stage learns from, that it repeats, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats64
from nbarec.batch import Candidates, Request, Slate, Trace
from nbarec.components import CandidateGenerator
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError, PluginError
from nbarec.hookspecs import hookimpl
from nbarec.pipeline import Pipeline
from nbarec.stages import Bound

Plug = Callable[..., None]

TINY = """
nbarec: 1
data: {use: music_world, users: 20, songs: 30, days: 10}
candidates: [{id: similar, use: item_cf}, {id: popular, use: popularity, history: item.energy > 0.5}]
"""


@dataclass(frozen=True)
class Draw:
    """Random numbers, and what the stage was given."""

    drawn: Floats64
    events: int
    weight: float


@dataclass(frozen=True)
class Dice(CandidateGenerator[Draw]):
    """Learns random numbers."""

    name: ClassVar[str] = "dice"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Draw:
        return Draw(rng.random(4), len(data.events), float(data.events.weight.sum()))

    def generate(self, state: Draw, request: Request, limit: int) -> Candidates:
        if len(request):
            raise RuntimeError("the dice are gone")
        return Candidates.empty(len(request))


def dice_text(*stages: str, seed: int = 1) -> str:
    listed = ", ".join(stages)
    return f"nbarec: 1\nseed: {seed}\ndata: {{use: music_world, users: 9, songs: 9}}\ncandidates: [{listed}]\n"


def test_a_stage_has_random_numbers_of_its_own_that_only_seed_and_id_decide(plug: Plug) -> None:
    plug(Dice)

    def drawn(text: str) -> Mapping[str, list[float]]:
        return {stage: fitted.state.drawn.tolist() for stage, fitted in Pipeline.from_text(text).fit().fitted.items()}  # type: ignore[attr-defined]

    both = drawn(dice_text("{id: a, use: dice}", "{id: b, use: dice}"))
    assert drawn(dice_text("{id: b, use: dice}")) == {"b": both["b"]}
    assert drawn(dice_text("{id: b, use: dice}", "{id: a, use: dice}")) == both
    assert both["a"] != both["b"]
    assert drawn(dice_text("{id: b, use: dice}", seed=2))["b"] != both["b"]


def test_a_second_fit_learns_the_same_to_the_byte(music_text: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Pipeline.from_text(music_text).fit().save(tmp_path / name)
    one, two = (sorted((tmp_path / name).rglob("*.npy")) for name in ("one", "two"))
    assert len(one) == len(two) > 20
    assert sorted(path.read_bytes() for path in one) == sorted(path.read_bytes() for path in two)


def test_a_stage_learns_from_weighted_events_that_its_history_counts(plug: Plug) -> None:
    plug(Dice)
    text = dice_text("{id: all, use: dice}", "{id: liked, use: dice, history: kind == 'like' or kind == 'skip'}")
    text = text.replace("songs: 9}", "songs: 9, feedback: {weights: {play: 1, like: 3, skip: -0.5, other: 0}}}")
    model = Pipeline.from_text(text).fit()
    events = model.data.events
    kinds = np.array(events.kinds)[events.kind]
    likes, skips, plays = ((kinds == kind).sum() for kind in ("like", "skip", "play"))
    every: Any = model.fitted["all"].state
    liked: Any = model.fitted["liked"].state
    assert (every.events, every.weight) == (len(events), plays + 3 * likes - 0.5 * skips)
    assert (liked.events, liked.weight) == (likes + skips, 3 * likes - 0.5 * skips)


def test_fit_takes_data_of_ones_own() -> None:
    pipeline = Pipeline.from_text("nbarec: 1\ndata: {use: music_world}\ncandidates: [{use: item_cf}]")
    model = pipeline.fit(
        Dataset.from_arrays(["ann", "ann", "bob", "bob", "eve"], ["tea", "milk", "tea", "milk", "tea"])
    )
    assert model.recommend(["eve"]).items == [["milk"]]


def test_data_that_do_not_suit_a_stage_are_refused_with_its_name() -> None:
    pipeline = Pipeline.from_text("nbarec: 1\ndata: {use: music_world}\ncandidates: [{id: alike, use: content}]")
    with pytest.raises(ConfigError, match=r"candidates.alike \(content of nbarec:content .*\): content compares items"):
        pipeline.fit(Dataset.from_arrays(["ann"], ["tea"]))
    blend = TINY + "rank: [{use: blend, with: {weights: {latent: 1}}}]"
    with pytest.raises(ConfigError, match="blend: 'latent' is no candidate generator of this config"):
        Pipeline.from_text(blend).fit()


def told(into: list[Any], **answers: object) -> SimpleNamespace:
    """Hooks that note what they are told, and answer or raise what `answers` says."""

    def answer(hook: str) -> object:
        if isinstance(found := answers.get(hook), Exception):
            raise found
        return found

    @hookimpl
    def nbarec_after_fit(pipeline: Pipeline, stage: str, state: object, seconds: float) -> object:
        into.append(("fitted", stage, type(state).__name__, seconds >= 0))
        return answer("after_fit")

    @hookimpl
    def nbarec_after_recommend(request: Request, slate: Slate, trace: Trace) -> object:
        into.append(("recommended", len(request), slate.users, trace is slate.trace))
        return answer("after_recommend")

    @hookimpl
    def nbarec_on_error(stage: str, error: Exception) -> object:
        into.append(("failed", stage, str(error)))
        return answer("on_error")

    return SimpleNamespace(
        nbarec_after_fit=nbarec_after_fit,
        nbarec_after_recommend=nbarec_after_recommend,
        nbarec_on_error=nbarec_on_error,
    )


def test_plugins_are_told_of_each_fit_and_each_batch(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[Any] = []
    plug(hooks=told(notes))
    model = Pipeline.from_text(TINY).fit()
    assert notes == [("fitted", "similar", "ItemCfState", True), ("fitted", "popular", "PopularityState", True)]
    notes.clear()
    monkeypatch.setattr("nbarec.model.MOST_USERS", 2)
    model.recommend(["a", "b", "c"])
    assert notes == [("recommended", 2, ("a", "b"), True), ("recommended", 1, ("c",), True)]


def test_what_a_plugin_answers_steers_nothing(plug: Plug) -> None:
    users = ["U0001", "stranger"]
    expected = Pipeline.from_text(TINY).fit().recommend(users)
    plug(hooks=told([], after_fit="another state", after_recommend="another slate"))
    found = Pipeline.from_text(TINY).fit().recommend(users)
    np.testing.assert_array_equal(found.item, expected.item)
    np.testing.assert_array_equal(found.score, expected.score)


def test_plugins_are_told_of_an_error_before_the_caller_is(plug: Plug) -> None:
    notes: list[Any] = []
    plug(Dice, hooks=told(notes))
    model = Pipeline.from_text(dice_text("{id: a, use: dice}")).fit()
    notes.clear()
    with pytest.raises(ContractError, match="RuntimeError: the dice are gone") as raised:
        model.recommend(["x"])
    assert notes == [("failed", "a", str(raised.value))]


@pytest.mark.parametrize("hook", ["after_fit", "after_recommend", "on_error"])
def test_a_hook_that_fails_is_named_with_its_plugin(plug: Plug, hook: str) -> None:
    plug(Dice, hooks=told([], **{hook: ValueError("no ink")}))
    skipped = dice_text("{id: a, use: dice, on_error: skip}", "{use: popularity}")
    with pytest.raises(PluginError) as raised:
        Pipeline.from_text(skipped).fit().recommend(["x"])
    assert str(raised.value).startswith(f"nbarec_{hook} of nbarec-other:other failed: ValueError: no ink")
    assert ("told of: candidates.a (dice of nbarec-other:other 1.2)" in str(raised.value)) == (hook == "on_error")


def test_the_source_of_a_pipeline_is_named_where_it_fails(tmp_path: Path) -> None:
    text = f"nbarec: 1\ndata: {{use: csv, events: {{path: {tmp_path}/none.csv, columns: {{user: u, item: i}}}}}}\n"
    with pytest.raises(Exception, match=r"data \(csv\): .*none.csv"):
        Pipeline.from_text(text + "candidates: [{use: item_cf}]").fit()


def test_stages_know_who_they_are() -> None:
    stages = Pipeline.from_text(TINY).stages
    assert [stage.who.split(" of ")[0] for stage in stages.all()] == [
        "candidates.similar (item_cf",
        "candidates.popular (popularity",
    ]
    assert all(isinstance(stage, Bound) for stage in stages.all())
