"""Does a learned ranker find what the hour and the device do? Its lifts, against those that the music world hides.

    python benchmarks/context_effects.py [--users 8000] [--seed 5] [--examples 100000] [--json FILE]

In the music world a listener meets a song with probability proportional to exp(taste + popularity + lift of the hour
and the device), and skips what he meets less often the more he likes it there: the log-odds of not skipping are half
the sum of taste and lift, and a constant. Two rankers (`logistic`, event by event) learn from its events alone:

* `met`: which of the songs that were proposed is met next. Among any set of songs that was not made by the context, the
  log-odds of the one that is met against another are the difference of their sums (Luce 1959), so what the model says
  of a cell is the lift itself, but for what all songs share at that hour and what a genre has at all hours.
* `heard`: whether a song that is met is heard, from logged impressions (`shown`): every play and every skip. Here a
  lift counts half.

Lifts are told by cell: genre by hour, and tenth of the songs' energies by device. Of both sides the best constant of
each row and of each column is taken away, weighted by the entries of each cell, as neither can be told from what is not
context. The first table says how well the cells agree: their correlation, and the slope of the learnt on the true
lift, 1 where all of it is found. What a model does not know of a taste draws its coefficients towards 0 (Gail, Wieand
and Piantadosi 1984), so less than 1 is to be expected. The second table has the lifts themselves, in log-odds: by how
many hours a genre's best hour is away, and by device for songs of high energy (above 0.7) against those of low (below
0.4). The third is the expected calibration error on users who were kept apart; the command exits with 1 where one is
not below 0.02. With few users that error is mostly noise: a bin of n entries is off by about 0.4 / sqrt(n) where
nothing is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.tables import digits, markdown, verdict
from nbarec import Pipeline
from nbarec_plugins.feature_frames import Layout
from nbarec_plugins.logistic import LogisticModel, LogisticState
from nbarec_plugins.logistic_slots import CROSS, Axis
from nbarec_plugins.music_domain import DEVICES, GENRES
from nbarec_plugins.music_truth import ENERGY_CENTRE, device_lift, hour_lift

Floats = npt.NDArray[np.float64]

LARGEST_ERROR = 0.02
"""Expected calibration error that is asked for."""

ENGAGEMENT_SLOPE = 0.5
"""What a unit of taste or lift adds to the log-odds that a song which is met is not skipped."""

HIGH, LOW = 0.7, 0.4
"""Energies."""

HOURS, ENERGIES = f"item.genre{CROSS}context.hour", f"item.energy{CROSS}context.device"

CONFIG = """
nbarec: 1
seed: 42
data:
  use: music_world
  users: {users}
  songs: 300
  seed: {seed}
  feedback: {{weights: {{play: 1, skip: 0.3, like: 0, playlist_add: 0}}, combine: {{by: sum, max: 10}}}}
candidates:
  - {{id: similar, use: item_cf, k: 100}}
  - {{id: latent, use: als, k: 100, with: {{factors: 16}}}}
  - {{id: popular, use: popularity, k: 150}}
rank:
  - id: learnt
    use: logistic
    with:
      held_out: {{by: event, split: last_fraction, fraction: 0.3, users: {examples}, {label}}}
      features: ["*", item.genre, item.energy, context.device, user.age]
      crosses: [[item.genre, context.hour], [item.energy, context.device]]
      negatives: {negatives}
slate: {{k: 10}}
"""

LABELS = {
    "met": ("relevant: \"kind in ['play', 'skip']\"", 0.03, 1.0),
    "heard": ("shown: \"kind in ['play', 'skip']\", relevant: kind == 'play'", 1.0, ENGAGEMENT_SLOPE),
}
"""Of each ranker the label, the share of negatives that it learns from, and what a unit of lift is worth to it."""


@dataclass(frozen=True)
class Effect:
    """How well the learnt lifts of one kind of context agree with the true ones, over `cells` of them."""

    ranker: str
    lift: str
    cells: int
    correlation: float
    slope: float


@dataclass(frozen=True)
class Lift:
    """The lift of one kind of context, learnt and true, in log-odds."""

    context: str
    learnt: float
    true: float


@dataclass(frozen=True)
class Found:
    """What one ranker found."""

    effects: tuple[Effect, ...]
    lifts: tuple[Lift, ...]
    requests: int
    engagements: int
    error: float
    auc: float


def found(ranker: str, users: int, seed: int, examples: int) -> Found:
    """Fit one ranker on a world of its own, and compare."""
    label, negatives, unit = LABELS[ranker]
    text = CONFIG.format(users=users, seed=seed, examples=examples, label=label, negatives=negatives)
    state: LogisticState = Pipeline.from_text(text).fit().fitted["learnt"].state
    if state.model is None or state.report is None:
        sys.exit(f"{ranker}: nothing was learnt; ask for more --users")
    cells = lifts(state.model, state.layout)
    effects = tuple(effect(ranker, name, *cells[name], unit) for name in (HOURS, ENERGIES))
    shown = (*by_distance(state, cells[HOURS], unit), *by_device(state, cells[ENERGIES], unit))
    return Found(effects, shown, state.requests, state.positives, state.report.after.ece, state.report.after.auc)


def lifts(model: LogisticModel, layout: Layout) -> Mapping[str, tuple[Floats, Floats, Floats]]:
    """Learnt lift, true lift and share of the entries of each cell, float64 [rows, columns], by the name of a cross."""
    told = {}
    for slot, levels, share in zip(model.slots, model.levels, model.share, strict=True):
        if slot.name in (HOURS, ENERGIES):
            shape = [axis.size for axis in slot.axes]
            known = (slice(1, None), slice(1, None))  # level 0 is what is not known
            learnt, entries = np.reshape(levels, shape)[known], np.reshape(share, shape)[known]
            told[slot.name] = (learnt, true_lift(slot.name, slot.axes, layout), entries)
    return told


def true_lift(name: str, axes: tuple[Axis, ...], layout: Layout) -> Floats:
    """What the world adds in each cell, float64 [rows, columns]; of a span of energies at its middle."""
    first, second = axes
    if name == HOURS:
        genres = [genre.name for genre in GENRES]
        rows = [genres.index(level) for level in layout.levels[first.at]]
        return np.asarray(hour_lift()[second.starts.astype(int)][:, rows].T)
    devices = [DEVICES.index(level) for level in layout.levels[second.at]]
    return np.asarray((middles(first) - ENERGY_CENTRE)[:, np.newaxis] * device_lift()[devices])


def effect(ranker: str, name: str, learnt: Floats, true: Floats, share: Floats, unit: float) -> Effect:
    """Correlation and slope over the cells, beyond their rows and columns."""
    ours, theirs = beyond(learnt, share), beyond(unit * true, share)
    covariance, of_ours, of_theirs = ((share * one).sum() for one in (ours * theirs, ours**2, theirs**2))
    return Effect(ranker, name, share.size, covariance / np.sqrt(of_ours * of_theirs), covariance / of_theirs)


def by_distance(state: LogisticState, cells: tuple[Floats, Floats, Floats], unit: float) -> Iterator[Lift]:
    """The mean lift of the genres whose best hour is so many hours away."""
    learnt, true, share = cells
    peak = {genre.name: genre.peak_hour for genre in GENRES}
    first, second = axes(state, HOURS)
    best = np.array([peak[level] for level in state.layout.levels[first.at]])[:, np.newaxis]
    apart = np.abs(second.starts.astype(np.float64) - best) % 24
    apart = np.minimum(apart, 24 - apart)
    ours, theirs = beyond(learnt, share), beyond(unit * true, share)
    for low, high in ((0, 1), (2, 4), (5, 7), (8, 10), (11, 12)):
        weight = share * ((low <= apart) & (apart < high + 1))
        means = [float((weight * one).sum() / weight.sum()) for one in (ours, theirs)]
        yield Lift(f"{low} to {high} hours from a genre's best", *means)


def by_device(state: LogisticState, cells: tuple[Floats, Floats, Floats], unit: float) -> Iterator[Lift]:
    """By how much a device lifts songs of high energy more than those of low energy."""
    learnt, true, share = cells
    first, second = axes(state, ENERGIES)
    ours, theirs = beyond(learnt, share), beyond(unit * true, share)
    middle = middles(first)
    for at, device in enumerate(state.layout.levels[second.at]):
        high, low = share[:, at] * (middle > HIGH), share[:, at] * (middle < LOW)
        gaps = [float(high @ one[:, at] / high.sum() - low @ one[:, at] / low.sum()) for one in (ours, theirs)]
        yield Lift(f"{device}: high energy against low", *gaps)


def axes(state: LogisticState, name: str) -> tuple[Axis, Axis]:
    """The two columns of a cross."""
    model: Any = state.model
    first, second = next(slot.axes for slot in model.slots if slot.name == name)
    return first, second


def middles(energy: Axis) -> Floats:
    """The middle of each span of energies: float64 [spans]."""
    starts = energy.starts.astype(np.float64)
    return np.asarray((starts + np.append(starts[1:], 1.0)) / 2)


def beyond(values: Floats, share: Floats) -> Floats:
    """What is left of a table when the best constants of its rows and columns are taken away: weighted least squares.

    A row or a column without an entry is left as it is: its cells weigh nothing.
    """
    row, column = np.indices(values.shape)
    design = np.hstack([np.eye(values.shape[0])[row.ravel()], np.eye(values.shape[1])[column.ravel()]])
    root = np.sqrt(share.ravel())[:, np.newaxis]
    constants = np.linalg.lstsq(design * root, values.ravel() * root[:, 0], rcond=None)[0]
    return np.asarray(values - (design @ constants).reshape(values.shape))


def tables(measured: Mapping[str, Found]) -> str:
    """Three Markdown tables: how well lifts agree, the lifts, and the probabilities."""
    effects = [
        [one.ranker, one.lift, str(one.cells), digits(one.correlation), digits(one.slope)]
        for each in measured.values()
        for one in each.effects
    ]
    shown = [
        [ranker, one.context, f"{one.learnt:+.2f}", f"{one.true:+.2f}"]
        for ranker, each in measured.items()
        for one in each.lifts
    ]
    errors = [
        [ranker, f"{each.requests:,}", digits(each.auc), f"{each.error:.4f}", verdict(each.error < LARGEST_ERROR)]
        for ranker, each in measured.items()
    ]
    lifted = markdown(["ranker", "lift", "cells", "correlation", "slope"], effects)
    told = markdown(["ranker", "context", "learnt", "true"], shown)
    held = markdown(["ranker", "requests", "AUC", "calibration error", f"below {LARGEST_ERROR}"], errors)
    return "\n\n".join([lifted, told, held])


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=8000, help="listeners of the world")
    parser.add_argument("--seed", type=int, default=5, help="which world")
    parser.add_argument("--examples", type=int, default=100_000, help="events to learn from at most")
    parser.add_argument("--only", choices=LABELS, help="one of the rankers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    return parser.parse_args()


def main() -> None:
    """Learn, compare, print."""
    asked: Any = arguments()
    names = [asked.only] if asked.only else list(LABELS)
    measured = {name: found(name, asked.users, asked.seed, asked.examples) for name in names}
    print(tables(measured))
    if asked.json:
        asked.json.write_text(json.dumps({name: asdict(one) for name, one in measured.items()}, indent=1), "utf-8")
    sys.exit(any(each.error >= LARGEST_ERROR for each in measured.values()))


if __name__ == "__main__":
    main()
