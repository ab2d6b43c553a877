"""An evaluation of a single user: figures as of any other, and no interval, because one user has no spread."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.figures import Figure
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation

TEXT = """
nbarec: 1
data: {use: music_world}
candidates: [{id: any, use: random, k: 30}]
slate: {k: 3}
evaluate:
  split: {use: leave_last_out}
  metrics: [recall@3, auc@3, popularity_lift@3, coverage@3, novelty@2]
  segments: [{by: history}, {by: popularity}]
  each: EACH
"""


def evaluated(user: int, each: str) -> Evaluation:
    """One user has six items of nine, of which the last is held out."""
    pipeline = Pipeline.from_text(TEXT.replace("EACH", each))
    assert pipeline.plan is not None
    data = Dataset.from_arrays([user] * 6, range(6), time=np.arange(1, 7), catalog={"id": range(9)})
    return pipeline.plan.run(pipeline, data)[0]


@pytest.mark.parametrize("each", ["user", "event"])
@pytest.mark.parametrize("user", [0, 7])
def test_every_figure_is_the_users_and_none_has_an_interval(user: int, each: str) -> None:
    """Also of the user with the number 0, whom metrics look up by the id: nothing that is shown has a user, so its
    popularity is 0 times that of the history, and not undefined."""
    found = evaluated(user, each)
    assert found.metrics["popularity_lift@3"].mean == 0.0
    assert found.metrics["coverage@3"].mean == 3 / 9
    assert found.skipped == 0
    for label, figure in found.metrics.items():
        assert figure.mean == found.slate.values[label][0]
        assert (figure.users, figure.undefined) == (1, 0)
        assert np.isnan(figure.ci95).all()
    assert found.rows()[1][1:] == [f"{figure.mean:.4f}" for figure in found.metrics.values()]
    history, _ = found.segments
    assert [row[:2] for row in history.rows()[1:]] == [["any events", "1"]]


def test_a_figure_without_an_interval_is_shown_without_one() -> None:
    assert str(Figure(0.25, (math.nan, math.nan), 1, 0)) == "0.2500"
    assert Figure(0.25, (math.nan, math.nan), 1, 0).to_json()["ci95"] == [None, None]


def test_the_lead_of_a_single_new_user_has_no_interval() -> None:
    pipeline = Pipeline.from_text(
        """
nbarec: 1
data: {use: music_world}
candidates: [{id: popular, use: popularity, k: 30}]
rank: [{use: blend}]
slate: {k: 3}
evaluate:
  split: {use: random}
  metrics: [recall@3]
  cold_start: {users: [0], items: [], fraction: 0.1, metric: recall@3}
"""
    )
    assert pipeline.plan is not None
    data = Dataset.from_arrays(np.repeat(np.arange(6), 4), [*range(4), *range(1, 5)] * 3)
    (found,) = pipeline.plan.run(pipeline, data)[0].cold_starts
    ((_, *figures, lead),) = found.lines()[1:]
    assert lead == "+0.0000 (popular)"
    assert not any("nan" in figure for figure in figures)
