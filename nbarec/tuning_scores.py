"""How good a set of values is on the validation part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nbarec.arrays import Floats64, Ints64, frozen
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evaluation_plan import EvaluationPlan
from nbarec.measuring import Measuring, first_places
from nbarec.one_pass import Pass
from nbarec.slates import joined
from nbarec.sparse import Csr
from nbarec.splits import Holdout, LastFraction
from nbarec.statistics import Resamples
from nbarec.timelines import Moments
from nbarec.trials import Kept, TrialPipeline
from nbarec.tuned_ranges import Value
from nbarec.tuning_space import TuningPlan
from nbarec.validation import training_part, validation_holdout

if TYPE_CHECKING:
    from nbarec.batch import Slate
    from nbarec.pipeline import Pipeline

PARTS = 4
"""In how many parts users are measured where a trial may end early."""

ORDER_STREAM = 10
"""Random stream of the order of users, apart from those of the stages, the splits and an evaluation."""

USERS_IN_BATCH = 16_384

Stop = Callable[[int, float], bool]
"""`stop(part, figure)`: whether a trial with this figure after so many parts (from 0) ends here."""


@dataclass(frozen=True)
class Score:
    """A `figure` for all users, and the value of each of them, float64 [users], NaN undefined; `ended` after which part
    the trial was given up, None where it was not."""

    figure: float
    values: Floats64
    ended: int | None = None


@dataclass(frozen=True)
class Scorer:
    """The validation part, and by what values are judged on it: `truth` (users x items), a row for each user of the
    data, or (moments x items) where each held-out event is measured by itself; `users` int64 [U] are its rows that have
    an item, in the order in which they are measured."""

    pipeline: Pipeline
    plan: TuningPlan
    holdout: Holdout
    users: Ints64
    truth: Csr
    moments: Moments | None
    kept: Kept

    @classmethod
    def of(cls, pipeline: Pipeline, plan: TuningPlan, data: Dataset, folder: Path) -> Scorer:
        """For data whose test part is not looked at. Raises ConfigError where they can't be cut, or where nothing that
        is held out is relevant."""
        known = training_part(pipeline, data)
        holdout = validation_holdout(pipeline, data, plan.split)
        kept = Kept.of(folder, int(pipeline.config.engine.memory))
        trial = TrialPipeline.trying(pipeline, kept)
        truth, moments = _to_find(pipeline, holdout, known.as_of, trial.weighted(holdout.train))
        users = np.flatnonzero(truth.counts)
        if not len(users):
            raise ConfigError("no user has a relevant item in the validation part; cut more off, or by another rule")
        rng = np.random.default_rng([pipeline.config.seed, ORDER_STREAM])
        order = rng.permutation(len(users)) if plan.config.pruner != "none" else np.arange(len(users))
        return cls(pipeline, plan, holdout, frozen(users[order]), truth, moments, kept)

    def score(self, values: Mapping[str, Value], stop: Stop | None = None) -> Score:
        """What the config reaches with other values, by path. Raises ConfigError where they can't stand together."""
        pipeline = self.pipeline.with_values(self.plan.overrides(values))
        model = TrialPipeline.trying(pipeline, self.kept).trial(self.holdout.train)
        served, slates = Pass(model, moments=self.moments), []
        metric = self.plan.metric
        parts = np.array_split(self.users, PARTS if stop is not None else 1)
        for at, users in enumerate(parts):  # a step a part: after each a trial may end
            slates.append(served.slates(users, max(metric.k, pipeline.config.slate.k))[0])
            found = self._measured(joined(slates), model.data)
            if stop is not None and at < PARTS - 1 and stop(at, found.figure):
                return replace(found, ended=at)
        return found

    def _measured(self, slate: Slate, data: Dataset) -> Score:
        """The score of the slates of the first users."""
        users, metric = self.users[: len(slate)], self.plan.metric
        truth = self.truth.take_rows(users)
        drawn = Resamples.draw(len(users), np.random.default_rng(0), 1)  # intervals are not asked for
        values = Measuring((metric,), truth, data, drawn, USERS_IN_BATCH).values(slate, truth, [0])[:, 0]
        return Score(float(metric.metric.aggregate(values, first_places(slate, metric.k), data)), frozen(values))

    def better(self, one: float, other: float) -> bool:
        """Whether one figure is better than another; an undefined one is none."""
        if math.isnan(one) or math.isnan(other):
            return math.isnan(other) and not math.isnan(one)
        return one > other if self.plan.config.direction == "maximize" else one < other


def _to_find(pipeline: Pipeline, holdout: Holdout, as_of: int, known: Dataset) -> tuple[Csr, Moments | None]:
    """What is to be found of the held-out part, as the evaluation of the config says, under the feedback as configured;
    among all items, even where the evaluation is among sampled ones."""
    plan = pipeline.plan or EvaluationPlan(LastFraction(), (), None, False, {}, None)
    tested = plan.weighed(pipeline, replace(holdout.train.with_events(holdout.test), as_of=as_of))
    return plan.to_find(pipeline, known, holdout, tested)
