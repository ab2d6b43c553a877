"""Studies: what a trial scores, that interruptions change nothing, and that the test part is never looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32
from nbarec.batch import Pool, Request
from nbarec.components import NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError, NbarecError, StoreError
from nbarec.pipeline import Pipeline
from nbarec.tuning import Limits, Study
from nbarec.tuning_record import Outcome
from nbarec.tuning_results import Result
from nbarec.validation import training_part

pytest.importorskip("optuna")

TEXT = """
nbarec: 1
seed: 3
data: {use: music_world}
candidates:
  - {id: similar, use: item_cf, k: 8, with: {neighbors: 6}}
  - {id: popular, use: popularity, k: 8}
rank: [{id: mixed, use: blend, with: {weights: {similar: 1.0, popular: 0.5}}}]
slate: {k: 4}
evaluate: {split: {use: last_fraction, fraction: 0.25}, metrics: [ndcg@3]}
tune:
  metric: ndcg@3
  trials: 13
  ranges:
    candidates.similar.with.neighbors: {low: 2, high: 12, integer: true, log: true}
    rank.mixed.with.weights.popular: {low: 0, high: 2}
    candidates.similar.with.similarity: {choice: [cosine, jaccard]}
"""


def world(seed: int = 5) -> Dataset:
    """Forty users with sixteen events each, of items that one of two groups of users likes better."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(40), 16)
    item = np.where(rng.random(640) < 0.7, rng.integers(0, 12, 640) * 2 + user % 2, rng.integers(0, 24, 640))
    catalog = {"id": list(range(24))}
    return Dataset.from_arrays(user, item, time=np.tile(np.arange(16), 40) * 100 + 1, catalog=catalog)


def tuned(text: str, folder: Path, data: Dataset | None = None, **limits: int) -> tuple[Result, list[Outcome]]:
    with Study.opened(Pipeline.from_text(text), data or world(), folder) as study:
        result = study.run(Limits.of(study.plan, **limits))
        return result, list(study.record.outcomes)


def told(outcomes: list[Outcome]) -> list[tuple[object, ...]]:
    """What must be the same however a study was run."""
    return [(one.number, one.state, dict(one.values), one.figure, tuple(one.steps), one.failed) for one in outcomes]


def written(folder: Path) -> list[str]:
    """The best config without what names the folder."""
    lines = (folder / "best.yaml").read_text("utf-8").splitlines()
    return [line.replace(str(folder), "DIR") for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, list[Outcome]]:
    """A study that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    return folder, *tuned(TEXT, folder)


def test_the_first_trial_is_the_config_itself_and_each_scores_as_an_evaluation_would(
    whole: tuple[Path, Result, list[Outcome]],
) -> None:
    folder, result, outcomes = whole
    assert len(outcomes) == 1 + 13
    assert outcomes[0].values == {
        "candidates.similar.with.neighbors": 6,
        "rank.mixed.with.weights.popular": 0.5,
        "candidates.similar.with.similarity": "cosine",
    }
    pipeline, best = Pipeline.from_text(TEXT), Pipeline.from_yaml(folder / "best.yaml")
    train = training_part(pipeline, world())
    for one, outcome in ((pipeline, outcomes[0]), (best, result.best)):
        assert one.plan is not None
        evaluation, _ = one.plan.measured(one, train, 0)  # a plain fit, of which nothing is kept
        assert evaluation.metrics["ndcg@3"].mean == outcome.figure
    assert result.best.figure == max(one.figure for one in outcomes if one.figure is not None)


def test_where_each_event_is_measured_trials_do_so_too(tmp_path: Path) -> None:
    text = TEXT.replace("evaluate: {", "evaluate: {each: event, ")
    result, _ = tuned(text, tmp_path, trials=3)
    for one, outcome in (
        (Pipeline.from_text(text), result.own),
        (Pipeline.from_yaml(tmp_path / "best.yaml"), result.best),
    ):
        assert one.plan is not None
        evaluation, _ = one.plan.measured(one, training_part(one, world()), 0)
        assert evaluation.metrics["ndcg@3"].mean == outcome.figure
    with pytest.raises(ConfigError, match=r"can't change 'data.feedback.decay.half_life' where evaluate measures each"):
        tuned(text.replace("  ranges:", "  ranges:\n    data.feedback.decay.half_life: {low: 1d, high: 9d}"), tmp_path)


def test_feedback_may_be_tuned_and_is_judged_by_that_of_the_config(tmp_path: Path) -> None:
    text = TEXT.replace("music_world}", "music_world, feedback: {decay: {half_life: 30s}}}")
    text = text.replace("  ranges:", "  ranges:\n    data.feedback.decay.half_life: {low: 60s, high: 9h, log: true}")
    result, outcomes = tuned(text, tmp_path, trials=2)
    assert "data.feedback.decay.half_life" not in outcomes[0].values
    used = Pipeline.from_yaml(tmp_path / "best.yaml").section.feedback
    assert used is not None
    assert used.decay is not None
    assert result.test is None or result.test.users == len(np.load(tmp_path / "values-0.npy"))


def test_the_improvement_is_told_with_a_paired_interval(whole: tuple[Path, Result, list[Outcome]]) -> None:
    _, result, _ = whole
    assert result.test is not None
    assert result.best.figure is not None
    assert result.own.figure is not None
    assert result.test.difference == pytest.approx(result.best.figure - result.own.figure)
    assert f"ndcg@3 {result.own.figure:.4f} -> {result.best.figure:.4f} on validation (difference +" in str(result)
    assert f"paired, {result.test.users} users; trial {result.best.number} of 13)" in str(result)


def test_the_best_config_says_where_it_is_from_and_the_table_has_every_trial(
    whole: tuple[Path, Result, list[Outcome]],
) -> None:
    folder, result, outcomes = whole
    head = (folder / "best.yaml").read_text("utf-8").split("nbarec: 1")[0]
    assert f"Trial {result.best.number} of the study in {folder}, the best of 13" in head
    assert str(result) in head
    assert "Seeds: 3 of the config, 0 of the study (tpe)" in head
    rows = (folder / "trials.csv").read_text("utf-8").splitlines()
    assert rows[0].startswith("trial,state,ndcg@3,seconds,candidates.similar.with.neighbors,")
    assert len(rows) == 1 + len(outcomes)
    assert rows[1].startswith(f"0,complete,{outcomes[0].figure!r},")
    assert rows[1].endswith(",6,0.5,cosine,")


@pytest.mark.parametrize("more", ["", "\n  workers: 3\n  pruner: median"])
def test_an_interrupted_study_goes_on_as_if_it_never_was(more: str, tmp_path: Path) -> None:
    text = TEXT.replace("\n  trials: 13", f"\n  trials: 13{more}")
    one, outcomes = tuned(text, tmp_path / "one")
    for stop in (0, 6):

        def interrupted(outcome: Outcome, _best: Outcome, stop: int = stop) -> None:
            if outcome.number == stop:
                raise KeyboardInterrupt

        with (
            contextlib.suppress(KeyboardInterrupt),
            Study.opened(Pipeline.from_text(text), world(), tmp_path / "other") as study,
        ):
            study.run(Limits.of(study.plan), interrupted)
    assert told(tuned(text, tmp_path / "other", trials=12)[1]) == told(outcomes)[:13]
    other, again = tuned(text, tmp_path / "other")
    assert told(again) == told(outcomes)
    assert other.test == one.test
    assert written(tmp_path / "other") == written(tmp_path / "one")


def test_a_trial_that_raises_leaves_the_study_sound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: tuple[Path, Result, list[Outcome]]
) -> None:
    with Study.opened(Pipeline.from_text(TEXT), world(), tmp_path) as study:
        score = type(study.scorer).score
        asked: list[int] = []

        def failing(self: object, values: object, stop: object = None) -> object:
            asked.append(1)
            if len(asked) == 4:
                raise ZeroDivisionError
            return score(self, values, stop)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(type(study.scorer), "score", failing)
            with pytest.raises(ZeroDivisionError):
                study.run(Limits.of(study.plan))
    assert told(tuned(TEXT, tmp_path)[1]) == told(whole[2])


def test_nothing_of_the_test_part_is_looked_at(tmp_path: Path, whole: tuple[Path, Result, list[Outcome]]) -> None:
    pipeline, data = Pipeline.from_text(TEXT), world()
    assert pipeline.plan is not None
    mask = pipeline.plan.split.test_mask(data, np.random.default_rng(0))  # type: ignore[union-attr]
    draw = np.random.default_rng(9)
    item, weight = data.events.item.copy(), data.events.weight.copy()
    item[mask], weight[mask] = draw.integers(0, 24, mask.sum()), draw.normal(size=mask.sum())
    result, outcomes = tuned(TEXT, tmp_path, data.with_events(replace(data.events, item=item, weight=weight)))
    assert told(outcomes) == told(whole[2])
    assert result.test == whole[1].test
    assert written(tmp_path)[5:] == written(whole[0])[5:]


def test_a_test_file_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    given = TEXT.replace("use: last_fraction, fraction: 0.25", f"use: given, path: {tmp_path}/gone.csv")
    text = given.replace("trials: 13", "trials: 1\n  split: {use: leave_last_out}")
    assert tuned(text, tmp_path / "study")[0].own.figure is not None


def test_a_study_of_something_else_is_refused_and_says_what_changed(
    tmp_path: Path, whole: tuple[Path, Result, list[Outcome]]
) -> None:
    folder = whole[0]
    with pytest.raises(StoreError, match="something else: the section candidates changed since"):
        tuned(TEXT.replace("k: 8}", "k: 9}"), folder)
    with pytest.raises(StoreError, match=r"something else: the section tune changed .* another folder by --output"):
        tuned(TEXT.replace("high: 2}", "high: 3}"), folder)
    with pytest.raises(StoreError, match="something else: the data changed"):
        tuned(TEXT, folder, world(seed=6))
    assert told(tuned(TEXT.replace("seed: 3", "seed: 3\nengine: {workers: 1}"), folder)[1]) == told(whole[2])


def test_without_a_number_of_trials_there_is_no_end_but_time(tmp_path: Path) -> None:
    def interrupted(outcome: Outcome, _best: Outcome) -> None:
        if outcome.number == 2:
            raise KeyboardInterrupt

    with Study.opened(Pipeline.from_text(TEXT), world(), tmp_path) as study:
        with pytest.raises(KeyboardInterrupt):
            study.run(Limits.of(study.plan, minutes=999), interrupted)
        study.run(Limits.of(study.plan, minutes=1e-9))
        assert len(study.record.outcomes) == 3


def test_any_name_does_for_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%20é"
    tuned(TEXT, folder, trials=1)
    assert (folder / "study.db").stat().st_size > 0
    assert len(tuned(TEXT, folder, trials=2)[1]) == 3


def test_two_processes_do_not_work_on_one_study(tmp_path: Path) -> None:
    pipeline = Pipeline.from_text(TEXT)
    with (
        Study.opened(pipeline, world(), tmp_path),
        pytest.raises(StoreError, match="another process is tuning"),
        Study.opened(pipeline, world(), tmp_path),
    ):
        pass


def test_a_grid_is_gone_through_once(tmp_path: Path) -> None:
    ranges = "{candidates.similar.k: {choice: [4, 6]}, rank.mixed.with.weights.popular: {low: 0, high: 1, step: 0.4}}"
    text = TEXT.partition("tune:")[0] + f"tune: {{metric: ndcg@3, sampler: grid, trials: 99, ranges: {ranges}}}"
    outcomes = tuned(text, tmp_path, trials=4)[1]
    assert len(outcomes) == 5
    outcomes = tuned(text, tmp_path)[1]
    tried = [tuple(one.values.values()) for one in outcomes[1:]]
    assert sorted(tried, key=str) == [(k, step * 0.4) for k in (4, 6) for step in (0, 1, 2)]
    assert outcomes[0].values == {}  # neither k: 8 nor 0.5 is in its range


@dataclass(frozen=True)
class Gap(Ranker[NoState]):
    """Scores by item; needs low below high."""

    name: ClassVar[str] = "gap"
    low: float = param(0.0, doc="Low.")
    high: float = param(1.0, doc="High.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ValueError("low must be below high")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        return np.asarray(np.abs(pool.item - 24 * self.low), np.float32)


def test_values_that_do_not_stand_together_fail_alone(tmp_path: Path, plug: Callable[..., None]) -> None:
    plug(Gap)
    text = TEXT.partition("tune:")[0].replace(
        "{id: mixed, use: blend, with: {weights: {similar: 1.0, popular: 0.5}}}", "{use: gap}"
    )
    ranges = "{rank.gap.with.low: {low: 0, high: 0.9}, rank.gap.with.high: {low: 0.1, high: 1}}"
    for direction, best in (("maximize", max), ("minimize", min)):
        tune = f"tune: {{metric: ndcg@3, direction: {direction}, sampler: random, trials: 12, ranges: {ranges}}}"
        result, outcomes = tuned(text + tune, tmp_path / direction)
        failed = [one for one in outcomes if one.state == "failed"]
        assert 1 <= len(failed) < 12
        assert all(one.values["rank.gap.with.low"] >= one.values["rank.gap.with.high"] for one in failed)  # type: ignore[operator]
        assert all("low must be below high" in one.failed for one in failed)
        assert result.best.figure == best(one.figure for one in outcomes if one.figure is not None)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(NbarecError, match=r"pip install 'nbarec\[tune\]'"):
        tuned(TEXT, tmp_path)


def test_a_config_without_a_tune_section_says_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tune section; add one with ranges"):
        tuned(TEXT.partition("tune:")[0], tmp_path)
