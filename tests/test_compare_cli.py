"""`nbarec compare` as a user meets it, with files that real evaluations wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nbarec.cli import run_command
from nbarec.evaluation_files import read_list
from nbarec.paired import paired_tests

METRICS = "[ndcg@10, recall@20, coverage@10, novelty@10, diversity@10, miscalibration@10]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, music_text: str) -> Path:
    """Runs a and b of two settings on one held-out set, and c on another one."""
    made = tmp_path_factory.mktemp("compared")
    text = music_text + f"evaluate: {{split: {{use: random}}, metrics: {METRICS}}}\n"
    settings = {"a": [], "b": ["candidates.similar.with.neighbors=1", "rank.mixed.with.weights.trending=3.0"]}
    settings["c"] = ["seed=8"]
    (made / "music.yaml").write_text(text, "utf-8")
    for name, values in settings.items():
        overrides = [part for value in values for part in ("--set", value)]
        figures = str(made / name / "evaluation.json")
        assert run_command(["evaluate", str(made / "music.yaml"), "--json", figures, *overrides]) == 0
    return made


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    capsys.readouterr()


def test_two_runs_in_a_table_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "a/evaluation.json", "b"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1:4] == ["Runs (slate)", "  A  a/evaluation.json", "  B  b/evaluation.json"]
    header = next(line for line in lines if line.startswith("  metric"))
    assert header.split()[-5:] == ["p", "bootstrap", "p", "permutation", "(Holm)"]
    assert "B - A" in header
    assert [line.split()[0] for line in lines if "@" in line and "[" in line] == [
        "ndcg@10",
        "recall@20",
        "novelty@10",
        "diversity@10",
        "miscalibration@10",
    ]
    assert next(line for line in lines if line.startswith("  coverage@10")).endswith("no test: not a mean")
    assert "from 10,000 resamples of the users; Holm corrects for all 5 tests." in printed
    assert "Warning" not in printed


def test_the_json_holds_what_the_tests_say(folder: Path) -> None:
    assert run_command(["compare", "a", "b", "--json", "new/c.json", "--resamples", "300", "--seed", "5"]) == 0
    found = json.loads((folder / "new" / "c.json").read_text("utf-8"))
    assert (found["list"], found["runs"]) == ("slate", {"A": "a/evaluation.json", "B": "b/evaluation.json"})
    assert (found["resamples"], found["seed"]) == (300, 5)
    (comparison,) = found["comparisons"]
    first, second = read_list(folder / "a"), read_list(folder / "b")
    assert first.users == tuple(sorted(first.users)) == second.users
    assert comparison["users"] == {"in_both": len(first.users), "only_in_first": 0, "only_in_second": 0}
    labels = [label for label in first.figures if label != "coverage@10"]
    differences = np.stack([second.values[label] - first.values[label] for label in labels], axis=1)
    for label, test in zip(labels, paired_tests(differences, np.random.default_rng(5), 300), strict=True):
        told = comparison["metrics"][label]
        assert told["difference"] == test.difference
        assert told["test"]["ci95"] == list(test.ci95)
        assert told["test"]["p"]["bootstrap"] == test.bootstrap
        assert told["test"]["p"]["permutation"] == test.permutation <= told["test"]["p"]["permutation_holm"]
        if test.users == len(first.users):
            assert told["first"] == pytest.approx(first.figures[label])
            assert told["second"] == pytest.approx(second.figures[label])
    coverage = comparison["metrics"]["coverage@10"]
    assert coverage["test"] is None
    assert coverage["second"] == second.figures["coverage@10"]


def test_the_same_comparison_comes_out_twice(folder: Path) -> None:
    for name in ("one.json", "two.json"):
        assert run_command(["compare", "a", "b", "--json", name, "--resamples", "200"]) == 0
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()


def test_a_stage_and_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "a", "b", "a", "--list", "similar", "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    assert "Runs (similar)" in printed
    assert "\nB against A: " in printed
    same = printed.partition("\nC against A: ")[2].splitlines()
    assert same[1].split()[1:6] == ["A", "C", "C", "-", "A"]
    tested = [line for line in same if "[" in line]
    assert len(tested) == 5
    assert all(line.endswith("[+0.0000, +0.0000]   1.0000       1.0000 (1.0000)") for line in tested)
    assert "all 10 tests" in printed


def test_another_held_out_set_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "a", "c", "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    assert "Warning: the held-out sets differ" in printed
    assert max(map(len, printed.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a"], 2, "name at least two evaluations"),
        ([], 2, "Missing argument 'RUNS...'"),
        (["a", "none.json"], 1, "Error: none.json: there is no such evaluation"),
        (["a", "music.yaml"], 1, "Error: music.yaml:2:1: not JSON"),
        (["a", "b", "--list", "simlar"], 1, "did you mean 'similar'?"),
        (["a", "b", "--resamples", "0"], 2, "--resamples"),
        (["a"] * 27, 1, "a comparison is of 2 to 26 evaluations, not 27"),
    ],
)
def test_what_is_asked_wrongly(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", *arguments]) == code
    found = capsys.readouterr()
    assert said in found.err
    assert not found.out


def test_the_help_tells_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "nbarec compare runs/a runs/b" in printed
    assert run_command(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
