"""The front of two objectives: which settings are on it, how they are measured, and what they may not know."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbarec.components import LearningRanker
from nbarec.data import Dataset
from nbarec.errors import ConfigError, DataError
from nbarec.grids import MOST_SETTINGS, Setting, Varied, settings_of
from nbarec.pareto import Objective, Pareto, Part, measured_front, on_front
from nbarec.pareto_plot import Axis, Dot, round_step, scatter
from nbarec.pipeline import Pipeline
from nbarec.splits import Given

TEXT = """
nbarec: 1
seed: 3
data: {use: music_world, users: 60, songs: 80, days: 30, events_per_user: 15}
candidates:
  - {id: similar, use: item_cf, k: 40, with: {neighbors: 20}}
  - {id: trending, use: popularity, k: 40}
rank: [{id: mixed, use: blend, with: {weights: {similar: 1.0, trending: 0.2}}}]
filters: [{id: spread, use: mmr, with: {relevance: 1.0, fields: {genre: 1.0, artist: 1.0}}}]
slate: {k: 6}
evaluate: {split: {use: random, fraction: 0.3}, metrics: [ndcg@6, diversity@6]}
"""

RELEVANCE = "filters.spread.with.relevance=0.2,0.6,1.0"
BOTH = (Objective("ndcg@6"), Objective("diversity@6"))


def slow_front(figures: np.ndarray) -> list[bool]:
    """For every row, by comparing it with every other, number by number."""

    def beats(one: list[float], other: list[float]) -> bool:
        pairs = list(zip(one, other, strict=True))
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    rows = figures.tolist()
    defined = [not any(map(math.isnan, row)) for row in rows]
    known = [row for row, good in zip(rows, defined, strict=True) if good]
    return [good and not any(beats(other, row) for other in known) for row, good in zip(rows, defined, strict=True)]


few_values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, math.nan])


@settings(max_examples=100)
@given(st.integers(0, 12).flatmap(lambda rows: arrays(np.float64, (rows, 2), elements=few_values)))
def test_the_front_is_what_comparing_all_pairs_finds(figures: np.ndarray) -> None:
    assert on_front(figures).tolist() == slow_front(figures)


def test_equal_settings_are_on_the_front_together() -> None:
    assert on_front(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 1.0]])).tolist() == [True, True, False]
    assert on_front(np.array([[1.0, math.nan], [0.5, 0.5]])).tolist() == [False, True]


def test_objectives_as_they_are_written() -> None:
    assert Objective.of(" ndcg@10") == Objective("ndcg@10")
    less = Objective.of("minimise:miscalibration@10")
    assert (less.label, less.minimise, less.wish, str(less)) == (
        "miscalibration@10",
        True,
        "less is better",
        "minimise:miscalibration@10",
    )


def found(text: str, *varied: str, part: Part = "validation", data: Dataset | None = None) -> Pareto:
    pipeline = Pipeline.from_text(text)
    grid = settings_of(pipeline, [Varied.of(one) for one in varied])
    return measured_front(pipeline, pipeline.load() if data is None else data, grid, BOTH, part)


def test_three_relevances_give_a_front() -> None:
    front = found(TEXT, RELEVANCE)
    assert [point.name for point in front.points] == [
        "as configured",
        "relevance=0.2",
        "relevance=0.6",
        "relevance=1.0",
    ]
    assert [point.values for point in front.points[1:]] == [
        {"filters.spread.with.relevance": value} for value in (0.2, 0.6, 1.0)
    ]
    assert front.points[0].figures == front.points[3].figures  # the config as it stands has 1.0
    diversity = [point.at[1] for point in front.points[1:]]
    assert diversity == sorted(diversity, reverse=True)
    assert diversity[0] > diversity[2] + 0.02
    assert front.points[1].on_front  # nothing is more diverse
    assert [point.on_front for point in front.points] == slow_front(np.array([point.at for point in front.points]))
    assert [point.at for point in front.front] == sorted(point.at for point in front.points if point.on_front)


def test_a_setting_is_measured_as_an_evaluation_of_it_is() -> None:
    front = found(TEXT, RELEVANCE, part="test")
    alone = Pipeline.from_text(TEXT.replace("relevance: 1.0", "relevance: 0.6"))
    assert alone.plan
    evaluation, _ = alone.plan.run(alone, alone.load())
    assert front.points[2].figures == tuple(evaluation.metrics[one.label] for one in BOTH)
    assert (front.part, front.users) == ("test", len(evaluation.users))


def test_less_may_be_better() -> None:
    pipeline = Pipeline.from_text(TEXT)
    grid = settings_of(pipeline, [Varied.of(RELEVANCE)])
    wishes = (BOTH[0], Objective("diversity@6", minimise=True))
    front = measured_front(pipeline, pipeline.load(), grid, wishes, "validation")
    signed = np.array([point.at for point in front.points]) * [1, -1]
    assert [point.on_front for point in front.points] == slow_front(signed)


@pytest.mark.parametrize("split", ["{use: last_fraction, fraction: 0.3}", "{use: global_time, fraction: 0.3}"])
def test_what_the_evaluation_holds_out_moves_nothing(split: str) -> None:
    text = TEXT.replace("{use: random, fraction: 0.3}", split)
    pipeline = Pipeline.from_text(text)
    data = pipeline.load()
    assert pipeline.plan
    kept = pipeline.plan.held_out(pipeline, data).train
    rule = pipeline.plan.split
    assert not isinstance(rule, Given)
    held_out = rule.test_mask(data, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    events = data.events
    item = np.where(held_out, rng.integers(0, len(data.items), len(events)), events.item).astype(np.int32)
    weight = np.where(held_out, rng.normal(size=len(events)), events.weight).astype(np.float32)
    scrambled = data.with_events(replace(events, item=item, weight=weight))
    assert len(kept.events) + int(held_out.sum()) == len(events)
    assert not np.array_equal(item, events.item)
    assert found(text, RELEVANCE, data=data).to_json() == found(text, RELEVANCE, data=scrambled).to_json()
    theirs, mine = (found(text, RELEVANCE, data=one, part="test").to_json() for one in (data, scrambled))
    assert theirs != mine  # so that the test above can fail


def test_a_split_at_a_moment_is_followed_by_the_last_fifth() -> None:
    text = TEXT.replace("{use: random, fraction: 0.3}", "{use: global_time, at: '2025-06-22T00:00:00Z'}")
    told = found(text, RELEVANCE).holdout
    assert "split global_time" in told[0]
    assert "held out 2025-06-1" in told[-1]


def test_a_file_of_test_events_is_not_read() -> None:
    text = TEXT.replace("{use: random, fraction: 0.3}", "{use: given, path: not_there.csv}")
    assert "split last_fraction" in found(text, RELEVANCE).holdout[0]
    with pytest.raises(DataError, match=r"there is no file not_there\.csv"):
        found(text, RELEVANCE, part="test")


def test_each_held_out_event_may_be_a_request() -> None:
    text = TEXT.replace("{use: random, fraction: 0.3}", "{use: last_fraction, fraction: 0.3}")
    events = found(text.replace("evaluate: {", "evaluate: {each: event, "), RELEVANCE)
    users = found(text, RELEVANCE)
    assert users.requests is None
    assert events.requests
    assert events.requests > users.users >= events.users > 0
    assert events.measured == f"{events.requests:,} requests of {events.users:,} users"
    assert "requests" in events.to_json()
    assert [point.on_front for point in events.points] == slow_front(np.array([point.at for point in events.points]))


def test_a_stage_is_fitted_once_for_all_settings_that_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    original = Pipeline.fitted_stage

    def counting(self, stage, *others, **named):  # type: ignore[no-untyped-def]
        fitted.append(stage.id)
        return original(self, stage, *others, **named)

    monkeypatch.setattr(Pipeline, "fitted_stage", counting)
    found(TEXT, "candidates.similar.with.neighbors=5,10", "filters.spread.with.relevance=0.2,0.6")
    assert fitted.count("trending") == fitted.count("mixed") == 1
    assert fitted.count("similar") == 3  # 20 as configured, 5 and 10
    assert not any(isinstance(one, LearningRanker) for one in fitted)


def test_a_grid_has_every_combination_the_last_path_fastest() -> None:
    pipeline = Pipeline.from_text(TEXT)
    varied = [Varied.of("candidates.similar.k=5,6"), Varied.of("candidates.trending.k=7,8"), Varied.of("slate.k=3")]
    names = [one.name for one in settings_of(pipeline, varied)]
    assert names == [f"similar.k={one}, trending.k={other}, slate.k=3" for one in (5, 6) for other in (7, 8)]
    assert [one.pipeline.config.candidates[1].k for one in settings_of(pipeline, varied)] == [7, 8, 7, 8]


def test_values_are_yaml_with_commas_of_their_own() -> None:
    varied = Varied.of("filters.spread.with.fields={genre: 1, artist: 2},{genre: 1}")
    assert varied.texts == ("{artist: 2, genre: 1}", "{genre: 1}")
    (one, other) = settings_of(Pipeline.from_text(TEXT), [varied])
    assert one.values == {"filters.spread.with.fields": {"genre": 1, "artist": 2}}
    assert isinstance(other, Setting)


@pytest.mark.parametrize(
    ("varied", "said"),
    [
        (["relevance"], "'relevance' is not PATH=VALUE,VALUE"),
        (["filters.spread.with.relevance="], "is not PATH=VALUE,VALUE"),
        (["data.users=3,4"], "--vary data.users:1:1: 'data.users' can't be varied; a path may begin with candidates"),
        (["slate.k=3,3"], "--vary slate.k:1:1: the value 3 stands twice"),
        (["slate.k=3", "slate.k=4"], "--vary names 'slate.k' twice"),
        (["filters.spred.with.relevance=1"], "--vary filters.spred.with.relevance:1:1: no entry has the id 'spred'"),
        (
            ["filters.spread.with.relevance=0.5,2"],
            "--vary filters.spread.with.relevance:1:6: mmr: relevance must be at",
        ),
        (["filters.spread.with.relevanz=0.5"], "mmr has no parameter 'relevanz'; did you mean 'relevance'?"),
        ([f"slate.k={','.join(map(str, range(1, MOST_SETTINGS + 2)))}"], "the grid has 1,001 settings; at most 1,000"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(varied: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings_of(Pipeline.from_text(TEXT), [Varied.of(one) for one in varied])
    assert said in str(raised.value)


def test_a_wrong_path_is_told_once_and_not_for_each_setting() -> None:
    with pytest.raises(ConfigError) as raised:
        settings_of(Pipeline.from_text(TEXT), [Varied.of("slate.k=3,4"), Varied.of("filters.spread.with.x=1,2")])
    assert len(raised.value.problems) == 1


numbers = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=8))
def test_an_axis_holds_its_values_between_few_round_ticks(values: list[float]) -> None:
    axis = Axis.of(values, 0.0, 100.0)
    slack = 1e-6 * max(abs(axis.ticks[0]), abs(axis.ticks[-1]))
    assert 2 <= len(axis.ticks) <= 10
    assert axis.ticks[0] - slack <= min(values) <= max(values) <= axis.ticks[-1] + slack
    assert all(-1e-3 <= axis.at(value) <= 100.001 for value in values)
    assert len(set(axis.texts())) == len(axis.ticks)


def test_steps_are_round() -> None:
    assert [round_step(least) for least in (0.013, 0.2, 0.21, 3, 7)] == pytest.approx([0.02, 0.2, 0.5, 5, 10])


def test_a_picture_is_sound_xml_and_escapes_what_it_is_told() -> None:
    dots = [
        Dot(at, 1 - at, (at - 0.1, at + 0.1), (math.nan, math.nan), f"<{at}> & so on", "<&>", on_front=at != 0.5)
        for at in (0.1, 0.5, 0.9)
    ]
    tree = ElementTree.fromstring(scatter("a < b", "told & told", "x", "y", dots))
    space = "{http://www.w3.org/2000/svg}"
    assert len(tree.findall(f"{space}circle")) == 3
    assert len(tree.findall(f"{space}polyline")) == 1
    assert [one.findtext(f"{space}title") for one in tree.findall(f"{space}circle")][-1] == "<0.9> & so on"
    assert "prefers-color-scheme: dark" in (tree.findtext(f"{space}style") or "")
    ElementTree.fromstring(scatter("nothing", "", "x", "y", []))


def test_the_picture_names_the_front_and_settings_of_one_place_together() -> None:
    front = found(TEXT, RELEVANCE, "candidates.similar.k=40")
    tree = ElementTree.fromstring(front.drawn())
    texts = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    places = {point.at for point in front.points}
    assert len(places) == 3  # the config as it stands has the relevance 1.0
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}circle"))) == 3
    assert "relevance=1.0, k=40 (as configured)" in texts
    for point in front.front:
        assert point.name in ("as configured", "relevance=1.0, k=40") or point.name in texts
    titles = [one.text or "" for one in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert all(any(point.name in title for title in titles) for point in front.points)


def test_many_settings_of_one_place_are_counted() -> None:
    front = found(TEXT, "candidates.similar.k=40,60,70")
    same = [point.at for point in front.points]
    assert same[0] == same[1]
    drawn = front.drawn()
    assert "k=40" in drawn
    assert drawn.count("<circle") == len(set(same))
