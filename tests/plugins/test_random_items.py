"""Random draws: uniform, without replacement, and the same for one user all day."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import hash_texts
from nbarec.batch import Candidates, Request
from nbarec.contracts import check_candidates
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.ids import Ids, encode_texts
from nbarec.params import Duration
from nbarec.sparse import Csr
from nbarec.states import flatten, unflatten
from nbarec.tables import Table
from nbarec.testing.worlds import DAY, request_for, tiny_world
from nbarec_plugins import random_items
from nbarec_plugins.random_items import RandomItems, RandomState, nbarec_candidate_generators

MIDNIGHT = 19_676 * DAY


def state_of(items: int, seed: int = 4) -> RandomState:
    """What is learnt of items that are called 0, 1, 2, ..."""
    return RandomState(seed, hash_texts(*encode_texts([str(item) for item in range(items)])))


SEED = state_of(100)


def dataset(users: int, items: int) -> Dataset:
    names = (Ids.of(range(users)), Ids.of(range(items)))
    return Dataset.of(*names, Events.empty(users, items), Table(items), Table(users), MIDNIGHT)


def lists(found: Candidates) -> list[list[int]]:
    return [found.item[a:b].tolist() for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def drawn(request: Request, limit: int, state: RandomState = SEED, model: RandomItems | None = None) -> list[list[int]]:
    return lists((model or RandomItems()).generate(state, request, limit))


def excess(counts: np.ndarray, expected: float) -> float:
    """Pearson's chi-square of equal cells, in standard deviations above its mean under chance."""
    freedom = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


def test_every_item_is_drawn_as_often_at_every_place_and_in_every_pair() -> None:
    users, items = 20_000, 12
    found = np.array(drawn(request_for(dataset(users, items)), items))
    assert (np.sort(found, axis=1) == np.arange(items)).all()
    places = np.array([np.bincount(found[:, place], minlength=items) for place in range(items)])
    assert abs(excess(places, users / items)) < 4
    pairs = np.bincount(found[:, 0] * items + found[:, 1], minlength=items * items).reshape(items, items)
    assert abs(excess(pairs[~np.eye(items, dtype=bool)], users / (items * (items - 1)))) < 4


def test_days_of_one_user_are_as_uniform_as_users_of_one_day() -> None:
    days, items = 20_000, 12
    request = request_for(dataset(1, items), np.zeros(days, np.int64), now=MIDNIGHT + DAY * np.arange(days))
    first, then = np.array(drawn(request, 1))[:-1, 0], np.array(drawn(request, 1))[1:, 0]
    assert abs(excess(np.bincount(first * items + then, minlength=items**2), (days - 1) / items**2)) < 4


def test_scores_are_uniform_numbers() -> None:
    score = RandomItems().generate(SEED, request_for(dataset(200, 500)), 500).score
    assert score.min() >= 0
    assert score.max() <= 1
    assert abs(excess(np.histogram(score, 50, (0, 1))[0], len(score) / 50)) < 4


def test_a_list_lasts_from_midnight_to_midnight_utc() -> None:
    data = dataset(3, 50)

    def at(now: int, model: RandomItems | None = None) -> list[list[int]]:
        return drawn(request_for(data, now=now), 10, model=model)

    assert at(MIDNIGHT) == at(MIDNIGHT + 3600) == at(MIDNIGHT + DAY - 1)
    assert not any(today == other for today, other in zip(at(MIDNIGHT), at(MIDNIGHT + DAY), strict=True))
    assert not any(today == other for today, other in zip(at(MIDNIGHT), at(MIDNIGHT - 1), strict=True))
    hourly = RandomItems(period=Duration("1h"))
    assert at(MIDNIGHT, hourly) == at(MIDNIGHT + 3599, hourly) != at(MIDNIGHT + 3600, hourly)
    weekly = RandomItems(period=Duration("1w"))
    monday = 7 * DAY * (MIDNIGHT // (7 * DAY))
    assert at(monday, weekly) == at(monday + 7 * DAY - 1, weekly) != at(monday + 7 * DAY, weekly)


def test_the_draw_is_that_of_the_user_and_the_seed() -> None:
    request = request_for(dataset(3, 50))
    one, two, three = drawn(request, 10)
    assert one != two != three != one
    assert drawn(request, 10, state_of(100, seed=5))[0] != one
    dash = hash_texts(*encode_texts(["-", "-", "someone"]))
    anonymous = drawn(replace(request, user=np.full(3, -1, np.int32), key=dash), 10)
    assert anonymous[0] == anonymous[1] != anonymous[2]
    assert len(drawn(replace(request, key=np.zeros(3, np.uint64)), 10)[0]) == 10


@given(
    st.lists(st.sets(st.integers(0, 19)), min_size=1, max_size=6),
    st.integers(1, 20),
    st.integers(0, 25),
    st.sampled_from([1, 40, 1 << 17]),
)
@settings(max_examples=100, deadline=None)
def test_exclusions_make_room_and_neither_batch_nor_block_changes_a_bit(
    left_out: list[set[int]], items: int, limit: int, cells: int
) -> None:
    rows, data = len(left_out), dataset(len(left_out), items)
    pairs = np.array([(row, item) for row, some in enumerate(left_out) for item in some if item < items], np.int64)
    pairs = pairs.reshape(-1, 2)
    excluded = Csr.from_pairs(pairs[:, 0], pairs[:, 1], None, (rows, items))
    request = request_for(data, excluded=excluded)
    whole = drawn(request_for(data), items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_items, "CELLS", cells)
        found = RandomItems().generate(SEED, request, limit)
    check_candidates("random", found, request, limit)
    assert lists(found) == [
        [item for item in row if item not in some][:limit] for row, some in zip(whole, left_out, strict=True)
    ]
    for row in range(rows):
        alone = RandomItems().generate(SEED, request.take(np.array([row])), limit)
        span = slice(found.indptr[row], found.indptr[row + 1])
        assert alone.item.tolist() == found.item[span].tolist()
        assert alone.score.tolist() == found.score[span].tolist()


def test_where_an_item_stands_in_the_catalogue_changes_nothing() -> None:
    def named(items: list[str]) -> list[str]:
        data = Dataset.from_arrays(["u"] * len(items), items)
        state = RandomItems().fit(data, np.random.default_rng(3))
        (row,) = drawn(request_for(data, [-1]), len(items), state)
        return [str(item) for item in data.items.take(row)]

    fewer, more = named(["b", "d", "f", "h"]), named(["a", "b", "c", "d", "e", "f", "h"])
    assert [item for item in more if item in fewer] == fewer


def test_new_items_find_their_places_among_the_old_ones() -> None:
    grown = drawn(request_for(dataset(5, 30)), 30)
    assert drawn(request_for(dataset(5, 20)), 20) == [[item for item in row if item < 20] for row in grown]


def test_the_seed_is_the_stages_and_is_saved_and_kept() -> None:
    data, model = tiny_world(), RandomItems()
    state = model.fit(data, np.random.default_rng([7, 1]))
    again, other = (model.fit(data, np.random.default_rng([7, seed])) for seed in (1, 2))
    assert state.seed == again.seed == model.update(state, data, data).seed != other.seed
    loaded = unflatten(RandomState, *flatten(state))
    assert loaded.seed == state.seed
    np.testing.assert_array_equal(loaded.item, state.item)
    assert drawn(request_for(data, []), 3) == []
    assert drawn(request_for(dataset(2, 0)), 3) == [[], []]
    with pytest.raises(ValueError, match="period must be at least 1s"):
        RandomItems(period=Duration("0s"))
    assert nbarec_candidate_generators() == [RandomItems]
