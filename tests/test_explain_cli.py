"""The commands that tell why, as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nbarec.cli import run_command

MUSIC = str(Path(__file__).parents[1] / "configs" / "music.yaml")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of a small music world."""
    folder = tmp_path_factory.mktemp("fit") / "model"
    small = ["--set", "data.users=60", "--set", "data.songs=80"]
    assert run_command(["fit", MUSIC, "--model", str(folder), *small]) == 0
    return str(folder)


def test_explain_tells_the_way_of_an_item_and_where_all_others_are(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["explain", saved, "U0001"]) == 0
    shown = capsys.readouterr().out
    counts = [
        int(line.split()[-1].replace(",", "")) for line in shown.partition("Where the ")[2].splitlines()[1:] if line
    ]
    assert sum(counts) == int(re.search(r"Where the ([\d,]+) items are", shown)[1].replace(",", ""))  # type: ignore[index]
    best = re.search(r"^  1  (\S+)", shown, re.MULTILINE)
    assert best
    assert run_command(["explain", saved, "U0001", best[1]]) == 0
    one = capsys.readouterr().out
    assert "for U0001: in the slate at rank 1" in one
    assert "Proposed by" in one
    assert "On its way" in one
    assert run_command(["explain", saved, "U0001", "no such song"]) == 0
    assert capsys.readouterr().out == "no such song for U0001: not in the catalogue\n"
    assert run_command(["explain", saved, "U0001", best[1], "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "in the slate at rank 1"


def test_of_many_terms_those_that_move_the_score_most_are_told(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    song = json.loads(_first(saved, capsys))["items"][0]["item_id"]
    assert run_command(["explain", saved, "U0001", song, "--format", "json"]) == 0
    [step] = [one for one in json.loads(capsys.readouterr().out)["steps"] if one["stage"] == "engaged"]
    assert sum(step["terms"].values()) == pytest.approx(step["score"], abs=1e-6)
    assert run_command(["explain", saved, "U0001", song]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    engaged ")]
    told = re.findall(r"(\S+(?: x \S+| others)?) ([+-][\d.e-]+)", line.partition("score")[2])
    assert told[0][0] == "base"
    assert told[-1][0] == f"{len(step['terms']) - 10} others"
    sizes = [abs(float(amount)) for _, amount in told[1:-1]]
    assert len(sizes) == 9
    assert sizes == sorted(sizes, reverse=True)
    assert sum(float(amount) for _, amount in told) == pytest.approx(step["score"], rel=1e-2)


def test_recommend_explains_in_every_format(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    for form, told in (
        ("table", "because "),
        ("csv", "user_id,rank,item_id,score,because"),
        ("jsonl", '"proposed_by"'),
    ):
        assert run_command(["recommend", saved, "--user", "U0001", "--explain", "--format", form]) == 0
        assert told in capsys.readouterr().out


def test_similar_items_by_vectors_and_by_proposals(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    song = json.loads(_first(saved, capsys))["items"][0]["item_id"]
    for stage, measure in (("latent", "cosine of the item vectors"), ("similar", "what it proposes after that item")):
        assert run_command(["similar", saved, song, "--stage", stage, "-k", "3"]) == 0
        title, *lines = capsys.readouterr().out.splitlines()
        assert song in title
        assert measure in title
        assert len(lines) == 3
        assert not any(line.split()[0] == song for line in lines)
    assert run_command(["similar", saved, "no such song"]) == 1
    assert "item 'no such song' is not in the catalogue" in capsys.readouterr().err
    assert run_command(["similar", saved, song, "--stage", "nope"]) == 1
    assert "no generator of the model has the id 'nope'; there are similar" in capsys.readouterr().err


def _first(saved: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run_command(["recommend", saved, "--user", "U0001", "-k", "1", "--format", "jsonl"]) == 0
    return capsys.readouterr().out
