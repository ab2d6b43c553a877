"""Rows that can't be read: found with their true line and the reason, refused or counted, never lost."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbarec.errors import ConfigError, DataError, Problem
from nbarec.marked import read_text
from nbarec.params import build
from nbarec_plugins import readers
from nbarec_plugins.source_params import ColumnSpec, EventsFile, ItemsFile
from nbarec_plugins.sources import Csv, Jsonl, TextSource

HEAD = "user,item,time,kind,value,seconds,length,device,hour,new,day,extra\n"
GOOD = "u1,i1,10,play,1,2,3,phone,9,true,2025-06-30,x\n"
FIELDS = {name: name for name in ("user", "item", "time", "kind", "value", "seconds", "length")}
CONTEXT = {"device": "category", "hour": "number", "new": "flag", "day": "date"}


def csv_of(path: Path, **more: Any) -> TextSource:
    return Csv(events={"path": path, "columns": FIELDS, "context": CONTEXT}, **more)  # type: ignore[arg-type]


def with_cell(column: str, cell: str) -> str:
    cells = dict(zip(HEAD.strip().split(","), GOOD.strip().split(","), strict=True))
    return ",".join({**cells, column: cell}.values()) + "\n"


@pytest.fixture(params=[1, 2, 3, 1_000])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(readers, "BLOCK_ROWS", request.param)
    return int(request.param)


def written(folder: Path, text: str | bytes, name: str = "plays.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


BAD_CELLS = [
    ("user", "", "user is missing"),
    ("user", "  ", "user is missing"),
    ("item", "", "item is missing"),
    ("time", "", "time is missing"),
    ("time", "soon", "time 'soon' is not a time; write epoch seconds or ISO 8601 such as 2025-06-30T21:05:00Z"),
    ("time", "1751317500000", "time '1751317500000' lies outside the years 1 to 9999"),
    ("time", "nan", "time 'nan' is not a time"),
    ("kind", "", "kind is missing"),
    ("value", "", "value is missing"),
    ("value", "five", "value 'five' is not a number"),
    ("value", "1_000", "value '1_000' is not a number"),
    ("value", "nan", "value 'nan' is not a finite number"),
    ("value", "-Infinity", "value '-Infinity' is not a finite number"),
    ("value", "1e999", "value '1e999' is not a finite number"),
    ("seconds", "inf", "seconds 'inf' is not a finite number"),
    ("length", "NaN", "length 'NaN' is not a finite number"),
    ("hour", "late", "hour 'late' is not a number"),
    ("new", "perhaps", "new 'perhaps' is not a flag; write true, false, yes, no, 1 or 0"),
    ("day", "yesterday", "day 'yesterday' is not a time"),
    ("item", "a\0b", "the row holds a NUL character"),
    ("extra", "\0", "the row holds a NUL character"),
]


@pytest.mark.parametrize(("column", "cell", "reason"), BAD_CELLS)
def test_a_bad_cell_is_told_with_its_line(tmp_path: Path, column: str, cell: str, reason: str) -> None:
    path = written(tmp_path, HEAD + GOOD + with_cell(column, cell) + GOOD)
    with pytest.raises(DataError) as caught:
        csv_of(path).load()
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}: 1 of 3 event rows can't be read; fix them, or set data.on_bad_row: skip")
    assert second.startswith(f"  {path}:3: {reason}")
    data = csv_of(path, on_bad_row="skip").load()
    assert (len(data.events), data.files[0].accepted, data.files[0].rejected) == (2, 2, 1)
    assert data.files[0].notes[0].startswith(f"{path}:3: {reason}")


@pytest.mark.parametrize("column", ["seconds", "length", "device", "hour", "new", "day"])
def test_an_empty_cell_of_these_is_missing_and_counted(tmp_path: Path, column: str) -> None:
    data = csv_of(written(tmp_path, HEAD + GOOD + with_cell(column, "") + with_cell(column, "  "))).load()
    assert data.files[0].notes == (f"column {column!r}: 2 rows without a value",)
    assert data.files[0].accepted == 3


def test_broken_utf8_is_a_bad_row(tmp_path: Path) -> None:
    text = (HEAD + GOOD + with_cell("item", "Björk") + with_cell("item", "Björk")).encode()
    at = text.rindex("ö".encode())
    path = written(tmp_path, text[:at] + b"\xf6" + text[at + 2 :])
    data = csv_of(path, on_bad_row="skip").load()
    assert data.items.all() == ["Björk", "i1"]
    assert data.files[0].notes == (f"{path}:4: the row holds bytes that are not UTF-8",)


def test_lines_are_counted_as_an_editor_shows_them(tmp_path: Path, block_rows: int) -> None:
    rows = [
        with_cell("item", '"two\nlines"'),  # 2, 3
        "\n",  # 4
        with_cell("value", "x"),  # 5
        with_cell("item", '"three\r\nmore\rlines"'),  # 6 to 8
        "u1,i1\n",  # 9
        with_cell("item", '"open'),  # 10; its quote closes with the next one, on 11
        with_cell("item", '"closed"'),
        GOOD,  # 12
        GOOD.replace("x", "x,y"),  # 13
        with_cell("time", '"no\ntime"'),  # 14, 15
        with_cell("item", "i\udce4"),  # 16
        "\n\n",
        GOOD.strip() + '"',  # 19: a quote inside a cell is a letter
        "\n" + with_cell("item", '"a"b'),  # 20
        with_cell("kind", '"never closed'),  # 21
    ]
    path = written(tmp_path, (HEAD + "".join(rows)).encode("utf-8", "surrogateescape"))
    data = csv_of(path, on_bad_row="skip").load()
    report = data.files[0]
    said = [re.sub(r".*plays\.csv:", "", note) for note in report.notes]
    assert said == [
        "5: value 'x' is not a number",
        "9: the row has 2 cells and the header 12",
        "10: the row is not well formed: ',' expected after '\"'",
        "13: the row has 13 cells and the header 12",
        "14: time 'no\\ntime' is not a time; write epoch seconds or ISO 8601 such as 2025-06-30T21:05:00Z",
        "16: the row holds bytes that are not UTF-8",
        "20: the row is not well formed: ',' expected after '\"'",
        "21: the row is not well formed: unexpected end of data",
    ]
    assert (report.accepted, report.rejected) == (4, 8)
    assert set(data.items.all()) == {"two\nlines", "three\r\nmore\rlines", "i1"}


def test_a_cell_beyond_the_limit_is_one_bad_row(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + with_cell("item", "i" * 140_000) + GOOD)
    data = csv_of(path, on_bad_row="skip").load()
    assert data.files[0].notes == (f"{path}:2: the row is not well formed: field larger than field limit (131072)",)
    assert data.items.all() == ["i1"]


def test_ten_reasons_are_shown_and_the_rest_counted(tmp_path: Path, block_rows: int) -> None:
    path = written(tmp_path, HEAD + (with_cell("value", "x") + GOOD) * 1_234)
    with pytest.raises(DataError) as caught:
        csv_of(path).load()
    lines = str(caught.value).splitlines()
    assert "1,234 of 2,468 event rows" in lines[0]
    assert [int(line.split(":")[-2]) for line in lines[1:11]] == list(range(2, 22, 2))
    assert lines[11:] == ["  and 1,224 more rejected"]
    report = csv_of(path, on_bad_row="skip").load().files[0]
    assert (report.accepted, report.rejected, len(report.notes)) == (1_234, 1_234, 11)


def test_ids_of_rejected_rows_are_not_known(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + GOOD + GOOD.replace("u1,i1", "u2,i2").replace("play,1", "like,x"))
    data = csv_of(path, on_bad_row="skip").load()
    assert (data.users.all(), data.items.all(), data.events.kinds) == (["u1"], ["i1"], ("play",))


def test_an_id_that_stands_twice_in_a_table(tmp_path: Path, block_rows: int) -> None:
    path = written(tmp_path, HEAD + GOOD)
    songs = written(tmp_path, "id,tempo\ni3,x\ni1,1\ni2,2\ni1,3\ni3,4\ni3,5\n", "songs.csv")
    items = {"path": songs, "id": "id", "columns": {"tempo": "number"}}
    data = csv_of(path, items=items, on_bad_row="skip").load()
    assert data.catalog.labels("tempo", range(3)) == ["1", "2", "4"]
    assert data.files[1].notes == (
        f"{songs}:2: tempo 'x' is not a number",
        f"{songs}:5: id 'i1' stands in an earlier row too; keep one of the two",
        f"{songs}:7: id 'i3' stands in an earlier row too; keep one of the two",
    )


JSON_FAULTS = [
    ("{", "the line is not JSON: "),
    ("[1]", "the line is [1], not an object"),
    ('"text"', "the line is 'text', not an object"),
    ('{"user": "u", "item": "i"}', "the object has no key 'time'; it has: user, item"),
    ('{"user": "u", "item": "i", "tim": 1}', "did you mean 'tim'?"),
    ('{"user": null, "item": "i", "time": 1}', "user is missing"),
    ('{"user": "u", "item": ["i"], "time": 1}', "item is ['i']; it must be a single value"),
    ('{"user": "u", "item": {"i": 1}, "time": 1}', "item is {'i': 1}; it must be a single value"),
    ('{"user": "u", "item": "i", "time": true}', "time 'true' is not a time"),
    ('{"user": "u", "item": "i", "time": NaN}', "time 'nan' is not a time"),
    ('{"user": "u", "item": "i", "time": 1' + "0" * 5_000 + "}", "the line is not JSON: "),
    ('{"user": "u", "item": "i\\u0000", "time": 1}', "the row holds a NUL character"),
    ('{"user": "u", "item": "i\0", "time": 1}', "the row holds a NUL character"),
    ('{"user": "u", "item": "\\ud83d", "time": 1}', "the row holds bytes that are not UTF-8"),
    ('{"user": "u", "item": "i", "time": 1, "x": "\udce4"}', "the row holds bytes that are not UTF-8"),
    ("[" * 100_000, "the line is nested too deep"),
]


@pytest.mark.parametrize(("line", "reason"), JSON_FAULTS)
def test_a_bad_line_of_json(tmp_path: Path, line: str, reason: str) -> None:
    good = '{"user": "u", "item": "i", "time": 1}'
    path = written(tmp_path, f"{good}\n\n{line}\n{good}".encode("utf-8", "surrogateescape"), "plays.jsonl")
    fields = {"user": "user", "item": "item", "time": "time"}
    data = Jsonl(events={"path": path, "columns": fields}, on_bad_row="skip").load()  # type: ignore[arg-type]
    assert (data.files[0].accepted, data.files[0].rejected) == (2, 1)
    assert data.files[0].notes[0].startswith(f"{path}:3: ")
    assert reason in data.files[0].notes[0]


def test_lines_of_json_are_counted_over_blocks(tmp_path: Path, block_rows: int) -> None:
    good = '{"user": "u", "item": "i"}'
    path = written(tmp_path, "\n".join([good, "", "1", good, "2", " ", "", good, "3"]), "plays.jsonl")
    source = Jsonl(events={"path": path, "columns": {"user": "user", "item": "item"}}, on_bad_row="skip")  # type: ignore[arg-type]
    report = source.load().files[0]
    assert report.notes == tuple(
        f"{path}:{line}: the line is {value}, not an object" for line, value in ((3, 1), (5, 2), (9, 3))
    )


def broken_gzip(folder: Path) -> Path:
    return written(folder, gzip.compress((HEAD + GOOD * 1000).encode())[:-20], "plays.csv.gz")


def wrong_gzip(folder: Path) -> Path:
    whole = bytearray(gzip.compress((HEAD + GOOD * 1000).encode()))
    whole[len(whole) // 2] ^= 0xFF
    return written(folder, bytes(whole), "plays.csv.gz")


FILE_FAULTS: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "none.csv", r"there is no file .*none\.csv in .*; check the path"),
    (lambda folder: folder / ("n" * 5_000), r"(n can't be read:|there is no file) .*; check the path"),
    (lambda folder: folder, r"is a folder; name the file inside it"),
    (lambda folder: written(folder, ""), r"plays\.csv is empty; its first line must name the columns"),
    (lambda folder: written(folder, "\n\n"), r"plays\.csv is empty"),
    (lambda folder: written(folder, HEAD), r"plays\.csv has no event that can be used; add events"),
    (lambda folder: written(folder, HEAD + "u1\n"), r"has no event that can be used; check its columns\n.*:2: the row"),
    (lambda folder: written(folder, HEAD.replace("extra", "user")), r"has more than one column 'user'; give each"),
    (lambda folder: written(folder, HEAD.encode("utf-16")), r"the header is not UTF-8 text; save the file as UTF-8"),
    (lambda folder: written(folder, HEAD.replace("user", '"user')), r"in the header, the row is not well formed"),
    (
        lambda folder: written(folder, HEAD.replace("item", "items")),
        r"plays\.csv has no column 'item'; it has: user, items, time, .*extra; did you mean 'items'\?",
    ),
    (lambda folder: written(folder, HEAD, "plays.csv.gz"), r"is not a whole gzip file: Not a gzipped file"),
    (broken_gzip, r"plays\.csv\.gz is not a whole gzip file: .*fetch or compress it again"),
    (wrong_gzip, r"plays\.csv\.gz is not a whole gzip file: "),
]


@pytest.mark.parametrize(("make", "message"), FILE_FAULTS)
def test_files_that_can_not_be_used(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        csv_of(make(tmp_path), on_bad_row="skip").load()


def test_a_kind_column_that_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, "user,item,kind\n" + "".join(f"u,i,{kind}\n" for kind in range(40_000)))
    with pytest.raises(DataError, match=r"'kind' has 40,000 kinds of event, more than 32,767; map kind to"):
        Csv(events={"path": path, "columns": {n: n for n in ("user", "item", "kind")}}).load()  # type: ignore[arg-type]


def test_a_header_without_rows_will_do_for_tables(tmp_path: Path) -> None:
    path, songs = written(tmp_path, HEAD + GOOD), written(tmp_path, "id,tempo\n", "songs.csv")
    data = csv_of(path, items={"path": songs, "id": "id", "columns": {"tempo": "number"}}).load()
    assert data.catalog.labels("tempo", range(1)) == ["-"]


WRONG_PARAMETERS = [
    ("items: {path: x, id: x, columns: {genre: text}}", "must be one of number, category, flag, date, not 'text'"),
    ("items: {path: x, id: x, columns: {tags: {from: genres}}}", "write one of as: number"),
    ('items: {path: x, id: x, columns: {tags: {as: number, many: "|"}}}', "write one of as: number"),
    ('items: {path: x, id: x, columns: {tags: {many: ""}}}', "many must not be empty"),
    ("items: {path: x, id: x, columns: {events: number}}", "columns can't have a column 'events'"),
    ("items: {path: x, id: x, name: title, columns: {name: category}}", "'name' is declared twice"),
    ("users: {path: x, id: x, columns: {t: flag}, long: {t: {path: x, user: u, value: v}}}", "'t' is declared twice"),
    ("users: {path: x, id: x, long: {t: {path: x, item: u, value: v}}}", "has no parameter 'item'"),
    ("users: {path: x}", "needs the parameter 'id'"),
    ("on_bad_row: stop", "must be one of fail, skip"),
]


@pytest.mark.parametrize(("yaml", "message"), WRONG_PARAMETERS)
def test_wrong_parameters(yaml: str, message: str) -> None:
    problems: list[Problem] = []
    text = "events: {path: x, columns: {user: u, item: i}}\n" + yaml
    assert build(Csv, read_text(text, "test.yaml"), where="data", problems=problems) is None
    assert message in str(ConfigError(problems))
    assert {problem.mark.line for problem in problems if problem.mark} == {2}


def test_wrong_parameters_in_python() -> None:
    with pytest.raises(ValueError, match="context can't have a column 'seconds'"):
        EventsFile(path=Path("x"), columns={"user": "u", "item": "i"}, context={"seconds": "number"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="write one of"):
        ColumnSpec()
    with pytest.raises(ValueError, match="'name' is declared twice"):
        ItemsFile(path=Path("x"), id="id", name="title", long={"name": {"path": "x", "item": "i", "value": "v"}})  # type: ignore[dict-item]


def test_an_object_may_lack_a_key_that_is_not_required(tmp_path: Path) -> None:
    plays = written(tmp_path, b'{"user": "u", "item": "1", "heard": 5}\n{"user": "u", "item": "2"}\n', "plays.jsonl")
    songs = written(tmp_path, b'{"id": "1", "genre": "jazz"}\n{"id": "2"}\n', "songs.jsonl")
    fields = {"user": "user", "item": "item", "seconds": "heard"}
    items = {"path": songs, "id": "id", "columns": {"genre": "category"}}
    data = Jsonl(events={"path": plays, "columns": fields}, items=items).load()  # type: ignore[arg-type]
    assert data.catalog.labels("genre", range(2)) == ["jazz", "-"]
    assert data.files[0].notes == ("column 'heard': 1 rows without a value",)
    assert data.files[1].notes == ("column 'genre': 1 rows without a value",)
