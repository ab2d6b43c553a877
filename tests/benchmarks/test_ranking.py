"""The costs of learned ranking and the AUC on Frappe: both commands explain themselves and run on little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import frappe_auc
import ranking
from bench.boosted_trees import POOL, examples
from bench.rankers import examples_of
from bench.side_by_side import Measured
from nbarec import Pipeline

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find what this process finds."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def given(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])


@pytest.mark.parametrize("command", ["ranking", "frappe_auc", "frappe_context"])
def test_help_has_an_example_and_says_how_it_is_done(command: str) -> None:
    path = str(BENCHMARKS / f"{command}.py")
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=True)
    assert f"python benchmarks/{command}.py" in done.stdout
    assert not done.stderr


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for command, arguments, said in (
        (ranking, ["--only", "fm,trees"], "there is no ranker trees; there are logistic, fm"),
        (ranking, ["--runs", "0"], "--runs: must be at least 1"),
        (frappe_auc, ["--only", "trees"], "there is no ranker trees; there are logistic, fm"),
        (frappe_auc, ["--share", "0"], "--share must be above 0"),
    ):
        given(monkeypatch, *arguments)
        with pytest.raises(SystemExit):
            command.main()
        assert said in capsys.readouterr().err


def test_examples_are_the_entries_in_requests() -> None:
    known = examples(1050, 4, 0)
    told = list(examples_of(known))
    assert [len(one.request) for one in told] == [11]
    assert np.bincount(told[0].pool.row).tolist() == [POOL] * 10 + [50]
    np.testing.assert_array_equal(told[0].pool.features["f3"], known.values[:, 3])
    np.testing.assert_array_equal(told[0].label, known.label)
    assert len(set(told[0].request.key.tolist())) == 11


def test_costs_of_little(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    little = "--rows", 5000, "--trees", 2, "--users", 60, "--runs", 1, "--requests", 3, "--only", "logistic,multi"
    given(monkeypatch, *little, "--cache", tmp_path, "--json", tmp_path / "out.json")
    ranking.main()
    assert "5,000 entries x 60 features" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["learning"][0]["runs"][0]["figures"]["auc"] > 0.55
    for cost in written["requests"]:
        figures = cost["runs"][0]["figures"]
        assert 0 < figures["rank"] < figures["both"] < figures["request"]
        assert 200 < figures["entries"] <= 540


@pytest.mark.parametrize(("seconds", "milliseconds", "holds"), [(59, 2.9, [True, True]), (61, 3.1, [False, False])])
def test_asks_are_judged(
    seconds: float, milliseconds: float, holds: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch)
    figures = {"auc": 0.6, "entries": 500, **dict.fromkeys(ranking.PARTS, milliseconds)}
    cost = ranking.Cost("logistic", (Measured(seconds, seconds, 0.0, 0.0, figures),))
    assert ranking.tables([cost], [cost], ranking.parsed())[1] == holds


def test_drawn_apps_were_not_used_in_that_context(data_folder: Path) -> None:
    data = Pipeline.from_yaml(frappe_auc.CONFIG).load()
    entries = frappe_auc.drawn(data, np.random.default_rng(0), 0.02)
    told = [data.events.columns[name].codes for name in frappe_auc.CONTEXTS]  # type: ignore[union-attr]
    moment = list(zip(data.events.row.tolist(), *(codes.tolist() for codes in told), strict=True))
    had = set(zip(moment, data.events.item.tolist(), strict=True))
    found = [(moment[event], item) in had for event, item in zip(entries.event, entries.item.tolist(), strict=True)]
    assert found == (entries.label > 0.5).tolist()
    assert sum(found) * 3 == len(found) > 3000


def test_auc_of_little_is_better_than_chance(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NBAREC_DATA", str(data_folder))
    given(monkeypatch, "--share", 0.01, "--only", "logistic", "--json", tmp_path / "out.json")
    assert frappe_auc.main() == 0
    assert json.loads((tmp_path / "out.json").read_text())["found"]["logistic"]["auc"] > 0.6
