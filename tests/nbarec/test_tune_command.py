"""`nbarec tune` as people call it, killed in the middle too."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nbarec.cli import run_command

pytest.importorskip("optuna")

CONFIG = """nbarec: 1
seed: 3
data: {use: csv, events: {path: events.csv, columns: {user: user, item: item, time: time}}}
candidates:
  - {id: similar, use: item_cf, k: 8}
  - {id: popular, use: popularity, k: 8}
rank: [{id: mixed, use: blend, with: {weights: {similar: 1.0, popular: 0.5}}}]
slate: {k: 4}
evaluate: {split: {use: last_fraction, fraction: 0.25}, metrics: [ndcg@3]}
tune:
  metric: ndcg@3
  ranges:
    candidates.similar.with.neighbors: {low: 2, high: 12, integer: true, log: true}
    rank.mixed.with.weights.popular: {low: 0, high: 2}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and its data, in which commands run."""
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(40), 16)
    item = np.where(rng.random(640) < 0.7, rng.integers(0, 12, 640) * 2 + user % 2, rng.integers(0, 24, 640))
    rows = [f"{one},{other},{time}" for one, other, time in zip(user, item, np.tile(np.arange(16), 40), strict=True)]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,time", *rows]), "utf-8")
    (tmp_path / "shop.yaml").write_text(CONFIG, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trials(folder: Path) -> list[dict[str, str]]:
    """The rows of the table of trials, without the seconds."""
    path = folder / "trials.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_a_killed_study_goes_on_as_if_it_never_was(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune", "shop.yaml", "--trials", "14"]
    code = f"from nbarec.cli import run_command; run_command({command!r})"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    folder, until = shop / "runs" / "shop-tune", time.monotonic() + 60
    while len(trials(folder)) < 4 and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    child.wait()
    known = len(trials(folder))
    assert 4 <= known <= 15
    assert run_command(command) == 0
    assert run_command([*command, "--output", "whole"]) == 0
    assert len(trials(folder)) == 15
    assert trials(folder) == trials(shop / "whole")
    best = [(one / "best.yaml").read_text("utf-8").partition("nbarec: 1")[2] for one in (folder, shop / "whole")]
    assert best[0] == best[1]
    assert "trials of this study are there already; going on" in capsys.readouterr().out


def test_it_tells_of_the_best_and_writes_a_config_that_runs(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tune", "shop.yaml", "--trials", "12", "--output", "study"]) == 0
    out = capsys.readouterr().out
    assert "Tuning 2 parameters by ndcg@3 on validation" in out
    assert "trial 0: ndcg@3 0." in out
    assert "-> " in out
    assert "nbarec evaluate study/best.yaml" in out
    assert run_command(["evaluate", "study/best.yaml"]) == 0
    assert run_command(["tune", "shop.yaml", "--trials", "3", "--output", "study"]) == 0  # there are more already
    assert len(trials(shop / "study")) == 13


def test_an_interrupted_study_says_how_to_go_on(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nbarec.tuning_scores.Scorer.score", interrupted)
    assert run_command(["tune", "shop.yaml", "--output", "a b", "--trials", "9", "--set", "seed=4"]) == 130
    said = capsys.readouterr().err
    assert "0 trials are written down; to go on: nbarec tune shop.yaml --output 'a b' --trials 9 --set seed=4" in said


def test_of_an_evaluation_with_folds_it_says_what_is_seen(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace("use: last_fraction, fraction: 0.25", "use: k_fold, folds: 4")
    (shop / "shop.yaml").write_text(text, "utf-8")
    assert run_command(["tune", "shop.yaml", "--trials", "1"]) == 0
    assert "only that of the first one is unseen" in capsys.readouterr().out


def test_time_ends_a_study_and_counts_all_runs(shop: Path) -> None:
    for _ in range(2):
        assert run_command(["tune", "shop.yaml", "--minutes", "0.0001"]) == 0
        assert len(trials(shop / "runs" / "shop-tune")) == 1  # the config itself always runs


def test_mistakes_are_told_before_any_data_are_read(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "events.csv").unlink()
    (shop / "shop.yaml").write_text(CONFIG.replace("weights.popular: {low: 0", "weights.popula: {low: -1"), "utf-8")
    assert run_command(["tune", "shop.yaml"]) == 1
    assert "shop.yaml:14:" in capsys.readouterr().err
    assert run_command(["validate", "shop.yaml"]) == 1
    (shop / "shop.yaml").write_text(CONFIG.partition("tune:")[0], "utf-8")
    assert run_command(["tune", "shop.yaml"]) == 1
    assert "no tune section" in capsys.readouterr().err
