"""What the report tells of other settings, new users and items, requests, how popular lists are, and what it took."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import nbarec
from nbarec.cli import run_command
from nbarec.list_popularity import list_popularity
from nbarec.model import Model
from nbarec.run_report import report_of

EVALUATE = """
evaluate:
  split: {use: last_fraction, fraction: 0.3}
  metrics: [recall@6, ndcg@6]
  variants: {"fewer <b>": {slate.k: 3}}
  cold_start: {users: [0, 2], items: [1], fraction: 0.4, metric: ndcg@6}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, music_text: str) -> Path:
    """A run with variants and cold starts, and without a metric of popularity."""
    folder = tmp_path_factory.mktemp("trials")
    (folder / "music.yaml").write_text(music_text + EVALUATE, "utf-8")
    assert run_command(["run", str(folder / "music.yaml"), "--out", str(folder / "music")]) == 0
    return folder / "music"


def evaluation_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text("utf-8"))
    return found


def numbers_of(page: str, caption: str) -> dict[str, list[float]]:
    """The exact numbers of each row of a table, by the row's header."""
    table = page.split(f"<caption>{caption}</caption>", 1)[1].split("</table>", 1)[0]
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    exact = r'<data value="(.*?)">'
    return {re.sub("<.*?>", "", name): [float(one) for one in re.findall(exact, cells)] for name, cells in rows}


def test_variants_and_cold_starts_stand_there_as_they_were_measured(run: Path) -> None:
    page, found = report_of(run), evaluation_of(run)
    variants = numbers_of(page, "The whole slate, ± half of the 95% interval")
    told = {"as configured": found["metrics"], "fewer &lt;b&gt;": found["variants"]["fewer <b>"]["metrics"]}
    assert variants == {name: [figure["mean"] for figure in metrics.values()] for name, metrics in told.items()}
    for what in ("users", "items"):
        cold = numbers_of(page, f"ndcg@6 where so many events are known of new {what}")
        rows = found[f"cold_{what}"]
        for stage, means in cold.items():
            lists = [row["metrics"] if stage == "slate" else row["stages"][stage]["metrics"] for row in rows]
            assert means == [one["ndcg@6"]["mean"] for one in lists if one["ndcg@6"]["mean"] is not None]
        assert set(cold) == {*rows[0]["stages"], "slate"}


def test_without_a_metric_of_popularity_that_of_the_served_lists_is_shown(run: Path) -> None:
    page = report_of(run)
    model = nbarec.load(run / "model")
    known = list_popularity(model, ["similar", "alike", "trending", "mixed"], 6)
    drawn = page.split("<title>recall@6 by events of the items shown</title>", 1)[1].split("</svg>", 1)[0]
    for stage, mean in known.items():
        assert f"{stage or 'slate'}: events of the items shown {rounded(mean)}" in drawn


def rounded(mean: float) -> str:
    """As a chart's mark tells a number from 1 on."""
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.2f}"


def test_popularity_of_lists_is_what_a_slow_count_says(music_model: Model) -> None:
    data = music_model.data
    known = list_popularity(music_model, ["trending"], 4)
    events: dict[str, int] = {}
    for item in data.items.texts(data.events.item):
        events[item] = events.get(item, 0) + 1
    users = [user for user, count in zip(data.users.all(), data.events.counts.tolist(), strict=True) if count]
    for stage in ("", "trending"):
        shown = music_model.recommend(users, k=4, stage=stage or None).items
        counts = [events.get(str(item), 0) for row in shown for item in row]
        assert known[stage] == pytest.approx(sum(counts) / len(counts))


def test_requests_are_called_so(run: Path, tmp_path: Path) -> None:
    found = {**evaluation_of(run), "requests": {"evaluated": 1234}}
    (tmp_path / "evaluation.json").write_text(json.dumps(found), "utf-8")
    page = report_of(tmp_path)
    assert f"1,234 requests of {found['users']['evaluated']} users" in page
    assert "Means over requests" in page


def test_a_pipeline_of_one_generator_is_told_in_words(tmp_path: Path, music_text: str) -> None:
    head = music_text.split("candidates:")[0]
    config = head + "candidates: [{use: item_cf, k: 6, with: {neighbors: 20}}]\nslate: {k: 6}\n" + EVALUATE
    config = re.sub("  (variants|cold_start).*\n", "", config)
    (tmp_path / "one.yaml").write_text(config, "utf-8")
    assert run_command(["run", str(tmp_path / "one.yaml"), "--out", str(tmp_path / "one")]) == 0
    page = re.sub("<.*?>", "", report_of(tmp_path / "one"))
    assert "All lists are alike: an item that is shown has" in page
    assert "The pipeline has no generator of popularity" in page
    assert "is the same as that of the best single generator" in page


def test_what_a_run_took_is_told(run: Path, tmp_path: Path) -> None:
    cost = json.loads((run / "run.json").read_text("utf-8"))
    assert 0 < cost["seconds"] < 3600
    page = report_of(run)
    assert f"nbarec {nbarec.__version__}" in page
    peak = "" if cost["peak"] is None else f", {cost['peak'] / 2**20:,.0f} MiB of memory at most"
    assert f" seconds{peak}</td>" in page
    shutil.copy(run / "evaluation.json", tmp_path)
    assert "the run tells none" in report_of(tmp_path)
