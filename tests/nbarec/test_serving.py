"""The one way through as its stages meet it: who is asked what, who may fail, and what the trace says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import AnyArray, Floats32, Ints64, frozen
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import CandidateGenerator, FeatureProvider, NoState, PostFilter, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.serving import known_part
from nbarec.testing.worlds import request_for, tiny_world

Plug = Callable[..., None]


def lists_of(rows: int, items: list[int], scores: list[float] | None = None) -> Candidates:
    """The same list for each row."""
    score = np.arange(len(items), 0, -1) if scores is None else scores
    return Candidates(
        np.arange(rows + 1) * len(items),
        np.tile(np.array(items, np.int32), rows),
        np.tile(np.array(score, np.float32), rows),
    )


@dataclass(frozen=True)
class Stubborn(CandidateGenerator[NoState]):
    """Proposes items 0 to 3 whatever is excluded, or does what `fault` says."""

    name: ClassVar[str] = "stubborn"
    fault: str = param("", doc="What it does wrong.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        if self.fault == "fit":
            raise ValueError("no such luck")
        return NoState()

    def generate(self, state: NoState, request: Request, limit: int) -> Candidates:
        rows = len(request)
        match self.fault:
            case "raises" if rows:
                raise KeyError("lost")
            case "writes":
                request.history.item[:] = 0
            case "unknown item":
                return lists_of(rows, [request.n_items])
            case "twice":
                return lists_of(rows, [1, 1])
            case "rising":
                return lists_of(rows, [1, 2], [1.0, 2.0])
            case "nan":
                return lists_of(rows, [1], [np.nan])
            case "none":
                return None  # type: ignore[return-value]
        return lists_of(rows, [0, 1, 2, 3][:limit])


@dataclass(frozen=True)
class Twist(Ranker[NoState]):
    """Prefers the worst, or gives scores of a wrong length."""

    name: ClassVar[str] = "twist"
    short: bool = param(False, doc="Whether it forgets an entry.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        return frozen(-pool.score[: len(pool) - self.short * (len(pool) > 0)])


@dataclass(frozen=True)
class Backwards(PostFilter[NoState]):
    """Turns the pool around, which mixes up the rows."""

    name: ClassVar[str] = "backwards"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        return np.arange(len(pool))[::-1].astype(np.int64)


@dataclass(frozen=True)
class Length(FeatureProvider[NoState]):
    """How many events the row has, as the column `events`."""

    name: ClassVar[str] = "length"
    infinite: bool = param(False, doc="Whether it answers nonsense.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        counts = request.history.counts[pool.row].astype(np.float64)
        return {"length": np.full(len(pool), np.inf) if self.infinite else counts}


def text_of(candidates: str, rest: str = "") -> str:
    return f"nbarec: 1\ndata: {{use: music_world, users: 20, songs: 30}}\ncandidates: [{candidates}]\n{rest}"


@pytest.mark.parametrize(
    ("candidates", "rest", "said"),
    [
        (
            "{id: a, use: stubborn, exclude: weight > 99, with: {fault: unknown item}}",
            "",
            "candidates.a (stubborn of nbarec-other:other 1.2): item",
        ),
        (
            "{id: a, use: stubborn, exclude: weight > 99, with: {fault: twice}}",
            "",
            "item has 1 twice in row 0; once is allowed",
        ),
        (
            "{id: a, use: stubborn, exclude: weight > 99, with: {fault: rising}}",
            "",
            "candidates must stand best first in each row",
        ),
        ("{id: a, use: stubborn, exclude: weight > 99, with: {fault: nan}}", "", "every score must be finite"),
        (
            "{id: a, use: stubborn, exclude: weight > 99, with: {fault: none}}",
            "",
            "generate returned None; it must return Candidates",
        ),
        (
            "{id: a, use: stubborn, exclude: weight > 99, with: {fault: raises}}",
            "",
            "candidates.a (stubborn of nbarec-other:other 1.2) failed: KeyE",
        ),
        ("{id: a, use: stubborn, exclude: weight > 99, with: {fault: writes}}", "", "it wrote into a read-only array"),
        (
            "{id: a, use: stubborn, exclude: weight > 99, with: {fault: fit}}",
            "",
            "candidates.a (stubborn of nbarec-other:other 1.2) failed: Value",
        ),
        ("{id: a, use: stubborn}", "", "which request.excluded forbids there"),
        (
            "{use: popularity}",
            "rank: [{id: b, use: twist, with: {short: true}}]",
            "rank.b (twist of nbarec-other:other 1.2): s",
        ),
        (
            "{use: popularity}",
            "filters: [{use: backwards}]",
            "filters.backwards (backwards of nbarec-other:other 1.2): the sel",
        ),
        (
            "{use: popularity}",
            "features: [{use: length, with: {infinite: true}}]",
            "features.length (length of nbarec-o",
        ),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_named(plug: Plug, candidates: str, rest: str, said: str) -> None:
    plug(Stubborn, Twist, Backwards, Length)
    pipeline = Pipeline.from_text(text_of(candidates, rest))
    with pytest.raises(ContractError) as raised:
        pipeline.fit().recommend([f"U{user:04d}" for user in range(1, 21)])
    assert said in str(raised.value)


def test_a_stage_that_may_fail_is_skipped_and_the_trace_notes_it(plug: Plug) -> None:
    plug(Stubborn, Twist)
    alone = Pipeline.from_text(text_of("{id: popular, use: popularity}", "rank: [{use: blend}]")).fit()
    both = Pipeline.from_text(
        text_of(
            "{id: popular, use: popularity}, {id: a, use: stubborn, on_error: skip, with: {fault: raises}}",
            "rank: [{use: blend}, {use: twist, on_error: skip, with: {short: true}}]",
        )
    ).fit()
    users = alone.data.users.all()
    expected, found = alone.recommend(users), both.recommend(users)
    np.testing.assert_array_equal(found.item, expected.item)
    np.testing.assert_array_equal(found.score, expected.score)
    notes = {trace.stage: trace.note for trace in found.trace.stages}
    assert notes["a"].startswith("skipped: candidates.a (stubborn of nbarec-other:other 1.2) failed: KeyError: 'lost'")
    assert notes["twist"].startswith("skipped: rank.twist")
    assert notes["popular"] == notes["blend"] == ""
    assert "a " not in found.trace.road(0).split("candidates: ")[1]


def test_when_chooses_the_requests_that_a_generator_serves() -> None:
    text = text_of("{use: item_cf}, {id: popular, use: popularity, k: 7, when: user.events < 1 or context.party}")
    model = Pipeline.from_text(text).fit()
    slate = model.recommend([*model.data.users.take(np.arange(2)), "stranger"])
    assert slate.trace.sources == ("item_cf", "popular")
    assert slate.trace.proposed[:, 1].tolist() == [0, 0, 7]
    at_a_party = model.recommend(model.data.users.take(np.arange(2)), context={"party": True})
    assert at_a_party.trace.proposed[:, 1].tolist() == [7, 7]


def test_history_and_exclude_say_which_events_count_and_whose_items_are_left_out() -> None:
    text = text_of("{use: popularity, history: item.energy < 0.5, exclude: item.tempo >= 110}")
    model = Pipeline.from_text(text).fit()
    data = model.data
    energy = data.catalog.columns["energy"].values  # type: ignore[union-attr]
    tempo = data.catalog.columns["tempo"].values  # type: ignore[union-attr]
    slate = model.recommend(data.users.all(), k=30)
    again = 0
    for user, row in enumerate(slate.item):
        shown = set(row[row >= 0].tolist())
        heard = set(data.events.take_rows(np.array([user])).item.tolist())
        assert all(energy[item] < 0.5 for item in shown)
        assert all(tempo[item] < 110 for item in shown & heard)
        again += len(shown & heard)
    assert again > 0


def test_features_and_earlier_scores_reach_rankers_and_rules(plug: Plug) -> None:
    plug(Length, Twist)
    text = text_of(
        "{use: popularity}",
        "features: [{use: length}]\nrank: [{use: blend, keep: 8}, {use: twist}]\n"
        "filters: [{use: require, with: {where: length > 3 and blend > 0 and score < 0}}]",
    )
    model = Pipeline.from_text(text).fit()
    slate = model.recommend([*model.data.users.take(np.arange(4)), "stranger"], k=8)
    popular = model.recommend([*model.data.users.take(np.arange(4)), "stranger"], k=8, stage="popularity")
    long = model.data.events.counts[:4] > 3
    assert long.any()
    for row in np.flatnonzero(long):
        assert slate.items[row] == popular.items[row][::-1]  # the last ranker prefers the worst of the eight kept
    assert slate.items[4] == []
    assert slate.decision[4] == "empty: 27 candidates; require removed 27"


def test_an_unknown_name_in_an_expression_is_found_when_the_pipeline_is_fitted() -> None:
    with pytest.raises(ConfigError, match=r"candidates.popularity .*user.evnts.*did you mean user.events"):
        Pipeline.from_text(text_of("{use: popularity, when: user.evnts < 5}")).fit()


def test_the_known_part_of_a_request_is_that_of_a_smaller_catalogue() -> None:
    data = tiny_world()
    request = request_for(data)
    smaller = known_part(request, 5)
    assert smaller.n_items == 5
    assert smaller.history.n_items == 5
    assert smaller.history.item.tolist() == [item for item in request.history.item.tolist() if item < 5]
    assert smaller.excluded.shape == (5, 5)
    assert known_part(request, 8) is request


def test_a_stage_that_can_not_be_fitted_is_skipped_if_it_may_and_stays_so_in_the_saved_model(tmp_path: Path) -> None:
    broken = "{use: content, CAN with: {fields: {colour: 1.0}}}"
    text = text_of("{use: popularity}, " + broken, "rank: [{use: blend}]")
    with pytest.raises(ConfigError, match="fields names 'colour'"):
        Pipeline.from_text(text.replace("CAN", "")).fit()
    model = Pipeline.from_text(text.replace("CAN", "on_error: skip,")).fit()
    alone = Pipeline.from_text(text_of("{use: popularity}", "rank: [{use: blend}]")).fit()
    model.save(tmp_path / "model")
    for found in (model, load_model(tmp_path / "model")):
        slate, expected = (one.recommend(one.data.users.all()) for one in (found, alone))
        np.testing.assert_array_equal(slate.item, expected.item)
        notes = {trace.stage: trace.note for trace in slate.trace.stages}
        assert re.match(r"skipped: could not be fitted: .*candidates.content \(content of nbarec", notes["content"])
        assert slate.trace.road(0).endswith("; skipped: content")
        assert slate.trace.proposed[:, 1].sum() == 0
    _, told = model.update(model.data)
    assert told["content"].startswith("could not be fitted: ")
