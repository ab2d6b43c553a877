"""The report of a run: its numbers are those of the run, nothing in it is markup by accident, and it is always the same
page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import nbarec
from nbarec.cli import run_command
from nbarec.errors import DataError
from nbarec.markup import VOID
from nbarec.run_report import report_of, write_report
from nbarec.sample_users import drawn_users

EVALUATE = """
evaluate:
  split: {use: last_fraction, fraction: 0.3}
  metrics: [recall@6, ndcg@6, coverage@6, novelty@6]
  segments: [{by: history}, {by: popularity}]
"""
NASTY = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """A page whose tags must be closed in the order they were opened: its cells, exact numbers, texts and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.numbers: list[list[float]] = []
        self.captions: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.numbers.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "caption":
            self.captions.append("")
        if tag == "data":
            self.numbers[-1].append(float(dict(attrs)["value"] or "nan"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "th" in self.open or "td" in self.open:
            self.rows[-1][-1] += data
        if "caption" in self.open:
            self.captions[-1] += data


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory, music_text: str) -> Path:
    """What `nbarec run` left of a small music world with an evaluation."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "music.yaml").write_text(music_text + EVALUATE, "utf-8")
    assert run_command(["run", str(folder / "music.yaml"), "--out", str(folder / "music")]) == 0
    return folder / "music"


@pytest.fixture
def copied(music: Path, tmp_path: Path) -> Path:
    """The same run in a folder of its own that may be damaged."""
    return Path(shutil.copytree(music, tmp_path / "music"))


def evaluation_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text("utf-8"))
    return found


def test_the_command_writes_one_page_that_needs_nothing_else(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(music)]) == 0
    assert str(music / "report.html") in capsys.readouterr().out
    text = (music / "report.html").read_text("utf-8")
    assert text == report_of(music)
    assert len(text) < 500_000
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert page.tags.count("caption") == page.tags.count("table")
    assert not re.search(r"""(src|srcset)=|url\(|@import|href="[^#]|https?:""", text)
    assert len(page.captions) >= 5


def test_every_figure_stands_in_the_page_as_it_was_measured(music: Path) -> None:
    page, found = Page(report_of(music)), evaluation_of(music)
    told = {row[0]: numbers for row, numbers in zip(page.rows, page.numbers, strict=True) if row and numbers}
    lists = {stage: one["metrics"] for stage, one in found["stages"].items()}
    generators = {
        stage: [one[what] / found["stage_losses"]["relevant"] for what in ("proposed", "alone")]
        for stage, one in found["stage_losses"]["generators"].items()
    }
    by_table = [(row[0], numbers) for row, numbers in zip(page.rows, page.numbers, strict=True) if row and numbers]
    for name, metrics in {**lists, "slate": found["metrics"]}.items():
        expected = [figure["mean"] for figure in metrics.values() if figure["mean"] is not None]
        assert (name, expected) in by_table
    for name, shares in generators.items():
        assert (name, shares) in by_table
    for table in found["segments"]:
        for segment in table["segments"]:
            means = [figure["mean"] for figure in segment["metrics"].values() if figure["mean"] is not None]
            name = f"{segment['name']} ({segment['told']})" if segment["told"] else segment["name"]
            assert told[name] == [segment["users"], *means]


def test_every_chart_is_well_formed_and_tells_what_the_evaluation_says(music: Path) -> None:
    text, found = report_of(music), evaluation_of(music)
    charts = [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    names = [chart.findtext("title") for chart in charts]
    expected = [*found["metrics"], "Where held-out items are left", "recall@6 by novelty@6"]
    expected += ["ndcg@6 by history", "ndcg@6 by popularity"]
    assert names == [*expected, "The long tail", "Users by events", "Activity over time"]
    for chart in charts:
        assert chart.get("role") == "img"
        assert chart.findtext("desc")
        marks = [group for group in chart.iter("g") if "mark" in (group.get("class") or "").split()]
        assert marks
        assert all(next(mark.iter("title"), None) is not None for mark in marks)
    losses = " ".join(title.text or "" for title in charts[len(found["metrics"])].iter("title"))
    for reason, count in found["stage_losses"]["left"].items():
        name = "ranked below the 6 places" if reason == "below the slate" else reason
        assert (f"{name}: {count:,} · " in losses) == (count > 0)


def test_the_head_tells_the_data_the_pipeline_and_who_is_ahead(music: Path) -> None:
    text, found = Page(report_of(music)).text, evaluation_of(music)
    assert "6 items for each of 60 users, chosen from 80 items after" in text
    best = max(("similar", "alike", "trending"), key=lambda stage: found["stages"][stage]["metrics"]["ndcg@6"]["mean"])
    assert f"against the best single generator, {best}" in text
    assert "95% interval of the difference" in text
    for stage in ("similar", "alike", "trending", "mixed", "licensed", "artists"):
        assert stage in text


def test_the_same_run_gives_the_same_bytes(music: Path, copied: Path) -> None:
    assert report_of(music) == report_of(music) == report_of(copied)


def test_sample_users_are_drawn_by_the_seed_or_chosen(music: Path, tmp_path: Path) -> None:
    model = nbarec.load(music / "model")
    drawn = re.findall(r"<h3>User (.*?)</h3>", report_of(music))
    assert drawn == [str(user) for user in drawn_users(model.data, model.pipeline.config.seed)]
    chosen = [str(user) for user in model.data.users.take([3, 1])]
    path = tmp_path / "page.html"
    options = [part for user in chosen for part in ("--users", user)]
    assert run_command(["report", str(music), "--output", str(path), *options]) == 0
    page = path.read_text("utf-8")
    assert re.findall(r"<h3>User (.*?)</h3>", page) == chosen
    slate = model.recommend(chosen, explain=True)
    for items in slate.items:
        for item in items:
            assert f" {item}</span>" in page


def test_a_user_that_is_not_there_is_an_error(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(music), "--users", "nobody"]) == 1
    assert "the model knows no user 'nobody'" in capsys.readouterr().err


def test_texts_of_data_and_folders_are_never_markup(tmp_path: Path) -> None:
    users = ["<b>u</b>", "plain", "third"]
    lines = ['user,item,weight,"<i>"'] + [f"{user},i{at},1,x" for user in users for at in range(len(user) // 3 + 2)]
    (tmp_path / "events.csv").write_text("\n".join(lines), "utf-8")
    quoted = NASTY.replace('"', '""')
    items = [f'i{at},"{quoted} {at}"' for at in range(6)]
    (tmp_path / "items.csv").write_text("\n".join(["id,name", *items]), "utf-8")
    config = f"""
nbarec: 1
data:
  use: csv
  events: {{path: "{tmp_path}/events.csv", columns: {{user: user, item: item}}}}
  items: {{path: "{tmp_path}/items.csv", id: id, name: name}}
candidates: [{{id: popular, use: popularity, exclude: weight > 9}}, {{id: alike, use: item_cf, exclude: weight > 9}}]
slate: {{k: 3, fallback: popular}}
evaluate: {{split: {{use: random, fraction: 0.5}}, metrics: [ndcg@3]}}
"""
    (tmp_path / "config.yaml").write_text(config, "utf-8")
    folder = tmp_path / "<run> & co"
    assert run_command(["run", str(tmp_path / "config.yaml"), "--out", str(folder)]) == 0
    text = report_of(folder)
    page = Page(text)
    assert not {"script", "run", "i"} & set(page.tags)
    assert "<script" not in text
    assert "<b>u</b>" not in text
    assert f"{NASTY} 1" in page.text
    assert "User <b>u</b>" in page.text
    assert "Run report: <run> & co" in page.text


def test_a_run_without_evaluation_tells_how_to_get_one(tmp_path: Path, music_text: str) -> None:
    (tmp_path / "plain.yaml").write_text(music_text, "utf-8")
    assert run_command(["run", str(tmp_path / "plain.yaml"), "--out", str(tmp_path / "plain")]) == 0
    text = Page(report_of(tmp_path / "plain")).text
    assert "This run has no evaluation" in text
    assert "evaluate: {split:" in text
    assert "The long tail" in text


def test_an_evaluation_without_a_model_is_reported_and_tells_what_lacks(copied: Path) -> None:
    shutil.rmtree(copied / "model")
    text = report_of(copied)
    assert "an evaluation and no model" in text
    assert "nbarec run CONFIG --out DIR" in text
    assert "ndcg@6" in text
    with pytest.raises(DataError, match="has no model that could serve"):
        report_of(copied, ["U0001"])


def test_without_the_values_of_users_nothing_is_said_of_chance(copied: Path) -> None:
    (copied / "evaluation_users.csv").unlink()
    text = Page(report_of(copied)).text
    assert "chance alone" not in text
    assert "The slate's ndcg@6 is" in text


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (emptied, "holds neither model nor evaluation.json; nbarec run CONFIG --out"),
        (shutil.rmtree, "is no folder; nbarec run CONFIG --out"),
        (lambda folder: (folder / "evaluation.json").write_text("{}"), "is no evaluation that nbarec wrote"),
        (lambda folder: (folder / "evaluation.json").write_text("[1"), "not JSON"),
        (lambda folder: (folder / "run.json").write_text('{"seconds": "x"}'), "does not tell what a run took"),
    ],
)
def test_what_can_not_be_reported_on_is_said(copied: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(copied)
    with pytest.raises(DataError, match=said):
        report_of(copied)


def test_a_page_is_not_written_where_there_is_no_folder(music: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder; make it first"):
        write_report(music, tmp_path / "no" / "page.html")


def test_what_stages_learnt_is_shown(copied: Path) -> None:
    found = evaluation_of(copied)
    bins = [{"predicted": 0.1, "observed": 0.12, "entries": 900}, {"predicted": 0.6, "observed": 0.5, "entries": 80}]
    found["findings"] = {
        "mixed": {
            "reliability": bins,
            "auc": 0.71234,
            "learnt from": {"requests": 1200, "entries": 24000},
            "strongest": {"similar.score": 0.9, "<item>": -0.4, "alike.rank": 0.3, "agreement": 0.1},
            "levels": [{"name": "rock", "lift": 1.5}, {"name": NASTY, "lift": None}],
            "log loss": {"calibrated": 0.2, "before": None},
            "labels": ["click", "buy"],
        }
    }
    (copied / "evaluation.json").write_text(json.dumps(found), "utf-8")
    text = report_of(copied)
    page = Page(text)
    titles = [ElementTree.fromstring(one).findtext("title") for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert {"reliability", "strongest"} <= set(titles)
    for said in (
        "predicted 0.100, observed 0.120, 900 entries",
        "0.712",
        "click, buy",
        "learnt from, requests1,200",
        NASTY,
    ):
        assert said in page.text
