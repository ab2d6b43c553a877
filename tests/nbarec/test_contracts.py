"""Contracts: each fault is planted once and must be named; what is right must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Pool, Request
from nbarec.contracts import check_candidates, check_columns, check_scores, check_selection, check_vectors
from nbarec.errors import ContractError
from nbarec.testing.worlds import candidates_of, pool_of, request_for, tiny_world

WHO = "candidates.similar (item_cf of nbarec:item_cf 0.1.0)"


def refused(check: Callable[[], None]) -> str:
    """The fault that the check tells, without the stage's label, which must stand in front."""
    with pytest.raises(ContractError) as caught:
        check()
    message = str(caught.value)
    assert message.startswith(f"{WHO}: ")
    return message.removeprefix(f"{WHO}: ")


i32, i64, f32, f64 = (partial(np.array, dtype=kind) for kind in (np.int32, np.int64, np.float32, np.float64))


def request() -> Request:
    """anna (songs 0 and 1 excluded), eve (nothing excluded), ben (song 3 excluded)."""
    return request_for(tiny_world(), [0, 4, 1])


def proposals() -> Candidates:
    """Row 0: songs 2, 4; row 1: nothing; row 2: songs 5, 0, 7."""
    return candidates_of([{2: 0.9, 4: 0.5}, {}, {5: 3, 0: 2, 7: 2}])


def pool() -> Pool:
    """Entries: (0, song 2), (0, song 4), (2, song 0), (2, song 5)."""
    return pool_of(request(), {"similar": [{2: 0.9, 4: 0.5}, {}, {5: 3, 0: 2}]})


def changed(values: np.ndarray, at: int, value: float) -> np.ndarray:
    copy = values.copy()
    copy[at] = value
    return copy


@st.composite
def valid_candidates(draw: st.DrawFn, asked: Request, limit: int) -> Candidates:
    scores = st.floats(-(2.0**100), 2.0**100, width=32)
    rows = []
    for row in range(len(asked)):
        allowed = sorted(set(range(asked.n_items)) - set(np.flatnonzero(asked.excluded.to_dense()[row]).tolist()))
        rows.append(draw(st.dictionaries(st.sampled_from(allowed), scores, max_size=limit)))
    return candidates_of(rows)


class TestCandidates:
    def test_right_ones_pass(self) -> None:
        check_candidates(WHO, proposals(), request(), 3)
        check_candidates(WHO, Candidates.empty(3), request(), 3)
        check_candidates(WHO, Candidates.empty(0), request_for(tiny_world(), []), 3)

    @settings(max_examples=60, deadline=None)
    @given(st.data(), st.integers(1, 5))
    def test_any_valid_ones_pass_and_one_more_does_not(self, data: st.DataObject, limit: int) -> None:
        asked = request()
        valid = data.draw(valid_candidates(asked, limit))
        check_candidates(WHO, valid, asked, limit)
        most = int(np.diff(valid.indptr).max())
        if most > 1:
            fault = refused(lambda: check_candidates(WHO, valid, asked, most - 1))
            assert fault.endswith(f"has {most} candidates; at most {most - 1} were asked for")

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_an_entry_moved_to_a_wrong_item_never_passes(self, data: st.DataObject) -> None:
        asked = request()
        valid = data.draw(valid_candidates(asked, 5).filter(len))
        at = data.draw(st.integers(0, len(valid) - 1))
        row = int(np.searchsorted(valid.indptr, at, side="right")) - 1
        taken = set(valid.item[valid.indptr[row] : valid.indptr[row + 1]].tolist()) - {int(valid.item[at])}
        excluded = set(np.flatnonzero(asked.excluded.to_dense()[row]).tolist())
        wrong = data.draw(st.sampled_from(sorted(taken | excluded | {-1, 8, 2**31 - 1})))
        fault = refused(
            lambda: check_candidates(WHO, replace(valid, item=changed(valid.item, at, wrong)), asked, len(valid))
        )
        assert f"row {row}" in fault
        assert str(wrong) in fault

    @pytest.mark.parametrize(
        ("field", "values", "fault"),
        [
            ("indptr", [0, 2, 2, 5], "indptr is a value of type list; it must be a NumPy array of int64"),
            ("indptr", i32([0, 2, 2, 5]), "indptr has dtype int32; it must be int64"),
            ("indptr", i64([0, 2, 5]), "indptr has length 3; it must be 4, one more than the request has rows"),
            ("indptr", i64([1, 2, 2, 5]), "indptr starts at 1; it must start at 0"),
            ("indptr", i64([0, 4, 2, 5]), "indptr falls from 4 to 2 at row 1; it must not fall"),
            ("indptr", i64([0, 2, 2, 4]), "indptr ends at 4; it must end at 5, the length of item"),
            ("indptr", i64([[0, 2, 2, 5]]), "indptr has shape (1, 4); it must have one dimension"),
            ("item", i64([2, 4, 5, 0, 7]), "item has dtype int64; it must be int32"),
            ("item", None, "item is None; it must be a NumPy array of int32"),
            ("item", np.zeros((5, 1), np.int32), "item has shape (5, 1); it must have one dimension"),
            ("item", i32([2, 4, 5, 8, 7]), "item has 8 in row 2; the catalogue has 8 items, at positions from 0"),
            (
                "item",
                i32([-1, 4, 5, 0, 7]),
                "item has -1 in row 0; the catalogue has 8 items, at positions from 0",
            ),
            ("item", i32([2, 4, 5, 0, 5]), "item has 5 twice in row 2; once is allowed"),
            ("item", i32([2, 1, 5, 0, 7]), "item has 1 in row 0, which request.excluded forbids there"),
            ("score", f64([9, 5, 3, 2, 2]), "score has dtype float64; it must be float32"),
            ("score", f32([9, 5, 3, 2]), "score has length 4; it must be 5, one an item"),
            (
                "score",
                f32([9, 5, 3, np.nan, 2]),
                "score is nan at row 2, item 0; every score must be finite",
            ),
            ("score", f32([9, -np.inf, 3, 2, 2]), "score is -inf at row 0, item 4; every score must be finite"),
            (
                "score",
                f32([5, 9, 3, 2, 2.5]),
                "score rises from 5 to 9 in row 0; candidates must stand best first in each row",
            ),
        ],
    )
    def test_each_fault_is_named(self, field: str, values: Any, fault: str) -> None:
        wrong = replace(proposals(), **{field: values})
        assert refused(lambda: check_candidates(WHO, wrong, request(), 3)) == fault

    def test_more_than_asked_for(self) -> None:
        fault = refused(lambda: check_candidates(WHO, proposals(), request(), 2))
        assert fault == "row 2 has 3 candidates; at most 2 were asked for"

    def test_something_else(self) -> None:
        fault = refused(lambda: check_candidates(WHO, None, request(), 2))
        assert fault == "generate returned None; it must return Candidates"
        fault = refused(lambda: check_candidates(WHO, (1, 2), request(), 2))
        assert fault == "generate returned a value of type tuple; it must return Candidates"

    def test_a_worse_first_row_does_not_mark_the_next(self) -> None:
        check_candidates(WHO, candidates_of([{2: 0.1}, {5: 9.0}, {6: 20.0}]), request(), 1)


class TestScores:
    def test_right_ones_pass(self) -> None:
        check_scores(WHO, f32([-1, 0, 3, 2]), pool())
        check_scores(WHO, np.empty(0, np.float32), pool_of(request(), {"similar": [{}, {}, {}]}))

    @pytest.mark.parametrize(
        ("score", "fault"),
        [
            ([1.0] * 4, "score is a value of type list; it must be a NumPy array of float32"),
            (np.ones(4), "score has dtype float64; it must be float32"),
            (np.ones((4, 1), np.float32), "score has shape (4, 1); it must have one dimension"),
            (np.ones(3, np.float32), "score has length 3; it must be 4, one an entry of the pool"),
            (f32([0, 0, np.inf, np.nan]), "score is inf at row 2, item 0; every score must be finite"),
        ],
    )
    def test_each_fault_is_named(self, score: object, fault: str) -> None:
        assert refused(lambda: check_scores(WHO, score, pool())) == fault


class TestSelection:
    @settings(max_examples=60, deadline=None)
    @given(st.permutations(range(2)), st.permutations(range(2, 4)), st.integers(0, 2), st.integers(0, 2))
    def test_any_part_of_each_row_in_any_order_passes(
        self, first: list[int], second: list[int], a: int, b: int
    ) -> None:
        check_selection(WHO, np.array([*first[:a], *second[:b]], np.int64), pool())

    @pytest.mark.parametrize(
        ("selected", "fault"),
        [
            ([0, 1], "the selection is a value of type list; it must be a NumPy array of int64"),
            (i32([0, 1]), "the selection has dtype int32; it must be int64"),
            (np.ones(4, bool), "the selection has dtype bool; it must be int64"),
            (i64([[0, 1]]), "the selection has shape (1, 2); it must have one dimension"),
            (i64([0, 4]), "the selection has position 4; the pool has 4 entries, at positions from 0"),
            (i64([0, -1]), "the selection has position -1; the pool has 4 entries, at positions from 0"),
            (i64([1, 3, 3]), "the selection has position 3 (row 2, item 5) twice; once is allowed"),
            (
                i64([1, 2, 0]),
                "the selection has an entry of row 0 after one of row 2; it must be grouped by row, in the order of "
                "rows",
            ),
        ],
    )
    def test_each_fault_is_named(self, selected: object, fault: str) -> None:
        assert refused(lambda: check_selection(WHO, selected, pool())) == fault


class TestColumns:
    def test_right_ones_pass(self) -> None:
        columns = {
            "age": np.array([1, np.nan, 3, 4]),
            "count": np.arange(4),
            "liked": np.ones(4, bool),
            "device": np.array(["tv", None, "tv", "car"], object),
            "country": np.array(["DE", "FR", "DE", "FR"]),
        }
        check_columns(WHO, columns, pool())
        check_columns(WHO, {}, pool())

    @pytest.mark.parametrize(
        ("columns", "fault"),
        [
            (None, "columns_for returned None; it must return a mapping of name to array"),
            ({3: np.ones(4)}, "a column has the name 3; names are texts that are not empty"),
            ({"": np.ones(4)}, "a column has the name ''; names are texts that are not empty"),
            ({"age": [1, 2, 3, 4]}, "column 'age' is a value of type list; it must be a NumPy array"),
            ({"age": np.ones(5)}, "column 'age' has length 5; it must be 4, one an entry of the pool"),
            ({"age": np.ones((4, 2))}, "column 'age' has shape (4, 2); it must have one dimension"),
            (
                {"age": np.ones(4), "seen": np.zeros(4, "M8[s]")},
                "column 'seen' has dtype datetime64[s]; it must hold numbers, flags or texts",
            ),
            (
                {"age": np.array([1, np.nan, np.inf, 1])},
                "column 'age' is inf at row 2, item 0; every value must be finite, or NaN for missing",
            ),
        ],
    )
    def test_each_fault_is_named(self, columns: object, fault: str) -> None:
        assert refused(lambda: check_columns(WHO, columns, pool())) == fault


def test_item_vectors_that_are_right_pass() -> None:
    check_vectors(WHO, np.zeros((3, 2), np.float32), 3)
    check_vectors(WHO, np.zeros((0, 0), np.float32), 0)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (None, "item_vectors is None; it must be a NumPy array of float32"),
        (np.zeros((3, 2)), "item_vectors is dtype float64; it must be a NumPy array of float32"),
        (f32([1, 2, 3]), "item_vectors has shape (3,); it must have a row for each of 3 items"),
        (np.zeros((2, 2), np.float32), "item_vectors has shape (2, 2); it must have a row for each of 3 items"),
        (f32([[1], [np.nan], [2]]), "item_vectors of item 1 has a value that is not finite"),
    ],
)
def test_wrong_item_vectors_are_named(vectors: object, said: str) -> None:
    assert refused(lambda: check_vectors(WHO, vectors, 3)) == said
