"""Spacing against a row that is filled place by place."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.tables import MISSING_DATE, CategoryColumn, DateColumn, NumberColumn, Table
from nbarec.testing.worlds import pool_in_order, request_for, tags_of, tiny_world
from nbarec_plugins import spacing, windows
from nbarec_plugins.spacing import Spacing, nbarec_post_filters

DATA = tiny_world()
ITEMS = 12

levels = st.frozensets(st.integers(0, 4), max_size=3)
one_level = st.frozensets(st.integers(-2, 2), max_size=1)
rows = st.lists(st.tuples(st.permutations(range(ITEMS)), st.integers(0, ITEMS)), max_size=6)
gaps = st.integers(1, 4)
windows_sizes = st.sampled_from([1, 5, 100])


def date(value: frozenset[int]) -> int:
    return next(iter(value), MISSING_DATE)


COLUMNS = {
    "tags": lambda per_item: tags_of([[str(level) for level in sorted(item)] for item in per_item]),
    "category": lambda per_item: CategoryColumn.of([next(map(str, item), None) for item in per_item]),
    "number": lambda per_item: NumberColumn(np.array([next(map(float, item), np.nan) for item in per_item])),
    "date": lambda per_item: DateColumn(np.array([date(item) for item in per_item], np.int64)),
}


def world(column) -> Dataset:
    songs = Dataset.from_arrays(["u"] * ITEMS, np.arange(ITEMS))
    return Dataset.of(songs.users, songs.items, songs.events, Table(ITEMS, {"kind": column}), songs.audience)


def batch(data: Dataset, drawn: list[tuple[list[int], int]]) -> tuple[Request, Pool]:
    request = request_for(data, [0] * len(drawn))
    return request, pool_in_order(request, [items[:length] for items, length in drawn])


def select(spaced: Spacing, data: Dataset, request: Request, pool: Pool) -> np.ndarray:
    state = spaced.fit(data, np.random.default_rng(0))
    assert state == NoState()
    return spaced.select(state, request, pool)


def slow_row(kinds: list[frozenset[int]], gap: int, strict: bool) -> list[int]:
    left, placed = list(range(len(kinds))), []
    while left:
        near = frozenset().union(*(kinds[at] for at in placed[-gap:]))
        fitting = [at for at in left if not kinds[at] & near]
        if strict and not fitting:
            break
        placed.append((fitting or left)[0])
        left.remove(placed[-1])
    return placed


def slow_selection(spaced: Spacing, per_item: list[frozenset[int]], pool: Pool) -> list[int]:
    order = []
    for row in range(pool.rows):
        positions = list(range(pool.indptr[row], pool.indptr[row + 1]))
        kinds = [per_item[item] for item in pool.item[positions[: spaced.among]]]
        order += [positions[at] for at in slow_row(kinds, spaced.gap, spaced.strict)]
        order += [] if spaced.strict else positions[spaced.among :]
    return order


@pytest.mark.parametrize("kind", COLUMNS)
@given(data=st.data(), drawn=rows, gap=gaps, strict=st.booleans(), among=windows_sizes)
@settings(max_examples=60, deadline=None)
def test_fills_place_by_place(kind, data, drawn, gap, strict, among):
    per_item = data.draw(st.lists(levels if kind == "tags" else one_level, min_size=ITEMS, max_size=ITEMS))
    known = world(COLUMNS[kind](per_item))
    request, pool = batch(known, drawn)
    spaced = Spacing("kind", gap, strict, among)
    selected = select(spaced, known, request, pool)
    assert selected.dtype == np.int64
    assert selected.tolist() == slow_selection(spaced, per_item, pool)


@given(st.lists(levels, min_size=ITEMS, max_size=ITEMS), rows, gaps, st.booleans())
@settings(max_examples=50, deadline=None)
def test_second_time_changes_nothing_and_rows_stay_apart(per_item, drawn, gap, strict):
    data = world(COLUMNS["tags"](per_item))
    request, pool = batch(data, drawn)
    spaced = Spacing("kind", gap, strict)
    order = select(spaced, data, request, pool)
    again = pool.take(order)
    assert select(spaced, data, request, again).tolist() == list(range(len(order)))
    alone = [select(spaced, data, *batch(data, [row])) + start for row, start in zip(drawn, pool.indptr, strict=False)]
    assert order.tolist() == [int(at) for row in alone for at in row]
    if strict:
        kinds = [per_item[item] for item in again.item]
        near = [(a, b) for a in range(len(order)) for b in range(a + 1, min(a + gap + 1, len(order)))]
        assert not any(kinds[a] & kinds[b] for a, b in near if again.row[a] == again.row[b])
    else:
        assert sorted(order.tolist()) == list(range(len(pool)))


def test_small_blocks_are_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    data = world(COLUMNS["tags"]([frozenset(rng.integers(0, 5, 2).tolist()) for _ in range(ITEMS)]))
    request, pool = batch(data, [(rng.permutation(ITEMS).tolist(), int(rng.integers(ITEMS))) for _ in range(40)])
    whole = select(Spacing("kind", 2), data, request, pool)
    monkeypatch.setattr(windows, "CELLS_IN_BLOCK", 30 * windows.CELLS_OF_ENTRY)
    assert select(Spacing("kind", 2), data, request, pool).tolist() == whole.tolist()


def test_songs_without_an_artist_are_free_and_the_order_gives_way_late():
    request = request_for(DATA, [0])
    pool = pool_in_order(request, [[0, 1, 2, 6, 3]])  # ada, ada, ada, unknown, bo
    assert pool.item[select(Spacing("item.artist"), DATA, request, pool)].tolist() == [0, 6, 1, 3, 2]
    assert pool.item[select(Spacing("artist", 2), DATA, request, pool)].tolist() == [0, 6, 3, 1, 2]
    assert pool.item[select(Spacing("artist", 2, strict=True), DATA, request, pool)].tolist() == [0, 6, 3, 1]


def test_what_stands_behind_the_window_stays_or_goes():
    request = request_for(DATA, [0])
    pool = pool_in_order(request, [[0, 1, 3, 2, 4]])  # ada, ada, bo, ada, bo
    assert pool.item[select(Spacing("artist", among=3), DATA, request, pool)].tolist() == [0, 3, 1, 2, 4]
    assert pool.item[select(Spacing("artist", among=3, strict=True), DATA, request, pool)].tolist() == [0, 3, 1]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("by", ["artist", "moods", "tempo", "released", "id", "events"])
def test_empty_pools_and_requests(by, strict):
    spaced = Spacing(by, strict=strict)
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    assert select(spaced, DATA, request, pool_in_order(request, [[], []])).tolist() == []
    assert select(spaced, DATA, nobody, pool_in_order(nobody, [])).tolist() == []
    assert select(spaced, DATA, request, pool_in_order(request, [[], [3]])).tolist() == [0]


def test_wrong_columns_and_parameters():
    with pytest.raises(ConfigError, match=r"spacing has `by: artst`.* did you mean 'artist'"):
        Spacing("artst").fit(DATA, np.random.default_rng(0))
    with pytest.raises(ValueError, match="gap must be at least 1, not 0"):
        Spacing("artist", 0)


def test_hook_and_examples():
    assert list(nbarec_post_filters()) == [Spacing]
    failed, tried = doctest.testmod(spacing)
    assert failed == 0
    assert tried > 0
