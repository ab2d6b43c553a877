"""Made-up worlds are what they say they are, and worlds come back from the cache as they went in."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import worlds
from bench.worlds import Shape, World, made, shape_of, world_file
from nbarec.arrays import Ints64


@pytest.fixture(scope="module")
def world() -> World:
    return made("middle", Shape(users=2000, items=1000, events=40_000, tested=300))


def keys(world: World, user: np.ndarray, item: np.ndarray) -> Ints64:
    found: Ints64 = user.astype(np.int64) * world.items + item
    return found


@settings(max_examples=25, deadline=None)
@given(
    users=st.integers(1, 80),
    items=st.integers(1, 120),
    events=st.integers(1, 2000),
    tested=st.integers(0, 100),
    seed=st.integers(0, 9),
)
def test_worlds_of_any_shape_hold_distinct_pairs(users: int, items: int, events: int, tested: int, seed: int) -> None:
    world = made("any", Shape(users, items, events, tested, seed))
    train, test = keys(world, world.train_user, world.train_item), keys(world, world.test_user, world.test_item)
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert not np.isin(train, test).any()
    assert len(train) + len(test) <= events
    assert len(world.tested) <= tested
    for position, most in ((world.train_user, users), (world.train_item, items), (world.test_item, items)):
        assert position.dtype == np.int32
        assert ((position >= 0) & (position < most)).all()


def test_the_same_shape_gives_the_same_world_and_another_seed_another(world: World) -> None:
    again = made("middle", Shape(users=2000, items=1000, events=40_000, tested=300))
    other = made("middle", Shape(users=2000, items=1000, events=40_000, tested=300, seed=1))
    assert np.array_equal(again.train_item, world.train_item)
    assert not np.array_equal(other.train_item[:100], world.train_item[:100])


def test_few_items_and_few_users_have_most_of_the_events(world: World) -> None:
    by_item = np.sort(np.bincount(world.train_item, minlength=world.items))[::-1]
    by_user = np.bincount(world.train_user, minlength=world.users)
    assert by_item[:100].sum() > 0.3 * by_item.sum()
    assert by_user.max() > 6 * np.median(by_user)


def test_users_are_drawn_to_clusters(world: World) -> None:
    """As many directions as there are clusters tell far more of who chose what than where events are dealt out anew."""

    def told(item: np.ndarray) -> float:
        chosen = np.zeros((world.users, world.items))
        chosen[world.train_user, item] = 1
        squares = np.linalg.eigvalsh(chosen.T @ chosen)  # of singular values, ascending
        return float(squares[-worlds.CLUSTERS :].sum() / squares.sum())

    assert told(world.train_item) > 1.15 * told(np.random.default_rng(0).permutation(world.train_item))


def test_about_a_fifth_of_the_events_of_tested_users_is_held_out(world: World) -> None:
    assert len(world.tested) > 250
    known = np.isin(world.train_user, world.tested).sum()
    assert len(world.test_user) / (known + len(world.test_user)) == pytest.approx(0.2, abs=0.03)


def test_a_file_holds_the_whole_world_and_is_not_drawn_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world_file("tiny", tmp_path)
    back, drawn = World.load(path), made("tiny", shape_of("tiny"))
    assert (back.name, back.users, back.items) == ("tiny", 600, 400)
    assert all(
        np.array_equal(getattr(back, part), getattr(drawn, part))
        for part in ("train_user", "train_item", "test_user", "test_item")
    )
    assert [file.name for file in path.parent.iterdir()] == ["tiny.npz"]
    monkeypatch.setattr(worlds, "made", None)
    assert world_file("tiny", tmp_path) == path


def test_growing_worlds_grow_by_their_users() -> None:
    small, large = shape_of("growth-1000000"), shape_of("growth-30000000")
    assert (small.users, small.items) == (40_000, 10_000)
    assert large.users == 30 * small.users
    assert large.items == pytest.approx(30**0.5 * small.items, rel=0.001)


def test_the_engine_gets_every_pair(world: World) -> None:
    data, swapped = world.dataset(), world.swapped().dataset()
    matrix = data.events.matrix()
    assert np.array_equal(keys(world, matrix.row_of, matrix.indices), keys(world, world.train_user, world.train_item))
    assert set(matrix.data.tolist()) == {1.0}
    assert data.users.take([3]) == [3]
    assert (len(swapped.users), len(swapped.items)) == (world.items, world.users)
    assert np.array_equal(swapped.events.matrix().transpose().indices, matrix.indices)


def test_gowalla_is_read_from_the_folder_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBAREC_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"set NBAREC_DATA to the folder that holds gowalla/train\.csv\.gz"):
        world_file("gowalla", tmp_path)
    (tmp_path / "gowalla").mkdir()
    for part, rows in (("train", "1,0\n0,2\n0,1\n0,1\n"), ("test", "1,3\n")):
        with gzip.open(tmp_path / "gowalla" / f"{part}.csv.gz", "wt") as file:
            file.write("user_id,item_id\n" + rows)
    world = World.load(world_file("gowalla", tmp_path))
    assert (world.users, world.items) == (2, 4)
    pairs = zip(world.train_user.tolist(), world.train_item.tolist(), strict=True)
    assert list(pairs) == [(0, 1), (0, 2), (1, 0)]
    assert world.tested.tolist() == [1]
