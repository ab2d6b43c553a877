"""The door: outside ids, history and context become one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nbarec.batch import Request
from nbarec.data import Dataset
from nbarec.door import Door
from nbarec.errors import DataError
from nbarec.ids import TextOrNumber
from nbarec.testing.worlds import NOON, tiny_world


@pytest.fixture(scope="module")
def door() -> Door:
    return Door.of(tiny_world())


def asked(door: Door, users: Sequence[TextOrNumber], k: int, **told: Any) -> Request:
    return door.request(users, door.asked(len(users), k, **told))


def test_users_become_positions_and_strangers_minus_one(door: Door) -> None:
    request = asked(door, ["chloe", "nobody", "anna", "chloe"], 3)
    assert request.user.dtype == np.int32
    assert request.user.tolist() == [2, -1, 0, 2]
    assert request.history.counts.tolist() == [3, 0, 3, 3]
    assert request.k == 3
    assert request.excluded.nnz == 0
    assert request.now.tolist() == [NOON] * 4


def test_a_key_belongs_to_an_id_and_not_to_a_place(door: Door) -> None:
    keys = asked(door, ["chloe", "nobody", "anna"], 3).key
    again = asked(door, ["anna", "chloe"], 3).key
    assert keys[[2, 0]].tolist() == again.tolist()
    assert len(set(keys.tolist())) == 3


def test_numbers_and_their_texts_are_the_same_user() -> None:
    door = Door.of(Dataset.from_arrays([7, 8], ["a", "b"]))
    assert asked(door, [7, 9], 1).user.tolist() == [0, -1]
    assert asked(door, [7], 1).key.tolist() == asked(door, ["7"], 1).key.tolist()


def test_a_told_history_counts_as_just_now_and_as_much_as_is_typical(door: Door) -> None:
    request = asked(door, ["ben", "nobody"], 3, history=["s6", "s0", "s6"], now=NOON + 60)
    history = request.history
    assert history.counts.tolist() == [5, 3]
    assert history.item.tolist() == [3, 4, 6, 0, 6, 6, 0, 6]  # ben's own events come first, and repeats are kept
    assert door.typical_weight == 1.0  # the median of the positive weights 1, 3, 1, 1, 1, 1, 3 and 1
    assert history.weight.tolist() == [1.0, -0.5, *[door.typical_weight] * 6]
    assert history.value.tolist() == [1.0, -0.5, *[door.typical_value] * 6]
    assert history.time[2:].tolist() == [NOON + 60] * 6
    assert history.kind[2:].tolist() == [-1] * 6
    assert request.now.tolist() == [NOON + 60] * 2


def test_an_item_of_the_history_that_nobody_knows_is_refused(door: Door) -> None:
    with pytest.raises(DataError, match="history: item 's9' is not in the catalogue of 8 items"):
        asked(door, ["ben"], 3, history=["s1", "s9", "s10"])


def test_data_without_a_liked_event_have_a_typical_weight_all_the_same() -> None:
    door = Door.of(Dataset.from_arrays(["a"], ["x"], [-1.0]))
    assert (door.typical_weight, door.typical_value) == (1.0, 1.0)


def test_context_is_repeated_for_each_user(door: Door) -> None:
    request = asked(door, ["ben", "anna"], 3, context={"hour": 21, "device": "car", "party": True})
    assert request.context["hour"].tolist() == [21.0, 21.0]
    assert request.context["device"].tolist() == ["car", "car"]
    assert request.context["party"].tolist() == [1.0, 1.0]


def test_tables_come_with_ids_and_the_items_event_counts(door: Door) -> None:
    request = asked(door, ["dan", "nobody"], 3)
    assert request.n_items == 8
    assert request.catalog.columns["events"].values.tolist() == [3, 1, 1, 1, 1, 1, 0, 1]  # type: ignore[union-attr]
    assert request.catalog.labels("id", [2]) == ["s2"]
    assert request.audience.labels("id", [0, 1]) == ["dan", "-"]
    assert request.audience.labels("country", [0, 1]) == ["-", "-"]


def test_a_request_for_nobody_is_empty(door: Door) -> None:
    request = asked(door, [], 3, history=["s1"], context={"hour": 3})
    assert len(request) == 0
    assert len(request.history) == 0
    assert request.audience.rows == 0


def test_what_is_sent_along_weighs_what_a_liked_item_does_here() -> None:
    data = Dataset.from_arrays(["u", "u", "v", "v"], ["a", "b", "c", "d"], weight=[1.0, 8.0, 3.0, -9.0])
    request = asked(Door.of(data), ["w"], 3, history=["a"])
    assert request.history.weight.tolist() == [3.0]  # the median of 1, 3 and 8


def test_nobody_is_no_user_whatever_his_id() -> None:
    data = Dataset.from_arrays(["-", "v"], ["a", "b"])
    door = Door.of(data)
    assert asked(door, ["-"], 3).user.tolist() == [0]
    nobody = asked(door, ["-"], 3, anonymous=True)
    assert nobody.user.tolist() == [-1]
    assert nobody.history.counts.tolist() == [0]


def test_a_context_of_numbers_stays_one_for_no_users(door: Door) -> None:
    assert asked(door, [], 3, context={"hour": 21}).context["hour"].dtype == np.float64
    assert asked(door, [], 3, context={"device": "car"}).context["device"].dtype == object
