"""Text files as data: the columns, the ids and the tables that come of small files."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.errors import DataError, Problem
from nbarec.marked import read_text
from nbarec.params import build
from nbarec.tables import MISSING_DATE
from nbarec_plugins.sources import Csv, Jsonl, TextSource, Tsv

PLAYS = """user_id,song_id,ts,event,rating,listened_s,duration_s,device,hour
U2,S1,30,play,3.5,200,210,phone,9
U1,S2,20,skip,1,,180,,10
U1,S1,10,play,5,30.5,210,car,
"""
COLUMNS = {
    "user": "user_id",
    "item": "song_id",
    "time": "ts",
    "kind": "event",
    "value": "rating",
    "seconds": "listened_s",
    "length": "duration_s",
}
SONGS = """song_id,title,genre,bpm,explicit,released,genres
S3,Third,folk,,no,2025-06-30,folk| live |folk
S1,First,rock,120.5,TRUE,86400.7,rock|loud
S2,,,96,0,,
"""
FOUND = Path(os.environ.get("NBAREC_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


def source_of(kind: type[TextSource], yaml: str) -> TextSource:
    problems: list[Problem] = []
    source = build(kind, read_text(yaml, "test.yaml"), where="data", problems=problems)
    assert source is not None, problems
    return source


def events_source(path: str, kind: type[TextSource] = Csv, **more: Any) -> TextSource:
    return kind(events={"path": path, "columns": COLUMNS}, **more)  # type: ignore[arg-type]


def rows(data: Dataset) -> list[tuple[Any, ...]]:
    """Every event with the ids that people know: user, item, time, kind, value."""
    events = data.events
    kinds = [events.kinds[kind] if kind >= 0 else None for kind in events.kind]
    users, items = data.users.take(events.row), data.items.take(events.item)
    return list(zip(users, items, events.time.tolist(), kinds, events.value.tolist(), strict=True))


def any_columns(data: Dataset, *names: str) -> list[Any]:
    return [data.events.columns[name] for name in names]


def column(table: Any, name: str) -> list[str]:
    return list(table.labels(name, range(table.rows)))


EXPECTED = [("U1", "S1", 10, "play", 5.0), ("U1", "S2", 20, "skip", 1.0), ("U2", "S1", 30, "play", 3.5)]


def test_events_come_by_user_and_time(tmp_path: Path) -> None:
    data = events_source(write(tmp_path, "plays.csv", PLAYS)).load()
    assert rows(data) == EXPECTED
    assert data.users.all() == ["U1", "U2"]
    assert data.events.weight.tolist() == [5.0, 1.0, 3.5]
    assert data.as_of == 30
    seconds, length = any_columns(data, "seconds", "length")
    np.testing.assert_array_equal(seconds.values, [30.5, np.nan, 200])
    np.testing.assert_array_equal(length.values, [210, 180, 210])
    assert str(data.files[0]).splitlines() == [
        f"{tmp_path / 'plays.csv'}: 3 event rows = 3 accepted + 0 rejected",
        "  column 'listened_s': 1 rows without a value",
    ]


def test_only_user_and_item_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "plays.csv", PLAYS)
    data = Csv(events={"path": path, "columns": {"user": "user_id", "item": "song_id"}}).load()  # type: ignore[arg-type]
    assert rows(data) == [("U1", "S2", 0, None, 1.0), ("U1", "S1", 0, None, 1.0), ("U2", "S1", 0, None, 1.0)]
    assert data.events.kinds == ()
    assert data.events.weight.tolist() == [1.0, 1.0, 1.0]


def test_context_columns_stay_with_their_events(tmp_path: Path) -> None:
    path = write(tmp_path, "plays.csv", PLAYS)
    yaml = f"events: {{path: '{path}', columns: {{user: user_id, item: song_id, time: ts}}, "
    data = source_of(Csv, yaml + "context: {device: category, daytime: {from: hour, as: number}}}").load()
    device, daytime = any_columns(data, "device", "daytime")
    assert [device.levels.all()[code] if code >= 0 else None for code in device.codes] == ["car", None, "phone"]
    np.testing.assert_array_equal(daytime.values, [np.nan, 10, 9])
    assert data.files[0].notes == ("column 'device': 1 rows without a value", "column 'hour': 1 rows without a value")


def whole_yaml(folder: Path) -> str:
    return f"""
events: {{path: '{folder}/plays.csv', columns: {{user: user_id, item: song_id}}}}
items:
  path: '{folder}/songs.csv'
  id: song_id
  name: title
  columns: {{genre: category, tempo: {{from: bpm, as: number}}, explicit: flag, released: date,
             genres: {{many: "|"}}, styles: {{from: genres, many: "|"}}}}
  long: {{moods: {{path: '{folder}/moods.csv', item: song, value: mood}}}}
users: {{path: '{folder}/users.csv', id: user_id, columns: {{age: number, country: category}}}}
"""


@pytest.fixture
def whole(tmp_path: Path) -> Dataset:
    write(tmp_path, "plays.csv", PLAYS + "U9,S9,5,play,1,1,1,tv,1\n")
    write(tmp_path, "songs.csv", SONGS)
    write(tmp_path, "moods.csv", "song,mood\nS1,happy\nS9,calm\nS1,calm\nS1,happy\nS3,\nS7,sad\nS7,calm\n")
    write(tmp_path, "users.csv", "user_id,age,country\nU2,30,SE\nU1,,DE\nU3,41,\n")
    return source_of(Csv, whole_yaml(tmp_path)).load()


def test_item_tables_have_every_type_of_column(whole: Dataset) -> None:
    assert whole.items.all() == ["S1", "S2", "S3", "S9"]
    assert column(whole.catalog, "name") == ["First", "-", "Third", "-"]
    assert column(whole.catalog, "genre") == ["rock", "-", "folk", "-"]
    assert column(whole.catalog, "tempo") == ["120.5", "96", "-", "-"]
    assert column(whole.catalog, "explicit") == ["1", "0", "0", "-"]
    assert column(whole.catalog, "released") == ["1970-01-02", "-", "2025-06-30", "-"]
    assert column(whole.catalog, "genres") == ["loud|rock", "-", "folk|live", "-"]
    assert column(whole.catalog, "styles") == column(whole.catalog, "genres")
    assert column(whole.catalog, "moods") == ["calm|happy", "-", "-", "calm"]
    released: Any = whole.catalog.columns["released"]
    assert released.seconds.tolist() == [86_400, MISSING_DATE, 1_751_241_600, MISSING_DATE]
    genres: Any = whole.catalog.columns["genres"]
    assert set(genres.matrix.data.tolist()) == {1.0}


def test_user_tables_and_items_without_events(whole: Dataset) -> None:
    assert whole.users.all() == ["U1", "U2", "U3", "U9"]
    assert column(whole.audience, "age") == ["-", "30", "41", "-"]
    assert column(whole.audience, "country") == ["DE", "SE", "-", "-"]
    assert whole.item_counts.tolist() == [2, 1, 0, 1]


def test_reports_say_what_is_missing(whole: Dataset) -> None:
    songs, moods, users = whole.files[1:]
    assert [report.what for report in whole.files] == ["event", "item", "tag", "user"]
    assert songs.accepted == 3
    assert "column 'bpm': 1 rows without a value" in songs.notes
    assert songs.notes[-1] == "1 items of the events have no row here: their attributes are missing"
    assert moods.notes == (
        "column 'mood': 1 rows without a value",
        "2 rows are of 1 ids that no other file has: not used",
    )
    assert users.notes[-1] == "1 users of the events have no row here: their attributes are missing"


def test_users_may_have_tags_in_long_form(tmp_path: Path) -> None:
    plays, users = write(tmp_path, "plays.csv", PLAYS), write(tmp_path, "users.csv", "id\nU1\n")
    tags = write(tmp_path, "tags.csv", "who,likes\nU1,jazz\nU2,rock\n")
    long = {"likes": {"path": tags, "user": "who", "value": "likes"}}
    data = events_source(plays, users={"path": users, "id": "id", "long": long}).load()
    assert column(data.audience, "likes") == ["jazz", "rock"]


def test_tags_in_numbers_get_the_names_that_a_file_gives_them(tmp_path: Path) -> None:
    plays, songs = write(tmp_path, "plays.csv", PLAYS), write(tmp_path, "songs.csv", "id\nS1\nS2\nS3\n")
    tags = write(tmp_path, "tags.csv", "song,tag\nS1,7\nS1,8\nS2,9\nS3,10\n")
    called = write(tmp_path, "names.csv", "tag,called\n7,jazz\n8,jazz\n9,\n11,never used\n")
    names = {"path": called, "id": "tag", "name": "called"}
    long = {"tags": {"path": tags, "item": "song", "value": "tag", "names": names}}
    data = events_source(plays, items={"path": songs, "id": "id", "long": long}).load()
    assert column(data.catalog, "tags") == ["jazz", "9", "10"]
    assert data.files[-1].what == "name"
    assert data.files[-1].notes[-1] == "1 tags have no name here: they keep their own"


@pytest.mark.parametrize("name", ["plays.csv", "plays.csv.gz", "PLAYS.CSV.GZ"])
@pytest.mark.parametrize("change", ["", "bom", "\r\n", "\r", "blank lines", "no last line end"])
def test_ways_to_write_the_same_file(tmp_path: Path, name: str, change: str) -> None:
    text = PLAYS.replace("\n", change) if change.isspace() else PLAYS
    text = {"bom": "\ufeff" + PLAYS, "blank lines": PLAYS.replace("\n", "\n\n"), "no last line end": PLAYS[:-1]}.get(
        change, text
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.lower().endswith(".gz") else text.encode())
    data = events_source(str(path)).load()
    assert rows(data) == EXPECTED
    assert (data.files[0].accepted, data.files[0].rejected) == (3, 0)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_tsv_and_jsonl_give_what_csv_gives(tmp_path: Path, ending: str) -> None:
    head, *body = [line.split(",") for line in PLAYS.splitlines()]
    tsv = write(tmp_path, f"plays.tsv{ending}", PLAYS.replace(",", "\t"))
    objects = [json.dumps(dict(zip(head, cells, strict=True))) for cells in body]
    jsonl = write(tmp_path, f"plays.jsonl{ending}", "\n\n".join(objects))
    assert rows(events_source(tsv, Tsv).load()) == EXPECTED
    assert rows(events_source(jsonl, Jsonl).load()) == EXPECTED


def test_a_quote_in_tsv_is_a_letter(tmp_path: Path) -> None:
    path = write(tmp_path, "plays.tsv", 'user\titem\n"Weird" Al\t"\n')
    data = Tsv(events={"path": path, "columns": {"user": "user", "item": "item"}}).load()  # type: ignore[arg-type]
    assert (data.users.all(), data.items.all()) == (['"Weird" Al'], ['"'])


def test_values_of_json(tmp_path: Path) -> None:
    events = [
        {"u": 7, "i": "S1", "t": 10.75, "v": 2, "s": None, "x": {"not": "read"}},
        {"u": "8", "i": "\ud83d\ude00", "t": "1970-01-01T00:00:11Z", "v": "0.5", "s": 3},
    ]
    songs = [
        {"id": "S1", "tags": ["a|b", " c ", 3, None], "flag": True, "day": "2025-06-30"},
        {"id": "S2", "tags": "a|c", "flag": "no", "day": 0},
        {"id": "S3", "tags": [], "flag": None, "day": None},
    ]
    path = write(tmp_path, "plays.jsonl", "\n".join(map(json.dumps, events)))
    table = write(tmp_path, "songs.jsonl", "\n".join(map(json.dumps, songs)))
    fields = {"user": "u", "item": "i", "time": "t", "value": "v", "seconds": "s"}
    items = {"path": table, "id": "id", "columns": {"tags": {"many": "|"}, "flag": "flag", "day": "date"}}
    data = Jsonl(events={"path": path, "columns": fields}, items=items).load()  # type: ignore[arg-type]
    assert rows(data) == [("7", "S1", 10, None, 2.0), ("8", "😀", 11, None, 0.5)]
    assert data.users.are_numbers
    tags: Any = data.catalog.columns["tags"]
    assert tags.levels.all() == ["3", "a", "a|b", "c"]  # a list is not split again
    assert column(data.catalog, "tags") == ["3|a|b|c", "a|c", "-", "-"]  # the last is of the events alone
    assert column(data.catalog, "flag") == ["1", "0", "-", "-"]
    assert column(data.catalog, "day") == ["2025-06-30", "1970-01-01", "-", "-"]


def test_ids_stay_as_they_were_written(tmp_path: Path) -> None:
    path = write(tmp_path, "plays.csv", "user,item\n007,10\n7,9\n 7,2\n")
    data = Csv(events={"path": path, "columns": {"user": "user", "item": "item"}}).load()  # type: ignore[arg-type]
    assert data.users.all() == [" 7", "007", "7"]
    assert data.items.all() == ["2", "9", "10"]


def test_the_order_of_rows_decides_nothing(tmp_path: Path) -> None:
    head, *body = PLAYS.splitlines()
    turned = write(tmp_path, "turned.csv", "\n".join([head, *reversed(body)]))
    data = events_source(write(tmp_path, "plays.csv", PLAYS)).load()
    assert rows(events_source(turned).load()) == rows(data)
    assert events_source(turned).load().items.all() == data.items.all()


def test_events_from_another_file(tmp_path: Path) -> None:
    write(tmp_path, "plays.csv", PLAYS)
    write(tmp_path, "songs.csv", SONGS)
    write(tmp_path, "moods.csv", "song,mood\n")
    write(tmp_path, "users.csv", "user_id,age,country\n")
    source = source_of(Csv, whole_yaml(tmp_path))
    other = source.events_from(write(tmp_path, "new.csv", "song_id,user_id\nS8,U8\n"))
    assert rows(other) == [("U8", "S8", 0, None, 1.0)]
    assert not other.catalog.columns
    assert [report.what for report in other.files] == ["event"]
    by_hand = replace(source, events=replace(source.events, path=Path(tmp_path / "new.csv")), items=None, users=None)
    assert rows(by_hand.load()) == rows(other)


def test_movielens_loads_whole() -> None:
    folder = FOUND / "ml-100k"
    if not folder.is_dir():
        pytest.skip(f"needs the MovieLens files in {folder}; set NBAREC_DATA")
    yaml = f"""
events: {{path: '{folder}/ratings.csv', columns: {{user: user_id, item: item_id, time: timestamp, value: rating}}}}
items: {{path: '{folder}/items.csv', id: item_id, name: movie_title,
         columns: {{release_year: category, genres: {{many: "|"}}}}}}
users: {{path: '{folder}/users.csv', id: user_id, columns: {{age: number, occupation: category}}}}
"""
    data = source_of(Csv, yaml).load()
    assert [(report.accepted, report.rejected) for report in data.files] == [(100_000, 0), (1_682, 0), (943, 0)]
    assert data.events.value.sum() == 352_986
    assert column(data.catalog.take(data.items.index(["1"])), "name") == ["Toy Story"]
    in_numbers = yaml.replace("release_year: category", "release_year: number")
    with pytest.raises(DataError, match=r"items.csv:268: release_year 'unkonwn' is not a number"):
        source_of(Csv, in_numbers).load()
    rest = source_of(Csv, in_numbers + "on_bad_row: skip").load()
    assert (rest.files[1].accepted, rest.files[1].rejected) == (1_680, 2)
    assert len(rest.items) == 1_682
