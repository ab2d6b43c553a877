"""The music world: its rules hold for every row, and what it hides can be found again in its events."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nbarec_plugins import music_events, music_simulation
from nbarec_plugins.music_names import album_names, artist_names, identifiers, join_levels, song_titles
from nbarec_plugins.music_simulation import UTC_OFFSET_HOURS, MusicWorld, simulate, write_csv

END = datetime(2025, 7, 1, tzinfo=UTC).timestamp()
DAY = 86_400

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def world() -> MusicWorld:
    return simulate()


@pytest.fixture(scope="module")
def large_world() -> MusicWorld:
    return simulate(users=3000, seed=1)


def user_of(world: MusicWorld) -> Array:
    """Position in the user table of each event."""
    return np.searchsorted(world.users["user_id"], world.events["user_id"])


def song_of(world: MusicWorld) -> Array:
    """Position in the song table of each event."""
    return np.searchsorted(world.songs["song_id"], world.events["song_id"])


def is_heard(world: MusicWorld) -> Array:
    """Which events are plays or skips."""
    return np.isin(world.events["event"], ["play", "skip"])


def counts(rows: Array, columns: Array, shape: tuple[int, int]) -> Array:
    """How often each pair occurs."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def days(dates: Array) -> Array:
    """ISO dates as days since 1970-01-01."""
    return dates.astype("datetime64[D]").astype(np.int64)


def tables(world: MusicWorld) -> dict[str, Mapping[str, Array]]:
    return {"songs": world.songs, "users": world.users, "events": world.events}


def equal(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(one[k], other[k], equal_nan=one[k].dtype.kind == "f") for k in one)


class TestTables:
    def test_columns_come_in_the_promised_order(self, world: MusicWorld) -> None:
        assert " ".join(world.songs) == (
            "song_id title artist album genre moods released tempo energy danceability length_s explicit regions"
        )
        assert " ".join(world.users) == "user_id age country subscription joined"
        assert " ".join(world.events) == "user_id song_id time event seconds device session hour weekday"

    def test_all_columns_of_a_table_have_one_length(self, world: MusicWorld) -> None:
        for table in tables(world).values():
            assert len({column.size for column in table.values()}) == 1
        assert (world.songs["song_id"].size, world.users["user_id"].size) == (500, 1000)

    def test_arrays_are_read_only(self, world: MusicWorld) -> None:
        with pytest.raises(ValueError, match="read-only"):
            world.events["time"][0] = 0
        with pytest.raises(ValueError, match="read-only"):
            world.truth.user_taste[0] = 0

    def test_ids_are_unique_and_known(self, world: MusicWorld) -> None:
        for name, key in (("songs", "song_id"), ("users", "user_id")):
            ids = tables(world)[name][key]
            assert np.unique(ids).size == ids.size
            assert np.isin(world.events[key], ids).all()
        assert world.songs["song_id"][[0, -1]].tolist() == ["S0001", "S0500"]

    def test_an_album_has_one_artist_and_one_release_date(self, world: MusicWorld) -> None:
        songs = world.songs
        albums = np.unique(songs["album"]).size
        for other in ("artist", "released"):
            assert np.unique(np.stack([songs["album"], songs[other]]), axis=1).shape[1] == albums
        assert albums > np.unique(songs["artist"]).size

    def test_artists_keep_mostly_to_one_genre(self, world: MusicWorld) -> None:
        _, artist = np.unique(world.songs["artist"], return_inverse=True)
        table = counts(artist, world.truth.song_genre, (artist.max() + 1, 16))
        assert table.max(axis=1).sum() / table.sum() > 0.85

    def test_values_are_in_range(self, world: MusicWorld) -> None:
        songs, users = world.songs, world.users
        for column in ("energy", "danceability"):
            assert 0 <= songs[column].min() < songs[column].max() <= 1
        assert 50 <= songs["tempo"].min() < songs["tempo"].max() <= 200
        assert 90 <= songs["length_s"].min() < songs["length_s"].max() <= 600
        assert 0.03 < songs["explicit"].mean() < 0.3
        assert 13 <= users["age"].min() < users["age"].max() <= 80
        assert set(users["subscription"]) == {"free", "premium", "family"}
        assert days(songs["released"]).max() == days(np.array(["2025-06-30"]))[0]

    def test_every_song_has_one_to_three_moods_and_they_fit_its_sound(self, world: MusicWorld) -> None:
        moods = [cell.split("|") for cell in world.songs["moods"].tolist()]
        assert {len(cell) for cell in moods} == {1, 2, 3}
        assert all(len(set(cell)) == len(cell) for cell in moods)
        energy = world.songs["energy"]
        calm, workout = (np.array([name in cell for cell in moods]) for name in ("calm", "workout"))
        assert energy[calm].mean() + 0.3 < energy[workout].mean()

    def test_most_songs_are_licensed_everywhere_and_some_are_not(self, world: MusicWorld) -> None:
        width = np.strings.count(world.songs["regions"], "|") + 1
        assert 0.75 < (width == len(UTC_OFFSET_HOURS)).mean() < 0.95

    def test_popularity_has_a_long_tail(self, world: MusicWorld) -> None:
        heard = np.sort(np.bincount(song_of(world)[is_heard(world)], minlength=500))
        rank = np.arange(1, 501)
        gini = ((2 * rank - 501) * heard).sum() / (500 * heard.sum())
        assert 0.45 < gini < 0.75
        assert 0.3 < heard[-50:].sum() / heard.sum() < 0.6

    def test_activity_has_a_long_tail(self, world: MusicWorld) -> None:
        events = np.bincount(user_of(world), minlength=1000)
        assert np.quantile(events, 0.9) > 2.5 * np.median(events)
        assert events.mean() == pytest.approx(60, rel=0.1)


class TestRules:
    def test_no_song_is_heard_where_it_is_not_licensed(self, world: MusicWorld) -> None:
        country = world.users["country"][user_of(world)]
        assert (np.strings.find(world.songs["regions"][song_of(world)], country) >= 0).all()

    def test_no_song_is_heard_before_its_release_and_no_user_before_joining(self, world: MusicWorld) -> None:
        offset = np.array([UTC_OFFSET_HOURS[c] for c in world.users["country"].tolist()])[user_of(world)]
        today = (world.events["time"] + offset * 3600) // DAY
        assert (days(world.songs["released"])[song_of(world)] <= today).all()
        assert (days(world.users["joined"])[user_of(world)] <= today).all()

    @pytest.mark.parametrize("length", [1, 7, 90])
    def test_events_fill_the_period_in_time_order(self, length: int) -> None:
        time = simulate(users=200, songs=100, days=length).events["time"]
        assert (np.diff(time) >= 0).all()
        assert END - length * DAY <= time[0] < END - 0.8 * length * DAY
        assert END - 0.2 * length * DAY < time[-1] < END

    def test_hour_and_weekday_follow_from_time_and_country(self, world: MusicWorld) -> None:
        countries = world.users["country"][user_of(world)]
        for row in range(0, world.events["time"].size, 97):
            shift = timedelta(hours=UTC_OFFSET_HOURS[str(countries[row])])
            local = datetime.fromtimestamp(int(world.events["time"][row]), tz=UTC) + shift
            assert world.events["hour"][row] == local.hour
            assert world.events["weekday"][row] == local.strftime("%a").lower()

    def test_a_skip_is_short_and_a_play_is_not(self, world: MusicWorld) -> None:
        kind, seconds = world.events["event"], world.events["seconds"]
        length = world.songs["length_s"][song_of(world)]
        skip, play = kind == "skip", kind == "play"
        assert ((seconds[skip] < 30) & (seconds[skip] < length[skip] / 2) & (seconds[skip] >= 1)).all()
        assert ((seconds[play] >= 30) | (seconds[play] >= length[play] / 2)).all()
        assert (seconds[play] <= length[play]).all()
        assert np.isnan(seconds[~skip & ~play]).all()

    def test_a_gesture_follows_a_song_played_to_its_end(self, world: MusicWorld) -> None:
        user, song, event = user_of(world), song_of(world), world.events
        played = (event["event"] == "play") & (event["seconds"] == world.songs["length_s"][song])
        ends = (event["time"] + np.nan_to_num(event["seconds"]))[played].tolist()
        ended = set(zip(user[played].tolist(), song[played].tolist(), ends, strict=True))
        for kind, delay in (("like", 0), ("playlist_add", 1)):
            made = event["event"] == kind
            when = (event["time"][made] - delay).tolist()
            pairs = list(zip(user[made].tolist(), song[made].tolist(), strict=True))
            assert {(*pair, time) for pair, time in zip(pairs, when, strict=True)} <= ended
            assert len(set(pairs)) == len(pairs) > 0

    def test_a_song_starts_when_the_one_before_is_over_across_all_sessions_of_a_user(self, world: MusicWorld) -> None:
        order = np.lexsort((world.events["time"], world.events["user_id"]))
        order = order[is_heard(world)[order]]
        time, seconds, user = (world.events[name][order] for name in ("time", "seconds", "user_id"))
        same = user[1:] == user[:-1]
        assert (time[1:] > time[:-1] + seconds[:-1])[same].all()

    def test_no_two_events_of_a_user_share_a_time(self, world: MusicWorld) -> None:
        pairs = np.stack([user_of(world), world.events["time"]])
        assert np.unique(pairs, axis=1).shape == pairs.shape

    def test_a_session_has_one_user_one_device_and_no_song_twice(self, world: MusicWorld) -> None:
        session = world.events["session"]
        sessions = np.unique(session).size
        _, device = np.unique(world.events["device"], return_inverse=True)
        for column in (user_of(world), device):
            assert np.unique(np.stack([session, column]), axis=1).shape[1] == sessions
        pairs = np.stack([session, song_of(world)])[:, is_heard(world)]
        assert np.unique(pairs, axis=1).shape == pairs.shape
        assert session[0] == 1
        assert session.max() == sessions

    def test_sizes_and_shares_are_those_of_real_listening(self, world: MusicWorld) -> None:
        kinds = dict(
            zip(*(part.tolist() for part in np.unique(world.events["event"], return_counts=True)), strict=True)
        )
        heard = kinds["play"] + kinds["skip"]
        assert 0.15 < kinds["skip"] / heard < 0.35
        assert 0.03 < kinds["like"] / kinds["play"] < 0.08
        assert 0.01 < kinds["playlist_add"] / kinds["play"] < 0.05
        assert heard / np.unique(world.events["session"]).size == pytest.approx(8, abs=0.8)

    def test_users_come_back_to_songs(self, world: MusicWorld) -> None:
        pairs = np.stack([user_of(world), song_of(world)])[:, is_heard(world)]
        assert 0.2 < 1 - np.unique(pairs, axis=1).shape[1] / pairs.shape[1] < 0.6

    def test_a_few_users_and_songs_start_cold(self, world: MusicWorld) -> None:
        events = np.bincount(user_of(world), minlength=1000)
        assert all(5 <= (events == few).sum() <= 30 for few in (0, 1, 2))
        new = world.songs["released"] == "2025-06-30"
        assert 3 <= new.sum() <= 30
        assert not np.isin(np.flatnonzero(new), song_of(world)).any()


class TestTruth:
    def test_shapes_agree_with_the_tables(self, world: MusicWorld) -> None:
        truth = world.truth
        assert truth.user_taste.shape == (1000, truth.song_taste.shape[1])
        assert truth.hour_lift.shape == (24, len(truth.genres))
        assert truth.device_lift.shape == (len(truth.devices),)
        assert np.array(truth.genres)[truth.song_genre].tolist() == world.songs["genre"].tolist()
        assert truth.genre_group[truth.song_genre].tolist() == truth.song_group.tolist()
        assert truth.song_taste[:, -1] == pytest.approx(world.songs["energy"] - 0.5)

    def test_affinity_and_lift_equal_the_obvious_sums(self, world: MusicWorld) -> None:
        truth = world.truth
        affinity = truth.affinity([3, 5, 3], [7, 7, 8])
        assert affinity == pytest.approx(
            [truth.user_taste[u] @ truth.song_taste[s] for u, s in ((3, 7), (5, 7), (3, 8))]
        )
        lift = truth.context_lift([23, 8], [0, 3])
        for row, (hour, device) in enumerate([(23, 0), (8, 3)]):
            for song in range(0, 500, 50):
                sound = truth.device_lift[device] * (world.songs["energy"][song] - 0.5)
                assert lift[row, song] == pytest.approx(truth.hour_lift[hour, truth.song_genre[song]] + sound)

    def test_songs_are_drawn_in_proportion_to_their_weights(self) -> None:
        weight = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
        row = np.repeat([0, 1, 2], 20_000)
        drawn = music_events._draw(weight, row, np.random.default_rng(0).random(row.size))
        share = np.bincount(drawn[row == 0], minlength=3) / 20_000
        assert share == pytest.approx([0.25, 0, 0.75], abs=0.015)
        assert set(drawn[row == 1].tolist()) == {-1}
        assert set(drawn[row == 2].tolist()) == {1}

    def test_hour_lifts_show_in_the_events(self, large_world: MusicWorld) -> None:
        truth, heard = large_world.truth, is_heard(large_world)
        genre = truth.song_genre[song_of(large_world)[heard]]
        table = counts(large_world.events["hour"][heard], genre, truth.hour_lift.shape)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        seen = np.log((table + 5) / (expected + 5))
        assert np.corrcoef((seen - seen.mean(axis=0)).ravel(), truth.hour_lift.ravel())[0, 1] > 0.8

    def test_device_lifts_show_in_the_events(self, large_world: MusicWorld) -> None:
        truth, heard = large_world.truth, is_heard(large_world)
        energy, device = large_world.songs["energy"][song_of(large_world)], large_world.events["device"]
        means = np.array([energy[heard & (device == name)].mean() for name in truth.devices])
        assert np.corrcoef(means, truth.device_lift)[0, 1] > 0.9
        assert means.max() - means.min() > 0.05

    def test_users_hear_genres_as_their_tastes_say(self, world: MusicWorld) -> None:
        truth, heard = world.truth, is_heard(world)
        score = truth.user_taste @ truth.song_taste.T + truth.song_popularity
        chance = np.exp(score - score.max(axis=1, keepdims=True))
        expected = chance @ np.eye(16)[truth.song_genre]
        expected /= expected.sum(axis=1, keepdims=True)
        seen = counts(user_of(world)[heard], truth.song_genre[song_of(world)[heard]], expected.shape)
        busy = np.flatnonzero(seen.sum(axis=1) >= 50)
        match = [np.corrcoef(expected[user], seen[user])[0, 1] for user in busy.tolist()]
        assert np.median(match) > 0.8

    def test_the_group_heard_most_is_mostly_the_group_liked_best(self, world: MusicWorld) -> None:
        truth, heard = world.truth, is_heard(world)
        lift = np.log(np.bincount(truth.song_group, np.exp(truth.song_popularity)))
        seen = counts(user_of(world)[heard], truth.song_group[song_of(world)[heard]], (1000, lift.size))
        busy = seen.sum(axis=1) >= 50
        assert (np.argmax(np.log(seen + 0.5) - lift, axis=1) == truth.user_group)[busy].mean() > 0.65

    def test_age_says_something_about_taste(self, large_world: MusicWorld) -> None:
        energy = large_world.songs["energy"][song_of(large_world)]
        age = large_world.users["age"][user_of(large_world)]
        assert energy[age < 25].mean() > energy[age > 50].mean() + 0.03

    def test_country_says_something_about_taste(self, large_world: MusicWorld) -> None:
        _, country = np.unique(large_world.users["country"], return_inverse=True)
        group = large_world.truth.user_group
        share = counts(country, group, (country.max() + 1, group.max() + 1)).astype(float)
        share /= share.sum(axis=1, keepdims=True)
        # Half the summed difference is the part of users who would have to change for a country to be average.
        assert (np.abs(share - share.mean(axis=0)).sum(axis=1) / 2).mean() > 0.1

    def test_what_is_liked_better_is_skipped_less_and_hearted_more(self, world: MusicWorld) -> None:
        affinity = world.truth.affinity(user_of(world), song_of(world))
        means = {kind: affinity[world.events["event"] == kind].mean() for kind in ("skip", "play", "like")}
        assert means["skip"] + 0.5 < means["play"] < means["like"] - 0.3

    def test_minors_hear_fewer_explicit_songs(self, large_world: MusicWorld) -> None:
        explicit = large_world.songs["explicit"][song_of(large_world)]
        minor = large_world.users["age"][user_of(large_world)] < 18
        assert explicit[minor].mean() < 0.5 * explicit[~minor].mean()

    def test_item_neighbours_beat_popularity_at_new_songs(self, world: MusicWorld) -> None:
        order = np.lexsort((world.events["time"], user_of(world)))
        order = order[world.events["event"][order] == "play"]
        user, song = user_of(world)[order], song_of(world)[order]
        turn = np.arange(user.size) - np.searchsorted(user, user)
        early = turn < 0.8 * np.bincount(user)[user]
        known = counts(user[early], song[early], (1000, 500)) > 0
        later = (counts(user[~early], song[~early], (1000, 500)) > 0) & ~known
        popularity = np.broadcast_to(known.sum(axis=0), known.shape)
        overlap = known.T.astype(float) @ known
        norm = np.sqrt(np.diag(overlap))
        neighbours = known @ ((overlap - np.diag(np.diag(overlap))) / (np.outer(norm, norm) + 20))
        assert recall(neighbours, known, later) > 1.4 * recall(popularity, known, later)


def recall(score: Array, known: Array, later: Array) -> float:
    """Mean recall@20 of later new songs, over users who have any."""
    top = np.argsort(-np.where(known, -np.inf, score), axis=1, kind="stable")[:, :20]
    hits = np.take_along_axis(later, top, axis=1).sum(axis=1)
    some = later.any(axis=1)
    return float((hits[some] / np.minimum(20, later.sum(axis=1)[some])).mean())


class TestSeeds:
    def test_the_same_seed_gives_the_same_world(self, world: MusicWorld) -> None:
        again = simulate()
        assert all(equal(tables(world)[name], tables(again)[name]) for name in tables(world))
        assert np.array_equal(world.truth.user_taste, again.truth.user_taste)

    def test_another_seed_gives_another_world(self, world: MusicWorld) -> None:
        other = simulate(seed=43)
        assert not any(equal(tables(world)[n], tables(other)[n]) for n in ("songs", "users"))
        assert not np.array_equal(world.events["time"][:1000], other.events["time"][:1000])

    def test_songs_and_users_do_not_depend_on_how_much_is_heard(self) -> None:
        little, much = (simulate(50, 40, days=d, events_per_user=e) for d, e in ((7, 5), (60, 80)))
        assert equal(little.songs, much.songs)
        assert equal(little.users, much.users)

    def test_block_size_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = simulate(60, 50)
        monkeypatch.setattr(music_events, "BLOCK_CELLS", 170)
        assert equal(whole.events, simulate(60, 50).events)


class TestSizes:
    @pytest.mark.parametrize(("users", "songs", "length"), [(1, 1, 1), (1, 20, 3), (30, 1, 5), (4, 4, 1)])
    def test_tiny_worlds_work(self, users: int, songs: int, length: int) -> None:
        tiny = simulate(users, songs, days=length)
        assert (tiny.users["user_id"].size, tiny.songs["song_id"].size) == (users, songs)
        assert np.isin(tiny.events["song_id"], tiny.songs["song_id"]).all()

    @pytest.mark.parametrize("wrong", [{"users": 0}, {"songs": 0}, {"days": 0}, {"events_per_user": 0}])
    def test_sizes_below_one_are_refused(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=f"got .*{next(iter(wrong))}=0"):
            simulate(**wrong)

    @pytest.mark.parametrize("wanted", [20, 120])
    def test_events_per_user_is_met(self, wanted: int) -> None:
        world = simulate(users=500, songs=400, events_per_user=wanted)
        assert world.events["time"].size / 500 == pytest.approx(wanted, rel=0.12)


class TestNames:
    def test_ids_grow_wider_with_their_number(self) -> None:
        assert identifiers("S", 3).tolist() == ["S0001", "S0002", "S0003"]
        assert identifiers("S", 12_345)[[0, -1]].tolist() == ["S00001", "S12345"]

    @pytest.mark.parametrize("make", [artist_names, album_names, song_titles])
    def test_names_differ_even_past_the_word_lists(self, make: Any) -> None:
        names = make(40_000, np.random.default_rng(0))
        assert np.unique(names).size == 40_000
        assert all(name and name == name.strip() for name in names.tolist())

    def test_joining_keeps_level_order(self) -> None:
        member = np.array([[True, False, True], [False, False, False], [False, True, False]])
        assert join_levels(member, np.array(["a", "b", "c"])).tolist() == ["a|c", "", "b"]


class TestWriteCsv:
    def test_what_is_written_reads_back(self, tmp_path: Path) -> None:
        world = simulate(users=60, songs=50)
        paths = write_csv(world, tmp_path / "new" / "folder")
        assert {name: path.name for name, path in paths.items()} == {n: f"{n}.csv" for n in tables(world)}
        for name, table in tables(world).items():
            with paths[name].open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            assert list(rows[0]) == list(table)
            for column, values in table.items():
                assert read(values.dtype, [row[column] for row in rows]) == pytest.approx(values.tolist(), nan_ok=True)

    def test_cells_are_plain(self, tmp_path: Path) -> None:
        paths = write_csv(simulate(users=60, songs=50), tmp_path)
        events = paths["events"].read_bytes()
        assert b"\r" not in events
        assert b".0," not in events
        assert b"nan" not in events
        assert b",like,," in events
        assert b",true," in paths["songs"].read_bytes()

    def test_the_same_seed_gives_the_same_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one = write_csv(simulate(users=60, songs=50), tmp_path / "one")
        monkeypatch.setattr(music_simulation, "WRITTEN_ROWS", 13)
        two = write_csv(simulate(users=60, songs=50), tmp_path / "two")
        assert all(one[name].read_bytes() == two[name].read_bytes() for name in one)

    def test_a_failure_leaves_the_old_files_and_no_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = {path: path.read_bytes() for path in write_csv(simulate(20, 10, seed=1), tmp_path).values()}
        world = simulate(20, 10, seed=2)
        events = {**world.events, "hour": world.events["hour"][:-1]}
        broken = MusicWorld(world.songs, world.users, events, world.truth)
        with pytest.raises(ValueError, match="shorter"):
            write_csv(broken, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old

        def refuse(source: object, target: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="disk full"):
            write_csv(world, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def read(dtype: np.dtype[Any], cells: list[str]) -> list[Any]:
    """Cells of a CSV column as Python values of the column's type."""
    if dtype.kind == "f":
        return [float(cell or "nan") for cell in cells]
    if dtype.kind == "b":
        return [{"true": True, "false": False}[cell] for cell in cells]
    return [int(cell) for cell in cells] if dtype.kind == "i" else cells
