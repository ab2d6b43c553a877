"""Splits against what they promise: nothing lost, nothing doubled, nothing from the future in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.params import describe
from nbarec.splits import SPLITS, Given, GlobalTime, Holdout, LastFraction, LeaveLastOut, Random, Split, hold_out

DAY = 86_400


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def world(rows: list[tuple[int, int, int]]) -> Dataset:
    """Events (user, item, time); `value` holds each event's row, so that it can be told from its twins."""
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    return Dataset.from_arrays(user, item, time=time, value=np.arange(len(rows)))


def rows_by_user(data: Dataset, mask: np.ndarray) -> dict[int, list[int]]:
    """The input rows of the masked events of each user, in order."""
    events = data.events
    found: dict[int, list[int]] = {}
    for user, row in zip(events.row[mask], events.value[mask], strict=True):
        found.setdefault(int(data.users.take([user])[0]), []).append(int(row))
    return found


worlds = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(1, 9)), min_size=2, max_size=60).map(
    world
)
fractions = st.floats(0.01, 0.99)
splits = st.one_of(
    fractions.map(LastFraction),
    st.just(LeaveLastOut()),
    fractions.map(lambda f: GlobalTime(fraction=f)),
    fractions.map(Random),
)


@settings(max_examples=150, deadline=None)
@given(worlds, splits)
def test_no_event_is_lost_or_doubled_and_the_clock_is_the_trainings(data: Dataset, split: Split) -> None:
    try:
        cut = hold_out(data, split, rng())
    except ConfigError:
        mask_fails = isinstance(split, GlobalTime) and len(set(data.events.time)) < 2
        assert mask_fails or (data.events.counts < 2).all()
        return
    both = np.concatenate([cut.train.events.value, cut.test.value])
    assert sorted(both) == sorted(data.events.value)
    for part in (cut.train.events, cut.test):
        by_value = dict(
            zip(data.events.value, zip(data.events.row, data.events.item, data.events.time, strict=True), strict=True)
        )
        assert [by_value[v] for v in part.value] == list(zip(part.row, part.item, part.time, strict=True))
    assert cut.train.as_of == max(cut.train.events.time)
    assert cut.train.users is data.users
    assert cut.train.items is data.items
    assert cut.test.rows == cut.train.events.rows == len(data.users)


@settings(max_examples=100, deadline=None)
@given(worlds, st.one_of(fractions.map(LastFraction), st.just(LeaveLastOut())))
def test_a_users_held_out_events_are_the_last_ones(data: Dataset, split: Split) -> None:
    mask = split.test_mask(data, rng())
    events = data.events
    for user in range(events.rows):
        mine = slice(events.indptr[user], events.indptr[user + 1])
        n, held = len(events.time[mine]), int(mask[mine].sum())
        wanted = 1 if isinstance(split, LeaveLastOut) else max(1, int(split.fraction * n + 1e-9))
        assert held == (min(wanted, n - 1) if n >= 2 else 0)
        assert mask[mine].tolist() == [False] * (n - held) + [True] * held
        assert (np.diff(events.time[mine]) >= 0).all()


@settings(max_examples=100, deadline=None)
@given(worlds, fractions)
def test_random_takes_as_many_as_last_fraction_and_depends_on_the_seed_alone(data: Dataset, fraction: float) -> None:
    mask = Random(fraction).test_mask(data, rng())
    last = LastFraction(fraction).test_mask(data, rng())
    users = data.events.row
    assert (np.bincount(users[mask], minlength=6) == np.bincount(users[last], minlength=6)).all()
    assert (Random(fraction).test_mask(data, rng()) == mask).all()


def test_random_takes_every_event_equally_often() -> None:
    data = world([(0, item, 1) for item in range(10)])
    generator = rng()
    times = sum(Random(0.3).test_mask(data, generator).astype(int) for _ in range(2000))
    assert (np.abs(times / 2000 - 0.3) < 0.05).all()


@settings(max_examples=100, deadline=None)
@given(worlds, fractions)
def test_global_time_cuts_where_the_share_comes_nearest(data: Dataset, fraction: float) -> None:
    time = data.events.time
    if len(set(time)) < 2:
        with pytest.raises(ConfigError, match="all of one moment; use random"):
            GlobalTime(fraction=fraction).test_mask(data, rng())
        return
    mask = GlobalTime(fraction=fraction).test_mask(data, rng())
    assert max(time[~mask]) < min(time[mask])
    distance = {cut: abs((time >= cut).mean() - fraction) for cut in sorted(set(time))[1:]}
    best = min(distance.values())
    assert min(time[mask]) == max(cut for cut, found in distance.items() if found <= best + 1e-9)


@pytest.mark.parametrize(("events", "second", "third"), [(10, 2, 1), (20, 4, 2), (100, 20, 10)])
def test_of_two_moments_that_come_equally_near_it_is_the_later(events: int, second: int, third: int) -> None:
    """Three tenths of the events are from the second moment on, one tenth from the third: a tenth away from a fifth,
    which in floats are two numbers."""
    times = [1] * (events - second - third) + [2] * second + [3] * third
    data = world([(0, item, time) for item, time in enumerate(times)])
    assert GlobalTime(fraction=0.2).test_mask(data, rng()).sum() == third


def test_last_fraction_by_hand() -> None:
    data = world([(7, 1, 30), (7, 2, 10), (7, 3, 20), (7, 4, 40), (7, 5, 5), (8, 1, 1), (9, 1, 3), (9, 2, 3)])
    assert rows_by_user(data, LastFraction(0.4).test_mask(data, rng())) == {7: [0, 3], 9: [7]}
    assert rows_by_user(data, LeaveLastOut().test_mask(data, rng())) == {7: [3], 9: [7]}


@pytest.mark.parametrize(("fraction", "events", "held_out"), [(0.2, 5, 1), (0.29, 100, 29), (0.2, 4, 1), (0.7, 10, 7)])
def test_a_share_that_is_a_whole_number_is_exact(fraction: float, events: int, held_out: int) -> None:
    data = world([(0, item, item + 1) for item in range(events)])
    assert LastFraction(fraction).test_mask(data, rng()).sum() == held_out


def test_global_time_at_a_moment_holds_out_that_moment() -> None:
    data = world([(0, 0, 9 * DAY), (0, 1, 10 * DAY - 1), (1, 0, 10 * DAY), (1, 1, 11 * DAY)])
    for text in ("1970-01-11", "1970-01-11T00:00:00.5Z", "1970-01-11T02:00:00+02:00", str(10 * DAY)):
        assert rows_by_user(data, GlobalTime(at=text).test_mask(data, rng())) == {1: [2, 3]}


def test_global_time_takes_a_fifth_unless_told_otherwise() -> None:
    data = world([(0, item, item + 1) for item in range(10)])
    assert GlobalTime().test_mask(data, rng()).sum() == 2


def test_describe_says_what_has_a_history() -> None:
    rows = [
        (0, 0, 1 * DAY),
        (0, 1, 2 * DAY),
        (1, 0, 2 * DAY),
        (0, 0, 5 * DAY),
        (0, 2, 6 * DAY),
        (2, 1, 6 * DAY),
        (2, 2, 7 * DAY),
    ]
    cut = hold_out(world(rows), GlobalTime(at="1970-01-05"), rng())
    assert cut.describe() == (
        "split global_time: 7 events = 3 training + 4 held out",
        "held-out users: 2, 50.0% of them with a training history; users with training events alone: 1",
        "held-out events: 50.0% by users with a training history, 50.0% of items with one, 25.0% both",
        "times: training 1970-01-02T00:00:00 to 1970-01-03T00:00:00; "
        "held out 1970-01-06T00:00:00 to 1970-01-08T00:00:00 (UTC)",
    )
    assert cut.train.as_of == 2 * DAY


def test_describe_without_times_or_held_out_events() -> None:
    data = Dataset.from_arrays([0, 0, 1, 1], [0, 1, 0, 1])
    assert len(hold_out(data, Random(), rng()).describe()) == 3
    nothing = Holdout(data, data.events.where(np.zeros(4, bool)), "given")
    assert nothing.describe()[1].startswith("held-out users: 0, none of them")
    timed = world([(0, 0, DAY)])
    nothing = Holdout(timed, timed.events.where(np.zeros(1, bool)), "given")
    assert nothing.describe()[3] == "times: training 1970-01-02T00:00:00 to 1970-01-02T00:00:00; held out none (UTC)"


@pytest.mark.parametrize("split", [LastFraction(), LeaveLastOut(), GlobalTime(), GlobalTime(at="2020-01-01")])
def test_without_times_only_random_works(split: Split) -> None:
    data = Dataset.from_arrays([0, 0, 1, 1], [0, 1, 0, 1])
    with pytest.raises(ConfigError, match=f"{split.name} needs times, but the data have no time column; use random"):
        hold_out(data, split, rng())


def test_a_side_without_events_is_refused() -> None:
    single = world([(0, 0, 1), (1, 0, 2)])
    with pytest.raises(ConfigError, match="last_fraction holds out none of 2 events"):
        hold_out(single, LastFraction(), rng())
    with pytest.raises(ConfigError, match="global_time leaves none of 2 events"):
        hold_out(single, GlobalTime(at="1970-01-01"), rng())


def test_wrong_parameters_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="fraction must be less than 1"):
        LastFraction(1.0)
    with pytest.raises(
        ValueError, match="at is 'yesterday', which is not a time; write epoch seconds or ISO 8601 such as"
    ):
        GlobalTime(at="yesterday")
    with pytest.raises(ValueError, match="keep one of them"):
        GlobalTime(at="2020-01-01", fraction=0.2)


def test_the_registry_names_every_split() -> None:
    assert {name: split.name for name, split in SPLITS.items()} == {name: name for name in SPLITS}
    by_chance = {"random", "k_fold", "cold_users", "cold_items"}
    assert set(SPLITS) == {"last_fraction", "leave_last_out", "global_time", "given", *by_chance}
    assert Given("test.csv").path == "test.csv"
    assert all(parameter.doc for split in SPLITS.values() for parameter in describe(split))
