"""Several labels in one score, in pipelines: with every learner there is, saved, loaded, varied, and refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.errors import ConfigError
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec_plugins.logistic import Logistic
from nbarec_plugins.multi import Multi, MultiState


@dataclass(frozen=True)
class Theirs(Logistic):
    """A learner of another distribution."""

    name: ClassVar[str] = "theirs"


TEXT = """
nbarec: 1
seed: 3
data: {use: music_world, users: 120, songs: 60, days: 30, events_per_user: 20}
candidates:
  - {id: similar, use: item_cf, k: 30, with: {neighbors: 10}}
  - {id: popular, use: popularity, k: 30}
rank:
  - id: engaged
    use: multi
    with:
      model: logistic
      with:
        features: ["*"]
        ridge: 2.0
      labels:
        listen: {relevant: seconds >= 30}
        like: {relevant: kind == "like", weight: 3}
      held_out: {split: random, fraction: 0.3}
slate: {k: 5}
"""

VALUES = {"labels.like.weight": "0.5", "with.ridge": "5"}
"""Other values of a parameter that is read in serving alone, and of one that is not."""


@pytest.fixture
def text(plug: Callable[..., None]) -> str:
    plug(Theirs, Multi)
    return TEXT.replace("use: multi", "use: nbarec-other/multi")


def test_a_pipeline_learns_serves_saves_and_loads_it(text: str, tmp_path: Path) -> None:
    model = Pipeline.from_text(text).fit()
    state: MultiState = model.fitted["engaged"].state
    assert list(state.labels) == ["listen", "like"]
    users = list(model.data.users)[:20]
    slate = model.recommend(users, explain=True)
    loaded = load_model(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.recommend(users).item, slate.item)
    np.testing.assert_array_equal(loaded.recommend(users).score, slate.score)


def test_other_weights_serve_with_what_was_learnt(text: str) -> None:
    one = Pipeline.from_text(text)
    weighed, other = (one.with_values({f"rank.engaged.with.{key}": value}) for key, value in VALUES.items())
    model = one.fit()
    again = weighed.fit(model.data, like=model)
    assert again.fitted["engaged"] is model.fitted["engaged"]
    assert other.fit(model.data, like=model).fitted["engaged"] is not model.fitted["engaged"]
    users = list(model.data.users)[:20]
    assert not np.array_equal(again.recommend(users).score, model.recommend(users).score)


@pytest.mark.parametrize("learner", ["logistic", "gbdt", "fm", "theirs"])
def test_any_learner_will_do(text: str, learner: str, tmp_path: Path) -> None:
    small = {"gbdt": "trees: 5", "fm": "epochs: 2", "logistic": "ridge: 3.0", "theirs": "ridge: 9.0"}[learner]
    model = Pipeline.from_text(text.replace("model: logistic", f"model: {learner}").replace("ridge: 2.0", small)).fit()
    users = list(model.data.users)[:20]
    slate = load_model(model.save(tmp_path / "model")).recommend(users)
    np.testing.assert_array_equal(slate.score, model.recommend(users).score)
    assert len(np.unique(slate.score)) > 20
    stage = model.pipeline.stages.rankers[0]
    assert isinstance(stage.component, Multi)
    found: Any = stage.component.findings(model.fitted["engaged"].state)
    assert [told["learnt from"]["engagements"] > 0 for told in found.values()] == [True, True]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "ridge: 2.0",
            "rigde: 2.0",
            "x.yaml:15:9: multi.with (logistic) has no parameter 'rigde'; did you mean 'ridge'?",
        ),
        ("ridge: 2.0", "ridge: 0", "x.yaml:15:16: multi.with (logistic): ridge must be more than 0"),
        ("ridge: 2.0", "held_out: {}", "x.yaml:15:9: multi: held_out belongs beside model"),
        (
            "model: logistic",
            "model: logistik",
            "model is 'logistik', which is no learned ranker; did you mean 'logistic'?",
        ),
        ("weight: 3", "wieght: 3", "multi.labels.like has no parameter 'wieght'; did you mean 'weight'?"),
        ("seconds >= 30", "seconds >=", "x.yaml:17:"),
        ("      held_out:", "      combine: mean\n      held_out:", "combine must be one of sum, product, not 'mean'"),
    ],
)
def test_a_wrong_parameter_is_told_with_its_line(text: str, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Pipeline.from_text(text.replace(old, new), "x.yaml")
    assert said in str(raised.value)


def test_an_unknown_feature_is_told_when_it_is_fitted(text: str) -> None:
    with pytest.raises(ConfigError, match=r"item\.gerne"):
        Pipeline.from_text(text.replace('["*"]', "[item.gerne]")).fit()
