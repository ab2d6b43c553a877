"""Both components on a world that is small enough to know by heart; see `nbarec.testing.worlds.tiny_world`."""

from __future__ import annotations

import doctest

import nbarec_hello
import numpy as np
import pytest
from nbarec_hello import DAY, FavouriteFirst, NewestFirst

from nbarec.components import NoState
from nbarec.errors import ConfigError
from nbarec.params import Duration
from nbarec.testing.worlds import NOON, pool_of, request_for, tiny_world

RNG = np.random.default_rng(0)


def newest(user: int, *, limit: int = 8, now: int = NOON, within: Duration | None = None) -> list[int]:
    data = tiny_world()
    generator = NewestFirst(within=within)
    proposed = generator.generate(generator.fit(data, RNG), request_for(data, [user], now=now), limit)
    return list(map(int, proposed.item))


def ranked(users: list[int], items: list[int], bonus: float = 1.0) -> list[list[float]]:
    data = tiny_world()
    request = request_for(data, users)
    pool = pool_of(request, {"fresh": [{item: -float(place) for place, item in enumerate(items)}] * len(users)})
    ranker = FavouriteFirst(by="artist", bonus=bonus)
    scores = ranker.rank(ranker.fit(data, RNG), request, pool)
    return [scores[pool.row == row][np.argsort(items).argsort()].tolist() for row in range(len(users))]


def test_newest_come_first_and_undated_songs_not_at_all() -> None:
    assert newest(4) == [4, 0, 2, 3, 5, 1, 7]


def test_limit_keeps_the_newest() -> None:
    assert newest(4, limit=2) == [4, 0]


def test_songs_of_the_history_are_left_out() -> None:
    assert newest(0) == [4, 2, 3, 5, 7]


def test_within_leaves_out_what_is_older() -> None:
    assert newest(4, within=Duration("20d")) == [4, 0, 2]


def test_songs_to_come_are_left_out() -> None:
    assert newest(4, now=NOON - 15 * DAY) == [2, 3, 5, 1, 7]


def test_the_favourite_gets_the_bonus() -> None:
    # anna played ada three times, ben bo once (his skip of another song of bo does not count).
    assert ranked([0, 1], [4, 2], bonus=0.25) == [[1.0, 0.75], [1.25, 0.5]]


def test_of_equals_the_first_by_name_is_the_favourite() -> None:
    data = tiny_world()
    # chloe played cleo twice and ada once; without her latest event it is one each.
    even = data.events.take_rows(np.array([2])).where(np.array([True, True, False]))
    request = request_for(data, [2], history=even)
    pool = pool_of(request, {"fresh": [{1: 0.9, 5: 0.8}]})
    assert FavouriteFirst(by="artist").rank(NoState(), request, pool).tolist() == [2.0, 0.5]


def test_without_history_scores_stay() -> None:
    assert ranked([4, -1], [4, 2]) == [[1.0, 0.5], [1.0, 0.5]]


def test_songs_without_the_attribute_are_nobodys_favourite() -> None:
    assert ranked([0, -1], [6]) == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (NewestFirst(by="genre"), "newest_first: by is 'genre'; it must be a date column of the items: released"),
        (
            FavouriteFirst(by="tempo"),
            "favourite_first: by is 'tempo'; it must be a category column of the items: artist",
        ),
    ],
)
def test_a_column_that_does_not_fit_is_named(component: NewestFirst | FavouriteFirst, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        component.fit(tiny_world(), RNG)
    assert str(caught.value) == message


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="bonus must be at least 0"):
        FavouriteFirst(bonus=-1.0)


def test_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(nbarec_hello).failed == 0
