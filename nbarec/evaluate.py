"""The evaluation run: every list of a pipeline against held-out events, with intervals."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from nbarec.arrays import Bools, Floats64, frozen
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.errors import ConfigError, ContractError
from nbarec.events import Events
from nbarec.progress import track
from nbarec.reports import WHOLE_PIPELINE, Evaluation, Figure, Report
from nbarec.scalars import shown
from nbarec.sparse import Csr
from nbarec.statistics import Interval, Resamples, mean_intervals, standard_interval

USERS_IN_BATCH = 16_384

Serve = Callable[[np.ndarray, int], Slate]
"""`serve(users, k)`: slates of k places for users at positions int64 [B]."""


class Recommend(Protocol):
    """Who is measured."""

    def __call__(self, users: np.ndarray, k: int, stage: str | None) -> Slate:
        """Slates of k places for users at positions int64 [B]; `stage` None is the whole pipeline, else the id of the
        generator or ranker whose own list is wanted."""


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
class List:
    """A list that is measured: its name, how it is served, and how many `places` its slates have where it is used."""

    name: str
    serve: Serve
    places: int

    def widths(self, metrics: Sequence[MetricAt]) -> dict[int, list[int]]:
        """With how many places it is served for which of the metrics: as it is used, and wider only for a metric that
        looks further, because boosts, diversity and backfill depend on how long a slate is."""
        wanted: dict[int, list[int]] = {}
        for at, metric in enumerate(metrics):
            wanted.setdefault(max(metric.k, self.places), []).append(at)
        return wanted


def parse_metric(text: str, known: Mapping[str, type[Metric]]) -> MetricAt:
    """The metric that `name@k` asks for. Raises ValueError where the name is not known or k is not a whole number of
    at least 1."""
    name, at, places = text.partition("@")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"the metrics are {', '.join(sorted(known))}"
        raise ValueError(f"{shown(text)}: there is no metric {shown(name)}; {advice}")
    if not at:
        raise ValueError(f"{text!r} does not say how many places count; write for example {name}@10")
    if not re.fullmatch("(?=0*[1-9])[0-9]{1,9}", places):
        raise ValueError(
            f"{shown(text)}: {shown(places)} is not a number of places; write a whole number, such as {name}@10"
        )
    return MetricAt(known[name](), int(places))


def relevant_items(test: Events, relevant: Bools | None, train: Events, *, repeats: bool = False) -> Csr:
    """What a perfect recommender would show: (rows x items), a 1 for each pair with a relevant held-out event.

    `relevant` bool [test events] says which held-out events count; None stands for those of positive weight. A pair
    that has a training event of positive weight is left out, because by default such items are not recommended again;
    `repeats` keeps it.
    """
    mask = test.weight > 0 if relevant is None else relevant
    row, item = test.row[mask], test.item[mask]
    if not repeats:
        liked = train.weight > 0
        shape = (train.rows, train.n_items)
        new = ~Csr.from_pairs(train.row[liked], train.item[liked], None, shape).contains(row, item)
        row, item = row[new], item[new]
    pairs = Csr.from_pairs(row, item, None, (test.rows, test.n_items))
    return replace(pairs, data=frozen(np.ones(pairs.nnz, np.float32)))


def evaluate(
    recommend: Recommend,
    users: np.ndarray,
    truth: Csr,
    metrics: Sequence[MetricAt],
    stages: Sequence[str],
    data: Dataset,
    rng: np.random.Generator,
    *,
    places: int = 1,
    variants: Sequence[List] = (),
    holdout: Sequence[str] = (),
    batch: int = USERS_IN_BATCH,
    resamples: int = 1000,
) -> Evaluation:
    """Measure the whole pipeline and each of `stages` by all `metrics`, all over the same resamples of users.

    `users` int [U] are positions in `data`, which holds what the pipeline was fitted on; `truth` has a row for each
    user of `data`. Only users with a relevant item are asked for and measured. Lists are served with as many `places`
    as they have where they are used, and once more for each k beyond it that a metric has; `variants` are further
    slates, such as those of other settings. Metrics see `batch` users at a time.
    Raises ConfigError where no user has a relevant item, ContractError where slates or metric values have the wrong
    shape, ValueError without a metric.
    """
    if not metrics:
        raise ValueError("there is no metric to evaluate by; name one, such as ndcg@10")
    start = time.perf_counter()
    tested = users[truth.counts[users] > 0]
    if not len(tested):
        raise ConfigError(f"none of {len(users):,} users has a relevant held-out item; hold out more or other events")
    run = _Run(
        tested, truth.take_rows(tested), tuple(metrics), data, Resamples.draw(len(tested), rng, resamples), batch
    )
    lists = [List(stage or WHOLE_PIPELINE, partial(recommend, stage=stage), places) for stage in (None, *stages)]
    slate, *reports = run.reports([*lists, *variants])
    return Evaluation(
        slate=slate,
        stages=dict(zip(stages, reports[: len(stages)], strict=True)),
        variants={one.name: report for one, report in zip(variants, reports[len(stages) :], strict=True)},
        users=tuple(data.users.texts(tested)),
        skipped=len(users) - len(tested),
        holdout=tuple(holdout),
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Measured:
    """One list's values of each user, float64 [users, metrics], the figure of each metric, the intervals of those
    that are not means, and how many seconds it took to make the list."""

    values: Floats64
    figures: Floats64
    intervals: Mapping[int, Interval]
    seconds: float


@dataclass(frozen=True)
class _Run:
    """What all lists share; `users` are the evaluated ones, `truth` has a row for each."""

    users: np.ndarray
    truth: Csr
    metrics: tuple[MetricAt, ...]
    data: Dataset
    resamples: Resamples
    batch: int

    def measure(self, measured: List) -> _Measured:
        """Values, figures, and the intervals that need the slates themselves."""
        values = np.full((len(self.users), len(self.metrics)), np.nan)
        figures, intervals, seconds = np.full(len(self.metrics), np.nan), {}, 0.0
        for width, wanted in measured.widths(self.metrics).items():  # a step a length of slates, one as a rule
            start = time.perf_counter()
            slate = self._served(measured, width)
            seconds = seconds or time.perf_counter() - start
            self._fill(values, slate, wanted)
            for at in wanted:
                metric, shown = self.metrics[at], _first_places(slate, self.metrics[at].k)
                figures[at] = metric.metric.aggregate(values[:, at], shown, self.data)
                if not metric.is_mean:
                    intervals[at] = self._interval(metric, values[:, at], shown, figures[at])
        return _Measured(values, figures, intervals, seconds)

    def _served(self, measured: List, width: int) -> Slate:
        slate = measured.serve(self.users, width)
        users, places = slate.item.shape
        if users != self.resamples.users or places < width:
            wanted = f"{self.resamples.users} users and at least {width} places"
            raise ContractError(
                f"{measured.name}: slates have {users} users and {places} places; {wanted} were asked for"
            )
        return slate

    def _fill(self, values: Floats64, slate: Slate, wanted: Sequence[int]) -> None:
        """Each user's values of the wanted metrics into `values` float64 [users, metrics]."""
        take = _taker(slate)
        # A step a batch of users, which bounds the memory.
        for start in range(0, len(slate), self.batch):
            rows = np.arange(start, min(start + self.batch, len(slate)))
            part, truth = take(rows), self.truth.take_rows(rows)
            for at in wanted:
                metric = self.metrics[at]
                found = metric.metric.per_user(_first_places(part, metric.k), truth, self.data)
                values[rows, at] = _checked(found, metric, len(rows))

    def _interval(self, metric: MetricAt, values: Floats64, slate: Slate, estimate: float) -> Interval:
        take = _taker(slate)

        def figure(drawn: np.ndarray) -> float:
            return metric.metric.aggregate(values[drawn], take(drawn), self.data)

        return standard_interval(float(estimate), figure, self.resamples, bounds=metric.metric.bounds)

    def reports(self, asked: Sequence[List]) -> list[Report]:
        """One report a list; the means' intervals of all lists come from one pass over the resamples."""
        lists = []
        with track("evaluating", len(asked)) as advance:
            for one in asked:  # a step a list: each is measured and let go before the next is made
                lists.append(self.measure(one))
                advance(1)
        together = np.concatenate([measured.values for measured in lists], axis=1)
        intervals = mean_intervals(together, self.resamples).reshape(len(lists), len(self.metrics), 2)
        return [self._report(*pair) for pair in zip(lists, intervals, strict=True)]

    def _report(self, measured: _Measured, intervals: Floats64) -> Report:
        figures, values = {}, {}
        for at, metric in enumerate(self.metrics):
            low, high = measured.intervals.get(at, intervals[at].tolist())
            values[metric.label] = frozen(measured.values[:, at].copy())
            undefined = int(np.isnan(measured.values[:, at]).sum())
            defined = len(measured.values) - undefined
            figures[metric.label] = Figure(float(measured.figures[at]), (low, high), defined, undefined)
        return Report(figures, values, measured.seconds)


def _checked(values: np.ndarray, metric: MetricAt, users: int) -> np.ndarray:
    found = np.asarray(values)
    if found.shape != (users,) or found.dtype.kind != "f" or np.isinf(found).any():
        raise ContractError(
            f"metric {metric.label} gave {found.dtype} {found.shape} for {users} users; per_user must give one finite "
            "number or NaN a user: float64 [users]"
        )
    return found


def _first_places(slate: Slate, k: int) -> Slate:
    """The same slates cut to their first k places."""
    if slate.item.shape[1] == k:
        return slate
    return replace(slate, item=slate.item[:, :k], score=slate.score[:, :k])


def _taker(slate: Slate) -> Callable[[np.ndarray], Slate]:
    """A function that gives the slates of rows at positions int64 [M], of which one may stand several times."""
    # As arrays of objects, texts are gathered ten times as fast as one by one: resamples ask for all, again and again.
    decision, users = np.array(slate.decision, object), np.array(slate.users, object)
    trace = slate.trace

    def take(rows: np.ndarray) -> Slate:
        return replace(
            slate,
            item=slate.item.take(rows, axis=0),
            score=slate.score.take(rows, axis=0),
            decision=tuple(decision.take(rows).tolist()),
            users=tuple(users.take(rows).tolist()),
            trace=replace(trace, proposed=trace.proposed[rows], known=trace.known[rows], events=trace.events[rows]),
        )

    return take
