"""Who and what there is in the music world: the tables of its songs and its listeners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nbarec_plugins.music_domain import (
    COUNTRIES,
    DEVICES,
    GENRES,
    GROUPS,
    LAST_DAY_NUMBER,
    MOODS,
    SUBSCRIPTIONS,
    Flags,
    Floats,
    Ints,
    Table,
)
from nbarec_plugins.music_names import album_names, artist_names, identifiers, join_levels, song_titles
from nbarec_plugins.music_truth import (
    GENRE_GROUP,
    MusicTruth,
    device_lift,
    hour_lift,
    song_taste,
    user_taste,
)

SONGS_PER_ARTIST: Final = 8
SONGS_PER_ALBUM: Final = 4
MAIN_GENRE_SHARE: Final = 0.9
ARTIST_POPULARITY_SPREAD, SONG_POPULARITY_SPREAD = 0.7, 0.9
NEW_RELEASE_SHARE: Final = 0.02
"""Part of the albums that came out on the last day, too late to be heard."""

MEAN_ALBUM_AGE_DAYS, OLDEST_ALBUM_DAYS = 2500.0, 18_000
WORLDWIDE_SHARE: Final = 0.85
LICENCE_SHARE: Final = 0.6
"""Part of the countries where a song that is not licensed worldwide is licensed."""

MOOD_WIDTH: Final = 0.25
MOST_MOODS: Final = 3
SOUND_SPREAD, TEMPO_SPREAD = 0.1, 0.1
SLOWEST_TEMPO, FASTEST_TEMPO = 50.0, 200.0
MIDDLE_LENGTH_SECONDS, LENGTH_SPREAD = 215.0, 0.25
SHORTEST_LENGTH_SECONDS, LONGEST_LENGTH_SECONDS = 90, 600

YOUNGEST, OLDEST, AGE_SHAPE = 13, 80, (1.3, 2.8)
SUBSCRIPTION_SHARE: Final = (0.50, 0.35, 0.15)
SHORTEST_TENURE_DAYS, LONGEST_TENURE_DAYS = 2, 3000
NEWCOMER_TENURE_DAYS: Final = 14
SCARCE_USER_SHARE: Final = 0.02
UNLIMITED: Final = int(np.iinfo(np.int64).max)
"""The event limit of users who have none."""


@dataclass(frozen=True, eq=False)
class Songs:
    """The song table, and what the table only implies or hides."""

    table: Table
    genre: Ints
    taste: Floats
    popularity: Floats
    licensed: Flags
    """bool (n_songs, n_countries)."""
    explicit: Flags
    length: Ints
    """int64 (n_songs,), seconds."""
    released: Ints
    """int64 (n_songs,), days since 1970-01-01."""


@dataclass(frozen=True, eq=False)
class Users:
    """The user table, and what the table only implies or hides."""

    table: Table
    country: Ints
    age: Ints
    subscription: Ints
    joined: Ints
    """int64 (n_users,), days since 1970-01-01."""
    taste: Floats
    most_events: Ints
    """int64 (n_users,): 0, 1 or 2 for the few who hardly listen at all, else no limit to speak of."""


def make_songs(count: int, rng: np.random.Generator) -> Songs:
    """`count` songs on albums by artists, in random order. Songs of 2% of the albums came out on the last day."""
    artist, album, artists, albums = _discography(count, rng)
    main_genre = _choose(np.array([genre.share for genre in GENRES]), artists, rng)
    genre = np.where(rng.random(count) < MAIN_GENRE_SHARE, main_genre[artist], rng.integers(len(GENRES), size=count))
    sound = _sound(genre, rng)
    licensed = (rng.random(count) < WORLDWIDE_SHARE)[:, np.newaxis] | (
        rng.random((count, len(COUNTRIES))) < LICENCE_SHARE
    )
    released = _release_days(albums, rng)[album]
    table: Table = {
        "song_id": identifiers("S", count),
        "title": song_titles(count, rng),
        "artist": artist_names(artists, rng)[artist],
        "album": album_names(albums, rng)[album],
        "genre": np.array([genre.name for genre in GENRES])[genre],
        "moods": _moods(sound["energy"], sound["danceability"], rng),
        "released": _iso_dates(released),
        **sound,
        "regions": join_levels(licensed, np.array([country.code for country in COUNTRIES])),
    }
    taste = song_taste(genre, artist, sound["energy"], rng)
    popularity = rng.normal(0.0, ARTIST_POPULARITY_SPREAD, artists)[artist]
    popularity = popularity + rng.normal(0.0, SONG_POPULARITY_SPREAD, count)
    explicit, length = sound["explicit"], sound["length_s"]
    return Songs(table, genre, taste, popularity, licensed, explicit, length, released)


def make_users(count: int, rng: np.random.Generator) -> Users:
    """`count` users whose age and country say a little, and only a little, about what they like."""
    country = _choose(np.array([country.share for country in COUNTRIES]), count, rng)
    age = YOUNGEST + np.floor((OLDEST + 1 - YOUNGEST) * rng.beta(*AGE_SHAPE, count)).astype(np.int64)
    most_events = _event_limits(count, rng)
    tenure = rng.integers(SHORTEST_TENURE_DAYS, LONGEST_TENURE_DAYS, count)
    newcomer = rng.integers(SHORTEST_TENURE_DAYS, NEWCOMER_TENURE_DAYS, count)
    joined = LAST_DAY_NUMBER - np.where(most_events < UNLIMITED, newcomer, tenure)
    subscription = _choose(np.array(SUBSCRIPTION_SHARE), count, rng)
    table: Table = {
        "user_id": identifiers("U", count),
        "age": age,
        "country": np.array([country.code for country in COUNTRIES])[country],
        "subscription": np.array(SUBSCRIPTIONS)[subscription],
        "joined": _iso_dates(joined),
    }
    taste = user_taste(age, country, rng)
    return Users(table, country, age, subscription, joined, taste, most_events)


def make_truth(songs: Songs, users: Users) -> MusicTruth:
    """The hidden side of songs, users and contexts in one place."""
    return MusicTruth(
        genres=tuple(genre.name for genre in GENRES),
        groups=GROUPS,
        devices=DEVICES,
        genre_group=GENRE_GROUP,
        user_taste=users.taste,
        song_taste=songs.taste,
        user_group=np.argmax(users.taste[:, : len(GROUPS)], axis=1),
        song_group=GENRE_GROUP[songs.genre],
        song_genre=songs.genre,
        song_popularity=songs.popularity,
        hour_lift=hour_lift(),
        device_lift=device_lift(),
    )


def _iso_dates(days: Ints) -> npt.NDArray[np.str_]:
    """Text such as `2025-06-30` for days since 1970-01-01."""
    return days.astype("datetime64[D]").astype("U10")


def _choose(share: Floats, count: int, rng: np.random.Generator) -> Ints:
    """int64 (count,): positions drawn with probability proportional to `share`."""
    return rng.choice(share.size, size=count, p=share / share.sum())


def _cover(parts: int, count: int, rng: np.random.Generator) -> Ints:
    """int64 (count,): one of `parts` for each, in random order, no part being left out (count >= parts)."""
    return rng.permutation(np.concatenate([np.arange(parts), rng.integers(parts, size=count - parts)]))


def _discography(count: int, rng: np.random.Generator) -> tuple[Ints, Ints, int, int]:
    """Artist and album of each song, then how many artists and albums there are."""
    artists, albums = -(-count // SONGS_PER_ARTIST), -(-count // SONGS_PER_ALBUM)
    album = _cover(albums, count, rng)
    return _cover(artists, albums, rng)[album], album, artists, albums


def _sound(genre: Ints, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Tempo (beats a minute), energy and danceability (0..1), length (seconds) and explicit words of each song."""
    count = genre.size
    mean = np.array([(row.tempo, row.energy, row.danceability, row.explicit) for row in GENRES])[genre]
    tempo = mean[:, 0] * rng.lognormal(0.0, TEMPO_SPREAD, count)
    sound = np.clip(mean[:, 1:3] + rng.normal(0.0, SOUND_SPREAD, (count, 2)), 0.0, 1.0).round(3)
    length = MIDDLE_LENGTH_SECONDS * rng.lognormal(0.0, LENGTH_SPREAD, count)
    return {
        "tempo": np.clip(tempo, SLOWEST_TEMPO, FASTEST_TEMPO).round(1),
        "energy": sound[:, 0],
        "danceability": sound[:, 1],
        "length_s": np.clip(length, SHORTEST_LENGTH_SECONDS, LONGEST_LENGTH_SECONDS).astype(np.int64),
        "explicit": rng.random(count) < mean[:, 3],
    }


def _moods(energy: Floats, danceability: Floats, rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """One to three moods of each song, drawn without replacement, those near its sound being likelier."""
    _, *target = zip(*MOODS, strict=True)
    sound = np.stack([energy, danceability], axis=1)
    distance = ((sound[:, np.newaxis] - np.array(target).T) ** 2).sum(axis=2)
    # Gumbel noise on log weights and taking the largest draws without replacement.
    score = rng.gumbel(size=distance.shape) - distance / (2 * MOOD_WIDTH**2)
    rank = np.argsort(np.argsort(-score, axis=1), axis=1)
    wanted = rng.integers(1, MOST_MOODS + 1, size=energy.size)
    return join_levels(rank < wanted[:, np.newaxis], np.array([mood.name for mood in MOODS]))


def _release_days(albums: int, rng: np.random.Generator) -> Ints:
    """int64 (albums,), days since 1970-01-01: recent years fullest; a few on the last day, too late to be heard."""
    age = np.minimum(1 + rng.exponential(MEAN_ALBUM_AGE_DAYS, albums).astype(np.int64), OLDEST_ALBUM_DAYS)
    new = min(albums // 4, max(1, round(NEW_RELEASE_SHARE * albums)))
    age[rng.permutation(albums)[:new]] = 0
    return LAST_DAY_NUMBER - age


def _event_limits(count: int, rng: np.random.Generator) -> Ints:
    """int64 (n_users,): 0, 1 or 2 in turn for a few users chosen at random, no limit for the others."""
    limit = np.full(count, UNLIMITED)
    scarce = max(round(SCARCE_USER_SHARE * count), min(3, count // 4))
    limit[rng.permutation(count)[:scarce]] = np.arange(scarce) % 3
    return limit
