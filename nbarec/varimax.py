"""Rotating latent factors to a simple structure: few large entries, the rest near zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints64
from nbarec.progress import track

MOST_SWEEPS = 100
"""Sweeps over all planes at most; it settles in about ten."""

SETTLED = 1e-4
"""It ends with a sweep in which no plane turns by more than this angle, in radians: nobody would see it."""

MOST_ROWS = 2048
"""The longest rows decide alone: those of seldom chosen items are short, and mostly noise."""


def varimax(vectors: AnyArray) -> Floats64:
    """The rotation R of `vectors` A [n, d] for which the squares of A R vary most within its columns: float64 [d, d].

    The normal criterion of Kaiser (1958): rows are scaled to length 1 first, so that long ones don't decide alone; rows
    of zeros say nothing, and of many rows the 2,048 longest decide. Plane by plane, each turned to its best angle,
    until none turns any more. R is orthogonal: inner products of rows stay what they are. Columns come by the sum of
    their squares in A R, largest first, each with the sign that makes the sum of its cubes positive.

    >>> turned = varimax(np.array([[1.0, 1.0], [2.0, 2.0], [1.0, -1.0]]))
    >>> turned.round(3).tolist()
    [[0.707, 0.707], [0.707, -0.707]]
    """
    full = np.asarray(vectors, np.float64)
    length = np.linalg.norm(full, axis=1)
    longest = np.argsort(-length, kind="stable")[:MOST_ROWS]
    longest = longest[length[longest] > 0]
    rows = np.ascontiguousarray((full[longest] / length[longest, None]).T)
    rotation = np.eye(len(rows))
    with track("turning factors", MOST_SWEEPS) as advance:
        # One step a sweep, and in it one a round of planes that share no axis.
        for _ in range(MOST_SWEEPS):
            turns = [_turn(rows, rotation, first, second) for first, second in _rounds(len(rows))]
            advance(1)
            if max(turns, default=0.0) <= SETTLED:
                break
    turned = full @ rotation.T
    order = np.argsort(-np.square(turned).sum(axis=0), kind="stable")
    sign = np.where((turned**3).sum(axis=0) < 0, -1.0, 1.0)
    return np.asarray((rotation.T * sign)[:, order])


def _rounds(width: int) -> Iterator[tuple[Ints64, Ints64]]:
    """Every pair of axes once, in rounds of pairs that share none: the circle method of tournaments."""
    players = np.arange(width + width % 2)  # with an odd number one sits out: the one paired with `width`
    half = len(players) // 2
    for _ in range(len(players) - 1):
        first, second = players[:half], players[half:][::-1]
        playing = np.maximum(first, second) < width
        yield first[playing], second[playing]
        players = np.concatenate([players[:1], players[-1:], players[1:-1]])


def _turn(rows: Floats64, rotation: Floats64, first: Ints64, second: Ints64) -> float:
    """Turn each plane (first, second) to its best angle, in place; returns the largest angle. `rows` [d, n]."""
    x, y = rows[first], rows[second]
    apart, both = x**2 - y**2, 2 * x * y
    count = max(rows.shape[1], 1)
    apart_sum, both_sum = apart.sum(axis=1), both.sum(axis=1)
    across = 2 * (apart * both).sum(axis=1) - 2 * apart_sum * both_sum / count
    along = (apart**2 - both**2).sum(axis=1) - (apart_sum**2 - both_sum**2) / count
    noise = 1e-12 * count  # of sums that cancel: every angle is as good
    angle = np.where(np.hypot(across, along) > noise, np.arctan2(across, along) / 4, 0.0)
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    for array in (rows, rotation):
        x, y = array[first], array[second]
        array[first], array[second] = cosine * x + sine * y, cosine * y - sine * x
    return float(np.abs(angle).max(initial=0.0))
