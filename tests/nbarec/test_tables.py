"""Columns and tables: rows taken, rows added, and what a person reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, DateColumn, NumberColumn, Table, TagsColumn

LABELS = {
    "tempo": ["90", "-", "-0.5", "128.25"],
    "artist": ["ada", "-", "bo", "ada"],
    "moods": ["calm|warm", "-", "warm", "calm"],
    "released": ["1970-01-02", "-", "1969-12-31", "2024-02-29"],
}


def songs() -> Table:
    """Four songs; of the second nothing is known."""
    return Table(
        4,
        {
            "tempo": NumberColumn(np.array([90, np.nan, -0.5, 128.25])),
            "artist": CategoryColumn.of(["ada", None, "bo", "ada"]),
            "moods": TagsColumn.of(np.array([0, 3, 2, 0, 0]), ["warm", "calm", "warm", "calm", "warm"], 4),
            "released": DateColumn(np.array([86_400, MISSING_DATE, -1, 1_709_164_800])),
        },
    )


def test_labels_say_what_each_row_holds() -> None:
    table = songs()
    assert {name: table.labels(name, range(4)) for name in table.columns} == LABELS
    assert table.labels("artist", [2, 0]) == ["bo", "ada"]


@given(st.lists(st.integers(-1, 3), max_size=8))
def test_rows_are_taken_in_any_order_and_minus_one_is_missing(rows: list[int]) -> None:
    taken = songs().take(np.array(rows))
    assert taken.rows == len(rows)
    for name, labels in LABELS.items():
        assert taken.labels(name, range(len(rows))) == [labels[row] if row >= 0 else "-" for row in rows]


def test_rows_can_be_taken_of_a_table_without_rows() -> None:
    table = songs().take(np.empty(0, np.int64)).take(np.array([-1, -1]))
    assert [table.labels(name, range(2)) for name in LABELS] == [["-", "-"]] * 4


def test_taken_columns_keep_their_types_and_cannot_be_written() -> None:
    columns = songs().take(np.array([1, -1])).columns
    number, category, date = columns["tempo"], columns["artist"], columns["released"]
    assert isinstance(number, NumberColumn)
    assert isinstance(category, CategoryColumn)
    assert isinstance(date, DateColumn)
    arrays = (number.values, category.codes, date.seconds)
    assert [str(array.dtype) for array in arrays] == ["float64", "int32", "int64"]
    assert not any(array.flags.writeable for array in arrays)
    assert date.seconds.tolist() == [MISSING_DATE] * 2


def test_an_extended_table_has_missing_rows_at_the_end() -> None:
    table = songs()
    longer = table.extended(6)
    assert longer.rows == 6
    assert {name: longer.labels(name, range(6)) for name in LABELS} == {n: [*v, "-", "-"] for n, v in LABELS.items()}
    assert table.extended(4) is table
    with pytest.raises(ValueError, match="negative"):
        table.extended(3)


def test_a_column_is_added_or_replaced_and_the_old_table_stays() -> None:
    table = songs()
    loud = NumberColumn(np.array([1.0, 2.0, 3.0, 4.0]))
    assert table.with_column("loud", loud).labels("loud", range(4)) == ["1", "2", "3", "4"]
    assert table.with_column("tempo", loud).labels("tempo", [1]) == ["2"]
    assert set(table.columns) == set(LABELS)
    assert table.labels("tempo", [1]) == ["-"]


@given(st.lists(st.none() | st.sampled_from(["", "ada", "bo", "10", "9", "é"]) | st.integers(8, 11), max_size=10))
def test_a_category_column_gives_back_its_texts(texts: list[str | int | None]) -> None:
    column = CategoryColumn.of(texts)
    found = [None if code < 0 else column.levels.texts([code])[0] for code in column.codes.tolist()]
    assert found == [None if text in (None, "") else str(text) for text in texts]
    assert sorted(set(column.codes.tolist()) - {-1}) == list(range(len(column.levels)))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["calm", "warm", "10", "9"])), max_size=12))
def test_a_tags_column_holds_each_pair_once(pairs: list[tuple[int, str]]) -> None:
    column = TagsColumn.of(np.array([row for row, _ in pairs], np.int64), [tag for _, tag in pairs], 4)
    tags = column.levels.texts(column.matrix.indices)
    assert set(zip(column.matrix.row_of.tolist(), tags, strict=True)) == set(pairs)
    assert column.matrix.nnz == len(set(pairs))
    assert column.matrix.data.tolist() == [1.0] * column.matrix.nnz
    assert column.matrix.shape == (4, len(column.levels))


def test_tags_are_stored_as_a_matrix_of_ones() -> None:
    moods = songs().columns["moods"]
    assert isinstance(moods, TagsColumn)
    assert isinstance(moods.matrix, Csr)
    assert moods.matrix.to_dense().tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
