"""How the users of the music world listen: sessions, songs drawn by taste and context, skips and gestures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from nbarec_plugins.music_catalog import UNLIMITED, Songs, Users
from nbarec_plugins.music_domain import COUNTRIES, DEVICES, LAST_DAY_NUMBER, Flags, Floats, Ints, Table
from nbarec_plugins.music_truth import MusicTruth

HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS
PERIOD_END: Final = (LAST_DAY_NUMBER + 1) * DAY_SECONDS
"""Epoch second (UTC) that every event comes before."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKDAY_OF_EPOCH: Final = 3
KINDS: Final = ("play", "skip", "like", "playlist_add")
PLAY, SKIP, LIKE, PLAYLIST_ADD = range(len(KINDS))

HOUR_SHARE: Final = np.array(
    [12, 7, 4, 3, 3, 6, 15, 30, 35, 28, 25, 25, 28, 28, 26, 27, 30, 38, 40, 38, 36, 34, 28, 20]
)
"""int64 (24,): relative number of sessions that start in each local hour."""

DEVICE_SHARE: Final = (0.5, 0.2, 0.2, 0.1)
CAR_HOURS, CAR_FACTOR = (7, 8, 16, 17, 18), 5.0
DESKTOP_HOURS, DESKTOP_FACTOR = tuple(range(9, 17)), 3.0
HABIT_SPREAD: Final = 0.7
"""Standard deviation of the log-odds with which one user prefers one device."""

SUBSCRIPTION_ACTIVITY: Final = np.array([0.8, 1.3, 1.1])
ACTIVITY_SPREAD: Final = 0.8
EVENTS_PER_SESSION: Final = 8.3
"""Measured: songs met and gestures made in a session."""

EXTRA_SONGS: Final = 7.0
"""Mean number of songs in a session beyond its first."""

DRAWS_PER_SONG: Final = 2
"""Songs drawn for each one wanted, as equal draws in a session count once."""

SESSION_SHAPE: Final = 2.0

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
class Sessions:
    """Sessions in order of user, then start: int64 arrays of one length."""

    user: Ints
    start: Ints
    context: Ints
    """Row of `Scene.lift`."""
    length: Ints
    """How many different songs are met, where the catalogue has as many to offer."""


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
    sessions = _make_sessions(users, days, events_per_user, rng)
    listens = _listen(scene, sessions, *_choose_songs(scene, sessions, rng), rng)
    listens = _take(listens, _not_overlapping(sessions, listens))
    rows = _with_gestures(scene, sessions, listens, rng)
    return _table(scene, sessions, _take(rows, _kept_in_time_order(users, sessions, rows)))


def _make_sessions(users: Users, days: int, events_per_user: float, rng: np.random.Generator) -> Sessions:
    """When, on what and how long users listen: heavy-tailed activity, none before the day after joining."""
    first_day = np.maximum(users.joined + 1, LAST_DAY_NUMBER + 1 - days)
    activity = _activity(users, LAST_DAY_NUMBER + 1 - first_day, rng)
    count = rng.poisson(activity * (events_per_user / EVENTS_PER_SESSION))
    scarce = users.most_events < UNLIMITED
    count = np.where(scarce, np.minimum(users.most_events, 1), np.maximum(count, 1))
    user = np.repeat(np.arange(count.size), count)
    hour = rng.choice(HOUR_SHARE.size, size=user.size, p=HOUR_SHARE / HOUR_SHARE.sum())
    # The hour is drawn by the local clock and placed in a UTC day, so that no session starts outside the period.
    utc_hour = (hour - _utc_offset_hours(users)[user]) % 24
    start = rng.integers(first_day[user], LAST_DAY_NUMBER + 1) * DAY_SECONDS + utc_hour * HOUR_SECONDS
    start = start + rng.integers(HOUR_SECONDS, size=user.size)
    device = _choose_devices(user, hour, count.size, rng)
    length = 1 + rng.negative_binomial(SESSION_SHAPE, SESSION_SHAPE / (SESSION_SHAPE + EXTRA_SONGS), user.size)
    order = np.lexsort((start, user))
    return Sessions(user, start[order], (hour * len(DEVICES) + device)[order], length)


def _utc_offset_hours(users: Users) -> Ints:
    """int64 (n_users,)."""
    return np.array([country.utc_offset_hours for country in COUNTRIES])[users.country]


def _activity(users: Users, open_days: Ints, rng: np.random.Generator) -> Floats:
    """float64 (n_users,) with mean one: lognormal, times the part of the period since joining."""
    activity = rng.lognormal(0.0, ACTIVITY_SPREAD, open_days.size)
    activity = activity * SUBSCRIPTION_ACTIVITY[users.subscription] * open_days
    return np.asarray(activity / activity.mean())


def _choose_devices(user: Ints, hour: Ints, users: int, rng: np.random.Generator) -> Ints:
    """int64 (n_sessions,): by the habits of the user and of the hour."""
    share = np.tile(DEVICE_SHARE, (24, 1))
    share[CAR_HOURS, DEVICES.index("car")] *= CAR_FACTOR
    share[DESKTOP_HOURS, DEVICES.index("desktop")] *= DESKTOP_FACTOR
    habit = rng.lognormal(0.0, HABIT_SPREAD, (users, len(DEVICES)))
    bound = np.cumsum(share[hour] * habit[user], axis=1)
    place = rng.random((user.size, 1)) * bound[:, -1:]
    return np.asarray((place >= bound[:, :-1]).sum(axis=1))


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
    local = rows.time // HOUR_SECONDS + _utc_offset_hours(scene.users)[user]
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
