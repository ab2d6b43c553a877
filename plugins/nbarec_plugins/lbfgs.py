"""Least points of smooth convex functions of many coordinates: limited-memory BFGS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nbarec.arrays import Floats64

Slopes = tuple[float, Floats64]
"""A function's value at a point, and its first derivatives there, float64 [d]."""

REMEMBERED = 10
"""Steps whose change of slope is remembered."""

DESCENT = 1e-4
"""A step must lower the value by this share of what its slope promises (Armijo 1966)."""

SHORTEST = 2.0**-30
"""Steps are halved until they do, and given up below this share."""


def least_point(
    function: Callable[[Floats64], Slopes],
    start: Floats64,
    *,
    enough: float,
    most_steps: int,
    told: Callable[[], object],
) -> Floats64:
    """Where a convex `function` is least, by L-BFGS (Nocedal 1980; Liu and Nocedal 1989): float64 [d].

    It ends where the square of the slope is at most `enough`, where no step lowers the value any more, or after
    `most_steps`. Coordinates in which the function bends about equally much need the fewest steps. `told` is called
    after every step.
    """
    point, (value, slope) = start, function(start)
    steps: list[Floats64] = []
    bends: list[Floats64] = []
    for _ in range(most_steps):  # a step a point: each needs the one before
        if slope @ slope <= enough:
            break
        way = -_turned(slope, steps, bends)
        promised, share = float(slope @ way), 1.0
        value_there, slope_there = function(point + way)
        while not value_there <= value + DESCENT * share * promised and share > SHORTEST:  # halved until it is lower
            share /= 2
            value_there, slope_there = function(point + share * way)
        if not value_there < value:
            break
        step, bend = share * way, slope_there - slope
        point, value, slope = point + step, value_there, slope_there
        if step @ bend > np.finfo(np.float64).eps * float(bend @ bend):
            steps, bends = [*steps, step][-REMEMBERED:], [*bends, bend][-REMEMBERED:]
        told()
    return point


def _turned(slope: Floats64, steps: list[Floats64], bends: list[Floats64]) -> Floats64:
    """The remembered inverse of the second derivatives times the slope, by Nocedal's two loops: float64 [d]."""
    way = slope.copy()
    shares: list[float] = []
    for step, bend in zip(reversed(steps), reversed(bends), strict=True):  # the latest first
        shares.append(float(step @ way) / float(step @ bend))
        way -= shares[-1] * bend
    if steps:
        way *= float(steps[-1] @ bends[-1]) / float(bends[-1] @ bends[-1])
    for step, bend, share in zip(steps, bends, reversed(shares), strict=True):
        way += (share - float(bend @ way) / float(step @ bend)) * step
    return way
