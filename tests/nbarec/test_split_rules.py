"""Folds, cold users, cold items and cores: each against what it promises, event by event."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.splits import ColdItems, ColdUsers, GlobalTime, Holdout, KFold, LeaveLastOut, Random, Split, hold_out


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def world(rows: list[tuple[int, int, int]]) -> Dataset:
    """Events (user, item, time); `value` holds each event's row, so that it can be told from its twins."""
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    return Dataset.from_arrays(user, item, time=time, value=np.arange(len(rows)))


happened = st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(1, 9))
worlds = st.lists(happened, min_size=2, max_size=50).map(world)
timeless = st.lists(happened, min_size=2, max_size=50).map(lambda rows: world([(u, i, 0) for u, i, _ in rows]))
fractions = st.floats(0.01, 0.99)
k_folds = st.builds(KFold, st.integers(2, 6), st.sampled_from(["user", "events"]), st.none() | st.integers(0, 9))


@settings(max_examples=100, deadline=None)
@given(worlds, k_folds)
def test_every_event_is_held_out_in_exactly_one_fold(data: Dataset, split: KFold) -> None:
    masks = [split.fold_mask(data, rng(), fold) for fold in range(split.fold_count)]
    assert len(masks) == split.folds
    assert (np.sum(masks, axis=0) == 1).all()
    assert (split.test_mask(data, rng()) == masks[0]).all()
    sizes = [int(mask.sum()) for mask in masks]
    assert max(sizes) - min(sizes) <= 1
    if split.by == "user":
        for user in range(data.events.rows):
            mine = [int((mask & (data.events.row == user)).sum()) for mask in masks]
            assert max(mine) - min(mine) <= 1


@settings(max_examples=60, deadline=None)
@given(worlds, k_folds)
def test_a_fold_is_cut_like_any_split_and_says_which_it_is(data: Dataset, split: KFold) -> None:
    held_out: list[float] = []
    for fold in range(split.fold_count):
        if not split.fold_mask(data, rng(), fold).any():
            with pytest.raises(ConfigError, match="k_fold holds out none of"):
                hold_out(data, split, rng(), fold)
            continue
        cut = hold_out(data, split, rng(), fold)
        assert sorted([*cut.train.events.value, *cut.test.value]) == list(range(len(data.events)))
        assert cut.describe()[0].startswith(
            f"split k_fold, fold {fold + 1} of {split.folds}: {len(data.events)} events ="
        )
        assert cut.train.as_of == max(cut.train.events.time)
        held_out += cut.test.value.tolist()
    assert sorted(held_out) == list(range(len(data.events)))


def test_a_fold_that_is_not_there_is_refused() -> None:
    data = world([(0, item, item + 1) for item in range(6)])
    with pytest.raises(ValueError, match="k_fold has the folds 0 to 2, and none of number 3"):
        hold_out(data, KFold(3), rng(), 3)
    with pytest.raises(ValueError, match="random has the folds 0 to 0, and none of number 1"):
        hold_out(data, Random(), rng(), 1)
    with pytest.raises(ValueError, match="folds must be at least 2"):
        KFold(1)


def test_folds_depend_on_the_seed_alone_and_their_own_one_wins() -> None:
    data = world([(user, item, 1) for user in range(8) for item in range(9)])
    folds = [KFold(seed=seed).fold_of(data, np.random.default_rng(other)) for seed in (None, 3) for other in (1, 1, 2)]
    assert (folds[0] == folds[1]).all()
    assert (folds[0] != folds[2]).any()
    assert (folds[3] == folds[5]).all()
    assert (folds[3] != folds[0]).any()


@pytest.mark.parametrize("by", ["user", "events"])
def test_every_event_comes_into_every_fold_equally_often(by: str) -> None:
    data = world([(user, item, 1) for user in range(3) for item in range(5)])
    generator = rng()
    found = np.array([KFold(3, by).fold_of(data, generator) for _ in range(3000)])  # type: ignore[arg-type]
    shares = np.stack([(found == fold).mean(axis=0) for fold in range(3)])
    assert (np.abs(shares - 1 / 3) < 0.04).all()


@settings(max_examples=100, deadline=None)
@given(worlds | timeless, fractions, st.integers(0, 3))
def test_cold_users_keep_only_their_first_events(data: Dataset, fraction: float, known: int) -> None:
    events, split = data.events, ColdUsers(fraction, known)
    able = int((events.counts > known).sum())
    if not able:
        with pytest.raises(ConfigError, match=f"no user with more than {known} events; lower known"):
            split.test_mask(data, rng())
        return
    mask = split.test_mask(data, rng())
    held_out = np.bincount(events.row[mask], minlength=events.rows)
    assert np.count_nonzero(held_out) == max(1, int(fraction * able + 1e-9))
    assert all(held == count - known for held, count in zip(held_out, events.counts, strict=True) if held)
    if events.time.any():
        for user in np.flatnonzero(held_out):
            mine = mask[events.row == user].tolist()
            assert mine == sorted(mine)  # events stand in the order of time
    assert (split.test_mask(data, rng()) == mask).all()


def test_without_times_the_known_events_of_a_cold_user_are_random() -> None:
    data = world([(0, item, 0) for item in range(5)])
    generator = rng()
    kept = np.mean([~ColdUsers(0.5, 2).test_mask(data, generator) for _ in range(2000)], axis=0)
    assert (np.abs(kept - 2 / 5) < 0.05).all()


@settings(max_examples=100, deadline=None)
@given(worlds, fractions)
def test_cold_items_have_no_training_event(data: Dataset, fraction: float) -> None:
    items = len(set(data.events.item))
    mask = ColdItems(fraction).test_mask(data, rng())
    cold = set(data.events.item[mask])
    assert cold.isdisjoint(data.events.item[~mask])
    assert len(cold) == max(1, int(fraction * items + 1e-9))
    assert (ColdItems(fraction).test_mask(data, rng()) == mask).all()


def test_items_without_events_are_not_drawn_as_cold_ones() -> None:
    data = Dataset.from_arrays([0, 0, 1], [3, 4, 3], catalog={"id": np.arange(100)})
    for seed in range(10):
        assert ColdItems(0.5).test_mask(data, np.random.default_rng(seed)).any()


@pytest.mark.parametrize(("split", "cold"), [(ColdUsers(0.5), "row"), (ColdItems(0.5), "item")])
def test_every_user_and_every_item_is_cold_equally_often(split: Split, cold: str) -> None:
    data = world([(number % 6, number % 5, 1) for number in range(30)])
    generator = rng()
    places = getattr(data.events, cold)
    times: Counter[int] = Counter()
    for _ in range(2000):
        times.update(set(places[split.test_mask(data, generator)].tolist()))
    wanted = int(0.5 * len(set(places))) / len(set(places))
    assert len(times) == len(set(places))
    assert all(abs(count / 2000 - wanted) < 0.06 for count in times.values())


def test_all_users_or_all_items_at_once_are_refused() -> None:
    data = world([(0, 0, 1), (0, 0, 2)])
    for split in (ColdUsers(), ColdItems()):
        with pytest.raises(ConfigError, match=f"{split.name} leaves none of 2 events to learn from; hold out fewer"):
            hold_out(data, split, rng())


@settings(max_examples=100, deadline=None)
@given(worlds, fractions, st.integers(1, 6))
def test_events_outside_the_core_stand_on_neither_side(data: Dataset, fraction: float, least: int) -> None:
    events, split = data.events, Random(fraction, least)
    total = Counter(events.item.tolist())
    inside = np.array([total[item] >= least for item in events.item.tolist()])
    if not inside.any():
        with pytest.raises(ConfigError, match=f"random finds no item with {least} events; lower min_item_events"):
            split.test_mask(data, rng())
        return
    mask = split.test_mask(data, rng())
    assert not mask[~inside].any()
    assert (split.left_out(data) == ~inside).all()
    for user in range(events.rows):
        mine = events.row == user
        n = int((inside & mine).sum())
        assert mask[mine].sum() == (0 if n < 2 else min(max(int(fraction * n + 1e-9), 1), n - 1))
    if mask.any():
        cut = hold_out(data, split, rng())
        assert sorted([*cut.train.events.value, *cut.test.value]) == sorted(events.value[inside])
        assert cut.left_out == int((~inside).sum())


def test_the_core_is_counted_once_and_told() -> None:
    """Item 9 has two events: it is left out of both sides, though its user keeps his others; no new user appears."""
    data = world([(user, item, 1) for user in range(4) for item in range(3)] + [(0, 9, 1), (1, 9, 1)])
    cut = hold_out(data, Random(0.4, min_item_events=3), rng())
    assert cut.describe()[0] == "split random: 14 events = 8 training + 4 held out + 2 left out"
    nine = data.items.index([9])[0]
    assert nine not in cut.train.events.item
    assert nine not in cut.test.item
    assert len(cut.train.items) == len(data.items)


def test_without_a_core_the_draw_is_the_old_one() -> None:
    data = world([(user, item, 1) for user in range(9) for item in range(user + 2)])
    generator = rng()
    shuffled = np.lexsort((generator.random(len(data.events)), data.events.row))
    wanted = np.zeros(len(data.events), bool)
    counts, at = data.events.counts, 0
    for count in counts:
        held_out = max(int(0.3 * count + 1e-9), 1)
        wanted[shuffled[at + count - held_out : at + count]] = True
        at += count
    assert (Random(0.3).test_mask(data, rng()) == wanted).all()


def test_only_a_split_with_folds_has_several() -> None:
    data = world([(0, item, item + 1) for item in range(6)])
    for split in (GlobalTime(), LeaveLastOut(), Random(), ColdUsers(), ColdItems()):
        assert split.fold_count == 1
        assert not split.left_out(data).any()
    whole = Holdout(data, data.events.where(np.zeros(6, bool)), "given")
    assert whole.describe()[0] == "split given: 6 events = 6 training + 0 held out"
