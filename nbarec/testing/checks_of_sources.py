"""Checks of data sources: that what they load is whole, the same each time, and can be saved."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nbarec.components import DataSource
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.errors import ContractError, NbarecError
from nbarec.store import open_model, save
from nbarec.tables import CategoryColumn, DateColumn, NumberColumn, Table
from nbarec.testing.copies import differing, leaves
from nbarec.testing.subject import CheckFailed


def loads_a_dataset(source: DataSource) -> None:
    """What it loads is a dataset whose parts fit each other."""
    data = _loaded(source)
    if not isinstance(data, Dataset):
        raise CheckFailed(f"load returned a value of type {type(data).__name__}; it must return a Dataset")
    for fault in _faults(data):
        raise CheckFailed(f"load returned a dataset in which {fault}; EventColumns.sorted_events and Table.of help")


def events_in_order(source: DataSource) -> None:
    """Each user's events stand in the order of time, and none is later than the data's clock."""
    data = _loaded(source)
    events = data.events
    back = np.flatnonzero((events.time[1:] < events.time[:-1]) & (events.row[1:] == events.row[:-1]))
    if len(back):
        who = data.users.texts([events.row[back[0]]])[0]
        raise CheckFailed(f"the events of user {who} do not stand in the order of time; sort them")
    if len(events) and events.time.max() > data.as_of:
        raise CheckFailed("there are events after as_of, the data's clock; leave as_of to Dataset.of")


def second_load_equals_first(source: DataSource) -> None:
    """Loaded twice, the data are the same to the bit."""
    if changed := differing(leaves(_loaded(source)), leaves(_loaded(source))):
        raise CheckFailed(
            f"two loads differ in {', '.join(changed[:3])}; nothing may be left to chance or to the clock"
        )


def data_round_trip(source: DataSource) -> None:
    """The data can be saved with a model, and come back the same to the bit."""
    data = _loaded(source)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        save(Path(folder), {"data": data}, {})
        changed = differing(leaves(data), leaves(open_model(Path(folder)).part("data", Dataset)))
    if changed:
        raise CheckFailed(f"saved and loaded, the data differ in {', '.join(changed[:3])}")


def missing_events_file(source: DataSource) -> None:
    """Asked for the events of a file that is not there, it says so in words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "no_such_file"
        try:
            with guarded(source.name):
                source.events_from(path)
        except ContractError as error:
            raise CheckFailed(f"of a file that is not there: {error}; raise DataError, and name the file") from error
        except NbarecError as error:
            if path.name not in str(error):
                raise CheckFailed(f"of a file that is not there it says {error}; the message must name it") from error
        else:
            raise CheckFailed("events_from finds events in a file that is not there; raise DataError")


def _loaded(source: DataSource) -> Dataset:
    with guarded(source.name):
        return source.load()


def _faults(data: Dataset) -> Iterator[str]:
    """What does not fit, in words."""
    events, users, items = data.events, len(data.users), len(data.items)
    if len(events.indptr) != users + 1 or events.indptr[0] != 0 or (np.diff(events.indptr) < 0).any():
        yield f"the events have not one row for each of {users} users"
    if events.n_items != items or (len(events) and not 0 <= events.item.min() <= events.item.max() < items):
        yield f"events speak of items outside the {items} that there are"
    arrays = {"item": np.int32, "weight": np.float32, "value": np.float32, "time": np.int64, "kind": np.int16}
    for name, dtype in arrays.items():
        array = getattr(events, name)
        if array.dtype != dtype or array.shape != (events.indptr[-1],):
            yield f"events.{name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} ({events.indptr[-1]},)"
    if not (np.isfinite(events.weight).all() and np.isfinite(events.value).all()):
        yield "a weight or a value is not finite"
    if len(events) and not -1 <= events.kind.min() <= events.kind.max() < len(events.kinds):
        yield "an event is of a kind that is not listed"
    for what, table, rows in (("items", data.catalog, items), ("users", data.audience, users)):
        yield from _faults_of_table(what, table, rows)


def _faults_of_table(what: str, table: Table, rows: int) -> Iterator[str]:
    if table.rows != rows:
        yield f"the table of {what} has {table.rows} rows for {rows} {what}"
    for name, column in table.columns.items():
        match column:
            case NumberColumn(values):
                length, outside = len(values), bool(np.isinf(values).any())
            case CategoryColumn(codes, levels):
                length, outside = len(codes), not _inside(codes, len(levels))
            case DateColumn(seconds):
                length, outside = len(seconds), False
            case _:
                length, outside = column.matrix.shape[0], not _inside(column.matrix.indices, len(column.levels))
        if length != table.rows:
            yield f"the column {name!r} of {what} has {length} rows, not {table.rows}"
        if outside:
            yield f"the column {name!r} of {what} has a value outside its levels, or an infinite one"


def _inside(codes: np.ndarray, levels: int) -> bool:
    return not len(codes) or bool(codes.min() >= -1 and codes.max() < levels)


SOURCE_CHECKS = (loads_a_dataset, events_in_order, second_load_equals_first, data_round_trip, missing_events_file)
