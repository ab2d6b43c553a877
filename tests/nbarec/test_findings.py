"""What stages tell of what they learnt, and of the columns they add: as values, in files and on the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import AnyArray, Floats32
from nbarec.batch import Pool, Request
from nbarec.cli import run_command
from nbarec.components import Example, FeatureProvider, Findings, LearningRanker, NoState
from nbarec.data import Dataset
from nbarec.errors import ContractError
from nbarec.findings import findings_of, plain
from nbarec.pipeline import Pipeline

Plug = Callable[..., None]

TEXT = """
nbarec: 1
data: {use: music_world, users: 30, songs: 40, days: 15}
candidates: [{id: popular, use: popularity, k: 20}]
features: [{id: ages, use: ages_of_items}]
rank: [{id: judge, use: tells}]
slate: {k: 5}
evaluate: {split: {use: k_fold, folds: 2}, metrics: [recall@5]}
"""


@dataclass(frozen=True)
class Requests:
    """How many requests were told of."""

    count: int


@dataclass(frozen=True)
class Tells(LearningRanker[Requests]):
    """Counts its examples, and tells."""

    name: ClassVar[str] = "tells"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Requests:
        return Requests(0)

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> Requests:
        return Requests(sum(len(one.request) for one in examples))

    def rank(self, state: Requests, request: Request, pool: Pool) -> Floats32:
        return pool.score

    def findings(self, state: Requests) -> Mapping[str, object]:
        bins = [{"predicted": np.float32(0.5), "observed": float("nan")}, {"predicted": 0.25, "entries": 7}]
        told = {"curve": bins, "names": ("a", "b"), "empty": []}
        return {"requests": state.count, "loss": 0.123456789, "calibration": told, "kept": np.arange(3)}


@dataclass(frozen=True)
class Ages(FeatureProvider[NoState]):
    """One column."""

    name: ClassVar[str] = "ages_of_items"

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        return NoState()

    def columns(self) -> Mapping[str, str]:
        return {"age": "days since an item came out"}

    def columns_for(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, AnyArray]:
        return {"age": np.zeros(len(pool))}


@pytest.fixture(autouse=True)
def plugged(plug: Plug) -> None:
    plug(Tells, Ages)


def test_findings_are_plain_values_by_stage() -> None:
    model = Pipeline.from_text(TEXT).fit()
    told = findings_of(model)
    assert list(told) == ["judge"]
    assert told["judge"] == {
        "requests": model.fitted["judge"].state.count,
        "loss": 0.123456789,
        "calibration": {
            "curve": [{"predicted": 0.5, "observed": None}, {"predicted": 0.25, "entries": 7}],
            "names": ["a", "b"],
            "empty": [],
        },
        "kept": [0, 1, 2],
    }
    json.dumps(told, allow_nan=False)


def test_a_stage_that_could_not_be_fitted_tells_nothing() -> None:
    pipeline = Pipeline.from_text(TEXT.replace("use: tells", "use: tells, on_error: skip"))
    data = Dataset.from_arrays(["ann", "bob"], ["tea", "rum"])
    assert findings_of(pipeline.fit(data)) == {}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [object()]}, r"findings\.a\[0\] is object"),
        ({1: 2}, "findings is dict"),
        ({"a": {1}}, "findings.a is set"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_place(value: object, told: str) -> None:
    with pytest.raises(ContractError, match=f"rank.judge: {told}; give numbers, texts, lists and mappings by text"):
        plain(value, "rank.judge")


def test_an_evaluation_holds_the_findings_of_the_last_fold(tmp_path: Path) -> None:
    pipeline = Pipeline.from_text(TEXT)
    assert pipeline.plan is not None
    evaluation, model = pipeline.plan.run(pipeline, pipeline.load())
    assert evaluation.findings == findings_of(model)
    figures, _ = evaluation.write(tmp_path / "evaluation.json")
    assert json.loads(figures.read_text())["findings"]["judge"]["kept"] == [0, 1, 2]
    plain_pipeline = Pipeline.from_text(TEXT.replace("use: tells", "use: blend"))
    assert plain_pipeline.plan is not None
    assert "findings" not in plain_pipeline.plan.run(plain_pipeline, plain_pipeline.load())[0].to_json()


def test_evaluate_names_the_stages_with_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(TEXT)
    assert run_command(["evaluate", str(config)]) == 0
    assert "Findings: of judge; the JSON has them" in capsys.readouterr().out


def test_inspect_shows_findings_and_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(Pipeline.from_text(TEXT).fit().save(tmp_path / "model"))
    assert run_command(["inspect", folder, "--findings"]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"Findings of judge\n.*  requests: [1-9]\d*\n  loss: 0.123457\n  calibration:\n    curve:", printed, re.S
    )
    assert re.search(r"predicted +observed +entries\n +0.5 +- +-\n +0.25 +- +7\n", printed)
    assert "    names: a, b\n    empty: -\n  kept: 0, 1, 2\n" in printed
    assert run_command(["inspect", folder, "--columns"]) == 0
    assert re.search(r"stage +column +what it is\n +ages +age +days since an item came out\n", capsys.readouterr().out)


def test_inspect_says_where_there_is_nothing_to_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TEXT.replace("use: tells", "use: blend").replace("features: [{id: ages, use: ages_of_items}]\n", "")
    folder = str(Pipeline.from_text(text).fit().save(tmp_path / "model"))
    assert run_command(["inspect", folder, "--findings", "--columns"]) == 0
    printed = capsys.readouterr().out
    assert "no stage of the model tells what it learnt" in printed
    assert "no feature provider of the model tells of its columns" in printed


def test_providers_tell_of_no_column_unless_they_say_so() -> None:
    assert isinstance(Tells(), Findings)
    assert not isinstance(Ages(), Findings)
    assert FeatureProvider.columns(Ages()) == {}
    assert LearningRanker.labels(Tells()) == {}
