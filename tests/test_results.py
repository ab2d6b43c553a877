"""What the configs promise of their lists holds, and the tables of docs/results.md are what a run gives today."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
RESULTS = (ROOT / "docs" / "results.md").read_text("utf-8")
SLACK = 0.004
"""How far a figure may be off: floating point differs between processors, and a few ties fall the other way."""


def tables(title: str) -> list[list[list[str]]]:
    """The tables of the section of that title: lines of cells, header first."""
    section = RESULTS.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^\|.*\n?)+", section, re.MULTILINE)
    cut = [[line.strip("| ").split(" | ") for line in table.splitlines()] for table in found]
    return [[table[0], *table[2:]] for table in cut]


def evaluated(path: Path) -> Evaluation:
    pipeline = Pipeline.from_yaml(path)
    assert pipeline.plan is not None
    return pipeline.plan.run(pipeline, pipeline.load())[0]


def numbers(cells: Iterable[str]) -> list[float]:
    return [float(cell.split()[0]) for cell in cells]


def same(shown: Sequence[Sequence[str]], found: Sequence[Sequence[str]], last: int) -> None:
    """Lines of the same names with the same figures, but for the columns from `last` on."""
    assert shown[0] == found[0]
    assert sorted(line[0].strip("`") for line in shown[1:]) == sorted(line[0] for line in found[1:])
    by_name = {line[0]: line for line in found[1:]}
    for line in shown[1:]:
        expected = numbers(by_name[line[0].strip("`")][1:last])
        assert numbers(line[1:last]) == pytest.approx(expected, abs=SLACK), line[0]


@pytest.fixture(scope="module")
def cold_start() -> Evaluation:
    return evaluated(CONFIGS / "cold_start.yaml")


@pytest.fixture(scope="module")
def diversity() -> Evaluation:
    return evaluated(CONFIGS / "diversity.yaml")


def test_at_every_cold_start_the_blend_is_at_least_the_best_generator_within_its_interval(
    cold_start: Evaluation,
) -> None:
    users, items = cold_start.cold_starts
    assert [row.events for row in users.rows] == [0, 1, 2, 5, 10]
    assert [row.events for row in items.rows] == [0, 1, 5]
    for row in (*users.rows, *items.rows):
        assert row.ranked == "mixed"
        assert row.ci95[1] >= 0, f"{row.events} events: {row.lead:+.4f} behind {row.best}"
    assert users.rows[0].best == "trending"
    assert items.rows[0].best == "alike"
    found = [row.evaluation.stages["mixed"].figures["ndcg@10"].mean for row in users.rows]
    assert found == sorted(found)  # the more is known, the better


def test_diversity_is_bought_with_relevance_and_each_way_moves_its_own_measure(diversity: Evaluation) -> None:
    measures = {"mmr": "diversity@10", "dpp": "diversity@10", "calibrate": "miscalibration@10"}
    for way, measure in measures.items():
        settings = [report for name, report in diversity.variants.items() if name.startswith(way)]
        assert len(settings) == 5
        moved = [report.figures[measure].mean for report in (diversity.slate, *settings)]
        assert moved == sorted(moved, reverse=way == "calibrate"), way
        recall = [report.figures["recall@10"].mean for report in settings]
        # The first setting costs next to nothing, the last one something that can be told from chance.
        low, _ = diversity.metrics["recall@10"].ci95
        assert recall[0] > low
        assert recall[-1] < recall[0]


@pytest.fixture(scope="module")
def movielens(data_folder: Path) -> Evaluation:
    return evaluated(CONFIGS / "movielens.yaml")


@pytest.fixture(scope="module")
def lastfm(data_folder: Path) -> Evaluation:
    return evaluated(CONFIGS / "lastfm.yaml")


def test_each_movielens_users_last_fifth_is_held_out(movielens: Evaluation) -> None:
    assert "100,000 events = 80,367 training + 19,633 held out" in movielens.holdout[0]
    assert len(movielens.users) + movielens.skipped == 943


@pytest.mark.parametrize("stage", ["similar", "people", "latent", "mixed"])
def test_personalised_lists_are_clearly_above_popularity_on_movielens(movielens: Evaluation, stage: str) -> None:
    popular = movielens.stages["popular"].figures["ndcg@10"]
    assert movielens.stages[stage].figures["ndcg@10"].ci95[0] > popular.mean
    assert movielens.metrics["ndcg@10"].ci95[0] > popular.ci95[1]
    assert popular.mean > 0.08


@pytest.mark.parametrize("stage", ["similar", "people", "latent", "mixed"])
def test_personalised_lists_are_clearly_above_popularity_on_lastfm(lastfm: Evaluation, stage: str) -> None:
    popular = lastfm.stages["popular"].figures["ndcg@10"]
    assert lastfm.stages[stage].figures["ndcg@10"].ci95[0] > popular.ci95[1]


def test_the_cold_starts(cold_start: Evaluation) -> None:
    for shown, found in zip(tables("Cold starts"), cold_start.cold_starts, strict=True):
        same(shown, found.lines(), len(shown[0]))


def test_what_diversity_costs(diversity: Evaluation) -> None:
    (shown,) = tables("What diversity costs")
    same(shown, diversity.variant_rows(), len(shown[0]) - 1)


@pytest.fixture(scope="module")
def generators() -> ModuleType:
    """The script benchmarks/generators.py as a module."""
    spec = importlib.util.spec_from_file_location("generators", ROOT / "benchmarks" / "generators.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("data", "at"), [("movielens", 0), ("lastfm", 1)])
def test_every_generator_alone(data: str, at: int, generators: ModuleType, data_folder: Path) -> None:
    shown = tables("Every generator alone")[at]
    evaluation, seconds = generators.measured(data, {})
    header, *rows = evaluation.rows()
    found = [[*header, "fit s"], *([*row, ""] for row in rows if row[0] in seconds)]
    same(shown, found, len(shown[0]) - 1)


@pytest.mark.parametrize("config", ["movielens", "lastfm"])
def test_the_pipelines_of_the_configs(config: str, request: pytest.FixtureRequest) -> None:
    (shown,) = tables("The pipelines of the configs")
    (line,) = (line for line in shown if line[0] == f"`{config}.yaml`")
    evaluation: Evaluation = request.getfixturevalue(config)
    best = max(report.figures["ndcg@10"].mean for stage, report in evaluation.stages.items() if stage != "mixed")
    assert numbers([line[2], line[3]]) == pytest.approx([best, evaluation.metrics["ndcg@10"].mean], abs=SLACK)
