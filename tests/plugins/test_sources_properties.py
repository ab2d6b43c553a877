"""Whatever is in a file: the same dataset as a slow reference, no row lost, whatever the size of a block."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.errors import DataError
from nbarec.progress import shown_by
from nbarec_plugins import readers
from nbarec_plugins.cells import CellReader, Flags, Moments, Numbers, Tags, Texts
from nbarec_plugins.sources import Csv, Jsonl, TextSource

HEAD = ["user", "item", "time", "kind", "value", "seconds", "device"]
FIELDS = {name: name for name in HEAD[:-1]}
ITEM_HEAD = ["id", "genre", "tempo", "tags"]
ITEM_COLUMNS = {"genre": "category", "tempo": "number", "tags": {"many": "|"}}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
ids = st.one_of(st.integers(0, 20).map(str), texts.filter(lambda text: bool(text.strip())), st.sampled_from('",\n\r|é'))
ids = ids.filter(lambda text: bool(text.strip()))
numbers = st.floats(-1e6, 1e6, width=32).map(str)
events = st.tuples(
    ids,
    ids,
    st.integers(0, 3).map(str),
    st.sampled_from(["play", "skip", "a,b"]),
    numbers,
    st.one_of(st.just(""), numbers),
    st.one_of(st.just(""), texts.filter(lambda text: bool(text.strip()))),
)
tags = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=3).map("|".join)
items = st.tuples(ids, st.one_of(st.just(""), ids), st.one_of(st.just(""), numbers), tags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]], line_end: str, quoting: Any) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=line_end, quoting=quoting)
        writer.writerows([head, *rows])
    return path


def source_of(kind: type[TextSource], folder: Path, ending: str, **more: Any) -> TextSource:
    plays = {"path": folder / f"plays.{ending}", "columns": FIELDS, "context": {"device": "category"}}
    return kind(events=plays, **more)  # type: ignore[arg-type]


def read_slowly(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def natural(names: set[str]) -> list[str]:
    """Numbers by size where all are whole numbers in their shortest form, else texts by code point."""
    whole = all(name.isascii() and name.removeprefix("-").isdigit() and str(int(name)) == name for name in names)
    return sorted(names, key=int) if whole else sorted(names)


def reference_events(rows: list[dict[str, str]], users: list[str]) -> list[tuple[Any, ...]]:
    in_order = sorted(rows, key=lambda row: (users.index(row["user"]), int(row["time"])))
    return [
        (
            row["user"],
            row["item"],
            int(row["time"]),
            row["kind"],
            float(np.float32(row["value"])),
            float(row["seconds"]) if row["seconds"] else None,
            row["device"] or None,
        )
        for row in in_order
    ]


def listed(data: Dataset) -> list[tuple[Any, ...]]:
    events = data.events
    seconds: Any = events.columns["seconds"]
    device: Any = events.columns["device"]
    return [
        (
            *(data.users.texts([row]) + data.items.texts([item])),
            time,
            events.kinds[kind],
            value,
            None if math.isnan(spent) else spent,
            device.levels.texts([code])[0] if code >= 0 else None,
        )
        for row, item, time, kind, value, spent, code in zip(
            events.row.tolist(),
            events.item.tolist(),
            events.time.tolist(),
            events.kind.tolist(),
            events.value.tolist(),
            seconds.values.tolist(),
            device.codes.tolist(),
            strict=True,
        )
    ]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(events, min_size=1, max_size=12),
    st.lists(items, max_size=8, unique_by=lambda row: row[0]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.integers(1, 5),
)
def test_a_dataset_is_what_a_slow_reader_finds(
    folder: Path, plays: list[Any], songs: list[Any], line_end: str, quoting: int, block: int
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # which leaves other line breaks than its own without quotes
        plays, songs = [
            [tuple(cell.replace("\r", "r").replace("\n", "n") for cell in row) for row in rows]
            for rows in (plays, songs)
        ]
        songs = list({row[0]: row for row in songs}.values())
    path = write_csv(folder / "plays.csv", HEAD, plays, line_end, quoting)
    table = write_csv(folder / "songs.csv", ITEM_HEAD, songs, line_end, quoting)
    with patch.object(readers, "BLOCK_ROWS", block):
        data = source_of(Csv, folder, "csv", items={"path": table, "id": "id", "columns": ITEM_COLUMNS}).load()
    rows, attributes = read_slowly(path), {row["id"]: row for row in read_slowly(table)}
    users, known = natural({row["user"] for row in rows}), natural({row["item"] for row in rows} | set(attributes))
    assert (data.users.all(), data.items.all()) == (users, known)
    assert listed(data) == reference_events(rows, users)
    for position, item in enumerate(known):
        row = attributes.get(item, dict.fromkeys(ITEM_HEAD, ""))
        assert data.catalog.labels("genre", [position]) == [row["genre"] or "-"]
        assert data.catalog.labels("tempo", [position]) == [f"{float(row['tempo']):g}" if row["tempo"] else "-"]
        assert data.catalog.labels("tags", [position]) == ["|".join(sorted(set(row["tags"].split("|")) - {""})) or "-"]


@settings(max_examples=40, deadline=None)
@given(st.lists(events, min_size=1, max_size=10), st.integers(1, 4))
def test_json_lines_give_what_csv_gives(folder: Path, plays: list[Any], block: int) -> None:
    write_csv(folder / "plays.csv", HEAD, plays, "\n", csv.QUOTE_ALL)
    lines = [json.dumps(dict(zip(HEAD, row, strict=True)), ensure_ascii=bool(block % 2)) for row in plays]
    (folder / "plays.jsonl").write_text("\n".join(lines), encoding="utf-8", newline="")
    with patch.object(readers, "BLOCK_ROWS", block):
        assert listed(source_of(Jsonl, folder, "jsonl").load()) == listed(source_of(Csv, folder, "csv").load())


def loaded_or_error(source: TextSource) -> tuple[Any, ...]:
    try:
        data = source.load()
    except DataError as error:
        return (str(error),)
    return (listed(data), data.files)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(events, min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([*b'\0\xff\n\r",x', -1])), min_size=1, max_size=4),
    st.integers(1, 6),
)
def test_damage_loses_no_row_and_blocks_do_not_matter(
    folder: Path, plays: list[Any], damage: list[tuple[int, int]], block: int
) -> None:
    path = write_csv(folder / "plays.csv", HEAD, plays, "\n", csv.QUOTE_ALL)
    content = bytearray(path.read_bytes())
    head = content.index(b"\n") + 1
    for place, byte in damage:
        at = head + place % max(len(content) - head, 1)
        content[at : at + 1] = b"" if byte < 0 else bytes([byte])
    path.write_bytes(content)
    skipping = source_of(Csv, folder, "csv", on_bad_row="skip")
    whole = loaded_or_error(skipping)
    with patch.object(readers, "BLOCK_ROWS", block):
        assert loaded_or_error(skipping) == whole
    if len(whole) == 2:
        found, (report,) = whole
        assert report.accepted == len(found)
        assert report.accepted + report.rejected == rows_of_strict_csv(path)
        refused = loaded_or_error(source_of(Csv, folder, "csv"))
        assert (len(refused) == 1) == (report.rejected > 0)


def rows_of_strict_csv(path: Path) -> int:
    """Rows of a file, those included at which a strict reader stumbles."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader, rows = csv.reader(file, strict=True), 0
        for _ in itertools.count():
            try:
                rows += bool(next(reader))
            except csv.Error:
                rows += 1
            except StopIteration:
                return rows - 1
    raise AssertionError


makers = st.sampled_from(
    [
        lambda: Numbers("x"),
        lambda: Numbers("x", required=True),
        lambda: Flags("x"),
        lambda: Moments("x"),
        lambda: Moments("x", required=True),
        lambda: Texts("x"),
        lambda: Texts("x", required=True),
        lambda: Texts("x", required=True, unique=True),
        lambda: Tags("x", "|"),
    ]
)
cells = st.one_of(
    st.sampled_from(["", " ", "1", "0", "TRUE", "no", "nan", "inf", "1e999", "1_0", "٣", "1.5", "2025-06-30", "a|b"]),
    st.text(max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(makers, st.lists(cells, min_size=1, max_size=4))
def test_a_block_is_bad_where_one_of_its_cells_is(make: Any, block: list[str]) -> None:
    one_by_one, at_once = make(), make()
    assert isinstance(at_once, CellReader)
    try:
        converted = at_once.convert(block)
    except ValueError:
        converted = None
    faults = [fault for cell in block if (fault := fault_of(one_by_one, cell))]
    assert (converted is None) == bool(faults)
    assert all(fault.startswith("x ") for fault in faults)
    if not faults:
        at_once.keep(converted)
        blank = sum(
            not cell.replace("|", "").strip() if isinstance(at_once, Tags) else not cell.strip() for cell in block
        )
        assert at_once.missing == blank


def fault_of(reader: CellReader, cell: str) -> str | None:
    try:
        reader.check(cell)
    except ValueError as error:
        return str(error)
    return None


def test_progress_counts_the_bytes_of_the_file(folder: Path) -> None:
    seen: dict[str, int] = {}

    class Bar:
        def __init__(self, label: str, length: int) -> None:
            self.label, seen[label] = label, -length

        def __enter__(self) -> Any:
            return lambda steps: seen.update({self.label: seen[self.label] + steps})

        def __exit__(self, *_: object) -> None:
            return None

    rows = [["u", "i", "1", "play", "1", "1", "tv"]] * 20
    plain = write_csv(folder / "plays.csv", HEAD, rows, "\n", csv.QUOTE_ALL)
    packed = folder / "plays.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with shown_by(Bar), patch.object(readers, "BLOCK_ROWS", 3):
        source_of(Csv, folder, "csv").load()
        source_of(Csv, folder, "csv.gz").load()
    assert seen == {f"reading {plain}": 0, f"reading {packed}": 0}
