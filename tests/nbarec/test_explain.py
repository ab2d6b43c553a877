"""Explanations: who proposed an item, what every stage did to it, and numbers that add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, Floats64, Ints32, concat_ranges, frozen, row_pointers
from nbarec.batch import Candidates, Pool, Request, Slate
from nbarec.components import CandidateGenerator, NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ContractError, NbarecError
from nbarec.evidence import Evidence
from nbarec.explain import item_name, listed
from nbarec.model import Model
from nbarec.pipeline import Pipeline

Plug = Callable[..., None]
ITEMS = 8


@dataclass(frozen=True)
class Shelf(CandidateGenerator[NoState]):
    """Proposes items in their order; the score of item i is 10 - i, of which every item of the history gives one."""

    name: ClassVar[str] = "shelf"
    wrong: bool = param(False, doc="Whether the evidence has a part too many.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def generate(self, state: NoState, request: Request, limit: int) -> Candidates:
        item = np.tile(np.arange(min(limit, request.n_items), dtype=np.int32), len(request))
        row = np.repeat(np.arange(len(request)), min(limit, request.n_items))
        kept = ~request.excluded.contains(row, item)
        counts = np.bincount(row[kept], minlength=len(request))
        return Candidates(row_pointers(counts), item[kept], (10 - item[kept]).astype(np.float32))

    def evidence(self, state: NoState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence | None:
        counts = request.history.counts[row]
        at = concat_ranges(request.history.indptr[row], counts)
        pair = np.repeat(np.arange(len(row)), counts)
        return Evidence.strongest(
            pair, request.history.item[at], np.ones(len(at)), 10.0 - item, limit + self.wrong * 9, "you have {}"
        )


@dataclass(frozen=True)
class Doubled(Ranker[NoState]):
    """Twice the score: once as it was, and once more."""

    name: ClassVar[str] = "doubled"
    wrong: bool = param(False, doc="Whether the terms do not add up.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        return frozen(2 * pool.score)

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        once = pool.score.astype(np.float64)
        return {"before": once, "again": once + self.wrong}


TEXT = """
nbarec: 1
data: {use: music_world}
candidates:
  - {id: near, use: shelf, k: 6, with: {wrong: EVIDENCE}}
  - {id: popular, use: popularity, k: 8}
rank: [{id: twice, use: doubled, keep: 5, with: {wrong: TERMS}}]
filters: [{id: few, use: max_per, with: {by: kind, max: 2}}]
slate: {k: 3, fallback: popular}
"""


def shop() -> Dataset:
    catalog = {"id": np.arange(ITEMS), "kind": ["a", "b"] * 4, "name": [f"Item {n}" for n in range(ITEMS)]}
    return Dataset.from_arrays(["ann", "ann", "bob", "cat"], [0, 1, 7, 7], catalog=catalog)


def model_of(evidence: str = "false", terms: str = "false") -> Model:
    return Pipeline.from_text(TEXT.replace("EVIDENCE", evidence).replace("TERMS", terms)).fit(shop())


@pytest.fixture
def model(plug: Plug) -> Model:
    plug(Shelf, Doubled)
    return model_of()


def test_parts_and_rest_are_the_generators_score(model: Model) -> None:
    slate = model.recommend(["ann", "nobody", "bob"], explain=True)
    assert [len(row) for row in slate.explanations] == [3, 3, 3]
    for row in slate.explanations:
        for told in row:
            assert told.proposals
            for near in (one for one in told.proposals if one.stage == "near"):
                assert near.rest is not None
                assert sum(part.amount for part in near.parts) + near.rest == pytest.approx(near.score, abs=1e-5)
    first = slate.explanations[0][0]
    assert [part.name for part in first.proposals[0].parts] == ["Item 0", "Item 1"]
    assert first.because == "you have Item 0 and Item 1"
    assert "you have" not in slate.explanations[1][0].because  # nobody has nothing


def test_terms_add_up_to_the_score_of_every_ranker(model: Model) -> None:
    slate = model.recommend(["ann", "bob"], explain=True)
    for row, scores in zip(slate.explanations, slate.score, strict=True):
        for told, score in zip(row, scores, strict=True):
            (twice,) = (step for step in told.steps if step.step == "rank")
            assert {term.name for term in twice.terms} == {"before", "again"}
            assert sum(term.amount for term in twice.terms) == pytest.approx(score, abs=1e-6)


def test_steps_tell_what_every_stage_did(model: Model) -> None:
    why = model.why("ann")
    shown = [(step.stage, step.step, step.rank) for step in why.slate.explanations[0][0].steps]
    assert shown == [("twice", "rank", 1), ("twice", "cut", 1), ("few", "filter", 1)]
    gone = {item: why.of_item(item) for item in range(ITEMS)}
    removed = [told for outcome, told in gone.values() if outcome.startswith(("removed by", "below the cut of twice"))]
    assert removed
    assert all(told is not None and told.steps[-1].rank == 0 for told in removed)
    assert [one.stage for one in why.of_item(0)[1].proposals] == []  # type: ignore[union-attr]


def test_explaining_changes_no_slate_and_no_batch_changes_an_explanation(model: Model) -> None:
    users = ["ann", "bob", "cat", "nobody"]
    told, plain = model.recommend(users, explain=True), model.recommend(users)
    np.testing.assert_array_equal(told.item, plain.item)
    np.testing.assert_array_equal(told.score, plain.score)
    assert plain.explanations == ()
    for row, user in enumerate(users):
        (alone,) = model.recommend([user], explain=True).explanations
        assert alone == told.explanations[row]


def test_rows_that_were_served_once_more_are_explained_by_that_way(plug: Plug) -> None:
    plug(Shelf, Doubled)
    text = TEXT.replace("EVIDENCE", "false").replace("TERMS", "false").replace("keep: 5", "keep: 2")
    slate = Pipeline.from_text(text).fit(shop()).recommend(["ann", "bob"], explain=True)
    assert [len(row) for row in slate.explanations] == [(row >= 0).sum() for row in slate.item]
    assert all(step.step != "cut" for row in slate.explanations for told in row for step in told.steps)


@pytest.mark.parametrize(
    ("evidence", "terms", "said"),
    [
        ("true", "false", "candidates.near .* evidence tells 5 parts of a pair; at most 3 were asked for"),
        ("false", "true", "rank.twice .* the terms of entry . are 1 away from its score"),
    ],
)
def test_wrong_reasons_are_refused_by_name(plug: Plug, evidence: str, terms: str, said: str) -> None:
    plug(Shelf, Doubled)
    model = model_of(evidence, terms)
    with pytest.raises(ContractError, match=said):
        model.recommend(["ann"], explain=True, history=[2, 3, 4])


def test_only_whole_slates_are_explained(model: Model) -> None:
    with pytest.raises(NbarecError, match="only whole slates are explained; leave out the stage 'near'"):
        model.recommend(["ann"], stage="near", explain=True)


def test_names_and_lists() -> None:
    data = shop()
    assert item_name(data, 3) == "Item 3"
    assert item_name(Dataset.from_arrays(["u"], ["tea"]), 0) == "tea"
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_slates_are_joined_with_their_explanations(model: Model) -> None:
    one, other = (model.recommend([user], explain=True) for user in ("ann", "bob"))
    joined: Slate = one.plus(other)
    assert joined.explanations == one.explanations + other.explanations
