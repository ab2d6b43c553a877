"""Measuring lists: each user's value of every metric, the figure for all users, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

import numpy as np

from nbarec.arrays import Floats64
from nbarec.batch import Slate
from nbarec.components import ExposureMetric, Metric
from nbarec.data import Dataset
from nbarec.errors import ContractError
from nbarec.exposures import drawn_exposures
from nbarec.segmentation import Segment
from nbarec.sparse import Csr
from nbarec.statistics import Interval, Resamples, standard_interval

Gather = Callable[[np.ndarray], tuple[Any, ...]]

DRAWS_OF_FIGURES = 200
"""Resamples for the standard error of a figure that is no mean (Efron and Tibshirani 1986 ask for 50 to 200)."""


@dataclass(frozen=True)
class MetricAt:
    """A metric of the first `k` places."""

    metric: Metric
    k: int

    @property
    def label(self) -> str:
        """`name@k`, as configs and reports write it."""
        return f"{self.metric.name}@{self.k}"

    @property
    def is_mean(self) -> bool:
        """Whether the figure for all users is the mean of theirs, and not one of all slates together."""
        return type(self.metric).aggregate is Metric.aggregate


@dataclass(frozen=True)
class Measured:
    """One list: `values` of each user float64 [users, metrics], NaN undefined, the figure of each metric, float64
    [metrics], the intervals of those figures that are no means, by the metric's position, `apart` the values against
    what is relevant of a segment of items alone, NaN for users without any and for metrics that are no means, and how
    many `seconds` the list took."""

    values: Floats64
    figures: Floats64
    intervals: Mapping[int, Interval]
    apart: Mapping[Segment, Floats64]
    seconds: float = 0.0

    def plus(self, other: Measured) -> Measured:
        """The same list by other metrics too: what is NaN here is taken from there."""
        return Measured(
            _either(self.values, other.values),
            _either(self.figures, other.figures),
            {**self.intervals, **other.intervals},
            {segment: _either(values, other.apart[segment]) for segment, values in self.apart.items()},
            self.seconds,
        )

    def of_segment(self, segment: Segment) -> Measured:
        """The same list for one segment alone."""
        users = segment.users
        values = self.apart[segment] if users is None else np.where(users[:, None], self.values, np.nan)
        return replace(self, values=values, figures=means(values), intervals={}, apart={})


@dataclass(frozen=True)
class Measuring:
    """By what lists are measured. `truth` has a row a user, `apart` what of it is relevant of segments of items;
    metrics see `batch` users at a time."""

    metrics: tuple[MetricAt, ...]
    truth: Csr
    data: Dataset
    resamples: Resamples
    batch: int
    apart: Mapping[Segment, Csr] = field(default_factory=dict)

    def of(self, slates: Mapping[str, Slate], wanted: Sequence[int]) -> dict[str, Measured]:
        """Every list by the metrics at the wanted positions; a list that is the same as another is measured once.

        Raises ContractError naming a metric whose values have the wrong shape.
        """
        distinct, which = _distinct(list(slates.values()))
        values = [self.values(slate, self.truth, wanted) for slate in distinct]
        figures = [self._figures(slate, value, wanted) for slate, value in zip(distinct, values, strict=True)]
        intervals = self._intervals(distinct, values, figures, wanted)
        apart = [self._apart(slate, wanted) for slate in distinct]
        measured = [Measured(*found) for found in zip(values, figures, intervals, apart, strict=True)]
        return {name: measured[at] for name, at in zip(slates, which, strict=True)}

    def _apart(self, slate: Slate, wanted: Sequence[int]) -> dict[Segment, Floats64]:
        mean = [at for at in wanted if self.metrics[at].is_mean]
        found = {}
        for segment, truth in self.apart.items():  # a step a segment of items
            values = self.values(slate, truth, mean)
            values[truth.counts == 0] = np.nan
            found[segment] = values
        return found

    def values(self, slate: Slate, truth: Csr, wanted: Sequence[int]) -> Floats64:
        """Each user's value of the wanted metrics against this truth: float64 [users, metrics], NaN for the others."""
        values = np.full((len(slate), len(self.metrics)), np.nan)
        take, names = _taker(slate), _gatherer(slate.users)
        for start in range(0, len(slate), self.batch):  # a step a batch of users, which bounds the memory
            rows = np.arange(start, min(start + self.batch, len(slate)))
            part, theirs = take(rows, names(rows)), truth.take_rows(rows)
            for at in wanted:
                metric = self.metrics[at]
                found = metric.metric.per_user(first_places(part, metric.k), theirs, self.data)
                values[rows, at] = _checked(found, metric, len(rows))
        return values

    def _figures(self, slate: Slate, values: Floats64, wanted: Sequence[int]) -> Floats64:
        figures = np.full(len(self.metrics), np.nan)
        for at in wanted:
            metric = self.metrics[at]
            figures[at] = metric.metric.aggregate(values[:, at], first_places(slate, metric.k), self.data)
        return figures

    def _intervals(
        self, slates: Sequence[Slate], values: Sequence[Floats64], figures: Sequence[Floats64], wanted: Sequence[int]
    ) -> list[dict[int, Interval]]:
        """Of each list the intervals of the figures that are no means: all lists see the same resamples."""
        rest = [at for at in wanted if not self.metrics[at].is_mean]
        exposed = [at for at in rest if isinstance(self.metrics[at].metric, ExposureMetric)]
        others = [at for at in rest if at not in exposed]
        drawn = [self._by_exposure(slate, exposed) for slate in slates]
        for one, found in zip(drawn, self._by_aggregate(slates, values, others), strict=True):
            one.update(found)
        return [
            {at: self._interval(found, figure[at], at) for at, found in one.items()}
            for one, figure in zip(drawn, figures, strict=True)
        ]

    def _interval(self, drawn: Sequence[float], figure: float, at: int) -> Interval:
        if self.resamples.users < 2:  # a single user tells nothing of the spread
            return math.nan, math.nan
        return standard_interval(float(figure), np.array(drawn), bounds=self.metrics[at].metric.bounds)

    def _by_exposure(self, slate: Slate, wanted: Sequence[int]) -> dict[int, list[float]]:
        """One list's figures in each resample, by the metric's position, of metrics that go by exposure."""
        found: dict[int, list[float]] = {at: [] for at in wanted}
        for k in sorted({self.metrics[at].k for at in wanted}):  # a step a length of slates
            here = [(at, self.metrics[at].metric) for at in wanted if self.metrics[at].k == k]
            item = first_places(slate, k).item
            for shown in drawn_exposures(item, len(self.data.items), self.resamples, DRAWS_OF_FIGURES):
                for at, metric in here:
                    found[at].append(cast(ExposureMetric, metric).of_exposure(shown, self.data))
        return found

    def _by_aggregate(
        self, slates: Sequence[Slate], values: Sequence[Floats64], wanted: Sequence[int]
    ) -> list[dict[int, list[float]]]:
        """Every list's figures in each resample, by the metric's position, of any metrics."""
        found: list[dict[int, list[float]]] = [{at: [] for at in wanted} for _ in slates]
        takers = [_taker(slate) for slate in slates]
        names = _gatherer(slates[0].users)  # the users are the same in all lists
        for rows in islice(self.resamples.each() if wanted else (), DRAWS_OF_FIGURES):  # a step a resample
            users = names(rows)
            for one, take, value in zip(found, takers, values, strict=True):
                part = take(rows, users)
                for at in wanted:
                    metric = self.metrics[at]
                    one[at].append(metric.metric.aggregate(value[rows, at], first_places(part, metric.k), self.data))
        return found


def means(values: Floats64) -> Floats64:
    """The mean of each column's defined values, float64 [users, metrics]: float64 [metrics], NaN where none is."""
    defined = ~np.isnan(values)
    count = np.count_nonzero(defined, axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def _either(first: Floats64, second: Floats64) -> Floats64:
    return np.where(np.isnan(first), second, first)


def first_places(slate: Slate, k: int) -> Slate:
    """The same slates cut to their first k places."""
    if slate.item.shape[1] == k:
        return slate
    return replace(slate, item=slate.item[:, :k], score=slate.score[:, :k])


def _gatherer(texts: Sequence[Any]) -> Gather:
    """A function that gives the texts at positions int64 [M]."""
    if all(text == "" for text in texts):
        return lambda rows: ("",) * len(rows)
    # As arrays of objects, texts are gathered ten times as fast as one by one: resamples ask for all, again and again.
    listed = np.array(texts, object)
    return lambda rows: tuple(listed.take(rows).tolist())


def _taker(slate: Slate) -> Callable[[np.ndarray, tuple[Any, ...]], Slate]:
    """A function that gives the slates of rows at positions int64 [M], of which one may stand several times, and whose
    users are given."""
    decisions, trace = _gatherer(slate.decision), slate.trace

    def take(rows: np.ndarray, users: tuple[Any, ...]) -> Slate:
        return replace(
            slate,
            item=slate.item.take(rows, axis=0),
            score=slate.score.take(rows, axis=0),
            decision=decisions(rows),
            users=users,
            trace=replace(
                trace,
                proposed=trace.proposed.take(rows, axis=0),
                known=trace.known.take(rows),
                events=trace.events.take(rows),
            ),
        )

    return take


def _distinct(slates: Sequence[Slate]) -> tuple[list[Slate], list[int]]:
    """The slates that differ in items or scores, and which of them each is."""
    distinct: list[Slate] = []
    which = []
    for slate in slates:  # a step a list
        same = next((at for at, one in enumerate(distinct) if _same(one, slate)), len(distinct))
        if same == len(distinct):
            distinct.append(slate)
        which.append(same)
    return distinct, which


def _same(one: Slate, other: Slate) -> bool:
    return np.array_equal(one.item, other.item) and np.array_equal(one.score, other.score, equal_nan=True)


def _checked(values: np.ndarray, metric: MetricAt, users: int) -> np.ndarray:
    found = np.asarray(values)
    if found.shape != (users,) or found.dtype.kind != "f" or np.isinf(found).any():
        raise ContractError(
            f"metric {metric.label} gave {found.dtype} {found.shape} for {users} users; per_user must give one finite "
            "number or NaN a user: float64 [users]"
        )
    return found
