"""Calibration: from the log-odds that a model gives to probabilities that hold, by what happened in other requests.

>>> import numpy as np
>>> margins = np.linspace(-4, 4, 1000)
>>> label = (np.arange(1000) % 100 < 100 / (1 + np.exp(-margins / 2))).astype(np.float32)
>>> fitted = platt(margins, label, np.ones(1000, np.float32))
>>> [round(p, 1) for p in fitted.apply(np.array([-2.0, 0.0, 2.0])).tolist()]
[0.3, 0.5, 0.7]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints64, frozen

Method = Literal["auto", "isotonic", "platt", "none"]

ENOUGH = 1000
"""Entries with label 1 from which on `auto` is isotonic: with fewer, two parameters err less than many steps."""

LEAST_SLOPE = 1e-3
"""Of Platt's line: margins that tell nothing, or the contrary, keep their order all the same."""

SAME = 1e-9
"""Of Platt's line: margins whose deviation is below it count as one, and the slope stays 1."""

MOST_STEPS = 50
GAIN = 1e-12
"""A Newton step that lowers the loss by less than this share of it is the last."""


@dataclass(frozen=True)
class Calibration:
    """Probabilities as a strictly rising function of margins (log-odds).

    The log-odds of the probability are a line from each knot to the next: `margins` and `log_odds` float64 [K], both
    strictly rising, K at least 1; before the first knot and behind the last the lines have the slope `outside`.
    """

    margins: Floats64
    log_odds: Floats64
    outside: float = 1.0

    def apply(self, margins: Floats64) -> Floats64:
        """The probability of each margin: float64 [N], in (0, 1) as far as float64 tells it from the ends."""
        return np.asarray(probability_of(self.calibrated(margins)))

    def calibrated(self, margins: Floats64) -> Floats64:
        """The log-odds of the probability of each margin: float64 [N]."""
        knots, levels = self.margins, self.log_odds
        slopes = np.concatenate([[self.outside], np.diff(levels) / np.diff(knots), [self.outside]])
        segment = np.searchsorted(knots, margins, side="right")
        start = np.maximum(segment - 1, 0)
        return np.asarray(levels.take(start) + slopes.take(segment) * (margins - knots.take(start)))


UNCHANGED = Calibration(frozen(np.zeros(1)), frozen(np.zeros(1)))
"""The margins are the log-odds."""


def calibration(method: Method, margins: Floats64, label: Floats32, weight: Floats32) -> Calibration:
    """The calibration that N entries call for: `margins` float64 [N], `label` 0 or 1, `weight`: how many entries each
    stands for. `auto` is isotonic from 1,000 entries with label 1 on, else Platt's. Both classes must be there."""
    if method == "none":
        return UNCHANGED
    if method == "auto":
        method = "isotonic" if np.count_nonzero(label > 0.5) >= ENOUGH else "platt"
    return (isotonic if method == "isotonic" else platt)(margins, label, weight)


def probability_of(log_odds: Floats64) -> Floats64:
    """1 / (1 + exp(-log_odds)), without overflow: float64."""
    small = np.exp(-np.abs(log_odds))
    return np.asarray(np.where(log_odds >= 0, 1.0, small) / (1.0 + small))


def isotonic(margins: Floats64, label: Floats32, weight: Floats32) -> Calibration:
    """Isotonic regression of labels on margins (Zadrozny and Elkan 2002), by pooling adjacent violators (Ayer et al.
    1955), and a line from the centre of each pool to that of the next, so that different margins stay different.

    A pool without a label 1, or without a 0, counts as if it had one more entry of either.
    """
    distinct, at = np.unique(margins, return_inverse=True)
    total = np.bincount(at, weights=weight, minlength=len(distinct))
    hits = np.bincount(at, weights=weight * (label > 0.5), minlength=len(distinct))
    start = pooled(hits, total)
    sizes = np.add.reduceat(total, start)
    centres = np.add.reduceat(total * distinct, start) / sizes
    share = np.add.reduceat(hits, start) / sizes
    if share[0] == 0:
        after = share[1] if len(share) > 1 else 1.0
        share[0] = min(1.0 / (sizes[0] + 2), after / 2)
    if share[-1] == 1:
        before = share[-2] if len(share) > 1 else 0.0
        share[-1] = max(1.0 - 1.0 / (sizes[-1] + 2), (1.0 + before) / 2)
    log_odds = np.log(share) - np.log1p(-share)
    # Rounding may make two neighbours one; what is left rises strictly.
    rising = np.append(True, (np.diff(log_odds) > 0) & (np.diff(centres) > 0))
    return Calibration(frozen(centres[rising]), frozen(log_odds[rising]))


def pooled(hits: AnyArray, total: AnyArray) -> Ints64:
    """Where each pool of the isotonic regression of hits / total begins: int64 [pools]; both [N], total above 0.

    Neighbours whose shares do not rise are in one pool of the solution, so all runs of such are pooled at once, until
    there are none. Shares of different pools differ.
    """
    start = np.arange(len(total))
    # A pass a round of pooling: each leaves fewer pools, and there are few rounds but for contrived data.
    while True:
        before, size = np.add.reduceat(hits, start), np.add.reduceat(total, start)
        rises = before[1:] * size[:-1] > before[:-1] * size[1:]
        if rises.all():
            return start
        start = start[np.append(True, rises)]


def platt(margins: Floats64, label: Floats32, weight: Floats32) -> Calibration:
    """Platt's scaling (1999): log-odds a m + b that lose least, with his targets (n1 + 1) / (n1 + 2) for label 1 and
    1 / (n0 + 2) for label 0, n1 and n0 being how many there are. By Newton's method, with steps halved until the loss
    falls (Lin, Lin, Weng 2007). The slope a is at least 0.001."""
    hit = label > 0.5
    weights = weight.astype(np.float64)
    ones, zeros = float(weights[hit].sum()), float(weights[~hit].sum())
    target = np.where(hit, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    mean = float(np.average(margins, weights=weights))
    deviation = float(np.sqrt(np.average((margins - mean) ** 2, weights=weights)))
    spread = deviation if deviation >= SAME else 1.0
    standard = (margins - mean) / spread
    slope, height = _line(standard, target, weights, np.array([spread, _log_odds(ones, zeros)]), fixed=False)
    if slope / spread < LEAST_SLOPE:
        given = np.array([LEAST_SLOPE * spread, height])
        slope, height = _line(standard, target, weights, given, fixed=True)
    return Calibration(frozen(np.array([mean])), frozen(np.array([height])), max(slope / spread, LEAST_SLOPE))


def _log_odds(ones: float, zeros: float) -> float:
    return float(np.log(ones + 1) - np.log(zeros + 1))


def _line(x: Floats64, target: Floats64, weight: Floats64, line: Floats64, *, fixed: bool) -> tuple[float, float]:
    """Slope and height of the log-odds that lose least, from those in `line`; a slope that is `fixed` stays."""
    loss = _loss(x, target, weight, line)
    # A step a model of the loss around the line before.
    for _ in range(MOST_STEPS):
        chance = probability_of(line[0] * x + line[1])
        off, bend = weight * (chance - target), weight * chance * (1 - chance)
        first = np.array([0.0 if fixed else off @ x, off.sum()])
        across = 0.0 if fixed else float(bend @ x)
        second = np.array([[1.0 if fixed else bend @ (x * x), across], [across, bend.sum()]])
        step = np.linalg.lstsq(second, first)[0]
        share, lower = 1.0, _loss(x, target, weight, line - step)
        while lower > loss and share > GAIN:  # halved until the loss falls
            share /= 2
            lower = _loss(x, target, weight, line - share * step)
        if loss - lower <= GAIN * loss:
            break
        line, loss = line - share * step, lower
    return float(line[0]), float(line[1])


def _loss(x: Floats64, target: Floats64, weight: Floats64, line: Floats64) -> float:
    height = line[0] * x + line[1]
    return float(weight @ (np.logaddexp(0.0, height) - target * height))
