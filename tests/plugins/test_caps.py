"""The cap against a slate that is filled entry by entry."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import rank_in_row
from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.tables import CategoryColumn, DateColumn, NumberColumn, Table
from nbarec.testing.worlds import MISSING_DATE, pool_in_order, request_for, tags_of, tiny_world
from nbarec_plugins import caps
from nbarec_plugins.caps import MaxPer, nbarec_post_filters

DATA = tiny_world()
N_ITEMS = 12

levels = st.frozensets(st.integers(0, 4), max_size=3)
one_level = st.frozensets(st.integers(-2, 3), max_size=1)
rows = st.lists(st.tuples(st.permutations(range(N_ITEMS)), st.integers(0, N_ITEMS)), max_size=6)
missing = st.sampled_from(["allow", "together"])
limits = st.integers(1, 4)


def world(column) -> Dataset:
    songs = Dataset.from_arrays(["u"] * N_ITEMS, np.arange(N_ITEMS))
    return Dataset.of(songs.users, songs.items, songs.events, Table(N_ITEMS, {"kind": column}), songs.audience)


def number(value: frozenset[int]) -> float:
    return next(iter(value), np.nan)


COLUMNS = {
    "tags": lambda per_item: tags_of([[str(level) for level in item] for item in per_item]),
    "category": lambda per_item: CategoryColumn.of([next(map(str, item), None) for item in per_item]),
    "number": lambda per_item: NumberColumn(np.array([number(item) for item in per_item])),
    "date": lambda per_item: DateColumn(np.array([next(iter(item), MISSING_DATE) for item in per_item], np.int64)),
}


def batch(data: Dataset, drawn: list[tuple[list[int], int]]) -> tuple[Request, Pool]:
    request = request_for(data, [0] * len(drawn))
    return request, pool_in_order(request, [items[:length] for items, length in drawn])


def select(cap: MaxPer, data: Dataset, request: Request, pool: Pool) -> np.ndarray:
    state = cap.fit(data, np.random.default_rng(0))
    assert state == NoState()
    return cap.select(state, request, pool)


def slow_fill(pool: Pool, per_item: list[frozenset[int]], limit: int, missing: str) -> list[int]:
    """Positions of the slate that takes the best entry whose levels all have a place."""
    taken: dict[tuple[int, int | str], int] = {}
    kept = []
    for position, (row, item) in enumerate(zip(pool.row.tolist(), pool.item.tolist(), strict=True)):
        nothing = ["none"] if missing == "together" else []
        cells = [(row, level) for level in per_item[item] or nothing]
        if all(taken.get(cell, 0) < limit for cell in cells):
            kept.append(position)
            taken.update({cell: taken.get(cell, 0) + 1 for cell in cells})
    return kept


@given(st.lists(levels, min_size=N_ITEMS, max_size=N_ITEMS), rows, limits, missing)
@settings(max_examples=100, deadline=None)
def test_many_levels_fill_entry_by_entry(per_item, drawn, limit, missing):
    data = world(COLUMNS["tags"](per_item))
    request, pool = batch(data, drawn)
    kept = select(MaxPer("kind", limit, missing), data, request, pool)
    assert kept.dtype == np.int64
    assert kept.tolist() == slow_fill(pool, per_item, limit, missing)


@pytest.mark.parametrize("kind", COLUMNS)
@given(per_item=st.lists(one_level, min_size=N_ITEMS, max_size=N_ITEMS), drawn=rows, limit=limits, missing=missing)
@settings(max_examples=40, deadline=None)
def test_every_kind_of_column_fills_entry_by_entry(kind, per_item, drawn, limit, missing):
    data = world(COLUMNS[kind](per_item))
    request, pool = batch(data, drawn)
    expected = slow_fill(pool, per_item, limit, missing)
    # A step a size of blocks: all rows at once, a few, and each alone.
    for at_once in (caps.SORTED_AT_ONCE, 15, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(caps, "SORTED_AT_ONCE", at_once)
            assert select(MaxPer("kind", limit, missing), data, request, pool).tolist() == expected


@pytest.mark.parametrize("kind", ["tags", "category"])
@given(per_item=st.lists(one_level, min_size=N_ITEMS, max_size=N_ITEMS), drawn=rows, limit=limits)
@settings(max_examples=30, deadline=None)
def test_second_time_changes_nothing_and_a_shorter_pool_keeps_the_same_head(kind, per_item, drawn, limit):
    data = world(COLUMNS[kind](per_item))
    request, pool = batch(data, drawn)
    cap = MaxPer("kind", limit)
    kept = select(cap, data, request, pool)
    assert (np.diff(kept) > 0).all()
    assert len(select(cap, data, request, pool.take(kept))) == len(kept)
    head = np.flatnonzero(rank_in_row(pool.indptr) <= 5)
    assert head[select(cap, data, request, pool.take(head))].tolist() == [at for at in kept.tolist() if at in head]


def test_two_of_an_artist_whatever_the_spelling():
    request = request_for(DATA, [0, 1])
    pool = pool_in_order(request, [[0, 1, 3, 2, 4, 6], [2, 1, 0]])
    for by in ("artist", "item.artist"):
        kept = select(MaxPer(by, 2), DATA, request, pool)
        assert pool.item[kept].tolist() == [0, 1, 3, 4, 6, 2, 1]


def test_dropped_entry_takes_no_place():
    """Song 0 is calm and warm, 1 calm, 2 warm: after 1, song 0 is dropped, so warm still has a place."""
    request = request_for(DATA, [0])
    pool = pool_in_order(request, [[1, 0, 2]])
    assert pool.item[select(MaxPer("moods", 1), DATA, request, pool)].tolist() == [1, 2]


def test_counts_of_events_and_ids_are_columns_too():
    request = request_for(DATA, [0])
    pool = pool_in_order(request, [[1, 2, 6, 0]])  # played once, once, never, twice
    assert pool.item[select(MaxPer("events", 1), DATA, request, pool)].tolist() == [1, 6, 0]
    assert len(select(MaxPer("id", 1), DATA, request, pool)) == 4


@pytest.mark.parametrize("by", ["artist", "moods", "tempo", "released"])
@pytest.mark.parametrize("missing", ["allow", "together"])
def test_empty_pools_and_requests(by, missing):
    cap = MaxPer(by, 1, missing)
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert select(cap, DATA, request, pool_in_order(request, [[], []])).tolist() == []
    assert select(cap, DATA, nobody, pool_in_order(nobody, [])).tolist() == []
    assert select(cap, DATA, request, pool_in_order(request, [[], [3]])).tolist() == [0]


def test_unknown_column_names_those_there_are():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="no column 'artst'; did you mean 'artist'"):
        MaxPer("item.artst", 2).fit(DATA, rng)
    with pytest.raises(ConfigError, match="it has artist, moods, regions, explicit, tempo, released, id, events"):
        MaxPer("label", 2).fit(DATA, rng)


def test_wrong_parameters():
    with pytest.raises(ValueError, match="max must be at least 1, not 0"):
        MaxPer("artist", 0)
    with pytest.raises(ValueError, match="missing must be one of allow, together"):
        MaxPer("artist", 1, "deny")


def test_hook_names_the_filter():
    assert list(nbarec_post_filters()) == [MaxPer]


def test_examples_run():
    failed, tried = doctest.testmod(caps)
    assert failed == 0
    assert tried > 0
