"""Segments of an evaluation: which users, or which held-out items, are measured apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evaluation_config import SegmentsBy
from nbarec.tables import CategoryColumn, DateColumn, NumberColumn, TagsColumn

OTHERS, UNKNOWN = "others", "unknown"
BY_HISTORY = ("new", "regular", "heavy")
ALMOST = 1e-12
"""Shares that differ by less are the same: sums of shares round."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Some of the evaluated users, bool [users], or (`users` is None) some of the `items` that were to be found, bool
    [items]; `told` says in words which."""

    name: str
    told: str
    users: Bools | None = None
    items: Bools | None = None


def segments_of(asked: SegmentsBy, data: Dataset, users: Ints64, known: Ints64 | None = None) -> tuple[Segment, ...]:
    """The segments of the users at positions int64 [U] in `data`, which holds what the pipeline was fitted on, or of
    its items; `known` int64 [U] is how many events are known of each, those of the data if left out.

    Raises ConfigError where the data lack the column, or it holds dates.
    """
    if asked.by == "popularity":
        return tuple(_by_popularity(data.item_counts, asked.head))
    if asked.by == "history":
        sizes = (data.events.counts[users] if known is None else known).astype(np.float64)
        return tuple(_by_number(sizes, asked.at, " events", BY_HISTORY))
    column = column_of(asked, data).take(users)
    match column:
        case NumberColumn(values):
            return tuple(_by_number(values, asked.at, "", ()))
        case CategoryColumn(codes, levels):
            known = np.flatnonzero(codes >= 0)
            return tuple(_by_level(known, codes[known], levels.texts(range(len(levels))), len(users), asked.largest))
        case TagsColumn(matrix, levels):
            names = levels.texts(range(len(levels)))
            return tuple(_by_level(matrix.row_of, matrix.indices, names, len(users), asked.largest))


def column_of(asked: SegmentsBy, data: Dataset) -> NumberColumn | CategoryColumn | TagsColumn:
    """The column of users that segments go by. Raises ConfigError where the data lack it, or it holds dates."""
    name = asked.by.partition(".")[2]
    if name not in data.audience.columns:
        there = ", ".join(f"user.{column}" for column in data.audience.columns) or "no column"
        raise ConfigError(f"evaluate.segments: the users have no column {name!r}; there is {there}")
    column = data.audience.columns[name]
    if isinstance(column, DateColumn):
        raise ConfigError(f"evaluate.segments: {asked.by} holds dates; name a column of texts or numbers")
    return column


def _by_popularity(counts: Ints64, head: float) -> Iterator[Segment]:
    """Items by their training events: the most popular that make this share of all events, and the others."""
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    in_head = np.zeros(len(counts), bool)
    in_head[order] = (before < (head - ALMOST) * counts.sum()) & (counts[order] > 0)
    told = f"{np.count_nonzero(in_head):,} items, {head:g} of all events"
    yield Segment("head", told, items=in_head)
    yield Segment("tail", f"{np.count_nonzero(~in_head):,} items", items=~in_head)


def _by_number(values: Floats64, at: tuple[float, ...], unit: str, names: Sequence[str]) -> Iterator[Segment]:
    """Users by where a number lies among thresholds: those that are given, or its terciles."""
    known = ~np.isnan(values)
    bounds = np.array(at) if at else _thirds(values[known])
    place = np.searchsorted(bounds, values, side="right")
    for here in range(len(bounds) + 1):  # a step a segment
        told = _range(bounds, here) + unit
        name, told = (names[here], told) if len(bounds) + 1 == len(names) else (told, "")
        yield Segment(name, told, users=known & (place == here))
    if not known.all():
        yield Segment(UNKNOWN, "", users=~known)


def _thirds(values: Floats64) -> Floats64:
    """Where the second and the last third of the values begin, float64 of at most two: above a tercile, because equal
    values stay together."""
    if not len(values):
        return np.empty(0)
    distinct = np.unique(values)
    next_up = np.searchsorted(distinct, np.quantile(values, [1 / 3, 2 / 3], method="inverted_cdf"), side="right")
    return distinct[np.unique(next_up[next_up < len(distinct)])]


def _range(bounds: Floats64, here: int) -> str:
    if not len(bounds):
        return "any"
    if not here:
        return f"below {bounds[0]:g}"
    if here == len(bounds):
        return f"{bounds[-1]:g} or more"
    return f"{bounds[here - 1]:g} to below {bounds[here]:g}"


def _by_level(row: np.ndarray, level: np.ndarray, names: Sequence[str], users: int, largest: int) -> Iterator[Segment]:
    """Users by the levels they have: the largest levels, the others together, and those without one."""
    sizes = np.bincount(level, minlength=len(names))
    shown = np.argsort(-sizes, kind="stable")[:largest]
    others = np.zeros(users, bool)
    rest = ~np.isin(level, shown)
    others[row[rest]] = True
    for one in shown[sizes[shown] > 0].tolist():  # a step a level that has a line of its own
        members = np.zeros(users, bool)
        members[row[level == one]] = True
        yield Segment(names[one], "", users=members)
    if others.any():
        yield Segment(OTHERS, f"{len(np.unique(level[rest])):,} levels", users=others)
    unknown = np.ones(users, bool)
    unknown[row] = False
    if unknown.any():
        yield Segment(UNKNOWN, "", users=unknown)
