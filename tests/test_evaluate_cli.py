"""`nbarec evaluate` where something is wrong with what it is given: told before the work, and by the names that the
user knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbarec.cli import run_command
from nbarec.pipeline import Pipeline

EVALUATED = "evaluate: {split: {use: random}, metrics: [ndcg@5]}\n"


@pytest.fixture
def configs(tmp_path: Path, music_text: str) -> tuple[str, str]:
    """One that says how it is to be evaluated, and one that does not."""
    said, silent = tmp_path / "said.yaml", tmp_path / "silent.yaml"
    said.write_text(music_text + EVALUATED, "utf-8")
    silent.write_text(music_text, "utf-8")
    return str(said), str(silent)


def test_a_config_without_an_evaluation_is_told_before_the_others_are_run(
    configs: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "load", None)
    assert run_command(["evaluate", *configs]) == 1
    assert f"{configs[1]} has no evaluate section; add one with a split and metrics" in capsys.readouterr().err


def test_the_figures_of_several_configs_go_to_a_folder_that_is_made(
    configs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "\u00e9.yaml"
    other.write_text(Path(configs[0]).read_text("utf-8"), "utf-8")
    file = tmp_path / "runs" / "new" / "figures.json"
    assert run_command(["evaluate", configs[0], str(other), "--json", str(file)]) == 0
    text = file.read_text("utf-8")
    assert list(json.loads(text)["configs"]) == [configs[0], str(other)]
    assert text.endswith("}\n")
    assert "\u00e9.yaml" in text
    assert [one.name for one in file.parent.iterdir()] == ["figures.json"]


@pytest.mark.parametrize(("metric", "warned"), [("ndcg_graded@5", True), ("ndcg@5", False)])
def test_metrics_that_go_by_weights_are_not_compared_under_other_ones(
    metric: str, warned: bool, configs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same items are to be found, but one config gives a play half as much weight again."""
    text = Path(configs[0]).read_text("utf-8").replace("ndcg@5", metric)
    assert "play: 1," in text
    other = tmp_path / "other.yaml"
    Path(configs[0]).write_text(text, "utf-8")
    other.write_text(text.replace("play: 1,", "play: 1.5,"), "utf-8")
    assert run_command(["evaluate", configs[0], str(other)]) == 0
    assert ("NOT COMPARABLE by metrics that go by the weights" in capsys.readouterr().out) == warned
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for config, file in zip((configs[0], str(other)), files, strict=True):
        assert run_command(["evaluate", config, "--json", file]) == 0
    capsys.readouterr()
    assert run_command(["compare", *files]) == 0
    assert ("Warning: the weights of the held-out events differ" in capsys.readouterr().out) == warned


def test_a_folder_in_place_of_the_file_is_told_before_the_work(
    configs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "load", None)
    assert run_command(["evaluate", configs[0], "--json", str(tmp_path)]) == 2
    assert f"'{tmp_path}' is a directory" in capsys.readouterr().err
    assert run_command(["compare", configs[0], configs[0], "--json", str(tmp_path)]) == 2
    assert f"'{tmp_path}' is a directory" in capsys.readouterr().err
