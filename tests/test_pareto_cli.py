"""`nbarec pareto` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nbarec.cli import run_command

VARIED = ["--vary", "filters.artists.with.max=1,2,6"]
OBJECTIVES = ["--objectives", "ndcg@6,minimise:coverage@6"]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, music_text: str) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate = "evaluate: {split: {use: random}, metrics: [ndcg@10], cold_start: {}, segments: [{by: history}]}\n"
    Path("music.yaml").write_text(music_text + evaluate, "utf-8")
    Path("plain.yaml").write_text(music_text, "utf-8")


def test_a_table_a_file_and_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pareto", "music.yaml", *VARIED, *OBJECTIVES, "--set", "seed=5"]) == 0
    printed = capsys.readouterr().out
    assert "what evaluate holds out was not read" in printed
    header = next(line for line in printed.splitlines() if line.startswith("  setting"))
    assert "ndcg@6" in header
    assert "minimise:coverage@6" in header
    written = json.loads(Path("runs/music-pareto/pareto.json").read_text("utf-8"))
    assert [one["name"] for one in written["settings"]] == ["as configured", "max=1", "max=2", "max=6"]
    assert written["objectives"][1] == {"metric": "coverage@6", "minimise": True}
    for one in written["settings"]:
        line = next(line for line in printed.splitlines() if line.startswith(f"  {one['name']} "))
        assert f"{one['metrics']['ndcg@6']['mean']:.4f} ±" in line
        assert line.endswith("yes") == one["on_front"]
    assert set(written["front"]) == {one["name"] for one in written["settings"] if one["on_front"]}
    ElementTree.parse("runs/music-pareto/pareto.svg")


def test_the_same_front_comes_out_twice() -> None:
    for name in ("a", "b"):
        assert run_command(["pareto", "music.yaml", *VARIED, *OBJECTIVES, "--output", name]) == 0
    for file in ("pareto.json", "pareto.svg"):
        assert Path("a", file).read_bytes() == Path("b", file).read_bytes()


def test_the_test_part_is_read_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pareto", "music.yaml", *VARIED, *OBJECTIVES, "--part", "test", "--output", "t"]) == 0
    assert "THE TEST PART" in capsys.readouterr().out
    assert json.loads(Path("t/pareto.json").read_text("utf-8"))["part"] == "test"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["music.yaml", *VARIED], 2, "Missing option '--objectives'"),
        (["music.yaml", *OBJECTIVES], 2, "Missing option '--vary'"),
        (["music.yaml", *VARIED, "--objectives", "ndcg@6"], 2, "takes two metrics"),
        (["music.yaml", *VARIED, "--objectives", "ndcg@6,minimise:ndcg@6"], 2, "takes two metrics"),
        (
            ["music.yaml", *VARIED, "--objectives", "ndgc@6,recall@6"],
            1,
            "--objectives:1:1: 'ndgc@6': there is no metric",
        ),
        (["plain.yaml", *VARIED, *OBJECTIVES], 1, "plain.yaml has no evaluate section"),
        (["music.yaml", "--vary", "filters.artists.with.max=0", *OBJECTIVES], 1, "max_per: max must be at least 1"),
    ],
)
def test_what_is_asked_wrongly(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pareto", *arguments]) == code
    told = capsys.readouterr()
    assert said in told.err
    assert not Path("runs").exists()


def test_the_help_tells_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pareto", "--help"]) == 0
    assert "nbarec pareto configs/diversity.yaml --vary filters.unlike.with.relevance=" in capsys.readouterr().out
