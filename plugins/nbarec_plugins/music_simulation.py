"""A seeded world of songs, listeners and listening events whose hidden tastes are known exactly."""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nbarec_plugins.music_catalog import make_songs, make_truth, make_users
from nbarec_plugins.music_domain import UTC_OFFSET_HOURS, Table
from nbarec_plugins.music_events import make_events
from nbarec_plugins.music_truth import MusicTruth

__all__ = ["TABLES", "UTC_OFFSET_HOURS", "MusicTruth", "MusicWorld", "simulate", "write_csv"]

TABLES: Final = ("songs", "users", "events")
WRITTEN_ROWS: Final = 1 << 16


@dataclass(frozen=True, eq=False)
class MusicWorld:
    """Three tables, each a mapping from column name to read-only array in CSV column order, and the truth.

    * `songs`: song_id, title, artist, album, genre, moods (`calm|focus`), released (ISO date) text; tempo
      (beats a minute), energy, danceability (0..1) float64; length_s (seconds) int64; explicit bool; regions
      (`BR|DE`: the countries where it is licensed) text.
    * `users`: user_id text, age (years) int64, country, subscription, joined (ISO date) text.
    * `events`, in time order: user_id, song_id text, time (epoch seconds, UTC) int64, event (play, skip, like,
      playlist_add) text, seconds (heard; NaN for like and playlist_add) float64, device text, session int64,
      hour (0..23) int64 and weekday (mon..sun) text by the clock of the user's country (`UTC_OFFSET_HOURS`).
      The time of a play or skip is when the song starts, that of a gesture is when the song has ended. No two
      events of one user share a time.
    """

    songs: Table
    users: Table
    events: Table
    truth: MusicTruth


def simulate(
    users: int = 1000, songs: int = 500, days: int = 90, seed: int = 42, events_per_user: float = 60
) -> MusicWorld:
    """A world whose events fill the `days` that end with 2025-06-30; the same seed gives the same world.

    `events_per_user` is about the mean over all users, gestures included. It comes out lower in short periods,
    where sessions of one user would overlap (all but the first are dropped), and in tiny catalogues, as no song
    comes twice in a session. Raises ValueError for sizes below one.
    """
    if min(users, songs, days) < 1 or not events_per_user > 0:
        raise ValueError(
            "users, songs and days must be at least 1 and events_per_user above 0; "
            f"got users={users}, songs={songs}, days={days}, events_per_user={events_per_user}"
        )
    streams = [np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(seed).spawn(3)]
    catalog, audience = make_songs(songs, streams[0]), make_users(users, streams[1])
    truth = make_truth(catalog, audience)
    events = make_events(catalog, audience, truth, days, events_per_user, streams[2])
    for holder in (catalog.table, audience.table, events, vars(truth)):
        _make_read_only(holder.values())
    return MusicWorld(catalog.table, audience.table, events, truth)


def write_csv(world: MusicWorld, folder: Path) -> dict[str, Path]:
    """Write songs.csv, users.csv and events.csv (UTF-8, `\\n`) into `folder`; return their paths by table name.

    Every table is written whole under a temporary name before the first one takes its place, so that a failure
    leaves what was there before. Empty cells stand for NaN. Raises OSError where the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.csv" for name in TABLES}
    suffix = f".{secrets.token_hex(8)}.tmp"
    drafts = {name: path.with_name(path.name + suffix) for name, path in paths.items()}
    try:
        for name, draft in drafts.items():
            _write_table(getattr(world, name), draft)
        for name, draft in drafts.items():
            os.replace(draft, paths[name])
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return paths


def _write_table(table: Table, path: Path) -> None:
    """One CSV file with a header line."""
    rows = len(next(iter(table.values())))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        # Blocks of rows bound the memory: a Python object a cell is many times an array's size.
        for start in range(0, rows, WRITTEN_ROWS):
            cells = (_cells(column[start : start + WRITTEN_ROWS]) for column in table.values())
            writer.writerows(zip(*cells, strict=True))
        file.flush()
        os.fsync(file.fileno())


def _cells(column: npt.NDArray[Any]) -> list[Any]:
    """The column as the CSV shows it: true and false, whole numbers without a point, nothing for NaN."""
    if column.dtype == np.bool_:
        return list(np.where(column, "true", "false").tolist())
    if column.dtype == np.float64:
        text = column.astype(np.str_)
        whole = np.isfinite(column) & (column == np.floor(column))
        text[whole] = column[whole].astype(np.int64).astype(np.str_)
        text[np.isnan(column)] = ""
        return list(text.tolist())
    return list(column.tolist())


def _make_read_only(values: Iterable[object]) -> None:
    """Lock the arrays among `values`: a world is shared and must not change under anybody's hands."""
    for value in values:
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
