"""Calibrated lists against a greedy search that computes every divergence anew, from dense shares."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Pool, Request
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.tables import CategoryColumn, Table
from nbarec.testing.worlds import pool_in_order, request_for, sorted_by_score, tags_of, tiny_world
from nbarec_plugins import calibrate, windows
from nbarec_plugins.calibrate import Calibrate, nbarec_post_filters
from nbarec_plugins.calibration import divergence, liked_items, mean_shares

DATA = tiny_world()
ITEMS, LEVELS, USERS, ALPHA = 12, 5, 4, 0.01

levels = st.frozensets(st.integers(0, LEVELS - 1), max_size=3)
one_level = st.frozensets(st.integers(0, LEVELS - 1), max_size=1)
weights = st.sampled_from([-1.0, 0.5, 1.0, 2.5])
events = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), weights), min_size=1, max_size=25)
rows = st.lists(st.tuples(st.permutations(range(ITEMS)), st.integers(0, ITEMS)), min_size=1, max_size=6)
scores = st.lists(st.integers(-3, 8), min_size=ITEMS, max_size=ITEMS)


def world(per_item: list[frozenset[int]], happened: list[tuple[int, int, float]], *, tags: bool = True) -> Dataset:
    user, item, weight = zip(*happened, strict=True)
    known = Dataset.from_arrays(user, item, weight, catalog={"id": np.arange(ITEMS)}, audience={"id": np.arange(USERS)})
    if tags:
        column = tags_of([[str(level) for level in sorted(item)] for item in per_item])
    else:
        column = CategoryColumn.of([next(map(str, item), None) for item in per_item])
    return replace(known, catalog=Table(ITEMS, {"genre": column}))


def batch(data: Dataset, drawn: list[tuple[list[int], int]], score: list[int], k: int) -> tuple[Request, Pool]:
    """Row r asks for user r (modulo the users), with the first items drawn, each under its own score."""
    request = request_for(data, np.arange(len(drawn)) % USERS, k=k)
    pool = pool_in_order(request, [items[:length] for items, length in drawn])
    own = (np.array(score, np.float32)[pool.item] + pool.row % 3).astype(np.float32)
    return request, sorted_by_score(replace(pool, score=own))


def select(filtering: Calibrate, data: Dataset, request: Request, pool: Pool) -> np.ndarray:
    state = filtering.fit(data, np.random.default_rng(0))
    assert state == NoState()
    return filtering.select(state, request, pool)


def share(kinds: frozenset[int]) -> np.ndarray:
    dense = np.zeros(LEVELS)
    dense[list(kinds)] = 1 / max(len(kinds), 1)
    return dense


def slow_taste(per_item: list[frozenset[int]], happened: list[tuple[int, int, float]], user: int) -> np.ndarray | None:
    total: dict[int, float] = {}
    for who, item, weight in happened:
        if who == user:
            total[item] = total.get(item, 0.0) + weight
    liked = {item: weight for item, weight in total.items() if weight > 0 and per_item[item]}
    if not liked:
        return None
    return sum(weight * share(per_item[item]) for item, weight in liked.items()) / sum(liked.values())


def slow_divergence(p: np.ndarray, listed: list[frozenset[int]]) -> float:
    known = [share(kinds) for kinds in listed if kinds]
    q = sum(known) / len(known) if known else np.zeros(LEVELS)
    return sum(x * math.log(x / ((1 - ALPHA) * y + ALPHA * x)) for x, y in zip(p, q, strict=True) if x > 0)


def slow_order(kinds: list[frozenset[int]], score: list[float], p: np.ndarray, strength: float, k: int) -> list[int]:
    """Places of the window, in the order of a greedy search over whole lists."""
    span = max(score) - min(score)
    s = [(x - min(score)) / span if span else 1.0 for x in score]
    picked: list[int] = []
    left = list(range(len(kinds)))
    while left and len(picked) < 2 * k:
        worth = []
        for at in left:
            listed = [*picked, at]
            kl = slow_divergence(p, [kinds[place] for place in listed])
            worth.append((1 - strength) * sum(s[place] for place in listed) - strength * kl)
        best = next(at for at, value in zip(left, worth, strict=True) if value >= max(worth) - 1e-9)
        picked.append(best)
        left.remove(best)
    return picked + left


def slow_selection(filtering: Calibrate, per_item, happened, request: Request, pool: Pool) -> list[int]:
    order = []
    for row in range(pool.rows):
        positions = list(range(pool.indptr[row], pool.indptr[row + 1]))
        p = slow_taste(per_item, happened, int(request.user[row]))
        window = positions[: filtering.among]
        if window and p is not None and filtering.strength > 0:
            kinds = [per_item[item] for item in pool.item[window]]
            score = pool.score[window].astype(np.float64).tolist()
            window = [window[at] for at in slow_order(kinds, score, p, filtering.strength, request.k)]
        order += window + positions[filtering.among :]
    return order


@pytest.mark.parametrize("tags", [True, False])
@given(data=st.data(), happened=events, drawn=rows, score=scores, k=st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_picks_are_those_of_a_search_over_whole_lists(tags, data, happened, drawn, score, k):
    per_item = data.draw(st.lists(levels if tags else one_level, min_size=ITEMS, max_size=ITEMS))
    filtering = Calibrate(
        "genre", data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.83, 1.0])), data.draw(st.sampled_from([1, 5, 100]))
    )
    known = world(per_item, happened, tags=tags)
    request, pool = batch(known, drawn, score, k)
    selected = select(filtering, known, request, pool)
    assert selected.dtype == np.int64
    assert selected.tolist() == slow_selection(filtering, per_item, happened, request, pool)


@given(st.lists(levels, min_size=ITEMS, max_size=ITEMS), events, rows, scores, st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_nothing_is_lost_and_strength_0_changes_nothing(per_item, happened, drawn, score, k):
    data = world(per_item, happened)
    request, pool = batch(data, drawn, score, k)
    order = select(Calibrate("genre", 0.7), data, request, pool)
    assert sorted(order.tolist()) == list(range(len(pool)))
    assert (pool.row[order] == pool.row).all()
    assert select(Calibrate("genre", 0.0), data, request, pool).tolist() == list(range(len(pool)))
    for row in range(len(drawn)):
        alone = select(Calibrate("genre", 0.7), data, *one_row(request, pool, row))
        assert (alone + pool.indptr[row]).tolist() == order[pool.row == row].tolist()


def one_row(request: Request, pool: Pool, row: int) -> tuple[Request, Pool]:
    own = pool.take(np.flatnonzero(pool.row == row))
    return request.take(np.array([row])), replace(own, row=np.zeros_like(own.row), indptr=np.array([0, len(own)]))


def big_world(users: int = 200, items: int = 300, kinds: int = 8) -> tuple[Dataset, Pool]:
    """Users who love two of eight kinds, and pools of 60 whose scores know nothing of that."""
    rng = np.random.default_rng(5)
    kind = np.sort(rng.integers(0, kinds, (items, 2)), axis=1)
    loves = rng.integers(0, kinds, (users, 2))
    user = np.repeat(np.arange(users), 20)
    by_kind = [np.flatnonzero((kind == at).any(axis=1)) for at in range(kinds)]
    item = np.array([rng.choice(by_kind[loves[who, rng.integers(2)]]) for who in user])
    known = Dataset.from_arrays(user, item, catalog={"id": np.arange(items)}, audience={"id": np.arange(users)})
    data = replace(known, catalog=Table(items, {"genre": tags_of([[f"g{at}" for at in pair] for pair in kind])}))
    pool = pool_in_order(request_for(data), [rng.permutation(items)[:60].tolist() for _ in range(users)])
    return data, pool


def test_divergence_falls_and_relevance_too_as_strength_grows():
    data, pool = big_world()
    request = request_for(data, k=10)
    column = data.catalog.columns["genre"]
    taste = mean_shares(liked_items(request.history), column)
    means, relevance = [], []
    for strength in (0.0, 0.2, 0.5, 0.8, 1.0):
        left = pool.take(select(Calibrate("genre", strength), data, request, pool))
        first = np.arange(len(left)).reshape(200, 60)[:, :10]
        slates = replace(
            liked_items(Events.empty(200, 300)), indptr=np.arange(201) * 10, column=left.item[first].ravel()
        )
        means.append(divergence(taste, mean_shares(replace(slates, value=np.ones(2000)), column)).mean())
        relevance.append(left.score[first].sum())
    assert means == sorted(means, reverse=True)
    assert relevance == sorted(relevance, reverse=True)
    assert means[0] > 3 * means[-1]


def test_batches_and_blocks_change_no_bit(monkeypatch):
    data, pool = big_world()
    request = request_for(data, k=10)
    filtering = Calibrate("genre", 0.6)
    whole = select(filtering, data, request, pool)
    for row in (0, 1, 77, 199):
        alone = select(filtering, data, *one_row(request, pool, row))
        assert (alone + pool.indptr[row]).tolist() == whole[pool.row == row].tolist()
    monkeypatch.setattr(windows, "CELLS_IN_BLOCK", 7 * 60 * windows.CELLS_OF_ENTRY)
    assert select(filtering, data, request, pool).tolist() == whole.tolist()


def test_gains_of_a_row_have_the_same_bits_in_any_batch(monkeypatch):
    seen: list[np.ndarray] = []
    values = calibrate._Calibration.values
    monkeypatch.setattr(calibrate._Calibration, "values", lambda self: seen.append(values(self)) or seen[-1])
    data, pool = big_world()
    request = request_for(data, k=3)
    select(Calibrate("genre", 0.6), data, request, pool)
    whole = np.stack(seen)
    for row in (0, 3, 198):
        seen.clear()
        select(Calibrate("genre", 0.6), data, *one_row(request, pool, row))
        assert (np.stack(seen)[:, 0] == whole[:, row]).all()


def test_shares_of_the_history_come_back():
    """Seven parts of calm to three of loud, from a pool that has its four loud songs before the calm ones."""
    per_item = [frozenset({item % 3 > 0}) for item in range(ITEMS)]
    data = world(per_item, [(0, 1, 7.0), (0, 0, 3.0)])
    request = request_for(data, [0], k=10)
    pool = pool_in_order(request, [[0, 3, 6, 9, 1, 2, 4, 5, 7, 8, 10, 11]])
    chosen = pool.item[select(Calibrate("genre", 1.0), data, request, pool)][:10]
    assert (chosen % 3 > 0).astype(int).tolist() == [1, 0, 1, 1, 0, 1, 1, 1, 0, 1]


def test_without_history_or_levels_nothing_moves():
    request = request_for(DATA, [4, -1, 3])
    everything = [[6, 1, 0, 2, 3, 4, 5, 7]] * 3
    pool = pool_in_order(request, everything)
    left = pool.item[select(Calibrate("moods", 0.9), DATA, request, pool)].reshape(3, 8)
    assert left[:2].tolist() == everything[:2]
    assert left[2].tolist() == [2, 6, 0, 1, 3, 4, 5, 7]  # dan heard one warm song; song 6 has no mood
    unknown = world([frozenset()] * ITEMS, [(0, 0, 1.0)])
    request = request_for(unknown, [0])
    assert select(Calibrate("genre", 1.0), unknown, request, pool_in_order(request, [[3, 1]])).tolist() == [0, 1]


def test_history_of_the_request_counts_not_the_stored_one():
    request = request_for(DATA, [3], history=Events.empty(1, 8))
    pool = pool_in_order(request, [[3, 2, 1]])
    assert select(Calibrate("moods", 1.0), DATA, request, pool).tolist() == [0, 1, 2]


def test_empty_pools_and_requests():
    request, nobody = request_for(DATA, [0, 1]), request_for(DATA, [])
    for by in ("artist", "item.moods"):
        filtering = Calibrate(by)
        assert select(filtering, DATA, request, pool_in_order(request, [[], []])).tolist() == []
        assert select(filtering, DATA, nobody, pool_in_order(nobody, [])).tolist() == []
        assert select(filtering, DATA, request, pool_in_order(request, [[], [3]])).tolist() == [0]


def test_wrong_columns_and_parameters():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"calibrate has `by: mods`.* did you mean 'moods'"):
        Calibrate("mods").fit(DATA, rng)
    with pytest.raises(ConfigError, match=r"`by: item.tempo`, a column of numbers or dates.*: artist, moods, regions"):
        Calibrate("item.tempo").fit(DATA, rng)
    with pytest.raises(ValueError, match=r"strength must be at most 1, not 1.5"):
        Calibrate("moods", 1.5)
    with pytest.raises(ValueError, match="among must be at least 1, not 0"):
        Calibrate("moods", among=0)


def test_hook_and_examples():
    assert list(nbarec_post_filters()) == [Calibrate]
    failed, tried = doctest.testmod(calibrate)
    assert failed == 0
    assert tried > 0
