"""Every command explains itself, refuses what it can't do, and runs on a tiny world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import gbdt
import growth
import latency
import pipeline
import speed
from bench.questions import QUESTIONS
from bench.side_by_side import Side

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMMANDS = ("speed", "latency", "growth", "pipeline", "gbdt", "context_effects")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find what this process finds."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def given(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_says_how_it_is_done(command: str) -> None:
    path = str(BENCHMARKS / f"{command}.py")
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=True)
    assert f"python benchmarks/{command}.py" in done.stdout
    assert "--json FILE" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (speed, ["--only", "als,speling"], "there is no question speling; there are csr, knn"),
        (speed, ["--pairs", "0"], "--pairs: must be at least 1"),
        (growth, ["--only", "all"], "there is no kernel all; there are csr"),
        (growth, ["--scales", "1"], "a slope needs at least two sizes"),
        (growth, ["--scales", "1,many"], "--scales must be numbers"),
        (gbdt, ["--only", "fit,"], "there is no question ; there are fit, light"),
        (gbdt, ["--workers", "0"], "--workers: must be at least 1"),
        (pipeline, ["--runs", "0"], "--runs: must be at least 1"),
        (latency, ["--requests", "0"], "--requests: must be at least 1"),
    ],
)
def test_mistakes_are_told(
    command: object,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given(monkeypatch, *arguments)
    with pytest.raises(SystemExit) as refused:
        command.main()  # type: ignore[attr-defined]
    assert said in f"{refused.value} {capsys.readouterr().err}"


def test_a_peer_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr("bench.machine.find_spec", lambda name: None)
    given(monkeypatch, "--data", "tiny", "--only", "als", "--cache", cache)
    with pytest.raises(SystemExit, match=r"the question als needs implicit, which .* pip install 'nbarec\[bench\]'"):
        speed.main()


def test_speed_against_plain_loops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    files = "--json", tmp_path / "out.json", "--svg", tmp_path / "out.svg"
    given(monkeypatch, "--data", "tiny", "--only", "merge", "--pairs", 1, "--cache", cache, *files)
    assert speed.main() == 0
    assert "| `merge`" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert [one["question"]["name"] for one in written["answers"]] == ["merge"]
    assert not any("quality" in one["missed"] for one in written["answers"])
    assert "<svg" in (tmp_path / "out.svg").read_text()


def test_a_question_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("speed.QUESTIONS", [replace(q, ours=Side("nbarec", "bench.ours:gone")) for q in QUESTIONS])
    given(monkeypatch, "--data", "tiny", "--only", "merge", "--cache", cache, "--json", tmp_path / "out.json")
    assert speed.main() == 1
    assert "merge: nbarec: bench.ours:gone failed:" in capsys.readouterr().err
    assert json.loads((tmp_path / "out.json").read_text())["answers"] == []


@pytest.mark.skipif(not find_spec("implicit") or not find_spec("sklearn"), reason="the peers are not installed")
def test_speed_against_compiled_peers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    given(
        monkeypatch,
        "--data",
        "tiny",
        "--only",
        "csr,knn,uknn,topk,foldin",
        "--pairs",
        1,
        "--cache",
        cache,
        "--json",
        out,
    )
    assert speed.main() == 0
    assert not any("quality" in one["missed"] for one in json.loads(out.read_text())["answers"])


def test_growth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    files = "--json", tmp_path / "out.json", "--svg", tmp_path / "out.svg"
    given(monkeypatch, "--events", 2000, "--scales", "1,3", "--only", "csr,topk", "--cache", cache, *files)
    assert growth.main() == 0
    told = capsys.readouterr().out
    assert "| users  |  80 | 240 |" in told
    assert "| `topk` |" in told
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["kernels"]["topk"]["runs"]) == 2
    assert "<svg" in (tmp_path / "out.svg").read_text()


def test_pipeline_and_then_latency_of_its_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    given(monkeypatch, "--data", "tiny", "--runs", 1, "--cache", cache, "--json", tmp_path / "pipeline.json")
    assert pipeline.main() == 0
    told = capsys.readouterr().out
    assert "600 users, 20 places each" in told
    assert "mmr filter" in told
    figures = json.loads((tmp_path / "pipeline.json").read_text())["serve"][0]["figures"]
    assert figures["recall@20"] > 0.2
    given(monkeypatch, "--data", "tiny", "--requests", 5, "--cache", cache, "--json", tmp_path / "latency.json")
    assert latency.main() == 0
    waits = json.loads((tmp_path / "latency.json").read_text())["waits"]
    assert len(waits) == 8
    assert all(wait["measured"] > 0 for wait in waits)
