"""An editor's list, by id and by rule, and a pin that finds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates
from nbarec.contracts import check_candidates
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.marked import read_text
from nbarec.params import build
from nbarec.pipeline import Pipeline
from nbarec.sparse import Csr
from nbarec.states import flatten, unflatten
from nbarec.testing.worlds import request_for, tiny_world
from nbarec_plugins.listed import Listed, ListedState, nbarec_candidate_generators

RNG = np.random.default_rng(0)
DATA = tiny_world()


def lists(found: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(found.item.tolist(), found.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def items_of(model: Listed, data: Dataset = DATA) -> list[int]:
    return list(model.fit(data, RNG).item.tolist())


@given(
    st.lists(st.integers(0, 7), min_size=1, unique=True),
    st.lists(st.tuples(st.integers(-1, 4), st.sets(st.integers(0, 7))), max_size=5),
    st.integers(0, 9),
)
@settings(max_examples=100, deadline=None)
def test_everybody_gets_the_list_without_what_he_excludes(
    listed: list[int], asked: list[tuple[int, set[int]]], limit: int
) -> None:
    model = Listed(items=tuple(f"s{item}" for item in listed))
    pairs = np.array([(row, item) for row, (_, some) in enumerate(asked) for item in some], np.int64).reshape(-1, 2)
    excluded = Csr.from_pairs(pairs[:, 0], pairs[:, 1], None, (len(asked), 8))
    request = request_for(DATA, [user for user, _ in asked], excluded=excluded)
    state = model.fit(DATA, RNG)
    found = model.generate(state, request, limit)
    check_candidates("listed", found, request, limit)
    for row, (_, some) in enumerate(asked):
        left = [(item, float(np.float32(1 / place))) for place, item in enumerate(listed, 1) if item not in some]
        assert lists(found)[row] == left[:limit]
        assert lists(model.generate(state, request.take(np.array([row])), limit)) == [left[:limit]]


@pytest.mark.parametrize(
    ("where", "by", "expected"),
    [
        ("item.explicit", None, [1, 4, 7]),
        ("item.artist in [ada, cleo]", None, [0, 1, 2, 5, 7]),
        ("item.artist in [ada, cleo]", "tempo", [5, 1, 2, 0, 7]),
        ("item.artist in [ada, cleo]", "item.released", [0, 2, 5, 1, 7]),
        ("item.id in [s0, s5, s6]", "released", [0, 5, 6]),
        ("item.events >= 1", "events", [0, 1, 2, 3, 4, 5, 7]),
        ("now - item.released <= 10d", None, [0, 4]),
        ("item.artist == 'nobody'", "tempo", []),
    ],
)
def test_a_rule_over_the_catalogue(where: str, by: str | None, expected: list[int]) -> None:
    assert items_of(Listed(where=Expression(where), by=by)) == expected


def test_ids_are_the_ones_of_outside_whole_numbers_too() -> None:
    numbered = Dataset.from_arrays(["ann", "bob"], [196, 242])
    for written in (196, "196"):
        node = read_text(f"items: [242, {written!r}]".replace("'", '"'), "list.yaml")
        problems: list[Any] = []
        model = build(Listed, node, where="listed", problems=problems)
        assert problems == []
        assert model is not None
        assert items_of(model, numbered) == [1, 0]


def test_an_update_resolves_the_rule_anew_and_a_saved_state_is_the_state() -> None:
    model = Listed(where=Expression("item.events >= 1"), by="events")
    old = Dataset.from_arrays(["ann"], ["tea"])
    grown = Dataset.from_arrays(["ann", "ann", "bob"], ["milk", "tea", "tea"])
    updated = model.update(model.fit(old, RNG), grown, grown)
    assert updated.item.tolist() == items_of(model, grown) == [1, 0]
    arrays, tree = flatten(updated)
    assert not any(array.flags.writeable for array in arrays.values())
    assert unflatten(ListedState, arrays, tree).item.tolist() == [1, 0]


def test_what_is_wrong_is_named() -> None:
    rule = Expression("item.explicit")
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "exactly one of items and where, and has neither"),
        ({"items": ("s1",), "where": rule}, "exactly one of items and where, and has both"),
        ({"items": ()}, "items is empty"),
        ({"items": ("s1",), "by": "tempo"}, "leave by out"),
        ({"items": ("s1", "s2", "s1", 7, "7")}, "items has s1, 7 more than once"),
    ]
    for parameters, message in cases:
        with pytest.raises(ValueError, match=message):
            Listed(**parameters)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"items": ("s1", "s9", "x")}, "not in the catalogue of 8 items: s9, x; correct the ids"),
        ({"items": tuple(range(7))}, "items: 0, 1, 2, 3, 4 and 2 more; correct"),
        ({"where": Expression("user.age > 18")}, "no name 'user.age' here"),
        ({"where": rule, "by": "artist"}, "'artist' holds neither numbers nor dates; those that do are: explicit, "),
        ({"where": rule, "by": "item.speed"}, "there is no column 'speed'"),
    ]
    for parameters, message in wrong:
        with pytest.raises(ConfigError, match=message):
            Listed(**parameters).fit(DATA, RNG)
    assert nbarec_candidate_generators() == [Listed]


def test_it_brings_an_item_that_no_other_stage_proposes_into_the_pool(music_text: str) -> None:
    songs = Pipeline.from_text(music_text).fit().data.items.all()
    chosen = [songs[3], songs[70]]
    stage = f"  - {{id: editor, use: listed, k: 5, exclude: weight < 0, with: {{items: {chosen}}}}}\n"
    text = music_text.replace("candidates:\n", "candidates:\n" + stage)
    model = Pipeline.from_text(text).fit()
    assert model.recommend(["nobody"], stage="editor", k=5).items == [chosen]
    with pytest.raises(ConfigError, match=r"candidates\.editor \(listed .*not in the catalogue of 80 items: no-song;"):
        Pipeline.from_text(text.replace(str(chosen), "[no-song]")).fit()
