"""Slots against the level of one entry at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.errors import ConfigError
from nbarec_plugins.feature_frames import Frame, Layout
from nbarec_plugins.logistic_slots import BINS, slots_of

LAYOUT = Layout(("hour", "age", "item.moods=calm"), ("genre",), (("rock", "pop"),), ("item.moods",), (("calm",),))
CROSS = (("genre", "hour"),)

hours = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.sampled_from([np.nan, 0.0, 1.5, 8.0, 23.0])), min_size=1, max_size=30
)


def frame(entries: list[tuple[int, float]], age: Any = 0.0) -> Frame:
    """Entries with a genre and an hour each."""
    genre, hour = (np.array(column) for column in zip(*entries, strict=True))
    numbers = np.stack([hour, np.broadcast_to(age, hour.shape), np.zeros(len(hour))], axis=1)
    return Frame(numbers.astype(np.float32), genre.astype(np.int32)[:, None])


@given(hours, hours)
@settings(max_examples=60, deadline=None)
def test_every_combination_has_a_level_of_its_own(learnt: Any, served: Any) -> None:
    category, cross = slots_of(LAYOUT, frame(learnt), CROSS, 1000, 10)
    starts = sorted({hour for _, hour in learnt if not np.isnan(hour)})
    assert (category.width, cross.width) == (3, 3 * (len(starts) + 1))
    expected = []
    for genre, hour in served:
        # Between two values that were learnt it counts as the lower one, and below the first as the first.
        at = 0 if np.isnan(hour) or not starts else max(sum(start <= hour for start in starts), 1)
        expected.append(genre * (len(starts) + 1) + at)
    assert cross.level(frame(served)).tolist() == expected
    assert category.level(frame(served)).tolist() == [genre for genre, _ in served]
    told = list(cross.told(LAYOUT))
    assert len(set(told)) == len(told) == cross.width


def test_values_that_six_digits_do_not_tell_apart_have_names_of_their_own() -> None:
    *_, cross = slots_of(LAYOUT, frame([(0, 1e6), (1, 1e6 + 1), (2, 0.1)]), CROSS, 1000, 10)
    assert list(cross.told(LAYOUT))[-4:] == [
        "genre=pop x hour=?",
        "genre=pop x hour=0.1",
        "genre=pop x hour=1000000",
        "genre=pop x hour=1000001",
    ]


def test_numbers_with_many_values_are_cut_in_tenths() -> None:
    entries = [(1, np.nan)] * 1000
    *_, cross = slots_of(LAYOUT, frame(entries, np.arange(1000)), (("genre", "age"),), 1000, 10)
    assert cross.width == 3 * (BINS + 1)
    level = cross.level(frame([(0, np.nan)] * 4, np.array([-5, 99, 100, 5000])))
    assert level.tolist() == [1, 1, 2, BINS]
    assert list(cross.told(LAYOUT))[2] == "genre=? x age>=100"


def test_what_is_hashed_keeps_the_unknown_to_itself() -> None:
    entries = [(genre, hour) for genre in (0, 1, 2) for hour in (np.nan, 1.0, 2.0)]
    *_, cross = slots_of(LAYOUT, frame(entries), CROSS, 5, 4)
    level = cross.level(frame(entries))
    assert (cross.width, cross.hashed, level[0]) == (4, True, 0)
    assert set(level[1:].tolist()) <= {1, 2, 3}
    assert list(cross.told(LAYOUT)) == ["genre x hour#0", "genre x hour#1", "genre x hour#2", "genre x hour#3"]


def test_a_cross_of_a_column_that_nobody_had_is_left_out_and_one_of_tags_refused() -> None:
    assert [slot.name for slot in slots_of(LAYOUT, frame([(0, 1.0)]), (("genre", "place"),), 9, 4)] == ["genre"]
    with pytest.raises(ConfigError, match=r"item\.moods has several texts a row"):
        slots_of(LAYOUT, frame([(0, 1.0)]), (("genre", "item.moods"),), 9, 4)
