"""Popularity: what most people take, overall or in a segment, lately or ever. It serves anybody."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.kernels import NOT_PROPOSED, from_lists, reach, top_of_dense
from nbarec.params import Duration
from nbarec_plugins.segments import ItemSegments, Segments, levels_in_words
from nbarec_plugins.spans import in_words
from nbarec_plugins.sparse_rows import sums_at


@dataclass(frozen=True)
class PopularityState:
    """`overall` float64 [items]: each item's share of all that counts. `segments` is what `by` adds, if anything."""

    overall: Floats64
    segments: Segments | ItemSegments | None

    @cached_property
    def ranked(self) -> Candidates:
        """The whole overall list, best first, as a list for one row."""
        return _ranked(np.array(self.overall)[None, :], self.overall, len(self.overall))


@dataclass(frozen=True)
class Popularity(CandidateGenerator[PopularityState]):
    """Scores each item by its share of what users did, whatever the history.

    What counts is the weight of each event of positive weight (`count: weight`), or each user of an item once, at the
    latest event (`count: users`); only within `window` before the data's clock; halved with every `half_life` of age.
    An item that nothing counts for is not proposed; nor is any, where nothing counts at all.

    With `by: user.X` or `by: context.X` a request gets the popularity in its own segment, smoothed by the overall one:
    (count in segment + prior * overall share) / (segment's total + prior), the posterior mean under a Dirichlet prior
    (MacKay, Peto 1995; Zhai, Lafferty 2004). So a small segment leans on the overall list, and a list that the segment
    can't fill goes on with it. A request of unknown segment, or of one with fewer than `min_events`, gets the overall
    shares. Numbers (`context.hour`) are segments by their whole part.

    With `by: item.X` items compete within their own level of X, and the levels by the user's own history (calibration:
    Steck 2018): the sum over the item's levels of share(level) * share of the item within the level, with share(level)
    = (weight of the level in the history + prior * overall share) / (weight of the history + prior). An empty history
    gives the overall shares again.

    >>> data = Dataset.from_arrays(["ann", "bob", "bob"], ["tea", "tea", "milk"])
    >>> Popularity().fit(data, np.random.default_rng(0)).overall.round(2).tolist()
    [0.33, 0.67]
    """

    name: ClassVar[str] = "popularity"
    window: Duration | None = param(None, gt=0, doc="How far back events count, such as 7d; all if left out.")
    half_life: Duration | None = param(None, gt=0, doc="The age at which an event counts half; never if left out.")
    by: str | None = param(None, doc="The segment: user.X, context.X or item.X; overall if left out.")
    count: Literal["weight", "users"] = param("weight", doc="Add up the events' weights, or count each user once.")
    min_events: int = param(20, ge=0, doc="A user or context segment with fewer events gets the overall list.")
    prior: float = param(20.0, gt=0, doc="How much weight the overall shares have against a segment's own.")

    def __post_init__(self) -> None:
        super().__post_init__()
        prefix, _, rest = (self.by or "user.any").partition(".")
        if prefix not in ("user", "context", "item") or not rest:
            raise ValueError(
                f"by must name a segment such as user.country, context.device or item.genre, not {self.by!r}"
            )

    def fit(self, data: Dataset, rng: np.random.Generator) -> PopularityState:
        """Count; deterministic. Raises ConfigError where times or the segment's column are missing."""
        return self._counted(data)

    def update(self, state: PopularityState, data: Dataset, new: Dataset) -> PopularityState:
        """Equal to a refit: counting anew is cheap, and ages change with the clock."""
        return self._counted(data)

    def generate(self, state: PopularityState, request: Request, limit: int) -> Candidates:
        """The most popular items for each row, best first."""
        longest = reach(request.excluded, limit)
        if state.segments is None:
            rows = np.zeros(len(request), np.int64)
            return from_lists(_first(state.ranked, longest), rows, request.excluded, limit)
        scores, rows = self._scores(state, request)
        return from_lists(_ranked(scores, state.overall, longest), rows, request.excluded, limit)

    def evidence(self, state: PopularityState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """The whole score as one part: popular where and when. What nothing counts for has a score of 0."""
        rows, at = np.unique(row, return_inverse=True)
        asked = request.take(rows)
        scores, place = self._scores(state, asked)
        where = self._where(state, asked, at, item)
        lately = "" if self.half_life is None else "lately"
        when = lately if self.window is None else f"in the last {in_words(self.window)}"
        labels = [f"{one} {when}".strip() or "overall" for one in where]
        return Evidence.whole(labels, scores[place[at], item], "it is popular {}")

    def _where(self, state: PopularityState, request: Request, row: Ints64, item: Ints32) -> list[str]:
        """Among whom or what the item of each pair is popular, in words; empty for everybody."""
        if isinstance(state.segments, Segments):
            told = state.segments.in_words(request)
            return [told[at] for at in row.tolist()]
        if self.by is not None:
            return levels_in_words(request.catalog, self.by, item)
        return [""] * len(item)

    def _scores(self, state: PopularityState, request: Request) -> tuple[Floats64, Ints64]:
        """Lists of scores, float64 [L, items], and which of them each row gets: int64 [B]."""
        if state.segments is not None:
            return state.segments.scores(state.overall, request)
        return np.array(state.overall)[None, :], np.zeros(len(request), np.int64)

    def _counted(self, data: Dataset) -> PopularityState:
        at, amount = self._what_counts(data)
        n_items, events = data.events.n_items, data.events
        latest = self._once_a_user(data, at, np.zeros(len(at), np.int64))
        counted = sums_at(events.item[at[latest]], amount[latest], n_items)
        overall = frozen(counted / max(float(counted.sum()), np.finfo(float).tiny))
        if self.by is None:
            return PopularityState(overall, None)
        if self.by.startswith("item."):
            return PopularityState(overall, ItemSegments.of(data, self.by, counted, self.prior))
        levels, code = Segments.levels_of(data, self.by)
        inside = np.flatnonzero(code[at] >= 0)
        inside = inside[self._once_a_user(data, at[inside], code[at[inside]])]
        level, item = code[at[inside]], events.item[at[inside]]
        segments = Segments.of(self.by, levels, level, item, amount[inside], n_items, self.min_events, self.prior)
        return PopularityState(overall, segments)

    def _what_counts(self, data: Dataset) -> tuple[Ints64, Floats64]:
        """Positions of the events that count, and how much each does."""
        events = data.events
        if (self.window or self.half_life) and len(events) and not events.time.any():
            raise ConfigError(
                "popularity: window and half_life need the time of each event; name its column in "
                "data.events.columns.time, or leave them out"
            )
        age = data.as_of - events.time
        counts = events.weight > 0
        if self.window is not None:
            counts &= (age >= 0) & (age <= self.window)
        at = np.flatnonzero(counts)
        amount = events.weight[at].astype(np.float64) if self.count == "weight" else np.ones(len(at))
        if self.half_life is not None:
            amount *= 0.5 ** (np.maximum(age[at], 0) / self.half_life)
        return at, amount

    def _once_a_user(self, data: Dataset, at: Ints64, level: Ints64) -> Ints64:
        """Which of the events `at` count: all, or the latest of each level, user and item (`count: users`)."""
        if self.count == "weight":
            return np.arange(len(at))
        key = (level * data.events.rows + data.events.row[at]) * data.events.n_items + data.events.item[at]
        order = np.argsort(key, kind="stable")
        ends = np.append(key[order][1:] != key[order][:-1], np.ones(min(len(key), 1), bool))
        return np.sort(order[ends])


def _ranked(scores: Floats64, overall: Floats64, limit: int) -> Candidates:
    """The `limit` best of each row of scores, float64 [L, items], but nothing that nothing counts for; changes
    `scores`."""
    scores[:, overall <= 0] = NOT_PROPOSED
    return top_of_dense(scores, limit)


def _first(only: Candidates, limit: int) -> Candidates:
    """The first `limit` entries of the only list there is."""
    shown = min(limit, len(only))
    return Candidates(frozen(np.array([0, shown])), only.item[:shown], only.score[:shown])


@hookimpl
def nbarec_candidate_generators() -> list[type[Popularity]]:
    """The generators of this module."""
    return [Popularity]
