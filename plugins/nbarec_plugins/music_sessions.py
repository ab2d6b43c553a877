"""When, on what and how long the users of the music world listen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from nbarec_plugins.music_catalog import UNLIMITED, Users
from nbarec_plugins.music_domain import COUNTRIES, DEVICES, LAST_DAY_NUMBER, Floats, Ints

HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS

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

SESSION_SHAPE: Final = 2.0


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions in order of user, then start: int64 arrays of one length."""

    user: Ints
    start: Ints
    context: Ints
    """Row of `Scene.lift`."""
    length: Ints
    """How many different songs are met, where the catalogue has as many to offer."""


def make_sessions(users: Users, days: int, events_per_user: float, rng: np.random.Generator) -> Sessions:
    """When, on what and how long users listen: heavy-tailed activity, none before the day after joining."""
    first_day = np.maximum(users.joined + 1, LAST_DAY_NUMBER + 1 - days)
    activity = _activity(users, LAST_DAY_NUMBER + 1 - first_day, rng)
    count = rng.poisson(activity * (events_per_user / EVENTS_PER_SESSION))
    scarce = users.most_events < UNLIMITED
    count = np.where(scarce, np.minimum(users.most_events, 1), np.maximum(count, 1))
    user = np.repeat(np.arange(count.size), count)
    hour = rng.choice(HOUR_SHARE.size, size=user.size, p=HOUR_SHARE / HOUR_SHARE.sum())
    # The hour is drawn by the local clock and placed in a UTC day, so that no session starts outside the period.
    utc_hour = (hour - utc_offset_hours(users)[user]) % 24
    start = rng.integers(first_day[user], LAST_DAY_NUMBER + 1) * DAY_SECONDS + utc_hour * HOUR_SECONDS
    start = start + rng.integers(HOUR_SECONDS, size=user.size)
    device = _choose_devices(user, hour, count.size, rng)
    length = 1 + rng.negative_binomial(SESSION_SHAPE, SESSION_SHAPE / (SESSION_SHAPE + EXTRA_SONGS), user.size)
    order = np.lexsort((start, user))
    return Sessions(user, start[order], (hour * len(DEVICES) + device)[order], length)


def utc_offset_hours(users: Users) -> Ints:
    """How far each user's clock is ahead of UTC: int64 (n_users,)."""
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
