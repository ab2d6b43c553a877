"""New releases against a sort written out, and the moments when items come and go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates
from nbarec.contracts import check_candidates
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.expressions import Expression
from nbarec.ids import Ids
from nbarec.params import Duration
from nbarec.sparse import Csr
from nbarec.states import flatten, unflatten
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, Table
from nbarec.testing.worlds import DAY, NOON, request_for, tiny_world
from nbarec_plugins.recent import Recent, RecentState, nbarec_candidate_generators

RNG = np.random.default_rng(0)

dates = st.none() | st.sampled_from([NOON, NOON - 1, NOON + 1, NOON - 30 * DAY, NOON - 9000 * DAY, -(2**40)])
worlds = st.lists(st.tuples(dates, st.sampled_from(["rock", "jazz", None])), max_size=8)
models = st.builds(
    Recent,
    within=st.sampled_from([None, Duration("0s"), Duration("1s"), Duration("30d"), Duration(1e300)]),
    half_life=st.sampled_from([Duration("1s"), Duration("30d"), Duration(1e300)]),
    where=st.sampled_from([None, Expression("item.genre == 'rock'")]),
)


def dataset(songs: list[tuple[int | None, str | None]], users: int = 1) -> Dataset:
    seconds = np.array([MISSING_DATE if date is None else date for date, _ in songs], np.int64)
    columns: dict[str, Column] = {
        "released": DateColumn(seconds),
        "genre": CategoryColumn.of([genre for _, genre in songs]),
    }
    events = Events.empty(users, len(songs))
    return Dataset.of(
        Ids.of(range(users)), Ids.of(range(len(songs))), events, Table(len(songs), columns), Table(users), NOON
    )


def lists(found: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(found.item.tolist(), found.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def reference(songs: list[tuple[int | None, str | None]], model: Recent, now: int) -> list[tuple[int, float]]:
    ages = {
        item: now - date
        for item, (date, genre) in enumerate(songs)
        if date is not None and date <= now and (model.where is None or genre == "rock")
    }
    young = [item for item in ages if model.within is None or ages[item] <= model.within]
    return [(item, 2.0 ** (-ages[item] / model.half_life)) for item in sorted(young, key=lambda item: ages[item])]


@given(
    worlds,
    models,
    st.lists(st.tuples(st.sampled_from([NOON - DAY, NOON, NOON + 1, 0]), st.sets(st.integers(0, 7))), max_size=4),
    st.integers(0, 9),
)
@settings(max_examples=200, deadline=None)
def test_lists_equal_the_reference_and_a_batch_changes_no_bit(
    songs: list[tuple[int | None, str | None]], model: Recent, asked: list[tuple[int, set[int]]], limit: int
) -> None:
    data = dataset(songs, max(len(asked), 1))
    pairs = [(row, item) for row, (_, left_out) in enumerate(asked) for item in left_out if item < len(songs)]
    row, item = (np.array([pair[part] for pair in pairs], np.int64) for part in (0, 1))
    excluded = Csr.from_pairs(row, item, None, (len(asked), len(songs)))
    now = np.array([moment for moment, _ in asked], np.int64)
    request = request_for(data, np.arange(len(asked)), now=now, excluded=excluded)
    state = model.fit(data, RNG)
    found = model.generate(state, request, limit)
    check_candidates("recent", found, request, limit)
    for at, (moment, left_out) in enumerate(asked):
        expected = [pair for pair in reference(songs, model, moment) if pair[0] not in left_out][:limit]
        proposed = lists(found)[at]
        assert [item for item, _ in proposed] == [item for item, _ in expected]
        np.testing.assert_allclose([s for _, s in proposed], [s for _, s in expected], rtol=1e-6, atol=1e-37)
        assert lists(model.generate(state, request.take(np.array([at])), limit)) == [proposed]


def test_an_item_comes_out_at_its_second_and_leaves_after_its_time() -> None:
    data = dataset([(NOON, None)])
    model = Recent(within=Duration("1h"))
    state = model.fit(data, RNG)
    for now, count in ((NOON - 1, 0), (NOON, 1), (NOON + 3600, 1), (NOON + 3601, 0)):
        assert len(model.generate(state, request_for(data, [0], now=now), 5)) == count


def test_old_items_stay_in_the_order_of_their_dates_though_their_scores_are_all_nothing() -> None:
    songs: list[tuple[int | None, str | None]] = [(NOON - year * 365 * DAY, None) for year in (60, 40, 20, 50, 0)]
    model = Recent(half_life=Duration("1d"))
    data = dataset(songs)
    [found] = lists(model.generate(model.fit(data, RNG), request_for(data, [0]), 5))
    assert [item for item, _ in found] == [4, 2, 1, 3, 0]
    assert [score for _, score in found] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_strangers_are_served_and_the_state_is_saved_as_it_is() -> None:
    data, model = tiny_world(), Recent(by="item.released", where=Expression("item.artist in [ada, cleo]"))
    state = model.fit(data, RNG)
    arrays, tree = flatten(state)
    assert not any(array.flags.writeable for array in arrays.values())
    loaded = unflatten(RecentState, arrays, tree)
    found = lists(model.generate(loaded, request_for(data, [-1, 4]), 9))
    assert [item for item, _ in found[0]] == [0, 2, 5, 1, 7]
    assert found[0] == found[1]
    assert found[0][0][1] == pytest.approx(0.5 ** (10 / 30))
    assert len(model.generate(state, request_for(data, []), 9).indptr) == 1


def test_an_update_finds_new_items_as_a_refit_does() -> None:
    old, grown, model = dataset([(NOON - 5, None)]), dataset([(NOON - 5, None), (NOON, None)]), Recent()
    updated = model.update(model.fit(old, RNG), grown, grown)
    assert updated.item.tolist() == model.fit(grown, RNG).item.tolist() == [1, 0]


def test_which_column_holds_the_dates_is_told_or_asked() -> None:
    data = tiny_world()
    both = data.catalog.with_column("remastered", DateColumn(np.full(8, NOON)))
    cases: list[tuple[Table, dict[str, Any], str]] = [
        (both, {}, "the date columns are: released, remastered; name one in `by`"),
        (Table(8, {"tempo": NumberColumn(np.ones(8))}), {}, "the date columns are: none; give the catalogue one"),
        (both, {"by": "tempo"}, "'tempo' holds no dates; the date columns are: released, remastered"),
        (both, {"by": "item.born"}, "there is no column 'born'"),
        (both, {"by": "released", "where": Expression("user.age > 3")}, "no name 'user.age' here"),
    ]
    for catalog, parameters, message in cases:
        with pytest.raises(ConfigError, match=message):
            Recent(**parameters).fit(replace(data, catalog=catalog), RNG)
    with pytest.raises(ValueError, match="half_life must be at least 1s"):
        Recent(half_life=Duration("0s"))
    assert nbarec_candidate_generators() == [Recent]
