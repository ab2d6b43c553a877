"""The front of two objectives: settings of a config that no other setting beats in one without losing in the other.

>>> on_front(np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.4], [0.1, 0.9], [0.5, 0.5]])).tolist()
[True, True, False, True, True]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nbarec.arrays import Bools, Floats64
from nbarec.data import Dataset
from nbarec.evaluation_plan import EvaluationPlan
from nbarec.figures import Figure, Report
from nbarec.grids import Setting
from nbarec.pareto_plot import Dot, scatter
from nbarec.pipeline import Pipeline
from nbarec.reports import AS_CONFIGURED, replacing, write_json
from nbarec.splits import Given, GlobalTime, Holdout, LastFraction, Random
from nbarec.validation import validation_holdout

Part = Literal["validation", "test"]

MINIMISE = "minimise"


@dataclass(frozen=True)
class Objective:
    """A metric by `name@k`, as `evaluate.metrics` names it, and whether less of it is better."""

    label: str
    minimise: bool = False

    @classmethod
    def of(cls, text: str) -> Objective:
        """The objective that a text says: `ndcg@10`, or `minimise:miscalibration@10`."""
        before, colon, after = text.strip().partition(":")
        return cls(after.strip(), minimise=True) if colon and before == MINIMISE else cls(text.strip())

    @property
    def wish(self) -> str:
        """Which way is better, in words."""
        return "less is better" if self.minimise else "more is better"

    def __str__(self) -> str:
        return f"{MINIMISE}:{self.label}" if self.minimise else self.label


@dataclass(frozen=True)
class Point:
    """One setting, measured: the `values` that it has at dotted paths (none: the config as it stands), its `figures` by
    both objectives, how many `seconds` its slates took, and whether it is `on_front`."""

    name: str
    values: Mapping[str, Any]
    figures: tuple[Figure, Figure]
    seconds: float
    on_front: bool

    @property
    def at(self) -> tuple[float, float]:
        """The two figures for all users; NaN where undefined."""
        return self.figures[0].mean, self.figures[1].mean


@dataclass(frozen=True)
class Pareto:
    """Every setting by two `objectives`, the config as it stands first. So many `users` of `part` were measured, with
    so many `requests` where each held-out event is one (else None); `holdout` says in words what was held out."""

    objectives: tuple[Objective, Objective]
    points: tuple[Point, ...]
    part: Part
    users: int
    holdout: tuple[str, ...]
    requests: int | None = None

    @property
    def front(self) -> tuple[Point, ...]:
        """The points on the front, by the first objective, ascending."""
        return tuple(sorted((point for point in self.points if point.on_front), key=lambda point: point.at))

    def rows(self) -> list[list[str]]:
        """A header and a line a setting: both figures, the time that a list takes, and whether it is on the front."""
        first, second = map(str, self.objectives)
        rows = [[point.name, *map(str, point.figures), self._milliseconds(point), _yes(point)] for point in self.points]
        return [["setting", first, second, "ms a list", "on the front"], *rows]

    def _milliseconds(self, point: Point) -> str:
        return f"{1000 * point.seconds / max(self.requests or self.users, 1):.3f}"

    @property
    def measured(self) -> str:
        """Who was measured, in words."""
        requests = "" if self.requests is None else f"{self.requests:,} requests of "
        return f"{requests}{self.users:,} users"

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, without the seconds: the same settings and data give the same file."""
        return {
            "objectives": [{"metric": one.label, "minimise": one.minimise} for one in self.objectives],
            "part": self.part,
            "users": self.users,
            **({} if self.requests is None else {"requests": self.requests}),
            "holdout": list(self.holdout),
            "settings": list(self._settings()),
            "front": [point.name for point in self.front],
        }

    def _settings(self) -> Iterator[Mapping[str, Any]]:
        labels = [objective.label for objective in self.objectives]
        for point in self.points:
            metrics = {label: figure.to_json() for label, figure in zip(labels, point.figures, strict=True)}
            yield {"name": point.name, "values": point.values, "metrics": metrics, "on_front": point.on_front}

    def drawn(self) -> str:
        """The picture: every setting that has both figures, and the front as a line."""
        across, upwards = (f"{one.label} ({one.wish})" for one in self.objectives)
        places: dict[tuple[float, float], list[Point]] = {}
        for point in self.points:
            if not any(map(math.isnan, point.at)):
                places.setdefault(point.at, []).append(point)
        dots = [_dot(points) for points in places.values()]
        told = f"{len(self.points)} settings, {self.measured} of the {self.part} part; crosses are 95% intervals"
        return scatter(f"{self.objectives[1].label} against {self.objectives[0].label}", told, across, upwards, dots)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `pareto.json` and the picture `pareto.svg` into a folder; each appears whole or not at all."""
        figures, picture = folder / "pareto.json", folder / "pareto.svg"
        write_json(figures, self.to_json())
        with replacing(picture) as file:
            file.write(self.drawn())
        return figures, picture


def on_front(figures: Floats64) -> Bools:
    """Which rows of `figures` float64 [settings, objectives], more being better, no other row dominates: bool
    [settings].

    A row dominates another that it is nowhere below and somewhere above (Pareto 1906): equal rows are on the front
    together. A row with an undefined figure (NaN) is not on it, and dominates none.
    """
    defined = ~np.isnan(figures).any(axis=1)
    known = figures[defined]
    front = np.zeros(len(figures), bool)
    dominated = np.zeros(len(known), bool)
    for row in known:  # a step a setting, each of which was fitted and measured before
        dominated |= (row >= known).all(axis=1) & (row > known).any(axis=1)
    front[defined] = ~dominated
    return front


@dataclass(frozen=True)
class _SettingsPlan(EvaluationPlan):
    """An evaluation with settings in place of variants, on a part that was held out before; `settings` and `holdout`
    are never None."""

    settings: Mapping[str, Pipeline] | None = None
    holdout: Holdout | None = None

    def held_out(self, pipeline: Pipeline, data: Dataset, fold: int = 0) -> Holdout:
        assert self.holdout is not None
        return self.holdout

    def varied(self, pipeline: Pipeline) -> Mapping[str, Pipeline]:
        return self.settings or {}


def measured_front(
    pipeline: Pipeline, data: Dataset, settings: Sequence[Setting], objectives: tuple[Objective, Objective], part: Part
) -> Pareto:
    """Measure `pipeline` and all `settings` of it, whose plans have both objectives as metrics, and find the front.

    On the `validation` part the events that `evaluate` holds out are taken away first and read by nothing; the rest is
    cut as `evaluate.split` cuts, or where that can't (at a moment; a given file) by the last fifth, at random in data
    without times. Of a test part with folds it is the first. Stages that
    two settings share are fitted once. Raises ConfigError where the data can't be cut or a stage can't be fitted.
    """
    plan = pipeline.plan
    assert plan is not None, "the caller has looked"
    validates = part == "validation"
    holdout = _validation(pipeline, plan, data) if validates else plan.held_out(pipeline, data)
    asked = {one.name: getattr(plan, one.name) for one in fields(plan)}
    varied = {one.name: one.pipeline for one in settings}
    grid = _SettingsPlan(**asked, settings=varied, holdout=holdout)
    evaluation, _ = grid.measured(pipeline, _whole(holdout) if validates else data, 0)
    reports = [evaluation.slate, *(evaluation.variants[one.name] for one in settings)]
    first, second = ([report.figures[one.label] for report in reports] for one in objectives)
    front = on_front(np.stack([_signed(first, objectives[0]), _signed(second, objectives[1])], axis=1))
    named: list[tuple[str, Mapping[str, Any]]] = [(AS_CONFIGURED, {}), *((one.name, one.values) for one in settings)]
    rows = zip(named, first, second, reports, front.tolist(), strict=True)
    points = (_point(*name, (one, other), report, on) for name, one, other, report, on in rows)
    requests = None if evaluation.requests is None else len(evaluation.requests)
    return Pareto(objectives, tuple(points), part, evaluation.people, evaluation.holdout, requests)


def _validation(pipeline: Pipeline, plan: EvaluationPlan, data: Dataset) -> Holdout:
    """The training part cut as `evaluate.split` cuts, or by the nearest rule where that can't cut a second time."""
    split = plan.split
    if isinstance(split, Given):
        return validation_holdout(pipeline, data, LastFraction() if data.events.time.any() else Random())
    if isinstance(split, GlobalTime) and split.at is not None:
        return validation_holdout(pipeline, data, GlobalTime(fraction=0.2))
    return validation_holdout(pipeline, data)


def _point(
    name: str, values: Mapping[str, Any], figures: tuple[Figure, Figure], report: Report, on_the_front: bool
) -> Point:
    return Point(name, values, figures, report.seconds, on_the_front)


def _signed(figures: Sequence[Figure], objective: Objective) -> Floats64:
    """The figures, more being better: float64 [settings]."""
    means = np.array([figure.mean for figure in figures])
    return -means if objective.minimise else means


def _whole(holdout: Holdout) -> Dataset:
    """What is known of both sides' time and of nothing later: the clock stands at the latest event of either."""
    times = holdout.test.time
    latest = max(holdout.train.as_of, int(times.max()) if len(times) else 0)
    return replace(holdout.train, as_of=latest)


def _dot(points: Sequence[Point]) -> Dot:
    """One dot for all settings with the same two figures, named where it is on the front or is the config's own."""
    first = points[0]
    across, upwards = first.figures
    label = _label([point.name for point in points]) if first.on_front or not first.values else ""
    told = f"{'; '.join(point.name for point in points)}: {across}, {upwards}"
    return Dot(*first.at, across.ci95, upwards.ci95, told, label, first.on_front)


def _label(names: Sequence[str]) -> str:
    """`relevance=0.5 and 2 more (as configured)`."""
    varied = [name for name in names if name != AS_CONFIGURED]
    if not varied:
        return AS_CONFIGURED
    others = f" and {len(varied) - 1} more" if len(varied) > 1 else ""
    return varied[0] + others + (f" ({AS_CONFIGURED})" if len(varied) < len(names) else "")


def _yes(point: Point) -> str:
    return "yes" if point.on_front else ""
