"""Cross-validation: what is pooled over folds, against the folds measured one by one."""

from __future__ import annotations

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.evaluation_plan import EvaluationPlan
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation
from nbarec.statistics import Resamples, mean_intervals

TEXT = """
nbarec: 1
seed: 5
data: {use: music_world, users: 50, songs: 40, days: 25}
candidates: [{id: similar, use: item_cf, k: 20}, {id: popular, use: popularity, k: 20}]
rank: [{use: blend}]
slate: {k: 5}
evaluate:
  split: {use: k_fold, folds: 3}
  metrics: [recall@5, coverage@5]
  segments: [{by: user.country, largest: 2}, {by: history}]
  variants: {few: {candidates.similar.with.neighbors: 1}}
"""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.from_text(TEXT)


@pytest.fixture(scope="module")
def data(pipeline: Pipeline) -> Dataset:
    return pipeline.load()


def plan_of(pipeline: Pipeline) -> EvaluationPlan:
    assert pipeline.plan is not None
    return pipeline.plan


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, data: Dataset) -> Evaluation:
    return plan_of(pipeline).run(pipeline, data)[0]


@pytest.fixture(scope="module")
def folds(pipeline: Pipeline, data: Dataset) -> list[Evaluation]:
    plan = plan_of(pipeline)
    return [plan.measured(pipeline, data, fold)[0] for fold in range(3)]


def test_every_event_is_held_out_once(pipeline: Pipeline, data: Dataset) -> None:
    plan = plan_of(pipeline)
    held = [plan.held_out(pipeline, data, fold) for fold in range(3)]
    assert sum(len(one.test) for one in held) == len(data.events)
    pairs = [pair for one in held for pair in zip(one.test.row, one.test.item, one.test.time, strict=True)]
    assert sorted(pairs) == sorted(zip(data.events.row, data.events.item, data.events.time, strict=True))


def test_a_users_value_is_the_mean_over_the_folds_where_it_is_defined(
    whole: Evaluation, folds: list[Evaluation], data: Dataset
) -> None:
    seen: dict[str, list[float]] = {}
    for fold in folds:
        for user, value in zip(fold.users, fold.stages["similar"].values["recall@5"].tolist(), strict=True):
            seen.setdefault(user, []).append(value)
    assert len({len(values) for values in seen.values()}) > 1  # some users are not in every fold
    position = dict(zip(data.users.texts(range(len(data.users))), range(len(data.users)), strict=True))
    assert whole.users == tuple(sorted(seen, key=position.__getitem__))
    wanted = np.array([np.mean(seen[user]) for user in whole.users])
    report = whole.stages["similar"]
    np.testing.assert_allclose(report.values["recall@5"], wanted)
    figure = report.figures["recall@5"]
    assert figure.mean == pytest.approx(wanted.mean())
    drawn = Resamples.draw(len(wanted), np.random.default_rng([5, 2]))
    assert figure.ci95 == pytest.approx(mean_intervals(wanted[:, None], drawn)[0])
    assert (figure.users, figure.undefined) == (len(wanted), 0)
    assert len(whole.users) + whole.skipped == len(data.users)


def test_what_is_no_mean_over_users_is_the_mean_of_the_folds(whole: Evaluation, folds: list[Evaluation]) -> None:
    figures = [fold.metrics["coverage@5"] for fold in folds]
    assert whole.metrics["coverage@5"].mean == pytest.approx(np.mean([one.mean for one in figures]))
    assert whole.metrics["coverage@5"].ci95 == pytest.approx(np.mean([one.ci95 for one in figures], axis=0))


def test_losses_add_up_over_folds(whole: Evaluation, folds: list[Evaluation]) -> None:
    assert whole.losses is not None
    for reason, count in whole.losses.left.items():
        assert count == sum(fold.losses.left[reason] for fold in folds if fold.losses)
    assert whole.losses.pairs == sum(fold.losses.pairs for fold in folds if fold.losses)


def test_segments_and_variants_are_pooled(whole: Evaluation, folds: list[Evaluation]) -> None:
    assert set(whole.variants) == {"few"}
    few = whole.variants["few"]
    assert few.figures["recall@5"].mean != whole.metrics["recall@5"].mean
    assert few.figures["recall@5"].users == len(whole.users)
    history = next(table for table in whole.segments if table.by == "history")
    assert {segment.name for segment in history.segments} == {"new", "regular", "heavy"}
    country = next(table for table in whole.segments if table.by == "user.country")
    first = country.segments[0]
    values = np.where(first.members, whole.slate.values["recall@5"], np.nan)
    in_all = all(any(one.name == first.name for one in fold.segments[0].segments) for fold in folds)
    assert in_all  # so that the segment's users have all their folds in it
    np.testing.assert_allclose(first.slate.values["recall@5"], values)
    assert ["fold 1 of 3" in whole.holdout[0], "fold 3 of 3" in whole.holdout[2], len(whole.holdout)] == [True, True, 3]


def test_the_same_folds_come_out_twice(pipeline: Pipeline, data: Dataset, whole: Evaluation) -> None:
    assert plan_of(pipeline).run(pipeline, data)[0].to_json() == whole.to_json()
