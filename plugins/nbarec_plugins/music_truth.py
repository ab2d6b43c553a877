"""The hidden side of the music world: tastes, popularity and what hour and device add to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nbarec_plugins.music_domain import COUNTRIES, DEVICES, GENRES, GROUPS, Floats, Ints

FREE_FACTORS: Final = 7
"""Latent dimensions beside those of the groups, for what makes artists and listeners of one group differ."""

FACTORS: Final = len(GROUPS) + FREE_FACTORS + 1
"""Length d of a taste vector: one dimension a group, the free ones, and energy as the last."""

ENERGY_CENTRE: Final = 0.5
HOUR_LIFT: Final = 1.0
DEVICE_ENERGY_LIFT: Final = {"phone": 0.0, "desktop": -1.2, "speaker": -0.6, "car": 2.0}

GENRE_SPREAD, ARTIST_SPREAD, SONG_SPREAD = 0.30, 0.30, 0.20
FIRST_TASTE, SECOND_TASTE, USER_SPREAD, ENERGY_TASTE_SPREAD = 2.6, 1.1, 0.5, 1.2
COUNTRY_GROUP_SPREAD: Final = 0.6
AGE_GROUP_SLOPE, AGE_ENERGY_SLOPE = 3.0, 1.0
MIDDLE_AGE_YEARS: Final = 35.0

GENRE_GROUP: Final = np.array([GROUPS.index(genre.group) for genre in GENRES])
"""int64 (n_genres,): the taste group of each genre."""


@dataclass(frozen=True, eq=False)
class MusicTruth:
    """What the simulator knows and the tables hide. All lifts, tastes and popularities are in log-odds.

    A user meets a song with probability proportional to
    `exp(user_taste[u] @ song_taste[s] + song_popularity[s] + context_lift(hour, device)[s])` among the songs
    that are licensed in the user's country and out, hour and device being those of the session's start. Explicit
    songs have a lower weight for users under 18, and no song comes twice in a session.
    """

    genres: tuple[str, ...]
    """Names of the genres, in the order of `genre_group` and of the columns of `hour_lift`."""
    groups: tuple[str, ...]
    """Names of the taste groups."""
    devices: tuple[str, ...]
    """Names of the devices, in the order of `device_lift`."""
    genre_group: Ints
    """int64 (n_genres,): the taste group of each genre."""
    user_taste: Floats
    """float64 (n_users, d); dimension g < n_groups is the liking for group g, the last is the liking for energy."""
    song_taste: Floats
    """float64 (n_songs, d); the last dimension is energy - 0.5."""
    user_group: Ints
    """int64 (n_users,): the group whose dimension is largest in the user's taste."""
    song_group: Ints
    """int64 (n_songs,): the group of the song's genre."""
    song_genre: Ints
    """int64 (n_songs,): position in `genres`."""
    song_popularity: Floats
    """float64 (n_songs,)."""
    hour_lift: Floats
    """float64 (24, n_genres): local hour by genre."""
    device_lift: Floats
    """float64 (n_devices,): lift a unit of energy - 0.5."""

    def affinity(self, user: npt.ArrayLike, song: npt.ArrayLike) -> Floats:
        """float64 (M,): taste of users for songs, given as two rows of M positions."""
        return np.asarray(np.einsum("md,md->m", self.user_taste[np.asarray(user)], self.song_taste[np.asarray(song)]))

    def context_lift(self, hour: npt.ArrayLike, device: npt.ArrayLike) -> Floats:
        """float64 (M, n_songs): the lift of every song in M contexts of local hour and device position."""
        by_hour = self.hour_lift[np.asarray(hour)][:, self.song_genre]
        return np.asarray(by_hour + self.device_lift[np.asarray(device)][:, np.newaxis] * self.song_taste[:, -1])


def device_lift() -> Floats:
    """float64 (n_devices,): lift a unit of energy - 0.5."""
    return np.array([DEVICE_ENERGY_LIFT[device] for device in DEVICES])


def hour_lift() -> Floats:
    """float64 (24, n_genres): every genre swings once a day around its peak hour."""
    peak = np.array([genre.peak_hour for genre in GENRES])
    return np.asarray(HOUR_LIFT * np.cos((np.arange(24)[:, np.newaxis] - peak) * (2 * np.pi / 24)))


def song_taste(genre: Ints, artist: Ints, energy: Floats, rng: np.random.Generator) -> Floats:
    """float64 (n_songs, d): the group's axis, with a lean of the genre, of the artist and of the song itself."""
    free = FACTORS - 1
    lean = rng.normal(0.0, GENRE_SPREAD, (len(GENRES), free))[genre]
    lean = lean + rng.normal(0.0, ARTIST_SPREAD, (int(artist.max()) + 1, free))[artist]
    lean = lean + rng.normal(0.0, SONG_SPREAD, (genre.size, free))
    return np.column_stack([np.eye(len(GROUPS), free)[GENRE_GROUP[genre]] + lean, energy - ENERGY_CENTRE])


def user_taste(age: Ints, country: Ints, rng: np.random.Generator) -> Floats:
    """float64 (n_users, d): two groups that are liked, a leaning of one's own, and a liking for energy.

    Age and country say a little, and only a little, about all that.
    """
    youth: Floats = (MIDDLE_AGE_YEARS - age.astype(np.float64)) / MIDDLE_AGE_YEARS
    first, second = _liked_groups(youth, country, rng)
    axes = np.eye(len(GROUPS), FACTORS - 1)
    own = rng.normal(0.0, USER_SPREAD, (age.size, FACTORS - 1))
    energy = rng.normal(AGE_ENERGY_SLOPE * youth, ENERGY_TASTE_SPREAD)
    return np.column_stack([FIRST_TASTE * axes[first] + SECOND_TASTE * axes[second] + own, energy])


def _liked_groups(youth: Floats, country: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Two different taste groups for each user, the stronger first."""
    energy = np.array([np.mean([row.energy for row in GENRES if row.group == group]) for group in GROUPS])
    share = np.array([sum(row.share for row in GENRES if row.group == group) for group in GROUPS])
    score = np.log(share) + AGE_GROUP_SLOPE * np.outer(youth, energy - ENERGY_CENTRE)
    score = score + rng.normal(0.0, COUNTRY_GROUP_SPREAD, (len(COUNTRIES), len(GROUPS)))[country]
    # Gumbel noise on log weights and taking the largest draws without replacement.
    order = np.argsort(-(score + rng.gumbel(size=score.shape)), axis=1)
    return order[:, 0], order[:, 1]
