"""Evaluation by event: each held-out event that counts is a request of its own, at its moment and with its context."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nbarec.cli import run_command
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evaluation_plan import EvaluationPlan
from nbarec.events import Events
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation

Pipelines = Callable[..., Pipeline]
Evaluated = Callable[..., tuple[Evaluation, Model]]

REST = """
candidates:
  - {id: similar, use: item_cf, k: 20, with: {neighbors: 10}}
  - {id: popular, use: popularity, k: 6, when: context.kind == 'like'}
rank: [{use: blend}]
slate: {k: 5}
evaluate:
  each: event
  split: {use: SPLIT, fraction: 0.2}
  metrics: [recall@5, ndcg@5, coverage@5]
"""
SEGMENTS = "  segments: [{by: history, at: [5, 20]}, {by: popularity}, {by: user.country, largest: 2}]\n"
SPLITS = ("global_time", "last_fraction", "random")


@pytest.fixture(scope="module")
def text(learners: ModuleType) -> str:
    return f"{learners.DATA}{REST}"


@pytest.fixture(scope="module")
def pipeline_of(text: str) -> Pipelines:
    """`pipeline_of(more, split)`: with what else is said of the evaluation."""
    return lambda more="", split="global_time": Pipeline.from_text(text.replace("SPLIT", split) + more)


@pytest.fixture(scope="module")
def evaluated(pipeline_of: Pipelines) -> Evaluated:
    """`evaluated(more, split, data)`, of the data of the config where no others are given."""

    def done(more: str = "", split: str = "global_time", data: Dataset | None = None) -> tuple[Evaluation, Model]:
        pipeline = pipeline_of(more, split)
        return plan_of(pipeline).run(pipeline, pipeline.load() if data is None else data)

    return done


@pytest.fixture(scope="module")
def found(evaluated: Evaluated) -> tuple[Evaluation, Model]:
    return evaluated(f"{SEGMENTS}  variants: {{few: {{candidates.similar.with.neighbors: 1}}}}\n")


def plan_of(pipeline: Pipeline) -> EvaluationPlan:
    assert pipeline.plan is not None
    return pipeline.plan


def asked_for(model: Model, test: Events, weight: np.ndarray) -> Iterator[tuple[int, int, Events]]:
    """Event by event, slowly: its number among the user's held-out ones, its position, and the history known then."""
    known = model.data.events
    decayed = model.pipeline.weighted(model.data.with_events(test)).events
    for at, (user, item, time) in enumerate(zip(test.row, test.item, test.time, strict=True)):
        before = known.where((known.row == user) & (known.time <= time))
        since = decayed.where((test.row == user) & (test.time < time))
        history = joined(before, since)
        if weight[at] > 0 and not ((history.item == item) & (history.weight > 0)).any():
            yield int(at - test.indptr[user]) + 1, at, history


def joined(first: Events, second: Events) -> Events:
    """Both, of one user, in the order of time."""
    order = np.argsort(np.append(first.time, second.time), kind="stable")
    both = {
        name: np.append(getattr(first, name), getattr(second, name))[order]
        for name in ("item", "weight", "value", "time", "kind")
    }
    heard: Any = [events.columns["seconds"] for events in (first, second)]
    seconds = replace(heard[0], values=np.append(heard[0].values, heard[1].values)[order])
    return replace(first, **both, indptr=first.indptr + second.indptr, columns={"seconds": seconds})


@pytest.mark.parametrize("split", SPLITS)
def test_each_event_is_measured_as_it_would_have_been_served(
    learners: ModuleType, evaluated: Evaluated, split: str
) -> None:
    evaluation, model = evaluated(split=split)
    pipeline = model.pipeline
    data = pipeline.load()
    holdout = plan_of(pipeline).held_out(pipeline, data)
    weight = learners.held(pipeline, holdout).weight
    names, numbers, hits, shown = [], [], [], set()
    for number, at, history in asked_for(model, holdout.test, weight):
        user = data.users.take([int(holdout.test.row[at])])
        then = Model(pipeline, model.data.with_events(history), model.fitted)
        kind = holdout.test.kinds[holdout.test.kind[at]]
        slate = then.recommend(user, now=int(holdout.test.time[at]), context={"kind": kind})
        names.append(str(user[0]))
        numbers.append(number)
        hits.append(float(holdout.test.item[at] in slate.item[0]))
        shown |= set(slate.item[0].tolist()) - {-1}
    assert evaluation.users == tuple(names)
    assert evaluation.requests == tuple(numbers)
    np.testing.assert_array_equal(evaluation.slate.values["recall@5"], hits)
    assert evaluation.metrics["coverage@5"].mean == pytest.approx(len(shown) / len(data.items))
    assert 0.02 < np.mean(hits) < 0.9
    assert evaluation.people == len(set(names)) < len(names)


def test_losses_of_stages_add_up_to_the_requests(found: tuple[Evaluation, Model]) -> None:
    evaluation, _ = found
    losses = evaluation.losses
    assert losses is not None
    assert losses.pairs == len(evaluation.users)
    hits = np.nansum(evaluation.slate.values["recall@5"])
    assert losses.left["in the slate"] == hits
    assert set(evaluation.stages) == {"similar", "popular", "blend"}


def test_intervals_draw_users_with_all_their_requests(found: tuple[Evaluation, Model]) -> None:
    evaluation, _ = found
    values = evaluation.slate.values["recall@5"]
    users = list(dict.fromkeys(evaluation.users))
    rows = [np.flatnonzero([one == user for one in evaluation.users]) for user in users]
    rng = np.random.default_rng(0)
    means = [
        values[np.concatenate([rows[at] for at in rng.integers(len(users), size=len(users))])].mean()
        for _ in range(4000)
    ]
    low, high = evaluation.metrics["recall@5"].ci95
    wide = np.subtract(*np.quantile(means, [0.975, 0.025]))
    assert high - low == pytest.approx(wide, rel=0.1)
    assert low == pytest.approx(np.quantile(means, 0.025), abs=0.1 * wide)
    low, high = evaluation.metrics["coverage@5"].ci95
    assert low < evaluation.metrics["coverage@5"].mean < high


def test_segments_by_history_are_of_what_was_known_at_the_moment(
    learners: ModuleType, found: tuple[Evaluation, Model]
) -> None:
    evaluation, model = found
    data = model.pipeline.load()
    holdout = plan_of(model.pipeline).held_out(model.pipeline, data)
    weight = learners.held(model.pipeline, holdout).weight
    known = np.array([len(history) for _, _, history in asked_for(model, holdout.test, weight)])
    by_history, by_popularity, by_country = evaluation.segments
    wanted = {"new": known < 5, "regular": (known >= 5) & (known < 20), "heavy": known >= 20}
    for segment in by_history.segments:
        np.testing.assert_array_equal(segment.members, wanted[segment.name])
    assert sum(segment.users for segment in by_popularity.segments) == len(known)
    assert sum(segment.users for segment in by_country.segments) == len(known)


def test_later_events_change_no_earlier_request(
    learners: ModuleType, pipeline_of: Pipelines, evaluated: Evaluated
) -> None:
    """Scrambled items, kinds and values after a moment leave what was measured until then, to the bit."""
    data = pipeline_of().load()
    holdout = plan_of(pipeline_of()).held_out(pipeline_of(), data)
    moment = int(np.quantile(holdout.test.time, 0.6))
    other = learners.scrambled(data, data.events.time > moment)
    one, two = (by_row(evaluated(data=given)[0], holdout.test, data, moment) for given in (data, other))
    assert one == two
    assert len(one) > 30


def by_row(evaluation: Evaluation, test: Events, data: Dataset, moment: int) -> dict[tuple[str, int], float]:
    """What was measured of each request until a moment."""
    assert evaluation.requests is not None
    row = data.users.index(evaluation.users)
    at = test.indptr[row] + np.array(evaluation.requests) - 1
    rows = zip(evaluation.users, evaluation.requests, evaluation.slate.values["ndcg@5"].tolist(), strict=True)
    return {(u, n): value for (u, n, value), time in zip(rows, test.time[at], strict=True) if time <= moment}


def test_folds_are_pooled_request_by_request(text: str) -> None:
    pipeline = Pipeline.from_text(text.replace("{use: SPLIT, fraction: 0.2}", "{use: k_fold, folds: 3}") + SEGMENTS)
    data, plan = pipeline.load(), plan_of(pipeline)
    whole = plan.run(pipeline, data)[0]
    folds = [plan.measured(pipeline, data, fold)[0] for fold in range(3)]
    assert len(whole.users) == sum(len(fold.users) for fold in folds)
    assert whole.requests is not None
    assert len(set(zip(whole.users, whole.requests, strict=True))) == len(whole.users)
    at = data.users.index(whole.users)
    assert (np.diff(at) >= 0).all()
    for user in sorted(set(whole.users))[::7]:
        mine = [one == user for one in whole.users]
        theirs = [fold.slate.values["ndcg@5"][[one == user for one in fold.users]] for fold in folds]
        np.testing.assert_array_equal(whole.slate.values["ndcg@5"][mine], np.concatenate(theirs))
    for at, by in enumerate(("history", "popularity")):
        assert whole.segments[at].by == by
        parts = [{one.name: one.users for one in fold.segments[at].segments} for fold in folds]
        for segment in whole.segments[at].segments:
            assert segment.users == sum(part.get(segment.name, 0) for part in parts)
    assert whole.skipped == len(data.users) - len(set(whole.users))
    every = np.concatenate([fold.slate.values["recall@5"] for fold in folds])
    assert whole.metrics["recall@5"].mean == pytest.approx(every.mean())
    low, high = whole.metrics["recall@5"].ci95
    assert low < every.mean() < high


def test_lists_of_sampled_items_hold_the_event_and_items_not_known_then(evaluated: Evaluated) -> None:
    evaluation, _ = evaluated("  sampled: {negatives: 4}\n  stage_losses: false\n")
    assert evaluation.relevant.endswith(":sampled-4-0")
    whole, _ = evaluated()
    assert evaluation.users == whole.users
    better = evaluation.slate.values["recall@5"] >= whole.slate.values["recall@5"]
    assert better.mean() > 0.99
    assert evaluation.metrics["recall@5"].mean > whole.metrics["recall@5"].mean + 0.1


def test_fingerprints_tell_events_from_users_and_from_other_events(
    text: str, evaluated: Evaluated, found: tuple[Evaluation, Model]
) -> None:
    users = Pipeline.from_text(text.replace("SPLIT", "global_time").replace("  each: event\n", ""))
    by_user = plan_of(users).run(users, users.load())[0]
    fewer = evaluated("  relevant: weight > 0 and seconds >= 60\n")[0]
    assert len({found[0].relevant, by_user.relevant, fewer.relevant}) == 3
    assert found[0].relevant == evaluated()[0].relevant


def test_cold_starts_are_refused_with_their_line(pipeline_of: Pipelines) -> None:
    with pytest.raises(ConfigError, match=r"config:\d+:\d+: evaluate.cold_start tells of users and items, and each"):
        pipeline_of("  cold_start: {users: [0, 1]}\n")


def test_the_command_tells_of_requests(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text.replace("SPLIT", "global_time"))
    assert run_command(["evaluate", str(config)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"[\d,]+ requests of \d+ users measured, \d+ without a relevant held-out item", printed)
    assert "Quality (mean over requests, ±" in printed


def test_repeats_count_where_they_are_wanted(
    learners: ModuleType, pipeline_of: Pipelines, evaluated: Evaluated
) -> None:
    """What was known then decides what repeats: with them every held-out event that counts is a request."""
    pipeline = pipeline_of("  repeats: true\n")
    data = pipeline.load()
    whole = plan_of(pipeline).run(pipeline, data)[0]
    holdout = plan_of(pipeline).held_out(pipeline, data)
    assert len(whole.users) == np.count_nonzero(learners.held(pipeline, holdout).weight > 0)
    assert len(whole.users) > len(evaluated()[0].users)


def test_no_event_that_counts_is_told(evaluated: Evaluated) -> None:
    with pytest.raises(ConfigError, match="no held-out event counts; hold out more or other events"):
        evaluated("  relevant: value > 1e9\n")
