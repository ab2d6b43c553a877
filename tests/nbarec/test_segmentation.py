"""Segments: who is in which, and their figures against measuring those users, or those items, alone."""

from __future__ import annotations

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evaluation_config import SegmentsBy
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation
from nbarec.segment_reports import SegmentTable
from nbarec.segmentation import Segment, segments_of
from nbarec.statistics import Resamples, mean_intervals

TEXT = """
nbarec: 1
seed: 3
data: {use: music_world, users: 80, songs: 60, days: 30}
candidates: [{id: similar, use: item_cf, k: 30}, {id: popular, use: popularity, k: 30}]
rank: [{use: blend}]
slate: {k: 5}
evaluate:
  split: {use: random}
  metrics: [recall@5, coverage@5, novelty@5]
  segments: SEGMENTS
"""
SEGMENTS = "[{by: history, at: [5, 20]}, {by: popularity, head: 0.5}, {by: user.country, largest: 2}]"


def evaluated(segments: str = SEGMENTS) -> tuple[Evaluation, Dataset, Dataset]:
    """The evaluation, the training part and the whole."""
    pipeline = Pipeline.from_text(TEXT.replace("SEGMENTS", segments))
    assert pipeline.plan is not None
    data = pipeline.load()
    evaluation, model = pipeline.plan.run(pipeline, data)
    return evaluation, model.data, data


@pytest.fixture(scope="module")
def found() -> tuple[Evaluation, Dataset, Dataset]:
    return evaluated()


def table(evaluation: Evaluation, by: str) -> SegmentTable:
    return next(one for one in evaluation.segments if one.by == by)


def test_segments_of_users_have_the_figures_of_those_users(found: tuple[Evaluation, Dataset, Dataset]) -> None:
    evaluation, train, _ = found
    at = train.users.index(evaluation.users)
    events = train.events.counts[at]
    wanted = {"new": events < 5, "regular": (events >= 5) & (events < 20), "heavy": events >= 20}
    history = table(evaluation, "history")
    assert [segment.name for segment in history.segments] == list(wanted)
    assert [segment.told for segment in history.segments][1] == "5 to below 20 events"
    for segment in history.segments:
        members = wanted[segment.name]
        assert segment.users == members.sum()
        for stage, report in {"": segment.slate, **segment.stages}.items():
            whole = evaluation.stages[stage] if stage else evaluation.slate
            assert list(report.figures) == ["recall@5", "novelty@5"]  # coverage is no mean over users
            for label, figure in report.figures.items():
                assert figure.mean == pytest.approx(whole.values[label][members].mean())
                assert (figure.users, figure.undefined) == (members.sum(), 0)
                assert figure.ci95[0] <= figure.mean <= figure.ci95[1]


def test_intervals_of_segments_are_the_bootstraps_over_all_users(found: tuple[Evaluation, Dataset, Dataset]) -> None:
    evaluation, train, _ = found
    events = train.events.counts[train.users.index(evaluation.users)]
    values = np.where(events >= 20, evaluation.slate.values["recall@5"], np.nan)
    drawn = Resamples.draw(len(values), np.random.default_rng([3, 2]))
    heavy = table(evaluation, "history").segments[2]
    assert heavy.slate.figures["recall@5"].ci95 == pytest.approx(mean_intervals(values[:, None], drawn)[0])


def test_segments_of_items_are_the_relevant_items_of_that_kind(found: tuple[Evaluation, Dataset, Dataset]) -> None:
    evaluation, train, _ = found
    head, tail = table(evaluation, "popularity").segments
    counts = np.sort(train.item_counts)[::-1]
    in_head = int(np.searchsorted(np.cumsum(counts), 0.5 * counts.sum()) + 1)
    assert head.told == f"{in_head} items, 0.5 of all events"
    assert tail.told == f"{len(counts) - in_head} items"
    assert head.slate.figures["recall@5"].mean > tail.slate.figures["recall@5"].mean
    either = head.members | tail.members
    assert either.all()
    assert np.isnan(head.slate.values["recall@5"][~head.members]).all()
    whole = evaluation.slate.values["recall@5"]
    only_head = head.members & ~tail.members
    np.testing.assert_array_equal(head.slate.values["recall@5"][only_head], whole[only_head])


def test_a_users_column_gives_a_segment_a_level_and_others(found: tuple[Evaluation, Dataset, Dataset]) -> None:
    evaluation, train, _ = found
    first, second, others = table(evaluation, "user.country").segments
    at = train.users.index(evaluation.users)
    country = np.array(train.audience.labels("country", at.tolist()))
    for segment in (first, second):
        assert segment.members.tolist() == (country == segment.name).tolist()
    assert others.members.tolist() == (~np.isin(country, [first.name, second.name])).tolist()
    assert first.users >= second.users
    assert others.name == "others"


def test_the_files_and_the_table(found: tuple[Evaluation, Dataset, Dataset]) -> None:
    evaluation, _, _ = found
    plain = evaluation.to_json()["segments"]
    assert [one["by"] for one in plain] == ["history", "popularity", "user.country"]
    assert set(plain[0]["segments"][0]) == {"name", "told", "users", "metrics", "stages"}
    assert set(plain[0]["segments"][0]["stages"]) == {"similar", "popular", "blend"}
    header, first, *_ = table(evaluation, "history").rows()
    assert header == ["history", "users", "recall@5", "novelty@5"]
    assert first[0] == "new (below 5 events)"


DATA = Dataset.from_arrays(
    [0, 0, 0, 1, 1, 2],
    [0, 1, 2, 0, 1, 0],
    audience={
        "id": range(4),
        "age": [10.0, 20.0, np.nan, 30.0],
        "likes": [["a", "b"], ["b"], [], ["a"]],
        "since": np.array(["2020-01-01"] * 4, "datetime64[s]"),
    },
)


def members(by: str, **how: object) -> dict[str, list[bool]]:
    asked = SegmentsBy(by=by, **how)  # type: ignore[arg-type]
    found: tuple[Segment, ...] = segments_of(asked, DATA, np.arange(4))
    return {one.name: (one.users if one.users is not None else one.items).tolist() for one in found}  # type: ignore[union-attr]


def test_numbers_are_cut_where_it_says_or_in_thirds() -> None:
    yes, no = True, False
    assert members("user.age", at=(20,)) == {
        "below 20": [yes, no, no, no],
        "20 or more": [no, yes, no, yes],
        "unknown": [no, no, yes, no],
    }
    assert members("user.age") == {
        "below 20": [yes, no, no, no],
        "20 to below 30": [no, yes, no, no],
        "30 or more": [no, no, no, yes],
        "unknown": [no, no, yes, no],
    }
    assert members("history") == {"new": [no, no, yes, yes], "regular": [no, yes, no, no], "heavy": [yes, no, no, no]}


@pytest.mark.parametrize(
    ("values", "sizes"),
    [
        (range(9), [3, 3, 3]),
        ([1] * 4 + [2, 3, 4, 5, 6], [4, 2, 3]),  # most users have a single event: they are the new ones
        ([1] * 7 + [2, 3], [7, 2]),
        ([1, 2, 3, 3, 3, 3], [2, 4]),
        ([5] * 4, [4]),
        ([7], [1]),
    ],
)
def test_thirds_are_as_even_as_equal_numbers_allow_and_none_is_empty(values: list[float], sizes: list[int]) -> None:
    data = Dataset.from_arrays([0], [0], audience={"id": range(len(values)), "age": np.array(values, float)})
    found = segments_of(SegmentsBy(by="user.age"), data, np.arange(len(values)))
    assert [int(np.count_nonzero(one.users)) for one in found] == sizes


def test_a_user_with_several_tags_is_in_several_segments() -> None:
    yes, no = True, False
    wanted = {"a": [yes, no, no, yes], "b": [yes, yes, no, no], "unknown": [no, no, yes, no]}
    assert members("user.likes") == wanted


def test_the_head_are_the_items_that_make_its_share_of_events() -> None:
    assert members("popularity", head=0.5) == {"head": [True, False, False], "tail": [False, True, True]}
    assert members("popularity", head=0.6) == {"head": [True, True, False], "tail": [False, False, True]}


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ("[{by: user.planet}]", "evaluate.segments: the users have no column 'planet'; there is user"),
        ("[{by: country}]", "by is 'country'; write history, popularity or a column of users"),
        ("[{by: history, at: [20, 5]}]", "at must rise"),
        ("[{by: popularity, head: 1.5}]", "head must be less than 1"),
    ],
)
def test_wrong_segments_are_told(segments: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        evaluated(segments)


def test_dates_make_no_segments_which_is_told_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = r"user\.since holds dates; name a column of texts or numbers"
    with pytest.raises(ConfigError, match=told):
        members("user.since")
    pipeline = Pipeline.from_text(TEXT.replace("SEGMENTS", "[{by: user.since}]"))
    assert pipeline.plan is not None
    monkeypatch.setattr(Pipeline, "fit", None)
    with pytest.raises(ConfigError, match=told):
        pipeline.plan.run(pipeline, DATA)
