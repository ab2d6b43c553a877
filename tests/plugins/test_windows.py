"""Windows and the turns in which their entries are picked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
from nbarec_plugins import windows
from nbarec_plugins.windows import NEVER, NOBODY, turns, windows_of

DATA = tiny_world()


def pool_of_three():
    return pool_in_order(request_for(DATA, [0, 1, 2, 3]), [[3, 1, 2, 0], [], [5], [4, 6]])


@dataclass
class Given:
    """The same gains at every step; remembers what was picked."""

    gains: np.ndarray
    picked: list[list[int]] = field(default_factory=list)

    def values(self):
        return self.gains.copy()

    def add(self, picked):
        self.picked.append(picked.tolist())


def test_windows_hold_the_first_entries_of_the_rows_asked_for(monkeypatch):
    pool = pool_of_three()
    (window,) = windows_of(pool, np.array([0, 2, 3]), 3)
    assert window.row.tolist() == [0, 2, 3]
    assert window.at.tolist() == [[0, 1, 2], [4, NOBODY, NOBODY], [5, 6, NOBODY]]
    assert window.items(pool).tolist() == [3, 1, 2, 5, -1, -1, 4, 6, -1]
    monkeypatch.setattr(windows, "CELLS_IN_BLOCK", 6 * windows.CELLS_OF_ENTRY)
    assert [block.row.tolist() for block in windows_of(pool, np.array([0, 2, 3]), 3)] == [[0, 2], [3]]
    assert list(windows_of(pool, np.array([], np.int64), 3)) == []


def test_scores_are_scaled_within_the_window():
    pool = replace(pool_of_three(), score=np.array([6, 4, 2, -90, 7, 5, 5], np.float32))
    (window,) = windows_of(pool, np.array([0, 2, 3]), 3)
    assert window.scores(pool)[window.there].tolist() == [1, 0.5, 0, 1, 1, 1]


def test_turns_go_by_gain_and_ties_by_place():
    there = np.array([[True, True, True, True], [True, True, False, False]])
    given = Given(np.array([[1.0, 2.0, 2.0 + 5e-10, 0.0], [NEVER, -3.0, 9.0, 9.0]]))
    assert turns(given, there, 3).tolist() == [[2, 0, 1, 3], [3, 0, 3, 3]]
    assert [picked[0] for picked in given.picked] == [1, 2]  # what the last pick leaves nobody asks


def test_a_row_that_has_ended_stays_so():
    given = Given(np.array([[NEVER, NEVER]]))
    given.add = lambda picked: given.gains.fill(1.0)
    assert turns(given, np.array([[True, True]]), 2).tolist() == [[2, 2]]


def test_positions_in_turn():
    pool = pool_of_three()
    (window,) = windows_of(pool, np.array([0, 2, 3]), 3)
    assert window.in_turn(np.array([[2, 0, 2], [2, 0, 0], [1, 0, 0]])).tolist() == [1, 0, 2, 4, 6, 5]
