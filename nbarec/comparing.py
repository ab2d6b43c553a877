"""Evaluations compared: the same users' values in two runs, the difference, and whether chance explains it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from string import ascii_uppercase
from typing import Any

import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.comparisons import Compared, Comparison
from nbarec.components import Metric
from nbarec.errors import ConfigError, DataError
from nbarec.evaluate import parse_metric
from nbarec.evaluation_files import MeasuredList
from nbarec.ids import Ids
from nbarec.paired import RESAMPLES, PairedTest, holm, paired_tests
from nbarec.progress import track

NAMES = ascii_uppercase
"""What the runs are called, in the order they are given."""

FEW = 20
"""Below so many users the percentile bootstrap is too sure of itself."""

SPLIT = re.compile(r"split ([^:]+):")
"""How the description of what was held out begins."""


def compare(
    lists: Sequence[MeasuredList], known: Mapping[str, type[Metric]], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Each list against the first, by every metric that both have; they are called A, B, C, ...

    Users are matched by id, and each pair's draws depend on `seed` and its users alone: neither the order of files nor
    that of users in them plays a part. Holm's correction is for all tests together. `known` metrics say themselves
    whether they are means; any other is one where the figures are.
    Raises ConfigError unless there are 2 to 26 lists, DataError where two have nothing to compare.
    """
    if not 2 <= len(lists) <= len(NAMES):
        raise ConfigError(f"a comparison is of 2 to {len(NAMES)} evaluations, not {len(lists)}")
    found = []
    with track("comparing", len(lists) - 1) as advance:
        for name, second in zip(NAMES[1:], lists[1:], strict=False):  # a step a pair of runs
            pair = _Pair.of(lists[0], second, (NAMES[0], name))
            found.append(pair.compared(known, np.random.default_rng(seed), resamples))
            advance(1)
    return _corrected(found)


@dataclass(frozen=True)
class _Pair:
    """Two lists whose users and metrics meet; `rows` are where the common users, by id, stand in each, or the common
    requests by user and number; `user` int64 [rows] is then whose each is, ascending from 0."""

    first: MeasuredList
    second: MeasuredList
    names: tuple[str, str]
    rows: tuple[np.ndarray, np.ndarray]
    labels: tuple[str, ...]
    user: Ints64 | None = None

    @classmethod
    def of(cls, first: MeasuredList, second: MeasuredList, names: tuple[str, str]) -> _Pair:
        """Raises DataError where the lists were measured by other splits, or have no user or no metric in common."""
        paths = f"{first.path} and {second.path}"
        splits = [_split_of(one) for one in (first, second)]
        if _same_truth(first, second) is not True and None not in splits and splits[0] != splits[1]:
            told = f"the first by {splits[0]}, the second by {splits[1]}"
            raise DataError(f"{paths} were held out by different splits, {told}; evaluate both with the same one")
        if (first.requests is None) != (second.requests is None):
            told = "one has a list a user, the other one a held-out event"
            raise DataError(f"{paths}: {told}; evaluate both with the same evaluate.each")
        both = _in_both(first, second)
        if not both:
            such = f"the first has such as {first.users[0]!r}, the second {second.users[0]!r}"
            raise DataError(f"{paths} have no user in common ({such}); evaluate both on the same data and split")
        labels = tuple(label for label in first.figures if label in second.figures)
        if not labels:
            told = f"the first has {', '.join(first.figures)}, the second {', '.join(second.figures)}"
            raise DataError(f"{paths} have no metric in common ({told}); evaluate both with the same evaluate.metrics")
        rows = _places(both, first), _places(both, second)
        user = None
        if first.requests is not None:
            user = np.cumsum([False, *(one != other for (one, _), (other, _) in pairwise(both))])
        return cls(first, second, names, rows, labels, user)

    def compared(self, known: Mapping[str, type[Metric]], rng: np.random.Generator, resamples: int) -> Comparison:
        """The comparison, not yet corrected for several tests. Raises DataError where nothing can be told."""
        tested = [label for label in self.labels if self._is_mean(label, known)]
        values = tuple(self._values(one, rows, tested) for one, rows in zip(self._lists, self.rows, strict=True))
        tests = dict(zip(tested, paired_tests(values[1] - values[0], rng, resamples, of=self.user), strict=True))
        if len(tested) == len(self.labels) and not any(test.users for test in tests.values()):
            told = f"{self.first.path} and {self.second.path} have no user for whom both define a metric"
            raise DataError(f"{told} ({', '.join(tested)}); evaluate both with other metrics or more users")
        columns = {label: (values[0][:, at], values[1][:, at]) for at, label in enumerate(tested)}
        metrics = [
            _of_means(label, *columns[label], tests[label]) if label in tests else self._of_figures(label)
            for label in self.labels
        ]
        alone = len(self.first.users) - len(self.rows[0]), len(self.second.users) - len(self.rows[1])
        what = "users" if self.user is None else "requests"
        notes = tuple(self._notes(metrics, alone))
        return Comparison(self.names, len(self.rows[0]), alone, tuple(metrics), notes, what)

    @property
    def _lists(self) -> tuple[MeasuredList, MeasuredList]:
        return self.first, self.second

    def _is_mean(self, label: str, known: Mapping[str, type[Metric]]) -> bool:
        wrong = [one for one in self._lists if not one.is_mean(label)]
        try:
            declared = parse_metric(label, known).is_mean
        except ValueError:  # a metric of a plugin that is not here
            return not wrong
        if declared and wrong:
            one = wrong[0]
            told = f"{label} is {one.figures[label]:.6g} there, and the mean of the users' values is"
            raise DataError(
                f"{one.path} and the users' values beside it are not of one run: {told} {one.mean(label):.6g}; "
                "evaluate again"
            )
        return declared

    def _values(self, one: MeasuredList, rows: np.ndarray, labels: Sequence[str]) -> Floats64:
        columns = [one.values[label][rows] for label in labels]
        return np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))

    def _of_figures(self, label: str) -> Compared:
        first, second = self.first.figures[label], self.second.figures[label]
        return Compared(label, first, second, second - first, (0, 0, 0))

    def _notes(self, metrics: Sequence[Compared], alone: tuple[int, int]) -> Iterator[str]:
        same = _same_truth(self.first, self.second)
        if same is False or (same is None and any(alone)):
            yield " ".join(["Warning: the held-out sets differ, which may explain a difference.", *self._held_out()])
        elif self.first.weights and self.second.weights and self.first.weights != self.second.weights:
            yield (
                "Warning: the weights of the held-out events differ, which may explain a difference of metrics that go "
                "by them, such as ndcg_graded."
            )
        for name, one in zip(self.names, self._lists, strict=True):
            only = [label for label in one.figures if label not in self.labels]
            if only:
                yield f"Only {name} has {', '.join(only)}."
        yield from (self._undefined(metric) for metric in metrics if any(metric.undefined))
        few = [metric.label for metric in metrics if metric.test is not None and metric.test.users < FEW]
        if few:
            yield f"Fewer than {FEW} users for {', '.join(few)}: there the bootstrap is too sure; go by p permutation."

    def _held_out(self) -> Iterator[str]:
        """What only one of the two says of what was held out."""
        for name, one, other in zip(self.names, self._lists, reversed(self._lists), strict=True):
            yield from (f"{name}: {line}." for line in one.holdout if line not in other.holdout)

    def _undefined(self, metric: Compared) -> str:
        places = (*(f"in {name} alone" for name in self.names), "in both")
        told = [f"{count:,} {place}" for count, place in zip(metric.undefined, places, strict=True) if count]
        return (
            f"{metric.label}: {'users' if self.user is None else 'requests'} left out as undefined: {', '.join(told)}."
        )


def _in_both(first: MeasuredList, second: MeasuredList) -> list[Any]:
    """The rows that both lists have, sorted: users as ids are, a user's requests by their numbers."""
    if first.requests is None:
        return list(Ids.sorted_of(set(first.users) & set(second.users)).all())
    return sorted(set(first.rows) & set(second.rows), key=lambda row: (row[0], len(row[1]), row[1]))


def _places(rows: Sequence[Any], one: MeasuredList) -> Ints64:
    """Where these rows stand in a list."""
    place = {row: at for at, row in enumerate(one.rows)}
    return np.array([place[row] for row in rows], np.int64)


def _of_means(label: str, first: Floats64, second: Floats64, test: PairedTest) -> Compared:
    gaps = np.isnan(first), np.isnan(second)
    both = ~(gaps[0] | gaps[1])
    undefined = (gaps[0] & ~gaps[1], gaps[1] & ~gaps[0], gaps[0] & gaps[1])
    alone, other, neither = (int(np.count_nonzero(mask)) for mask in undefined)
    of_first, of_second = (float(values[both].mean()) if both.any() else math.nan for values in (first, second))
    return Compared(label, of_first, of_second, test.difference, (alone, other, neither), test)


def _same_truth(first: MeasuredList, second: MeasuredList) -> bool | None:
    """Whether the same items were to be found for the same users; None where it looks so, but no fingerprint tells."""
    if first.relevant and second.relevant:
        return first.relevant == second.relevant
    return None if first.holdout == second.holdout else False


def _split_of(one: MeasuredList) -> str | None:
    named = SPLIT.match(one.holdout[0]) if one.holdout else None
    return named[1] if named else None


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The same with the p-values of all tests corrected together."""
    tests = [metric.test for one in found for metric in one.metrics if metric.test]
    corrected = (holm(np.array([getattr(test, kind) for test in tests])) for kind in ("bootstrap", "permutation"))
    pairs = zip(*(p_values.tolist() for p_values in corrected), strict=True)
    return [
        replace(one, metrics=tuple(replace(m, holm=next(pairs)) if m.test else m for m in one.metrics)) for one in found
    ]
