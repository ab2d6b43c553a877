"""Cross-validation: the evaluations of several folds become one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, frozen, rank_in_row, row_pointers
from nbarec.data import Dataset
from nbarec.figures import Figure, Report
from nbarec.reports import Evaluation
from nbarec.segment_reports import SegmentReport, SegmentTable
from nbarec.stage_losses import StageLosses
from nbarec.statistics import Resamples, mean_intervals

InFolds = Sequence[tuple[int, Report]]
"""One list's reports, each with the fold that it comes from."""


def pooled(folds: Sequence[Evaluation], means: Collection[str], data: Dataset, rng: np.random.Generator) -> Evaluation:
    """One evaluation of all folds of the same users and pipeline; `means` are the labels of the metrics that are means.

    A user's value is the mean over the folds in which it is defined, and a mean's interval is the bootstrap's over
    users, so that the folds of one user count as one. Where rows are requests, each is of one fold alone, and they are
    numbered anew: a user's in the order of folds. A figure that is no mean is the mean of the folds' figures, and
    the bounds of its interval are the means of theirs (wide rather than narrow: as if the folds erred together).
    """
    first, at = folds[0], [data.users.index(fold.users) for fold in folds]
    users = np.unique(np.concatenate(at))
    places = [np.searchsorted(users, one) for one in at]
    rows, requests, resamples = users, None, Resamples.draw(len(users), rng)
    if first.requests is not None:
        order = np.argsort(np.concatenate(at), kind="stable")  # user by user, and of one user fold by fold
        rows, resamples = np.concatenate(at)[order], replace(resamples, of=np.concatenate(places)[order])
        places = _parted(order, [len(one) for one in at])
        requests = tuple(rank_in_row(row_pointers(resamples.counts)).tolist())
    pool = _Pool(places, len(rows), frozenset(means), resamples)
    stages, variants = list(first.stages), list(first.variants)
    lists = [list(enumerate(fold.slate for fold in folds))]
    lists += [list(enumerate(fold.stages[stage] for fold in folds)) for stage in stages]
    lists += [list(enumerate(fold.variants[name] for fold in folds)) for name in variants]
    slate, *others = pool.reports(lists, [np.ones(len(rows), bool)] * len(lists))
    warnings = [line for line in first.holdout if line.startswith("WARNING")]
    losses = [fold.losses for fold in folds if fold.losses is not None]
    return replace(
        first,
        slate=slate,
        stages=dict(zip(stages, others, strict=False)),
        variants=dict(zip(variants, others[len(stages) :], strict=True)),
        users=tuple(data.users.texts(rows)),
        requests=requests,
        skipped=first.skipped + first.people - len(users),
        holdout=(*(fold.holdout[0] for fold in folds), *warnings),
        seconds=sum(fold.seconds for fold in folds),
        losses=reduce(StageLosses.plus, losses) if losses else None,
        segments=tuple(pool.table([fold.segments[at] for fold in folds]) for at in range(len(first.segments))),
        relevant="+".join(fold.relevant for fold in folds),
        weights="+".join(fold.weights for fold in folds if fold.weights),
    )


def _parted(order: Ints64, sizes: Sequence[int]) -> list[Ints64]:
    """Where the rows of each part stand once all rows are put in this order."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.split(place, np.cumsum(sizes)[:-1])


@dataclass(frozen=True)
class _Pool:
    """Where each fold's rows (users, or requests) stand among all, `at` int64 a fold, how many these are (`users`),
    which metrics are means, and over what these are resampled."""

    at: Sequence[Ints64]
    users: int
    means: frozenset[str]
    resamples: Resamples

    def reports(self, lists: Sequence[InFolds], members: Sequence[Bools]) -> list[Report]:
        """One report a list, of its reports in the folds and of the users it is about, bool [users] each."""
        values = [self._values(folds) for folds in lists]
        intervals = mean_intervals(np.concatenate(values, axis=1), self.resamples).reshape(len(lists), -1, 2)
        together = zip(lists, values, intervals, members, strict=True)
        return [
            self._report(folds, value, bounds, int(np.count_nonzero(about))) for folds, value, bounds, about in together
        ]

    def table(self, folds: Sequence[SegmentTable]) -> SegmentTable:
        """One table: segments of one name belong together, and what a fold lacks it has no user of."""
        named: dict[str, list[tuple[int, SegmentReport]]] = {}
        for fold, table in enumerate(folds):
            for segment in table.segments:
                named.setdefault(segment.name, []).append((fold, segment))
        members = [self._members(parts) for parts in named.values()]
        stages = list(folds[0].segments[0].stages)
        lists: list[InFolds] = []
        for parts in named.values():
            lists.append([(fold, segment.slate) for fold, segment in parts])
            lists += [[(fold, segment.stages[stage]) for fold, segment in parts] for stage in stages]
        reports = iter(self.reports(lists, [about for about in members for _ in range(1 + len(stages))]))
        told = []
        for (name, parts), about in zip(named.items(), members, strict=True):
            slate, words = next(reports), {segment.told for _, segment in parts}
            own = {stage: next(reports) for stage in stages}
            told.append(SegmentReport(name, words.pop() if len(words) == 1 else "", about, slate, own))
        return SegmentTable(folds[0].by, tuple(told))

    def _members(self, parts: Sequence[tuple[int, SegmentReport]]) -> Bools:
        """Who is in a segment in any fold: bool [users]."""
        members = np.zeros(self.users, bool)
        for fold, segment in parts:
            members[self.at[fold][segment.members]] = True
        return members

    def _values(self, folds: InFolds) -> Floats64:
        """Each user's mean over the folds in which it is defined: float64 [users, metrics], else NaN."""
        labels = list(folds[0][1].figures)
        total, defined = np.zeros((self.users, len(labels))), np.zeros((self.users, len(labels)))
        for fold, report in folds:  # a step a fold
            value = np.stack([report.values[label] for label in labels], axis=1)
            total[self.at[fold]] += np.nan_to_num(value, nan=0.0)
            defined[self.at[fold]] += ~np.isnan(value)
        return np.asarray(np.divide(total, defined, out=np.full(total.shape, np.nan), where=defined > 0))

    def _report(self, folds: InFolds, values: Floats64, intervals: Floats64, about: int) -> Report:
        figures, found = {}, {}
        for at, label in enumerate(folds[0][1].figures):
            known = values[~np.isnan(values[:, at]), at]
            mean = float(known.mean()) if len(known) else float("nan")
            low, high = intervals[at].tolist()
            if label not in self.means:
                mean, low, high = _averages([report.figures[label] for _, report in folds])
            figures[label] = Figure(mean, (low, high), len(known), about - len(known))
            found[label] = frozen(values[:, at].copy())
        return Report(figures, found, sum(report.seconds for _, report in folds))


def _averages(figures: Sequence[Figure]) -> tuple[float, float, float]:
    """The means of the folds' figures and of the bounds of their intervals, NaN where none is defined."""
    told = np.array([(figure.mean, *figure.ci95) for figure in figures])
    known = told[~np.isnan(told[:, 0])]
    mean, low, high = known.mean(axis=0).tolist() if len(known) else [float("nan")] * 3
    return mean, low, high
