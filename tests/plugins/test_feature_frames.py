"""Frames and lessons against the same values read one entry at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import frozen
from nbarec.batch import Pool, Request
from nbarec.components import Example
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.states import flatten, unflatten
from nbarec.testing.worlds import NOON, pool_of, request_for, tiny_world
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.feature_lessons import lesson

DATA = tiny_world()
MEMORY = 1 << 30
NAMES = (
    "*",
    "item.artist",
    "item.tempo",
    "item.released",
    "item.moods",
    "user.country",
    "user.age",
    "user.events",
    "context.device",
    "context.hour",
)


def asked(users: list[int], device: Any = "tv", hour: Any = 8.0) -> tuple[Request, Pool]:
    """Songs 0, 3, 5 and 6 of `near`, song 3 of `far`, for each user; a feature of providers, unknown at song 5."""
    request = request_for(DATA, users, context={"device": device, "hour": hour})
    pool = pool_of(request, {"near": [{0: 2.0, 3: 1.0, 5: 0.5, 6: 0.25}] * len(users), "far": [{3: 7.0}] * len(users)})
    warmth = np.where(pool.item == 5, np.nan, pool.item / 10.0)
    return request, replace(pool, features={"warmth": frozen(warmth)})


def told(users: list[int], *, features: Any = NAMES, label: Any = None, **given_: Any) -> Lesson:
    request, pool = asked(users)
    given_ = {"negatives": 1.0, "memory": MEMORY, **given_}
    label = frozen((pool.item == 3).astype(np.float32)) if label is None else label(request, pool)
    return lesson(features, [Example(request, pool, label)], **given_)


def columns(layout: Layout, frame: Frame) -> dict[str, list[Any]]:
    """Every column by name, categories as the texts that they are."""
    found: dict[str, list[Any]] = {}
    for name, values in zip(layout.numbers, frame.numbers.T, strict=True):
        found[name] = [None if np.isnan(value) else round(float(value), 4) for value in values]
    for name, codes, levels in zip(layout.categories, frame.codes.T, layout.levels, strict=True):
        found[name] = [(None, *levels)[code] for code in codes]
    return found


def test_every_column_is_what_the_tables_say() -> None:
    found = told([0, 3])
    assert columns(found.layout, found.frame) == {
        "warmth": [0.0, 0.3, None, 0.6] * 2,
        "near.score": [2.0, 1.0, 0.5, 0.25] * 2,
        "near.rank": [round(61 / (60 + rank), 4) for rank in (1, 2, 3, 4)] * 2,
        "far.score": [None, 7.0, None, None] * 2,
        "far.rank": [0.0, 1.0, 0.0, 0.0] * 2,
        "agreement": [0.5, 1.0, 0.5, 0.5] * 2,
        "item.tempo": [90.0, 140.0, 160.0, 120.0] * 2,
        "item.released": [10.0, 30.0, 60.0, None] * 2,
        "user.age": [34.0] * 4 + [18.0] * 4,
        "user.events": [3.0] * 4 + [1.0] * 4,
        "context.hour": [8.0] * 8,
        "item.moods=calm": [1.0, 0.0, 0.0, None] * 2,
        "item.moods=fast": [0.0, 0.0, 1.0, None] * 2,
        "item.moods=loud": [0.0, 1.0, 0.0, None] * 2,
        "item.moods=warm": [1.0, 0.0, 0.0, None] * 2,
        "item.artist": ["ada", "bo", "cleo", None] * 2,
        "user.country": ["DE"] * 4 + [None] * 4,
        "context.device": ["tv"] * 8,
    }
    assert found.layout.sizes == (4, 2, 2)
    assert found.group.tolist() == [0] * 4 + [1] * 4
    assert found.label.tolist() == [0.0, 1.0, 0.0, 0.0] * 2
    assert found.rate == 1.0


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=6), st.sampled_from(["tv", "phone"]))
@settings(max_examples=25, deadline=None)
def test_serving_reads_what_learning_read_and_one_user_what_many_get(users: list[int], device: str) -> None:
    layout = told([0, 1, 2, 3]).layout
    request, pool = asked(users, device)
    whole = lesson(NAMES, [Example(request, pool, np.zeros(len(pool), np.float32))], negatives=1.0, memory=MEMORY)
    frame = layout.frame(request, pool)
    read, learnt = columns(layout, frame), columns(whole.layout, whole.frame)
    for name in set(read) & set(learnt):
        known = set(read[name]) if name in layout.categories else set(learnt[name])
        assert read[name] == [value if value in known else None for value in learnt[name]]
    for row in range(len(users)):
        alone = layout.frame(*asked([users[row]], device))
        np.testing.assert_array_equal(alone.numbers, frame.numbers[pool.row == row])
        np.testing.assert_array_equal(alone.codes, frame.codes[pool.row == row])


def test_vocabulary_is_most_frequent_first_then_by_text() -> None:
    request = request_for(DATA, [0] * 3, context={"mood": ["b", "c", "a"]})
    pool = pool_of(request, {"one": [{0: 1.0}, {0: 1.0, 1: 1.0}, {0: 1.0}]})
    example = Example(request, pool, np.zeros(len(pool), np.float32))
    for least, levels in ((1, ("c", "a", "b")), (2, ("c",)), (3, ())):
        found = lesson(["context.mood"], [example], negatives=1.0, memory=MEMORY, least=least)
        assert found.layout.levels == (levels,)
    assert found.frame.codes.tolist() == [[0]] * 4


def test_tags_are_the_most_frequent_ones() -> None:
    assert told([0], features=["item.moods"], tags=1).layout.numbers == ("item.moods=calm",)
    assert told([0], features=["item.moods"], tags=0).layout.numbers == ()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_size_of_examples_changes_nothing(size: int) -> None:
    users = [0, 3, 2, 1, 4]
    cut = []
    for start in range(0, len(users), size):
        request, pool = asked(
            users[start : start + size], device=["tv", "phone", "tv", "car", "tv"][start : start + size]
        )
        cut.append(Example(request, pool, frozen((pool.item == 3).astype(np.float32))))
    found = lesson(NAMES, cut, negatives=0.5, memory=MEMORY)
    request, pool = asked(users, ["tv", "phone", "tv", "car", "tv"])
    whole = lesson(
        NAMES, [Example(request, pool, frozen((pool.item == 3).astype(np.float32)))], negatives=0.5, memory=MEMORY
    )
    for (name, one), (_, other) in zip(flatten(found)[0].items(), flatten(whole)[0].items(), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert found.layout == whole.layout


def test_a_share_of_the_negatives_and_all_positives_are_kept() -> None:
    data = Dataset.from_arrays([f"u{n}" for n in range(200)], [f"s{n % 100}" for n in range(200)])
    request = request_for(data)
    pool = pool_of(request, {"all": [dict.fromkeys(range(100), 1.0)] * 200})
    label = frozen((pool.item % 10 == pool.row % 10).astype(np.float32))
    other = frozen((pool.item == 7).astype(np.float32))
    example = Example(request, pool, label, {"other": other})
    found = lesson(["item.id"], [example], negatives=0.2, memory=MEMORY)
    whole = lesson(["item.id"], [example], negatives=1.0, memory=MEMORY)
    for name, labels in ((None, label), ("other", other)):
        few, every = found.of(name), whole.of(name)
        assert len(every) == len(label)
        assert few.label.sum() == labels.sum()
        assert (few.label == 0).sum() == pytest.approx(0.2 * (labels == 0).sum(), rel=0.05)
        assert few.weight.sum() == pytest.approx(len(label), rel=0.05)
    again = lesson(["item.id"], [example], negatives=0.2, memory=MEMORY)
    np.testing.assert_array_equal(again.group, found.group)


def test_taking_entries_takes_all_that_is_of_them() -> None:
    found = told([0, 1, 2], negatives=0.9)
    part = found.take(found.label > 0.5)
    assert part.label.tolist() == [1.0] * 3
    assert part.group.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(part.frame.numbers, found.frame.numbers[found.label > 0.5])
    np.testing.assert_array_equal(part.frame.codes, found.frame.codes[found.label > 0.5])
    assert len(part) == len(part.frame) == len(part.drawn) == 3


def test_a_column_without_a_value_is_left_out_and_one_that_is_gone_is_unknown() -> None:
    found = told([0], features=["context.place", "warmth", "item.artist", "item.moods"])
    assert found.layout.plain == ("warmth",)
    assert found.layout.categories == ("item.artist",)
    request, pool = asked([0])
    bare = replace(request, catalog=replace(request.catalog, columns={}))
    frame = found.layout.frame(bare, replace(pool, features={}))
    assert np.isnan(frame.numbers).all()
    assert (frame.codes == 0).all()


def test_numbers_and_texts_stand_for_each_other() -> None:
    layout = told([0, 1], features=["context.hour"]).layout
    assert columns(layout, layout.frame(*asked([0], hour="17")))["context.hour"] == [17.0] * 4
    assert columns(layout, layout.frame(*asked([0], hour="noon")))["context.hour"] == [None] * 4
    request, pool = asked([0], device="8")
    text = lesson(["context.device"], [Example(request, pool, np.zeros(4, np.float32))], negatives=1.0, memory=MEMORY)
    assert columns(text.layout, text.layout.frame(*asked([0], device=8)))["context.device"] == ["8"] * 4
    assert columns(text.layout, text.layout.frame(*asked([0], device=9)))["context.device"] == [None] * 4


def test_a_column_is_of_the_kind_that_it_has_first() -> None:
    request, pool = asked([0])
    tags = request.catalog.columns["moods"]
    columns_ = [{"one": column} for column in (tags, request.catalog.columns["artist"], tags)]
    given = [replace(request, catalog=replace(request.catalog, columns=own)) for own in columns_]
    label = np.zeros(4, np.float32)
    found = lesson(["item.one"], [Example(one, pool, label) for one in given], negatives=1.0, memory=MEMORY)
    calm = columns(found.layout, found.frame)["item.one=calm"]
    assert calm == [1.0, 0.0, 0.0, None, *[None] * 4, 1.0, 0.0, 0.0, None]
    other = lesson(["item.one"], [Example(given[1], pool, label)] * 2, negatives=1.0, memory=MEMORY)
    assert columns(other.layout, other.layout.frame(given[0], pool))["item.one"] == [None] * 4
    assert columns(found.layout, found.layout.frame(given[1], pool))["item.one=calm"] == [None] * 4


def test_users_and_items_are_their_ids() -> None:
    found = told([0, -1], features=["user", "item"])
    assert columns(found.layout, found.frame) == {
        "user": ["anna"] * 4 + [None] * 4,
        "item": ["s0", "s3", "s5", "s6"] * 2,
    }


def test_ages_go_by_the_moment_of_each_request() -> None:
    layout = told([0], features=["item.released"]).layout
    request, pool = asked([0, 0])
    later = replace(request, now=np.array([NOON, NOON + 86_400 * 3]))
    ages = columns(layout, layout.frame(later, pool))["item.released"]
    assert ages == [10.0, 30.0, 60.0, None, 13.0, 33.0, 63.0, None]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("item.artst", r"no name 'item\.artst' here \(did you mean item\.artist\?\)"),
        ("nera.score", r"did you mean near\.score\?"),
        ("country", r"did you mean user\.country\?"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told([0], features=["*", name])


def test_too_many_entries_for_the_memory_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"set negatives to a smaller share"):
        told([0, 1, 2], memory=1000)


def test_no_examples_are_an_empty_lesson() -> None:
    found = lesson(["*"], [], negatives=1.0, memory=MEMORY)
    assert (len(found), found.layout, found.frame.numbers.shape) == (0, Layout(), (0, 0))


def test_a_layout_is_saved_and_read_again() -> None:
    layout = told([0, 1]).layout
    assert unflatten(Layout, *flatten(layout)) == layout
