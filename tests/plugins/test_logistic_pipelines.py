"""Logistic regression in pipelines: what happens between the YAML and the slate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.errors import ConfigError
from nbarec.findings import findings_of
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec_plugins.logistic import Logistic

Plug = Callable[..., None]

RANKER = """
  - id: engaged
    use: nbarec-other/logistic
    with:
      features: ["*", item.genre, user.country, user.events, context.device, context.hour]
      crosses: [[item.genre, context.device]]
      negatives: 0.5
      held_out: {by: event, fraction: 0.3, relevant: "seconds >= 30 or kind in [like, playlist_add]"}
"""


def text_with(music_text: str, ranker: str) -> str:
    before, rest = music_text.split("rank:\n")
    before = before.replace("users: 60", "users: 150")
    return f"{before}rank:{ranker}filters:\n{rest.split('filters:')[1]}"


@pytest.fixture
def model(plug: Plug, music_text: str) -> Model:
    plug(Logistic)
    return Pipeline.from_text(text_with(music_text, RANKER)).fit()


def test_a_pipeline_learns_serves_explains_and_tells(model: Model, tmp_path: Path) -> None:
    context: Any = {"device": "phone", "hour": 8}
    slate = model.recommend(model.data.users.take([0, 1, 2]), context=context, explain=True)
    scores = slate.score[~np.isnan(slate.score)]
    assert len(scores) > 10
    assert ((scores >= 0) & (scores <= 1)).all()
    told = str(slate.explanations[0])
    assert "context.device" in told
    assert "item.genre x context.device" in told
    elsewhere = model.recommend(model.data.users.take([0, 1, 2]), context={"device": "tv", "hour": 20})
    assert (elsewhere.score != slate.score).any()
    found: Any = findings_of(model)["engaged"]
    assert found["learnt from"]["requests"] > 100
    assert len(found["reliability"]) > 1
    assert "context.device" in str(found["strongest"])
    again = load_model(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.recommend(model.data.users.take([0, 1, 2]), context=context).item, slate.item)
    alone = model.recommend(model.data.users.take([1]), context=context)
    np.testing.assert_array_equal(alone.item[0], slate.item[1])
    np.testing.assert_array_equal(alone.score[0], slate.score[1])


@pytest.mark.parametrize("relevant", ["seconds >= 30", "seconds < 0"])
def test_a_name_that_is_not_there_is_found_while_fitting(plug: Plug, music_text: str, relevant: str) -> None:
    plug(Logistic)
    ranker = RANKER.replace("item.genre, user.country", "item.gnre, user.country").replace(
        "seconds >= 30 or", f"{relevant} or"
    )
    pipeline = Pipeline.from_text(text_with(music_text, ranker.replace(" or kind in [like, playlist_add]", "")))
    with pytest.raises(
        ConfigError, match=r"engaged.*there is no name 'item\.gnre' here \(did you mean item\.genre\?\)"
    ):
        pipeline.fit()
