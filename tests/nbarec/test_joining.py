"""Joining against dictionaries and lists: what is known stays where it is, what is new stands at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset, EventColumns, FileReport
from nbarec.errors import DataError
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.joining import join_columns, join_datasets, join_events, with_growth
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn
from nbarec.testing.worlds import NOON, tags_of, tiny_world

Row = tuple[Any, ...]
Told = dict[str, Any]

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "number": st.sampled_from([None, 0.5, 2.0, -7.25]),
    "category": st.sampled_from([None, "a", "b", "c", "d"]),
    "tags": st.lists(st.sampled_from("pqrst"), max_size=3, unique=True),
    "date": st.sampled_from([None, 0, 86_400, -1]),
}
USERS = ["ann", "ben", "cem", "dan", "eve"]
ITEMS = ["10", "2", "33", "4", "5"]


def column_of(kind: str, cells: list[Any]) -> Column:
    match kind:
        case "number":
            return NumberColumn(np.array([np.nan if cell is None else cell for cell in cells], np.float64))
        case "category":
            return CategoryColumn.of(cells)
        case "tags":
            return tags_of(cells)
    return DateColumn(np.array([MISSING_DATE if cell is None else cell for cell in cells], np.int64))


def cells_of(column: Column) -> list[Any]:
    """What a person would read, row by row: the opposite of `column_of`."""
    match column:
        case NumberColumn(values):
            return [None if np.isnan(value) else float(value) for value in values]
        case CategoryColumn(codes, levels):
            return [None if code < 0 else levels.texts([code])[0] for code in codes]
        case TagsColumn(matrix, levels):
            spans = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
            assert (matrix.data == 1).all()
            return [sorted(levels.texts(matrix.indices[start:end])) for start, end in spans]
        case DateColumn(seconds):
            return [None if second == MISSING_DATE else int(second) for second in seconds]


def told(events: Events) -> list[list[Told]]:
    """Each row's events, every field and column in words."""
    columns = {name: cells_of(column) for name, column in events.columns.items()}
    listed: list[list[Told]] = [[] for _ in range(events.rows)]
    for at, row in enumerate(events.row):
        fields = {name: getattr(events, name)[at].item() for name in ("item", "weight", "value", "time")}
        kind = None if events.kind[at] < 0 else events.kinds[events.kind[at]]
        listed[row].append({**fields, "kind": kind, **{name: cells[at] for name, cells in columns.items()}})
    return listed


def missing(column: Column) -> Any:
    return [] if isinstance(column, TagsColumn) else None


def filled(rows: list[list[Told]], other: Events) -> list[list[Told]]:
    """The same events with the other side's columns, missing where an event lacks them."""
    absent = {name: missing(column) for name, column in other.columns.items()}
    return [[absent | event for event in events] for events in rows]


@st.composite
def event_tables(draw: st.DrawFn, users: int = 3, items: int = 4) -> Events:
    vocabularies: list[list[str | None]] = [[None], ["play"], ["play", "like", None], ["skip", "like"]]
    kinds = draw(st.sampled_from(vocabularies))
    names = draw(st.lists(st.sampled_from(sorted(CELLS)), unique=True))
    events = draw(
        st.lists(
            st.tuples(
                st.integers(0, users - 1),
                st.integers(0, items - 1),
                st.integers(0, 3),
                st.sampled_from([-0.5, 1.0, 3.0]),
                st.sampled_from(kinds),
                *(CELLS[name] for name in names),
            ),
            max_size=8,
        )
    )
    user, item, time, weight, kind, *cells = zip(*events, strict=True) if events else [()] * (5 + len(names))
    return EventColumns(
        user=np.array(user, np.int64),
        item=np.array(item, np.int64),
        weight=np.array(weight, np.float64),
        value=np.arange(len(events), dtype=np.float64),
        time=np.array(time, np.int64),
        kind=CategoryColumn.of(kind),
        columns={name: column_of(name, list(column)) for name, column in zip(names, cells, strict=True)},
    ).sorted_events(users, items, Combine(draw(st.sampled_from(["sum", "last"]))))


@st.composite
def id_lists(draw: st.DrawFn, values: list[str]) -> list[str]:
    return draw(st.lists(st.sampled_from(values), unique=True, min_size=1))


@st.composite
def tables(draw: st.DrawFn, rows: int) -> Table:
    names = draw(st.lists(st.sampled_from(sorted(CELLS)), unique=True))
    return Table(
        rows, {name: column_of(name, draw(st.lists(CELLS[name], min_size=rows, max_size=rows))) for name in names}
    )


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    users, items = draw(id_lists(USERS)), draw(id_lists(ITEMS))
    return Dataset.of(
        Ids.of(users),
        Ids.of(items),
        draw(event_tables(len(users), len(items))),
        draw(tables(len(items))),
        draw(tables(len(users))),
    )


class TestColumns:
    @settings(max_examples=60, deadline=None)
    @given(st.data(), st.sampled_from(sorted(CELLS)))
    def test_rows_follow_one_another_and_known_levels_keep_their_codes(self, data: st.DataObject, kind: str) -> None:
        top, bottom = (data.draw(st.lists(CELLS[kind], max_size=6)) for _ in range(2))
        first, second = column_of(kind, top), column_of(kind, bottom)
        joined = join_columns(first, second)
        assert cells_of(joined) == [sorted(cell) if kind == "tags" else cell for cell in [*top, *bottom]]
        if isinstance(joined, CategoryColumn | TagsColumn):
            assert isinstance(first, CategoryColumn | TagsColumn)
            assert joined.levels.all()[: len(first.levels)] == first.levels.all()

    def test_moved_tags_stay_sorted_in_their_row(self) -> None:
        joined = join_columns(tags_of([["z"]]), tags_of([["a", "z"]]))
        assert isinstance(joined, TagsColumn)
        assert joined.levels.all() == ["z", "a"]
        assert joined.matrix.indices.tolist() == [0, 0, 1]
        assert joined.matrix.shape == (2, 2)

    def test_the_result_is_read_only_and_keeps_its_dtypes(self) -> None:
        joined = join_columns(CategoryColumn.of(["a"]), CategoryColumn.of(["b", None]))
        assert isinstance(joined, CategoryColumn)
        assert joined.codes.dtype == np.int32
        assert not joined.codes.flags.writeable

    def test_columns_of_two_kinds_are_refused(self) -> None:
        with pytest.raises(DataError, match="a column of numbers and one of categories can't be joined"):
            join_columns(NumberColumn(np.ones(1)), CategoryColumn.of(["a"]))
        with pytest.raises(DataError, match="a column of tags and one of dates can't be joined"):
            join_columns(tags_of([["a"]]), DateColumn(np.zeros(1, np.int64)))


class TestEvents:
    @settings(max_examples=100, deadline=None)
    @given(event_tables(), event_tables())
    def test_each_row_is_the_stable_merge_of_both_by_time(self, first: Events, second: Events) -> None:
        joined = join_events(first, second)
        pairs = zip(filled(told(first), second), filled(told(second), first), strict=True)
        assert told(joined) == [sorted([*a, *b], key=lambda event: event["time"]) for a, b in pairs]
        assert joined.combine == first.combine
        assert joined.kinds[: len(first.kinds)] == first.kinds
        arrays = (joined.indptr, joined.item, joined.weight, joined.time, joined.kind)
        assert [array.dtype.name for array in arrays] == ["int64", "int32", "float32", "int64", "int16"]

    @settings(max_examples=30, deadline=None)
    @given(event_tables())
    def test_joining_nothing_changes_nothing(self, events: Events) -> None:
        nothing = Events.empty(events.rows, events.n_items)
        for joined in (join_events(events, nothing), join_events(nothing, events)):
            assert told(joined) == told(events)
            assert joined.kinds == events.kinds
            np.testing.assert_array_equal(joined.matrix().indices, events.matrix().indices)

    @settings(max_examples=30, deadline=None)
    @given(event_tables(), event_tables(), event_tables())
    def test_joining_twice_is_joining_the_joined(self, a: Events, b: Events, c: Events) -> None:
        assert told(join_events(join_events(a, b), c)) == told(join_events(a, join_events(b, c)))

    def test_at_one_moment_the_first_come_first(self) -> None:
        first, second = (
            Dataset.from_arrays([0, 0], [0, 1], [value, value], time=[5, 7]).events for value in (1.0, 2.0)
        )
        joined = join_events(first, second)
        assert joined.time.tolist() == [5, 5, 7, 7]
        assert joined.weight.tolist() == [1, 2, 1, 2]

    def test_different_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="3 rows x 4 items and 3 rows x 5 items can't be joined; `with_growth`"):
            join_events(Events.empty(3, 4), Events.empty(3, 5))

    def test_a_column_of_another_kind_is_named(self) -> None:
        events = Dataset.from_arrays([0], [0]).events
        first = replace(events, columns={"length": NumberColumn(np.ones(1))})
        second = replace(events, columns={"length": CategoryColumn.of(["long"])})
        with pytest.raises(DataError, match="event column 'length': a column of numbers and one of categories"):
            join_events(first, second)


class TestGrowth:
    def test_rows_and_items_are_added_at_the_end(self) -> None:
        events = tiny_world().events
        grown = with_growth(events, 7, 9)
        assert (grown.rows, grown.n_items, grown.matrix().shape) == (7, 9, (7, 9))
        assert told(grown) == [*told(events), [], []]

    @pytest.mark.parametrize(("rows", "n_items"), [(4, 8), (5, 7)])
    def test_events_do_not_shrink(self, rows: int, n_items: int) -> None:
        with pytest.raises(ValueError, match=f"5 rows x 8 items can't shrink to {rows} rows x {n_items} items"):
            with_growth(tiny_world().events, rows, n_items)


def by_user(data: Dataset) -> dict[Any, list[Told]]:
    """Each user's events with the items' ids in place of positions."""
    rows = zip(data.users.all(), told(data.events), strict=True)
    return {user: [event | {"item": data.items.take([event["item"]])[0]} for event in events] for user, events in rows}


def by_id(ids: Ids, table: Table) -> dict[Any, Told]:
    cells = {name: cells_of(column) for name, column in table.columns.items()}
    return {key: {name: column[row] for name, column in cells.items()} for row, key in enumerate(ids.all())}


def joined_ids(known: Ids, new: Ids) -> list[Any]:
    """All of `ITEMS` are whole numbers and go by size, no one of `USERS` is."""
    added = set(new.all()) - set(known.all())
    return [*known.all(), *sorted(added, key=lambda value: int(value) if str(value).isdigit() else value)]


def joined_table(known: dict[Any, Told], new: dict[Any, Told], columns: Mapping[str, Column]) -> dict[Any, Told]:
    absent = {name: missing(column) for name, column in columns.items()}
    added = {key: absent | {n: v for n, v in row.items() if n in columns} for key, row in new.items()}
    return added | known


class TestDatasets:
    @settings(max_examples=100, deadline=None)
    @given(datasets(), datasets())
    def test_against_dictionaries(self, data: Dataset, new: Dataset) -> None:
        everything, added = join_datasets(data, new)
        assert everything.users.all() == joined_ids(data.users, new.users)
        assert everything.items.all() == joined_ids(data.items, new.items)
        known, fresh = by_user(data), by_user(new)
        absent = {n: missing(c) for n, c in {**data.events.columns, **new.events.columns}.items()}
        expected = {
            user: sorted(
                [absent | event for event in [*known.get(user, []), *fresh.get(user, [])]], key=lambda e: e["time"]
            )
            for user in everything.users.all()
        }
        assert by_user(everything) == expected
        assert by_user(added) == {u: [absent | e for e in fresh.get(u, [])] for u in everything.users.all()}

    @settings(max_examples=60, deadline=None)
    @given(datasets(), datasets())
    def test_known_rows_keep_their_values_and_added_ones_take_the_new(self, data: Dataset, new: Dataset) -> None:
        everything, _ = join_datasets(data, new)
        for ids, table in (("items", "catalog"), ("users", "audience")):
            had, given_, got = (by_id(getattr(d, ids), getattr(d, table)) for d in (data, new, everything))
            assert got == joined_table(had, given_, getattr(data, table).columns)
            assert getattr(everything, table).rows == len(getattr(everything, ids))

    @settings(max_examples=40, deadline=None)
    @given(datasets(), datasets())
    def test_both_share_ids_tables_kinds_levels_and_combination(self, data: Dataset, new: Dataset) -> None:
        everything, added = join_datasets(data, new)
        assert added.users is everything.users
        assert added.items is everything.items
        assert added.catalog is everything.catalog
        assert added.audience is everything.audience
        assert added.events.kinds == everything.events.kinds
        assert added.events.combine == everything.events.combine == data.events.combine
        assert added.events.matrix().shape == everything.events.matrix().shape
        assert list(added.events.columns) == list(everything.events.columns)
        for name, column in added.events.columns.items():
            if isinstance(column, CategoryColumn | TagsColumn):
                whole = everything.events.columns[name]
                assert isinstance(whole, CategoryColumn | TagsColumn)
                assert column.levels.all() == whole.levels.all()

    @settings(max_examples=30, deadline=None)
    @given(datasets())
    def test_joining_nothing_changes_nothing(self, data: Dataset) -> None:
        nothing = Dataset.of(Ids.of([]), Ids.of([]), Events.empty(0, 0), Table(0), Table(0), as_of=0)
        everything, added = join_datasets(data, nothing)
        assert everything.users is data.users
        assert everything.catalog is data.catalog
        assert everything.audience is data.audience
        assert by_user(everything) == by_user(data)
        assert len(added.events) == 0
        assert everything.as_of == data.as_of

    @settings(max_examples=30, deadline=None)
    @given(datasets())
    def test_joining_to_nothing_gives_the_new_alone(self, new: Dataset) -> None:
        nothing = Dataset.of(Ids.of([]), Ids.of([]), Events.empty(0, 0), Table(0), Table(0), as_of=0)
        everything, added = join_datasets(nothing, new)
        assert by_user(everything) == by_user(added) == {user: by_user(new)[user] for user in everything.users.all()}

    def test_a_new_song_and_a_new_listener(self) -> None:
        new = Dataset.from_arrays(["zoe", "anna"], ["s9", "s0"], time=[NOON + 60, NOON + 30], kind=["like", "share"])
        songs = Table(2, {"artist": CategoryColumn.of(["nobody", "dee"]), "label": CategoryColumn.of(["x", "y"])})
        new = replace(new, catalog=songs)
        assert new.items.all() == ["s0", "s9"]
        everything, added = join_datasets(tiny_world(), new)
        assert everything.users.all()[-1] == "zoe"
        assert everything.catalog.labels("artist", [0, 8]) == ["ada", "dee"]
        assert "label" not in everything.catalog.columns
        assert everything.catalog.labels("tempo", [8]) == ["-"]
        assert everything.audience.labels("country", [5]) == ["-"]
        assert everything.events.kinds == ("like", "play", "skip", "share")
        assert everything.as_of == added.as_of == NOON + 60
        assert added.events.row.tolist() == [0, 5]
        assert added.events.item.tolist() == [0, 8]

    def test_whole_numbers_meet_their_texts(self) -> None:
        data, new = Dataset.from_arrays([1, 2], [10, 20]), Dataset.from_arrays(["2", "3"], ["20", "9"])
        everything, added = join_datasets(data, new)
        assert everything.users.texts(range(3)) == ["1", "2", "3"]
        assert everything.items.texts(range(3)) == ["10", "20", "9"]
        assert added.events.item.tolist() == [1, 2]

    def test_the_clock_never_goes_back_and_the_files_add_up(self) -> None:
        old, late = (FileReport(path, "event", 1, 0) for path in ("old.csv", "late.csv"))
        data = replace(tiny_world(), files=(old,))
        everything, added = join_datasets(data, replace(Dataset.from_arrays(["anna"], ["s1"]), files=(late,)))
        assert everything.as_of == NOON
        assert everything.files == (old, late)
        assert added.files == (late,)

    def test_a_table_column_of_another_kind_is_named(self) -> None:
        new = replace(Dataset.from_arrays(["anna"], ["s9"]), catalog=Table(1, {"tempo": CategoryColumn.of(["fast"])}))
        with pytest.raises(DataError, match="item column 'tempo': a column of numbers and one of categories"):
            join_datasets(tiny_world(), new)
