"""What the users of the music world listen to: songs drawn by taste and context, skips and gestures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from nbarec_plugins.music_catalog import Songs, Users
from nbarec_plugins.music_domain import DEVICES, LAST_DAY_NUMBER, Flags, Floats, Ints, Table
from nbarec_plugins.music_sessions import DAY_SECONDS, HOUR_SECONDS, Sessions, make_sessions, utc_offset_hours
from nbarec_plugins.music_truth import MusicTruth

PERIOD_END: Final = (LAST_DAY_NUMBER + 1) * DAY_SECONDS
"""Epoch second (UTC) that every event comes before."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKDAY_OF_EPOCH: Final = 3
KINDS: Final = ("play", "skip", "like", "playlist_add")
PLAY, SKIP, LIKE, PLAYLIST_ADD = range(len(KINDS))

DRAWS_PER_SONG: Final = 2
"""Songs drawn for each one wanted, as equal draws in a session count once."""

ADULT_AGE: Final = 18
MINOR_EXPLICIT_LIFT: Final = -2.0
BLOCK_CELLS: Final = 1 << 21
"""Cells (sessions x songs) that are held at a time: 16 MB an array."""

SKIP_SECONDS: Final = 30
SKIP_BIAS, SKIP_SLOPE = 0.5, -0.5
WHOLE_BIAS, WHOLE_SLOPE = 0.0, 0.4
LIKE_BIAS, LIKE_SLOPE = -4.9, 0.5
ADD_BIAS, ADD_SLOPE = -6.3, 0.6
SHORTEST_GAP, LONGEST_GAP = 2, 8
"""Seconds between two songs of a session; the gestures after a song fit in before the next one."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is settled before the first event."""

    songs: Songs
    users: Users
    truth: MusicTruth
    lift: Floats
    """float64 (24 * n_devices, n_songs): log-odds; context `hour * n_devices + device` is that row."""


@dataclass(frozen=True, eq=False)
class Listens:
    """Songs met, in order of session, then time: arrays of one length."""

    session: Ints
    song: Ints
    time: Ints
    seconds: Ints
    enjoyment: Floats
    skipped: Flags
    whole: Flags
    """Played to the very end."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Events: int64 arrays of one length; seconds are -1 for gestures."""

    session: Ints
    song: Ints
    time: Ints
    kind: Ints
    seconds: Ints


Arrays = TypeVar("Arrays", Listens, Rows)


def make_events(
    songs: Songs, users: Users, truth: MusicTruth, days: int, events_per_user: float, rng: np.random.Generator
) -> Table:
    """The event table of the `days` that end with the last day, in time order."""
    every_context = np.divmod(np.arange(24 * len(DEVICES)), len(DEVICES))
    scene = Scene(songs, users, truth, truth.context_lift(*every_context))
    sessions = make_sessions(users, days, events_per_user, rng)
    listens = _listen(scene, sessions, *_choose_songs(scene, sessions, rng), rng)
    listens = _take(listens, _not_overlapping(sessions, listens))
    rows = _with_gestures(scene, sessions, listens, rng)
    return _table(scene, sessions, _take(rows, _kept_in_time_order(users, sessions, rows)))


def _choose_songs(scene: Scene, sessions: Sessions, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Session and song of every listen, in order of session.

    To draw with replacement and keep the first of equal draws is to draw without replacement, one by one.
    """
    songs, block = scene.songs.genre.size, max(1, BLOCK_CELLS // scene.songs.genre.size)
    draws = DRAWS_PER_SONG * sessions.length
    session = np.repeat(np.arange(sessions.user.size), draws)
    place = rng.random(session.size)
    bound = np.concatenate([[0], np.cumsum(draws)])
    song = np.full(session.size, -1)
    context = np.exp(scene.lift)
    # Blocks of sessions bound the memory; random numbers were drawn before, so the block size changes nothing.
    for start in range(0, sessions.user.size, block):
        stop = min(start + block, sessions.user.size)
        weight = _song_weights(scene, sessions, slice(start, stop), context)
        part = slice(bound[start], bound[stop])
        song[part] = _draw(weight, session[part] - start, place[part])
    first = np.sort(np.unique(session * songs + song, return_index=True)[1])
    first = first[song[first] >= 0]
    first = first[_turn(session[first]) < sessions.length[session[first]]]
    return session[first], song[first]


def _song_weights(scene: Scene, sessions: Sessions, part: slice, context: Floats) -> Floats:
    """float64 (sessions in `part`, n_songs): relative probability; zero where unlicensed or not yet out."""
    user, row = np.unique(sessions.user[part], return_inverse=True)
    score = scene.truth.user_taste[user] @ scene.truth.song_taste.T + scene.truth.song_popularity
    score += MINOR_EXPLICIT_LIFT * np.outer(scene.users.age[user] < ADULT_AGE, scene.songs.explicit)
    by_user = np.exp(score) * scene.songs.licensed[:, scene.users.country[user]].T
    weight = by_user[row]
    weight *= context[sessions.context[part]]
    # Out since yesterday by UTC is out by every local clock.
    today = sessions.start[part] // DAY_SECONDS
    weight *= scene.songs.released < today[:, np.newaxis]
    return np.asarray(weight)


def _draw(weight: Floats, row: Ints, place: Floats) -> Ints:
    """int64 (M,): for each `row` a column by weight, at `place` (0..1); -1 where the whole row weighs nothing."""
    columns = weight.shape[1]
    bound = np.cumsum(weight)
    ends = bound[columns - 1 :: columns]
    starts = np.concatenate([[0.0], ends[:-1]])
    found = np.searchsorted(bound, starts[row] + place * (ends - starts)[row], side="right")
    found_row, column = np.divmod(found, columns)
    return np.where(found_row == row, column, -1)


def _listen(scene: Scene, sessions: Sessions, session: Ints, song: Ints, rng: np.random.Generator) -> Listens:
    """How long each song is heard, which says whether it was skipped and when the next one starts."""
    enjoyment = scene.truth.affinity(sessions.user[session], song) + scene.lift[sessions.context[session], song]
    length = scene.songs.length[song]
    enough = np.minimum(SKIP_SECONDS, -(-length // 2))
    skipped = rng.random(song.size) < _logistic(SKIP_BIAS + SKIP_SLOPE * enjoyment)
    whole = ~skipped & (rng.random(song.size) < _logistic(WHOLE_BIAS + WHOLE_SLOPE * enjoyment))
    seconds = np.where(whole, length, rng.integers(enough, length))
    seconds = np.where(skipped, rng.integers(1, enough), seconds)
    elapsed = seconds + rng.integers(SHORTEST_GAP, LONGEST_GAP, size=song.size)
    before = np.cumsum(elapsed) - elapsed
    time = sessions.start[session] + before - before[np.searchsorted(session, session)]
    return Listens(session, song, time, seconds, enjoyment, skipped, whole)


def _not_overlapping(sessions: Sessions, listens: Listens) -> Ints:
    """Positions of the listens in sessions that start when every earlier session of their user is over."""
    end = sessions.start.copy()
    np.maximum.at(end, listens.session, listens.time + listens.seconds + LONGEST_GAP)
    # Setting users apart by more than any span of time lets one running maximum serve them all.
    apart = sessions.user * (PERIOD_END + DAY_SECONDS)
    latest = np.maximum.accumulate(end + apart)
    free = np.ones(end.size, dtype=np.bool_)
    free[1:] = (sessions.start + apart)[1:] > latest[:-1]
    return np.flatnonzero(free[listens.session])


def _with_gestures(scene: Scene, sessions: Sessions, listens: Listens, rng: np.random.Generator) -> Rows:
    """Plays and skips, then a like and a playlist_add for some of the songs that were played to the end."""
    heard = Rows(listens.session, listens.song, listens.time, np.where(listens.skipped, SKIP, PLAY), listens.seconds)
    liked = _first_of_each(scene, sessions, listens, LIKE_BIAS + LIKE_SLOPE * listens.enjoyment, rng)
    added = _first_of_each(scene, sessions, listens, ADD_BIAS + ADD_SLOPE * listens.enjoyment, rng)
    gesture = np.concatenate([liked, added])
    kind = np.repeat([LIKE, PLAYLIST_ADD], [liked.size, added.size])
    # A like comes as the song ends, a playlist_add a second later: no two events of a user share a time.
    time = (listens.time + listens.seconds)[gesture] + (kind == PLAYLIST_ADD)
    made = Rows(listens.session[gesture], listens.song[gesture], time, kind, np.full(gesture.size, -1))
    return _join(heard, made)


def _first_of_each(
    scene: Scene, sessions: Sessions, listens: Listens, log_odds: Floats, rng: np.random.Generator
) -> Ints:
    """Positions of the whole listens that get a gesture: at most one, the first, for each user and song."""
    drawn = np.flatnonzero(listens.whole & (rng.random(log_odds.size) < _logistic(log_odds)))
    pair = sessions.user[listens.session[drawn]] * scene.songs.genre.size + listens.song[drawn]
    return drawn[np.unique(pair, return_index=True)[1]]


def _kept_in_time_order(users: Users, sessions: Sessions, rows: Rows) -> Ints:
    """Positions of the events before the end of the period, and within each user's limit, by time."""
    order = np.lexsort((rows.time, sessions.user[rows.session]))
    user = sessions.user[rows.session[order]]
    order = order[(_turn(user) < users.most_events[user]) & (rows.time[order] < PERIOD_END)]
    return order[np.argsort(rows.time[order], kind="stable")]


def _table(scene: Scene, sessions: Sessions, rows: Rows) -> Table:
    """The columns of the event table for rows in time order."""
    user = sessions.user[rows.session]
    local = rows.time // HOUR_SECONDS + utc_offset_hours(scene.users)[user]
    return {
        "user_id": scene.users.table["user_id"][user],
        "song_id": scene.songs.table["song_id"][rows.song],
        "time": rows.time,
        "event": np.array(KINDS)[rows.kind],
        "seconds": np.where(rows.seconds < 0, np.nan, rows.seconds),
        "device": np.array(DEVICES)[sessions.context[rows.session] % len(DEVICES)],
        "session": _number_by_appearance(rows.session),
        "hour": local % 24,
        "weekday": np.array(WEEKDAYS)[(local // 24 + WEEKDAY_OF_EPOCH) % 7],
    }


def _turn(group: Ints) -> Ints:
    """int64 (M,): 0, 1, 2, ... within each run of the sorted array `group`."""
    return np.arange(group.size) - np.searchsorted(group, group)


def _number_by_appearance(value: Ints) -> Ints:
    """int64 (M,): 1 for the value that comes first, 2 for the next new one, and so on."""
    _, first, code = np.unique(value, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[code] + 1


def _take(arrays: Arrays, positions: Ints) -> Arrays:
    """The same dataclass with every array indexed by `positions`."""
    return type(arrays)(**{name: array[positions] for name, array in vars(arrays).items()})


def _join(first: Rows, second: Rows) -> Rows:
    """The rows of both, one below the other."""
    return Rows(**{name: np.concatenate([array, vars(second)[name]]) for name, array in vars(first).items()})


def _logistic(value: Floats) -> Floats:
    """1 / (1 + exp(-value))."""
    return np.asarray(1.0 / (1.0 + np.exp(-value)))
