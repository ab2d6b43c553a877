"""Spans of time in words, for reasons that people read."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Ints64
from nbarec.params import Duration

_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}

_AGES = {"minute": 60, "hour": 3_600, "day": 86_400, "year": 31_557_600}
"""Seconds of each unit that ages are told in; a year is 365.25 days."""


def in_words(duration: Duration) -> str:
    """A length of time as it stands after `the last`.

    >>> in_words(Duration("30d")), in_words(Duration("7d")), in_words(Duration("90m"))
    ('30 days', 'week', '90 minutes')
    """
    text = str(duration)
    number, unit = text[:-1], _UNITS[text[-1]]
    return unit if number == "1" else f"{number} {unit}s"


def ago(age: Ints64) -> list[str]:
    """Ages in seconds, int64 [N], in whole units of the largest of which there are two.

    >>> ago(np.array([0, 119, 120, 86_400, 172_800, 63_115_200]))
    ['just now', 'just now', '2 minutes ago', '24 hours ago', '2 days ago', '2 years ago']
    """
    names, sizes = list(_AGES), np.array(list(_AGES.values()))
    unit = np.searchsorted(2 * sizes, age, side="right") - 1
    number = age // sizes[unit]
    told = zip(unit.tolist(), number.tolist(), strict=True)
    return [f"{count:,} {names[at]}s ago" if at >= 0 else "just now" for at, count in told]
