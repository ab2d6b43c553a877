"""Feedback: weights by kind, success, decay and combining, in that order, against a reference of one event a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset, EventColumns
from nbarec.errors import ConfigError, DataError, Problem
from nbarec.events import Combine
from nbarec.feedback import Decay, Feedback
from nbarec.ids import Ids
from nbarec.marked import read_text
from nbarec.params import build
from nbarec.tables import CategoryColumn, NumberColumn, Table

DAY = 86_400
CLOCK = 100 * DAY
KINDS = ("like", "play", "skip")


def dataset(rows: Sequence[Mapping[str, Any]], as_of: int | None = CLOCK) -> Dataset:
    """Three users and items; a row has user, item, kind, value, time, seconds."""

    def numbers(name: str) -> np.ndarray:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)

    columns = EventColumns(
        user=numbers("user").astype(np.int64),
        item=numbers("item").astype(np.int64),
        weight=np.full(len(rows), 99.0),
        value=numbers("value"),
        time=numbers("time").astype(np.int64),
        kind=CategoryColumn.of([row["kind"] for row in rows]),
        columns={"seconds": NumberColumn(numbers("seconds"))},
    )
    genre = Table(3, {"genre": CategoryColumn.of(["rock", "pop", None])})
    events = columns.sorted_events(3, 3, Combine())
    return Dataset.of(Ids.of(["U0", "U1", "U2"]), Ids.of(["S0", "S1", "S2"]), events, genre, Table(3), as_of)


def event(**given: Any) -> dict[str, Any]:
    return {"user": 0, "item": 0, "kind": "play", "value": 1, "time": CLOCK, "seconds": None, **given}


def weights(feedback: Feedback, *rows: Mapping[str, Any], as_of: int | None = None) -> list[float]:
    return list(feedback.apply(dataset(rows), as_of).events.weight.tolist())


def reference(row: Mapping[str, Any]) -> float:
    """All parts on: play 1, like 3, skip -0.5; seconds >= 30; half-life 30 days."""
    weight = {"play": 1.0, "like": 3.0, "skip": -0.5}[row["kind"]] * row["value"]
    failed = row["seconds"] is not None and row["seconds"] < 30
    if failed and weight > 0:
        weight = 0.0
    age = max(CLOCK - row["time"], 0)
    return float(weight * 2 ** (-age / (30 * DAY)))


def everything(by: str = "sum", cap: float | None = None) -> Feedback:
    return Feedback(
        weights={"play": 1, "like": 3, "skip": -0.5},
        success="seconds >= 30",  # type: ignore[arg-type]
        decay=Decay("30d"),  # type: ignore[arg-type]
        combine=Combine(by, cap),  # type: ignore[arg-type]
    )


def event_rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = {
        "user": st.integers(0, 2),
        "item": st.integers(0, 2),
        "kind": st.sampled_from(KINDS),
        "value": st.sampled_from([-2, 0, 0.5, 1, 4]),
        "time": st.integers(1, CLOCK + 10 * DAY),
        "seconds": st.sampled_from([None, 0, 29.5, 30, 200]),
    }
    return st.lists(st.fixed_dictionaries(fields), max_size=12)


@settings(max_examples=100, deadline=None)
@given(event_rows(), st.sampled_from(["sum", "mean", "max", "last"]), st.sampled_from([None, 2.0]))
def test_all_parts_are_those_of_a_slow_reference(rows: list[dict[str, Any]], by: str, cap: float | None) -> None:
    applied = everything(by, cap).apply(dataset(rows))
    ordered = sorted(rows, key=lambda row: (row["user"], row["time"]))
    np.testing.assert_allclose(applied.events.weight, [reference(row) for row in ordered], rtol=1e-6)
    expected = np.zeros((3, 3))
    for user in range(3):
        for item in range(3):
            pair = [reference(row) for row in ordered if (row["user"], row["item"]) == (user, item)]
            if pair:
                one = {"sum": sum(pair), "mean": sum(pair) / len(pair), "max": max(pair), "last": pair[-1]}[by]
                expected[user, item] = one if cap is None else max(-cap, min(cap, one))
    np.testing.assert_allclose(applied.events.matrix().to_dense(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(event_rows())
def test_applying_twice_is_applying_once(rows: list[dict[str, Any]]) -> None:
    feedback = everything()
    once = feedback.apply(dataset(rows))
    twice = feedback.apply(Feedback(weights={"other": 7}).apply(once))
    np.testing.assert_array_equal(twice.events.weight, once.events.weight)
    assert twice.as_of == once.as_of
    assert twice.events.combine == once.events.combine


def test_nothing_set_gives_the_users_own_values() -> None:
    assert weights(Feedback(), event(value=4), event(value=-0.5), event(kind=None)) == [4.0, -0.5, 1.0]


def test_a_weight_multiplies_the_value() -> None:
    assert weights(Feedback(weights={"play": 2}), event(value=3)) == [6.0]


def test_definite_failure_takes_a_positive_weight_alone() -> None:
    feedback = Feedback(weights={"play": 2, "skip": -1}, success="seconds >= 30")  # type: ignore[arg-type]
    seconds = [29, 30, None]
    assert weights(feedback, *(event(seconds=s) for s in seconds)) == [0.0, 2.0, 2.0]
    assert weights(feedback, *(event(seconds=s, kind="skip") for s in seconds)) == [-1.0, -1.0, -1.0]


def test_success_sees_items_and_the_weight_before_it() -> None:
    assert weights(
        Feedback(weights={"play": 2}, success="weight >= 3"),  # type: ignore[arg-type]
        event(value=1),
        event(value=2),
    ) == [0.0, 4.0]
    of_item = Feedback(success="item.genre == 'rock' and item.id != 'S1' and user.id == 'U0'")  # type: ignore[arg-type]
    assert weights(of_item, event(item=0), event(item=1), event(user=1, item=0)) == [1.0, 0.0, 0.0]


def test_success_comes_before_decay() -> None:
    old = event(time=CLOCK - 60 * DAY)
    feedback = Feedback(success="weight >= 1", decay=Decay("30d"))  # type: ignore[arg-type]
    assert weights(feedback, old) == [0.25]  # decay first would leave 0.25, and success would make it 0


def test_decay_comes_before_combining() -> None:
    pair = [event(time=CLOCK - 30 * DAY), event(time=CLOCK)]
    capped = Feedback(decay=Decay("30d"), combine=Combine("sum", 1.2))  # type: ignore[arg-type]
    assert capped.apply(dataset(pair)).events.matrix().data.tolist() == pytest.approx([1.2])
    largest = Feedback(decay=Decay("30d"), combine=Combine("max"))  # type: ignore[arg-type]
    late_play = [event(time=CLOCK - 60 * DAY, value=3), event(time=CLOCK)]
    assert largest.apply(dataset(late_play)).events.matrix().data.tolist() == [1.0]  # combining first would take the 3


def test_one_clock_counts() -> None:
    feedback = Feedback(decay=Decay("10d"))  # type: ignore[arg-type]
    rows = [event(time=CLOCK - 10 * DAY), event(time=CLOCK)]
    assert weights(feedback, *rows) == [0.5, 1.0]
    assert weights(feedback, *rows, as_of=CLOCK + 10 * DAY) == [0.25, 0.5]
    assert weights(feedback, *rows, as_of=CLOCK - 20 * DAY) == [1.0, 1.0]  # what comes after the clock has no age
    assert feedback.apply(dataset(rows, as_of=None)).as_of == CLOCK
    assert feedback.apply(dataset(rows), CLOCK + 5).as_of == CLOCK + 5


def test_success_reads_the_same_clock() -> None:
    feedback = Feedback(success="now - time < 5d")  # type: ignore[arg-type]
    assert weights(feedback, event()) == [1.0]
    assert weights(feedback, event(), as_of=CLOCK + 6 * DAY) == [0.0]


def test_the_other_weight_stands_for_what_is_not_listed() -> None:
    feedback = Feedback(weights={"like": 3, "other": 0.5})
    assert weights(feedback, event(kind="like"), event(kind="play"), event(kind=None)) == [3.0, 0.5, 0.5]


def test_a_kind_without_weight_is_told_with_its_count() -> None:
    with pytest.raises(ConfigError) as caught:
        weights(Feedback(weights={"like": 3}), *[event()] * 2, event(kind="like"), event(kind=None))
    assert str(caught.value) == (
        "feedback.weights says nothing of 2 events of kind 'play', 1 event of no kind; it lists like; "
        "add the kinds, or `other` with a weight for all that are not listed"
    )


def test_weights_by_kind_need_kinds() -> None:
    with pytest.raises(ConfigError, match=r"map a column to `kind`, or remove feedback\.weights"):
        weights(Feedback(weights={"like": 3}), event(kind=None))


def test_a_listed_kind_may_be_absent_from_the_data() -> None:
    assert weights(Feedback(weights={"play": 1, "download": 9}), event()) == [1.0]


def test_decay_needs_times() -> None:
    with pytest.raises(ConfigError, match=r"feedback\.decay needs times and the events have none"):
        weights(Feedback(decay=Decay("30d")), event(time=0))  # type: ignore[arg-type]


def test_no_events_are_no_fault() -> None:
    assert weights(everything()) == []


def test_a_weight_that_is_too_large_is_told() -> None:
    with pytest.raises(DataError) as caught:
        weights(Feedback(weights={"play": 1e30, "like": 1}), event(kind="like"), event(value=1e10, user=1, item=2))
    assert str(caught.value) == (
        "the weight of 1 event is not a finite number; the first is of user 'U1', item 'S2', kind 'play', "
        "value 1e+10; correct the value or lower feedback.weights"
    )


def test_the_rest_of_the_dataset_is_untouched() -> None:
    data = dataset([event(), event(user=2, kind="like")])
    applied = everything().apply(data)
    assert replace(applied, events=data.events) == data
    for name in ("indptr", "item", "value", "time", "kind"):
        assert getattr(applied.events, name) is getattr(data.events, name)
    assert data.events.weight.tolist() == [99.0, 99.0]
    assert applied.events.weight.dtype == np.float32
    assert not applied.events.weight.flags.writeable


YAML = """
weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}
success: seconds >= 30 or seconds / length >= 0.5
decay: {half_life: 30d}
combine: {by: sum, max: 10}
"""


def read(text: str) -> tuple[Feedback | None, list[str]]:
    problems: list[Problem] = []
    made = build(Feedback, read_text(text, "music.yaml"), where="feedback", problems=problems)
    return made, [str(problem) for problem in problems]


def test_from_yaml() -> None:
    made, problems = read(YAML)
    assert problems == []
    assert made == Feedback(
        weights={"play": 1, "like": 3, "playlist_add": 4, "skip": -0.5},
        success="seconds >= 30 or seconds / length >= 0.5",  # type: ignore[arg-type]
        decay=Decay("30d"),  # type: ignore[arg-type]
        combine=Combine("sum", 10),
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("decay: {half_life: 0s}", "half_life must be more than 0s, not '0s'"),
        ("decay: {half_life: 30}", "30 has no unit; write a duration such as 30s, 15m, 12h, 30d or 2w"),
        ("weights: {play: much}", "weights.play must be a number, not 'much'"),
        ("combine: {by: median}", "by must be one of sum, mean, max, last, not 'median'"),
        ("half_life: 30d", "feedback has no parameter 'half_life'"),
        ("success: seconds >", "expected a value after '>', found the end\n    seconds >\n             ^"),
    ],
)
def test_a_wrong_parameter_is_told(text: str, part: str) -> None:
    made, problems = read(text)
    assert made is None
    assert part in "\n".join(problems)
    assert problems[0].startswith("music.yaml:1:")


@pytest.mark.parametrize(
    ("transform", "expected"),
    [("none", [8.0, -8.0, 0.0]), ("log1p", [np.log(9), -np.log(9), 0.0]), ("sqrt", [8**0.5, -(8**0.5), 0.0])],
)
def test_values_are_transformed_before_they_are_weighed(transform: Any, expected: list[float]) -> None:
    rows = [event(value=value, item=at) for at, value in enumerate((8, -8, 0))]
    assert weights(Feedback(transform=transform), *rows) == pytest.approx(expected)
    doubled = weights(Feedback(weights={"play": 2}, transform=transform), *rows)
    assert doubled == pytest.approx([2 * value for value in expected])


def test_a_kind_that_weighs_less_than_nothing_stays_so_after_the_transform() -> None:
    feedback = Feedback(weights={"play": 1, "skip": -0.5}, transform="log1p")
    assert weights(feedback, event(kind="skip", value=np.e - 1)) == pytest.approx([-0.5])
