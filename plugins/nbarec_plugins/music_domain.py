"""The fixed facts of the music world: its last day, genres, moods, countries and devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Table = Mapping[str, npt.NDArray[Any]]

LAST_DAY: Final = np.datetime64("2025-06-30")
"""The last day (UTC) of every simulated period, whatever its length."""

LAST_DAY_NUMBER: Final = int(LAST_DAY.astype(np.int64))
"""The last day as days since 1970-01-01."""


class Genre(NamedTuple):
    """A genre: its taste group, its share of artists (relative), and how its songs sound on average."""

    name: str
    group: str
    share: float
    energy: float
    danceability: float
    tempo: float
    explicit: float
    peak_hour: float


GENRES: Final = (
    Genre("ambient", "calm", 0.5, 0.12, 0.20, 78.0, 0.00, 23.0),
    Genre("classical", "calm", 0.6, 0.20, 0.18, 92.0, 0.00, 22.0),
    Genre("folk", "acoustic", 0.8, 0.32, 0.40, 104.0, 0.03, 20.0),
    Genre("country", "acoustic", 0.8, 0.50, 0.52, 112.0, 0.04, 16.0),
    Genre("jazz", "mellow", 0.6, 0.30, 0.46, 108.0, 0.01, 21.0),
    Genre("soul", "mellow", 0.8, 0.44, 0.60, 98.0, 0.06, 20.0),
    Genre("rock", "heavy", 1.3, 0.74, 0.46, 124.0, 0.08, 17.0),
    Genre("metal", "heavy", 0.6, 0.92, 0.36, 138.0, 0.20, 16.0),
    Genre("pop", "mainstream", 1.8, 0.64, 0.66, 116.0, 0.08, 8.0),
    Genre("indie", "mainstream", 1.1, 0.56, 0.54, 118.0, 0.06, 11.0),
    Genre("hip_hop", "urban", 1.4, 0.66, 0.76, 94.0, 0.45, 15.0),
    Genre("rnb", "urban", 0.9, 0.50, 0.68, 90.0, 0.22, 21.0),
    Genre("house", "electronic", 0.8, 0.80, 0.84, 124.0, 0.03, 7.0),
    Genre("techno", "electronic", 0.6, 0.86, 0.76, 132.0, 0.02, 1.0),
    Genre("reggae", "warm", 0.5, 0.52, 0.74, 86.0, 0.06, 14.0),
    Genre("latin", "warm", 1.0, 0.72, 0.80, 102.0, 0.12, 18.0),
)
GROUPS: Final = ("calm", "acoustic", "mellow", "heavy", "mainstream", "urban", "electronic", "warm")


class Mood(NamedTuple):
    """A mood and the energy and danceability (0..1) of the songs it suits best."""

    name: str
    energy: float
    danceability: float


MOODS: Final = (
    Mood("angry", 0.95, 0.30),
    Mood("calm", 0.15, 0.25),
    Mood("chill", 0.40, 0.60),
    Mood("dreamy", 0.25, 0.40),
    Mood("energetic", 0.85, 0.60),
    Mood("focus", 0.30, 0.20),
    Mood("happy", 0.65, 0.75),
    Mood("party", 0.80, 0.90),
    Mood("romantic", 0.40, 0.50),
    Mood("sad", 0.25, 0.30),
    Mood("sleep", 0.05, 0.10),
    Mood("workout", 0.95, 0.75),
)


class Country(NamedTuple):
    """A country, its share of users (relative) and its clock: whole hours ahead of UTC, all year round."""

    code: str
    share: float
    utc_offset_hours: int


COUNTRIES: Final = (
    Country("AU", 0.5, 10),
    Country("BR", 1.2, -3),
    Country("DE", 1.2, 1),
    Country("ES", 0.8, 1),
    Country("FR", 1.0, 1),
    Country("GB", 1.2, 0),
    Country("JP", 0.9, 9),
    Country("MX", 0.9, -6),
    Country("SE", 0.4, 1),
    Country("US", 2.5, -5),
)
UTC_OFFSET_HOURS: Final[Mapping[str, int]] = {country.code: country.utc_offset_hours for country in COUNTRIES}
"""Hours to add to UTC for the local time of a user's country."""

DEVICES: Final = ("phone", "desktop", "speaker", "car")
SUBSCRIPTIONS: Final = ("free", "premium", "family")
