"""What rankers learn from: pools and labels as they stood before the held-out events, and never a glance further."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nbarec.components import Example, HeldOut
from nbarec.data import Dataset
from nbarec.learning import Cut, Past
from nbarec.pipeline import Pipeline
from nbarec.splits import GlobalTime, hold_out
from nbarec.stages import AnyStage
from nbarec.testing.copies import differing, leaves
from nbarec.work import Work, working

pytestmark = pytest.mark.usefixtures("heard")


def stage_of(pipeline: Pipeline, stage: str) -> AnyStage:
    return next(one for one in pipeline.stages.all() if one.id == stage)


def labels(examples: list[Example]) -> bytes:
    return b"".join(one.label.tobytes() for one in examples)


def all_but_labels(examples: list[Example]) -> dict[str, object]:
    return leaves([(one.request, replace(one.pool, proposals=dict(one.pool.proposals))) for one in examples])


def test_examples_are_pools_of_the_moment_before_the_cut_and_what_came_after_it(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: listens}")
    data = pipeline.load()
    holdout = hold_out(data, GlobalTime(fraction=0.2), np.random.default_rng(0))
    before = learners.pipeline_of("").fit(holdout.train)
    likes = learners.held(pipeline, holdout)
    liked = set(zip(likes.row[likes.weight > 0].tolist(), likes.item[likes.weight > 0].tolist(), strict=True))
    examples = learners.told(pipeline, data, HeldOut(split="global_time", fraction=0.2))[0]
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


SPLITS = [HeldOut(split=name, fraction=0.2, users=30) for name in ("global_time", "last_fraction", "random")]  # type: ignore[arg-type]


@pytest.mark.parametrize("held_out", SPLITS, ids=lambda one: one.split)
def test_held_out_events_change_labels_and_nothing_else(learners: ModuleType, held_out: HeldOut) -> None:
    """Also where a ranker before has learnt: from the earlier part alone."""
    pipeline = learners.pipeline_of("{use: stack, with: {held_out: {fraction: 0.3}}}", "{use: listens}")
    data = pipeline.load()
    before = learners.told(pipeline, data, replace(held_out, relevant=None))[0]
    mask = held_out_mask(pipeline, data, held_out)
    other = learners.scrambled(data, mask)
    assert (other.events.item[mask] != data.events.item[mask]).mean() > 0.8
    after = learners.told(pipeline, other, held_out)[0]
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


def test_a_peeking_maker_of_examples_is_caught(learners: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same check fails where stages are fitted on everything: it can tell."""
    pipeline = learners.pipeline_of("{use: listens}")
    data, held_out = pipeline.load(), SPLITS[2]
    other = learners.scrambled(data, held_out_mask(pipeline, data, held_out))

    def peeking(given: Dataset) -> list[Example]:
        with monkeypatch.context() as patch:
            patch.setattr(Cut, "known", pipeline.weighted(given))
            return learners.told(pipeline, given, held_out)[0]

    before, after = of_same_users(peeking(data), peeking(other))
    assert differing(all_but_labels(before), all_but_labels(after))


def test_rankers_that_hold_out_alike_share_one_cut(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{id: a, use: listens}", "{id: b, use: listens}")
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


def test_without_times_each_users_events_are_drawn_and_users_too(learners: ModuleType) -> None:
    data = learners.timeless()
    pipeline = learners.pipeline_of("{use: listens}", text=learners.BARE)
    examples, _ = learners.told(pipeline, data, HeldOut(fraction=0.2, users=25))
    users = np.concatenate([one.request.user for one in examples])
    assert len(np.unique(users)) == len(users) == 25
    assert sum(one.label.sum() for one in examples) > 0
    known = np.concatenate([one.request.history.counts for one in examples])
    whole = data.events.counts[users]
    np.testing.assert_array_equal(whole - known, np.maximum(np.floor(0.2 * whole + 1e-9), 1))


def test_what_counts_can_be_said(learners: ModuleType) -> None:
    pipeline = learners.pipeline_of("{use: listens, with: {held_out: {relevant: kind == 'like'}}}")
    data = pipeline.load()
    component: Any = stage_of(pipeline, "listens").component
    few = learners.told(pipeline, data, component.held_out)[0]
    many = learners.told(pipeline, data, HeldOut())[0]
    assert 0 < sum(one.label.sum() for one in few) < sum(one.label.sum() for one in many)


def test_held_out_test_events_of_an_evaluation_reach_no_ranker(learners: ModuleType) -> None:
    more = "evaluate: {split: {use: random, fraction: 0.3}, metrics: [ndcg@8]}"
    pipeline = learners.pipeline_of("{use: stack}", more=more)
    assert pipeline.plan is not None
    data = pipeline.load()
    rng = np.random.default_rng([pipeline.config.seed, 1])
    mask = pipeline.plan.split.test_mask(data, rng)  # type: ignore[union-attr]
    one, other = (pipeline.plan.run(pipeline, given)[1] for given in (data, learners.scrambled(data, mask)))
    assert one.fitted["stack"].state == other.fitted["stack"].state
    assert one.fitted["stack"].state.weights
    assert pipeline.fit(data).fitted["stack"].state != one.fitted["stack"].state
