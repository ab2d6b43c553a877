"""The small worlds are what their docstrings say."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest

from nbarec.arrays import hash_texts
from nbarec.ids import encode_texts
from nbarec.sparse import Csr
from nbarec.testing import worlds
from nbarec.testing.worlds import DAY, NOON, candidates_of, pool_in_order, pool_of, request_for, sorted_by_score


def documented() -> dict[str, list[str]]:
    """The tables of `tiny_world`'s docstring, by their first cell."""
    lines = re.findall(r"^\s*\| (.+) \|$", worlds.tiny_world.__doc__ or "", re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


@pytest.mark.parametrize("column", ["artist", "moods", "regions", "explicit", "tempo"])
def test_songs_are_as_documented(column):
    shown = worlds.tiny_world().catalog.labels(column, range(8))
    assert [label.replace("|", ", ") for label in shown] == documented()[column]


def test_dates_are_as_documented():
    seconds = worlds.tiny_world().catalog.columns["released"].seconds
    days = ["-" if at == worlds.MISSING_DATE else str((NOON - at) // DAY) for at in seconds.tolist()]
    assert days == documented()["released, in days before the latest event"]


def test_users_and_events_are_as_documented():
    data = worlds.tiny_world()
    for user, name in enumerate(data.users.all()):
        age, country, played = documented()[f"{user} {name}"]
        assert data.audience.labels("age", [user]) == [age]
        assert data.audience.labels("country", [user]) == [country]
        events = data.events.take_rows(np.array([user]))
        said = [
            (int(song), NOON - DAY * int(days), bool(skipped))
            for song, listed in re.findall(r"song (\d): ([^;]+)", played)
            for days, skipped in re.findall(r"(\d+)( \(skipped\))?", listed)
        ]
        found = zip(events.item.tolist(), events.time.tolist(), (events.weight < 0).tolist(), strict=True)
        assert sorted(said) == sorted(found)
    assert data.as_of == NOON
    assert data.item_counts.tolist() == [3, 1, 1, 1, 1, 1, 0, 1]


def test_request_has_a_row_a_user_and_nobody():
    data = worlds.tiny_world()
    request = request_for(data, [1, -1, 1], k=3, context={"hour": 9, "device": ["tv", "car", "tv"]}, now=[1, 2, 3])
    key = hash_texts(*encode_texts(["ben"]))[0]
    assert request.user.tolist() == [1, -1, 1]
    assert request.key.tolist() == [key, 0, key]
    assert request.history.item.tolist() == [3, 4, 3, 4]
    assert request.excluded.to_dense().nonzero()[1].tolist() == [3, 3]  # song 4 was skipped
    assert request.context["hour"].tolist() == [9, 9, 9]
    assert request.context["device"].tolist() == ["tv", "car", "tv"]
    assert request.audience.labels("id", range(3)) == ["ben", "-", "ben"]
    assert (request.now.tolist(), request.k, request.n_items) == ([1, 2, 3], 3, 8)
    everyone = request_for(data, excluded=Csr.empty(5, 8))
    assert len(everyone) == 5
    assert everyone.excluded.nnz == 0


def test_candidates_are_best_first_with_ties_by_item():
    candidates = candidates_of([{5: 1.0, 2: 1.0, 7: 3.0}, {}, {1: -1.0}])
    assert candidates.indptr.tolist() == [0, 3, 3, 4]
    assert candidates.item.tolist() == [7, 2, 5, 1]
    assert candidates.score.tolist() == [3, 1, 1, -1]


def test_pools_in_the_order_that_each_step_gets():
    request = request_for(worlds.tiny_world(), [0, 1, 2])
    pool = pool_of(request, {"a": [{3: 1.0, 1: 2.0}, {}, {5: 1.0}], "b": [{}, {}, {4: 1.0}]})
    assert (pool.row.tolist(), pool.item.tolist()) == ([0, 0, 2, 2], [1, 3, 4, 5])
    scored = sorted_by_score(pool.with_score("mine", np.float32([1, 2, 3, 3])))
    assert scored.item.tolist() == [3, 1, 4, 5]
    listed = pool_in_order(request, [[6, 0, 3], [], [2]])
    assert listed.item.tolist() == [6, 0, 3, 2]
    assert listed.ranks.tolist() == [[1], [2], [3], [1]]
    assert (np.diff(listed.score[:3]) < 0).all()


def test_rows_that_do_not_fit_the_request_are_refused():
    request = request_for(worlds.tiny_world(), [0, 1])
    with pytest.raises(ValueError, match="a proposes for 1 rows; the request has 2"):
        pool_of(request, {"a": [{}]})
    with pytest.raises(ValueError, match="items for 3 rows; the request has 2"):
        pool_in_order(request, [[], [], []])


def test_example_runs():
    failed, tried = doctest.testmod(worlds)
    assert failed == 0
    assert tried > 0
