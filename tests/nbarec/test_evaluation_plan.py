"""What `evaluate:` asks for is what is measured, on a world small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats64
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation
from nbarec.sparse import Csr

TEXT = """
nbarec: 1
data: {use: music_world}
candidates: [{id: popular, use: popularity, k: 10}]
rank: [{use: blend}]
slate: {k: 2}
evaluate: {split: {use: leave_last_out}, metrics: [hit_rate@1, recall@2, hit_rate@3]}
"""


@dataclass(frozen=True)
class Places(Metric):
    """How many places of the slate are filled."""

    name: ClassVar[str] = "places"

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        return np.asarray((slate.item >= 0).sum(axis=1), np.float64)


def shop() -> Dataset:
    """Four users; the last event of each is held out: ann rum, bob rum, cat tea, and dan's only event stays."""
    events = [
        *[("ann", "tea", 1), ("ann", "milk", 2), ("ann", "rum", 3)],
        *[("bob", "tea", 1), ("bob", "rum", 2)],
        *[("cat", "rum", 1), ("cat", "cola", 2), ("cat", "tea", 3)],
        ("dan", "rum", 1),
    ]
    user, item, time = zip(*events, strict=True)
    return Dataset.from_arrays(user, item, time=np.array(time) * 1000)


def evaluated(text: str, data: Dataset) -> Evaluation:
    pipeline = Pipeline.from_text(text)
    assert pipeline.plan is not None
    return pipeline.plan.run(pipeline, data)[0]


def values(evaluation: Evaluation, label: str) -> Mapping[str, float]:
    return dict(zip(evaluation.users, evaluation.slate.values[label].tolist(), strict=True))


def test_each_user_is_measured_on_what_was_held_out_of_theirs() -> None:
    evaluation = evaluated(TEXT, shop())
    # Training: ann tea and milk, bob tea, cat rum and cola, dan rum. Popular: rum 2, tea 2, then cola 1, milk 1.
    # The slates: ann rum, cola. bob rum, cola, milk. cat tea, milk.
    assert evaluation.users == ("ann", "bob", "cat")
    assert evaluation.skipped == 1
    assert values(evaluation, "hit_rate@1") == {"ann": 1.0, "bob": 1.0, "cat": 1.0}
    assert evaluation.metrics["recall@2"].mean == 1.0
    assert "9 events = 6 training + 3 held out" in evaluation.holdout[0]


def test_the_whole_pipeline_and_each_list_are_measured_as_far_as_the_metrics_look() -> None:
    data = shop()
    evaluation = evaluated(TEXT.replace("metrics: [", "metrics: [coverage@3, "), data)
    assert list(evaluation.stages) == ["popular", "blend"]
    assert list(evaluation.metrics) == ["coverage@3", "hit_rate@1", "recall@2", "hit_rate@3"]
    assert evaluation.metrics["coverage@3"].mean == 1.0  # rum, cola, milk and tea: more than the slate's two places


def test_events_of_no_positive_weight_are_not_relevant() -> None:
    data = shop()
    weight = np.ones(len(data.events), np.float32)
    weight[2] = -1.0  # ann's rum
    disliked = data.with_events(replace(data.events, weight=weight))
    assert evaluated(TEXT, disliked).users == ("bob", "cat")
    assert evaluated(
        TEXT.replace("[hit", "[hit").replace("}, metrics", "}, relevant: time > 0, metrics"), disliked
    ).users == (
        "ann",
        "bob",
        "cat",
    )


def test_the_feedback_of_the_config_decides_what_is_relevant() -> None:
    data = shop()
    value = np.array([1, 1, 5, 1, 1, 1, 1, 5, 1], np.float32)
    rated = data.with_events(replace(data.events, value=value))
    text = TEXT.replace("music_world}", "music_world, feedback: {success: value > 4}}")
    assert evaluated(text, rated).users == ("ann", "cat")
    relevant = TEXT.replace("}, metrics", "}, relevant: value > 4 and item.id != 'tea', metrics")
    assert evaluated(relevant, rated).users == ("ann",)


def test_what_a_user_had_before_counts_only_where_repeats_do() -> None:
    again = Dataset.from_arrays(["ann", "ann", "bob", "bob"], ["tea", "tea", "tea", "rum"], time=[1, 2, 1, 2])
    assert evaluated(TEXT, again).users == ("bob",)
    text = TEXT.replace("k: 10}", "k: 10, exclude: weight > 9}").replace("}, metrics", "}, repeats: true, metrics")
    assert values(evaluated(text, again), "hit_rate@1") == {"ann": 1.0, "bob": 0.0}


def test_where_nothing_relevant_is_held_out_the_evaluation_says_so() -> None:
    with pytest.raises(ConfigError, match="none of 4 users has a relevant held-out item"):
        evaluated(TEXT.replace("}, metrics", "}, relevant: value > 99, metrics"), shop())


def test_a_split_that_the_data_do_not_allow_says_so() -> None:
    with pytest.raises(ConfigError, match="leave_last_out needs times"):
        evaluated(TEXT, Dataset.from_arrays(["ann", "ann"], ["tea", "milk"]))


def test_the_same_evaluation_comes_out_twice(music_text: str) -> None:
    text = music_text + "evaluate: {split: {use: random}, metrics: [ndcg@10, coverage@10]}\n"
    first, second = (evaluated(text, Pipeline.from_text(text).load()) for _ in range(2))
    assert first.to_json() == second.to_json()
    other = evaluated(text.replace("seed: 7", "seed: 8"), Pipeline.from_text(text).load())
    assert other.to_json() != first.to_json()


def test_a_metric_of_a_plugin_is_measured_like_any(plug: Callable[..., None]) -> None:
    plug(Places)
    evaluation = evaluated(TEXT.replace("metrics: [", "metrics: [places@3, "), shop())
    assert values(evaluation, "places@3") == {"ann": 2.0, "bob": 3.0, "cat": 2.0}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("use: leave_last_out", "use: leave_one_out", "'leave_one_out' is no split; write use: and one of"),
        ("use: leave_last_out", "fraction: 0.2", "evaluate.split needs a name"),
        ("use: leave_last_out", "use: leave_last_out, fraction: 0.2", "leave_last_out has no parameter 'fraction'"),
        ("use: leave_last_out", "use: last_fraction, fraction: 2", "last_fraction: fraction must be less than 1"),
        ("use: leave_last_out", "use: given", "given needs the parameter 'path'"),
        ("use: leave_last_out", "use: global_time, at: soon", "at is 'soon', which is not a time"),
        ("hit_rate@1, ", "hitrate@1, ", "did you mean 'hit_rate'?"),
        ("[hit_rate@1, recall@2, hit_rate@3]", "[]", "evaluate.metrics is empty"),
    ],
)
def test_a_wrong_evaluation_is_told_with_its_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as raised:
        Pipeline.from_text(TEXT.replace(old, new), "x.yaml")
    assert said in str(raised.value)
    assert str(raised.value).startswith("x.yaml:7:") or "metrics is empty" in said


def test_a_pipeline_without_evaluate_has_no_plan() -> None:
    assert Pipeline.from_text(TEXT.split("evaluate")[0]).plan is None


VARIED = TEXT.replace(
    "metrics:", "variants: {one place: {slate.k: 1}, by users: {candidates.popular.with.count: users}}, metrics:"
)


def test_variants_are_measured_beside_the_config_over_the_same_users() -> None:
    evaluation = evaluated(VARIED, shop())
    alone = evaluated(TEXT.replace("popularity, k: 10", "popularity, k: 10, with: {count: users}"), shop())
    assert list(evaluation.variants) == ["one place", "by users"]
    by_users = evaluation.variants["by users"]
    assert by_users.figures.keys() == evaluation.metrics.keys()
    for label, values in alone.slate.values.items():
        np.testing.assert_array_equal(by_users.values[label], values)
    header, configured, *others = evaluation.variant_rows()
    assert (header[0], configured[0], [row[0] for row in others]) == (
        "variant",
        "as configured",
        ["one place", "by users"],
    )
    assert header[-1] == "ms a user"
    assert float(configured[-1]) > 0
    assert set(evaluation.to_json()["variants"]) == {"one place", "by users"}


def test_a_stage_that_a_variant_leaves_as_it_is_is_not_fitted_again() -> None:
    pipeline = Pipeline.from_text(VARIED)
    model = pipeline.fit(shop())
    assert pipeline.plan is not None
    varied = pipeline.plan.varied(pipeline)
    again = varied["one place"].fit(shop(), like=model)
    assert again.fitted["popular"] is model.fitted["popular"]
    assert varied["by users"].fit(shop(), like=model).fitted["popular"] is not model.fitted["popular"]
    other = Pipeline.from_text(TEXT.replace("use: popularity,", "use: popularity, history: weight > 2,"))
    assert other.fit(shop(), like=model).fitted["popular"] is not model.fitted["popular"]


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("{data.users: 3}", "the variant 'odd' can't change 'data.users'; it may change candidates, features"),
        (
            "{candidates.popular.with.cout: users}",
            "variant 'odd': popularity has no parameter 'cout'; did you mean 'count'",
        ),
        ("{filters.popular.k: 3}", "variant 'odd': "),
        ("{slate.k: '3'}", "variant 'odd': config.slate: k must be a whole number, not '3'"),
    ],
)
def test_a_wrong_variant_is_told_before_any_data_are_read(variant: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pipeline.from_text(TEXT.replace("metrics:", f"variants: {{odd: {variant}}}, metrics:"))
