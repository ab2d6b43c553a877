"""One evaluation under way: lists are served, measured and put into reports, over one set of users and resamples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np

from nbarec.arrays import Bools, Floats64, frozen
from nbarec.batch import Slate
from nbarec.errors import ContractError
from nbarec.figures import Figure, Report
from nbarec.measuring import Measured, Measuring
from nbarec.one_pass import Lists
from nbarec.reports import WHOLE_PIPELINE
from nbarec.segment_reports import SegmentReport, SegmentTable
from nbarec.segmentation import Segment
from nbarec.sparse import Csr
from nbarec.stage_losses import StageLosses
from nbarec.statistics import mean_intervals

Serve = Callable[[np.ndarray, int], Lists]
"""`serve(users, k)`: every list of k places for users at positions int64 [B]."""

ServeSlates = Callable[[np.ndarray, int], tuple[Slate, float]]
"""`serve(users, k)`: slates of k places for users at positions int64 [B], and how many seconds they took."""

WHOLE = ""
"""What the whole pipeline's list is called beside the stages', whose ids are never empty."""


class Variant(NamedTuple):
    """Further slates that are measured: their name, how they are served, and how many `places` they have where they
    are used."""

    name: str
    serve: ServeSlates
    places: int


@dataclass(frozen=True)
class EvaluationRun:
    """What all lists share: the evaluated `users` int64 [U], by what they are measured, and the segments by kind."""

    users: np.ndarray
    measuring: Measuring
    segments: Mapping[str, tuple[Segment, ...]]

    @classmethod
    def of(cls, users: np.ndarray, measuring: Measuring, segments: Mapping[str, tuple[Segment, ...]]) -> EvaluationRun:
        """The run; lists are also measured against what is relevant of each segment of items."""
        truth = measuring.truth
        apart = {one: _only(truth, one.items) for found in segments.values() for one in found if one.items is not None}
        return cls(users, replace(measuring, apart=apart), segments)

    def whole(self, serve: Serve, places: int) -> tuple[dict[str, Measured], StageLosses | None]:
        """The whole pipeline and each stage's own list, measured, and where items were left in the slates."""
        measured: dict[str, Measured] = {}
        losses = None
        for width, wanted in self._widths(places).items():  # a step a length of lists, one as a rule
            lists = serve(self.users, width)
            slates: dict[str, Slate] = {WHOLE: lists.slate, **lists.stages}
            for name, found in self._measured(slates, width, wanted, lists.seconds).items():
                measured[name] = measured[name].plus(found) if name in measured else found
            losses = losses or (None if lists.fates is None else lists.fates.losses(width))
        return measured, losses

    def variant(self, variant: Variant) -> Measured:
        """One variant's slates, measured."""
        parts = []
        for width, wanted in self._widths(variant.places).items():  # a step a length of lists, one as a rule
            slate, seconds = variant.serve(self.users, width)
            parts.append(self._measured({variant.name: slate}, width, wanted, seconds)[variant.name])
        return reduce(Measured.plus, parts)

    def reports(self, lists: Sequence[Measured]) -> list[Report]:
        """One report a list; the means' intervals of all lists come from one pass over the resamples."""
        intervals = self._intervals([one.values for one in lists])
        everybody = np.ones(len(self.users), bool)
        labels = self._labels(means=False)
        return [report(one, bounds, labels, everybody) for one, bounds in zip(lists, intervals, strict=True)]

    def tables(self, lists: Mapping[str, Measured]) -> Iterator[SegmentTable]:
        """One table a kind of segment, of the metrics that are means."""
        labels = self._labels(means=True)
        for by, segments in self.segments.items():  # a step a kind of segment: its columns are resampled together
            found = [[one.of_segment(segment) for one in lists.values()] for segment in segments]
            intervals = iter(self._intervals([one.values for row in found for one in row]))
            told = []
            for segment, row in zip(segments, found, strict=True):
                members = self._members(segment)
                slate, *stages = (report(one, next(intervals), labels, members) for one in row)
                named = dict(zip(list(lists)[1:], stages, strict=True))
                told.append(SegmentReport(segment.name, segment.told, members, slate, named))
            yield SegmentTable(by, tuple(told))

    def _members(self, segment: Segment) -> Bools:
        """Which users a segment is about: bool [U]."""
        if segment.users is not None:
            return segment.users
        return np.asarray(self.measuring.apart[segment].counts > 0)

    def _widths(self, places: int) -> dict[int, list[int]]:
        """With how many places lists are served for which of the metrics: as they are used, and wider only for a metric
        that looks further, because boosts, diversity and backfill depend on how long a slate is."""
        wanted: dict[int, list[int]] = {}
        for at, metric in enumerate(self.measuring.metrics):
            wanted.setdefault(max(metric.k, places), []).append(at)
        return dict(sorted(wanted.items()))

    def _labels(self, *, means: bool) -> dict[int, str]:
        """The metrics, or those that are means, by position."""
        metrics = enumerate(self.measuring.metrics)
        return {at: metric.label for at, metric in metrics if metric.is_mean or not means}

    def _measured(
        self, slates: Mapping[str, Slate], width: int, wanted: Sequence[int], seconds: float
    ) -> dict[str, Measured]:
        for name, slate in slates.items():
            users, places = slate.item.shape
            if users != len(self.users) or places < width:
                asked = f"{len(self.users)} users and at least {width} places"
                who = name or WHOLE_PIPELINE
                raise ContractError(f"{who}: slates have {users} users and {places} places; {asked} were asked for")
        return {name: replace(one, seconds=seconds) for name, one in self.measuring.of(slates, wanted).items()}

    def _intervals(self, values: Sequence[Floats64]) -> Floats64:
        """The intervals of the means of some lists' values, each float64 [users, metrics]: [lists, metrics, 2]."""
        together = np.concatenate(values, axis=1)
        return mean_intervals(together, self.measuring.resamples).reshape(len(values), -1, 2)


def report(measured: Measured, intervals: Floats64, labels: Mapping[int, str], members: Bools) -> Report:
    """The report of one list, by the metrics of `labels` (position -> label); `intervals` float64 [metrics, 2] are
    those of means, `members` bool [users] the users it is about."""
    figures, values = {}, {}
    about = int(np.count_nonzero(members))
    for at, label in labels.items():
        low, high = measured.intervals.get(at, intervals[at].tolist())
        values[label] = frozen(measured.values[:, at].copy())
        defined = int(np.count_nonzero(~np.isnan(measured.values[:, at])))
        figures[label] = Figure(float(measured.figures[at]), (low, high), defined, about - defined)
    return Report(figures, values, measured.seconds)


def _only(truth: Csr, items: Bools) -> Csr:
    """What is relevant of these items, bool [items]."""
    kept = items.take(truth.indices)
    return Csr.from_pairs(truth.row_of[kept], truth.indices[kept], None, truth.shape)
