"""Files of evaluations by event: a line a request, read again, compared, and refused where they do not fit."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nbarec.comparing import compare
from nbarec.errors import DataError
from nbarec.evaluation_files import read_list
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation

TEXT = """
nbarec: 1
data: {use: music_world, users: 40, songs: 50, days: 20}
candidates: [{id: similar, use: item_cf, k: 20}, {id: popular, use: popularity, k: 20}]
rank: [{use: blend}]
slate: {k: 5}
evaluate:
  each: EACH
  split: {use: global_time, fraction: 0.2}
  metrics: [ndcg@5, recall@5]
  variants: {few: {candidates.similar.with.neighbors: 1}}
"""


def evaluated(each: str = "event") -> Evaluation:
    pipeline = Pipeline.from_text(TEXT.replace("EACH", each))
    assert pipeline.plan is not None
    return pipeline.plan.run(pipeline, pipeline.load())[0]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluated()


def test_files_have_a_line_a_request_and_can_be_compared(evaluation: Evaluation, tmp_path: Path) -> None:
    figures, values = evaluation.write(tmp_path / "a" / "evaluation.json")
    plain = json.loads(figures.read_text())
    assert plain["requests"] == {"evaluated": len(evaluation.users)}
    assert plain["users"]["evaluated"] == evaluation.people
    with values.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["user_id"], int(line["request"])) for line in lines] == list(
        zip(evaluation.users, evaluation.requests or (), strict=True)
    )
    few = replace(evaluation, slate=evaluation.variants["few"])
    few.write(tmp_path / "b" / "evaluation.json")
    one, two = read_list(tmp_path / "a"), read_list(tmp_path / "b")
    (compared,) = compare([one, two], {})
    assert compared.what == "requests"
    assert compared.users == len(evaluation.users)
    assert "requests in both" in compared.title()
    by_label = {metric.label: metric for metric in compared.metrics}
    gain = float(np.nanmean(two.values["ndcg@5"] - one.values["ndcg@5"]))
    assert by_label["ndcg@5"].difference == pytest.approx(gain)
    assert by_label["ndcg@5"].test is not None
    assert by_label["ndcg@5"].test.users == evaluation.people


def test_a_comparison_with_a_list_a_user_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write(tmp_path / "a" / "evaluation.json")
    evaluated("user").write(tmp_path / "b" / "evaluation.json")
    with pytest.raises(DataError, match=r"one has a list a user, the other one a held-out event; .*evaluate\.each"):
        compare([read_list(tmp_path / "a"), read_list(tmp_path / "b")], {})


def test_a_request_that_stands_twice_is_told(evaluation: Evaluation, tmp_path: Path) -> None:
    _, values = evaluation.write(tmp_path / "evaluation.json")
    lines = values.read_text().splitlines()
    values.write_text("\n".join([*lines, lines[2]]))
    with pytest.raises(DataError, match=r"the user '\S+' and the request '\d+' stands in line 3 already"):
        read_list(tmp_path)
