"""What rankers learn from: pools and labels as they stood before the held-out events, and never a glance further."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example, HeldOut, LearningRanker
from nbarec.data import Dataset
from nbarec.learning import Cut, Past
from nbarec.pipeline import Pipeline
from nbarec.splits import GlobalTime, hold_out
from nbarec.stages import AnyStage
from nbarec.testing.copies import differing, leaves
from nbarec.work import Work, working

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


def examples_of(pipeline: Pipeline, data: Dataset, held_out: HeldOut, stage: str = "listens") -> list[Example]:
    ranker = stage_of(pipeline, stage)
    with working(Work()):
        return list(Past(pipeline, data).examples(ranker, held_out))


def stage_of(pipeline: Pipeline, stage: str) -> AnyStage:
    return next(one for one in pipeline.stages.all() if one.id == stage)


def labels(examples: list[Example]) -> bytes:
    return b"".join(one.label.tobytes() for one in examples)


def all_but_labels(examples: list[Example]) -> dict[str, object]:
    return leaves([(one.request, replace(one.pool, proposals=dict(one.pool.proposals))) for one in examples])


def test_examples_are_pools_of_the_moment_before_the_cut_and_what_came_after_it() -> None:
    pipeline = Pipeline.from_text(text_of("{use: listens}"))
    data = pipeline.load()
    holdout = hold_out(data, GlobalTime(fraction=0.2), np.random.default_rng(0))
    before = Pipeline.from_text(text_of("")).fit(holdout.train)
    likes = replace(pipeline.section.feedback, decay=None).apply(data.with_events(holdout.test)).events
    liked = set(zip(likes.row[likes.weight > 0].tolist(), likes.item[likes.weight > 0].tolist(), strict=True))
    examples = examples_of(pipeline, data, HeldOut(split="global_time", fraction=0.2))
    users = [user for one in examples for user in one.request.user.tolist()]
    assert users == sorted({user for user, _ in liked})
    seen = 0
    for one in examples:
        assert (one.request.now == holdout.train.events.time.max()).all()
        assert one.request.history.time.max(initial=0) < holdout.test.time.min()
        pairs = list(zip(one.request.user[one.pool.row].tolist(), one.pool.item.tolist(), strict=True))
        np.testing.assert_array_equal(one.label, np.array([pair in liked for pair in pairs], np.float32))
        seen += int(one.label.sum())
        for source, name in enumerate(one.pool.sources):
            slate = before.recommend(data.users.take(one.request.user), stage=name)
            proposed = one.pool.ranks[:, source] > 0
            assert [len(items) for items in slate.items] == np.bincount(
                one.pool.row[proposed], minlength=len(one.request)
            ).tolist()
            at = slate.item[one.pool.row[proposed], one.pool.ranks[proposed, source] - 1]
            np.testing.assert_array_equal(at, one.pool.item[proposed])
            score = slate.score[one.pool.row[proposed], one.pool.ranks[proposed, source] - 1]
            np.testing.assert_array_equal(score, one.pool.scores[proposed, source])
    assert seen > 20


def scrambled(data: Dataset, mask: np.ndarray) -> Dataset:
    """The same with other items, kinds, values and seconds for the events of the mask; users and times stay."""
    events, rng = data.events, np.random.default_rng(9)
    seconds: Any = events.columns["seconds"]
    heard = frozen(np.where(mask, rng.random(len(events)) * 300, seconds.values))
    return data.with_events(
        replace(
            events,
            item=frozen(np.where(mask, rng.integers(0, events.n_items, len(events)), events.item).astype(np.int32)),
            kind=frozen(np.where(mask, rng.integers(0, len(events.kinds), len(events)), events.kind).astype(np.int16)),
            value=frozen(np.where(mask, rng.random(len(events)), events.value).astype(np.float32)),
            columns={**events.columns, "seconds": replace(seconds, values=heard)},
        )
    )


SPLITS = [HeldOut(split=name, fraction=0.2, users=30) for name in ("global_time", "last_fraction", "random")]  # type: ignore[arg-type]


@pytest.mark.parametrize("held_out", SPLITS, ids=lambda one: one.split)
def test_held_out_events_change_labels_and_nothing_else(held_out: HeldOut) -> None:
    """Also where a ranker before has learnt: from the earlier part alone."""
    pipeline = Pipeline.from_text(text_of("{use: stack, with: {held_out: {fraction: 0.3}}}", "{use: listens}"))
    data = pipeline.load()
    before = examples_of(pipeline, data, replace(held_out, relevant=None))
    mask = held_out_mask(pipeline, data, held_out)
    other = scrambled(data, mask)
    assert (other.events.item[mask] != data.events.item[mask]).mean() > 0.8
    after = examples_of(pipeline, other, held_out)
    before, after = of_same_users(before, after)
    assert not differing(all_but_labels(before), all_but_labels(after))
    assert labels(before) != labels(after)


def held_out_mask(pipeline: Pipeline, data: Dataset, held_out: HeldOut) -> np.ndarray:
    """Which events a cut holds out, told by its training part."""
    past = Past(pipeline, data)
    past.examples(stage_of(pipeline, "listens"), held_out)
    kept = next(iter(past.cuts.values())).holdout.train.events
    known = {*zip(kept.row.tolist(), kept.item.tolist(), kept.time.tolist(), strict=True)}
    events = data.events
    return np.array([pair not in known for pair in zip(events.row, events.item, events.time, strict=True)])


def of_same_users(*runs: list[Example]) -> list[list[Example]]:
    """The examples of the users that all runs have: who counts depends on what is held out."""
    both = set.intersection(*({user for one in run for user in one.request.user.tolist()} for run in runs))
    assert len(both) > 10
    return [[part(one, np.isin(one.request.user, list(both))) for one in run] for run in runs]


def part(example: Example, rows: np.ndarray) -> Example:
    at = np.flatnonzero(rows)
    entries = np.flatnonzero(rows[example.pool.row])
    pool = example.pool.take(entries)
    row = np.searchsorted(at, pool.row).astype(np.int32)
    indptr = np.searchsorted(row, np.arange(len(at) + 1))
    return Example(example.request.take(at), replace(pool, row=row, indptr=indptr), example.label[entries])


def test_a_peeking_maker_of_examples_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same check fails where stages are fitted on everything: it can tell."""
    pipeline = Pipeline.from_text(text_of("{use: listens}"))
    data, held_out = pipeline.load(), SPLITS[2]
    other = scrambled(data, held_out_mask(pipeline, data, held_out))

    def peeking(given: Dataset) -> list[Example]:
        with monkeypatch.context() as patch:
            patch.setattr(Cut, "known", pipeline.weighted(given))
            return examples_of(pipeline, given, held_out)

    before, after = of_same_users(peeking(data), peeking(other))
    assert differing(all_but_labels(before), all_but_labels(after))


def test_rankers_that_hold_out_alike_share_one_cut() -> None:
    pipeline = Pipeline.from_text(text_of("{id: a, use: listens}", "{id: b, use: listens}"))
    past = Past(pipeline, pipeline.load())
    with working(Work()):
        for stage in ("a", "b"):
            list(past.examples(stage_of(pipeline, stage), HeldOut()))
        list(past.examples(stage_of(pipeline, "a"), HeldOut(fraction=0.3)))
    first, second = past.cuts.values()
    assert list(first.fitted) == ["similar", "popular", "alike", "a"]
    assert list(second.fitted) == ["similar", "popular", "alike"]
    assert len(first.past.cuts) == 1
    assert second.past.cuts == {}


def test_without_times_each_users_events_are_drawn_and_users_too() -> None:
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays([f"u{n}" for n in rng.integers(60, size=600)], rng.integers(30, size=600))
    pipeline = Pipeline.from_text(
        "nbarec: 1\ndata: {use: music_world}\ncandidates: [{use: item_cf}]\nrank: [{use: listens}]"
    )
    examples = examples_of(pipeline, data, HeldOut(fraction=0.2, users=25))
    users = np.concatenate([one.request.user for one in examples])
    assert len(np.unique(users)) == len(users) == 25
    assert sum(one.label.sum() for one in examples) > 0
    known = np.concatenate([one.request.history.counts for one in examples])
    whole = data.events.counts[users]
    np.testing.assert_array_equal(whole - known, np.maximum(np.floor(0.2 * whole + 1e-9), 1))


def test_what_counts_can_be_said() -> None:
    pipeline = Pipeline.from_text(text_of("{use: listens, with: {held_out: {relevant: kind == 'like'}}}"))
    data = pipeline.load()
    component: Any = stage_of(pipeline, "listens").component
    few = examples_of(pipeline, data, component.held_out)
    many = examples_of(pipeline, data, HeldOut())
    assert 0 < sum(one.label.sum() for one in few) < sum(one.label.sum() for one in many)


def test_held_out_test_events_of_an_evaluation_reach_no_ranker() -> None:
    text = text_of("{use: stack}") + "evaluate: {split: {use: random, fraction: 0.3}, metrics: [ndcg@8]}"
    pipeline = Pipeline.from_text(text)
    assert pipeline.plan is not None
    data = pipeline.load()
    rng = np.random.default_rng([pipeline.config.seed, 1])
    mask = pipeline.plan.split.test_mask(data, rng)  # type: ignore[union-attr]
    one, other = (pipeline.plan.run(pipeline, given)[1] for given in (data, scrambled(data, mask)))
    assert one.fitted["stack"].state == other.fitted["stack"].state
    assert one.fitted["stack"].state.weights
    assert pipeline.fit(data).fitted["stack"].state != one.fitted["stack"].state
