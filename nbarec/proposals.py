"""What a sampler proposes to try, from what the trials before came to and its seed alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nbarec.errors import StoreError
from nbarec.tuned_ranges import STEP_DIGITS, TOUCHING, Dimension, Value
from nbarec.tuning_record import Outcome, optuna
from nbarec.tuning_space import TuningPlan

SAME = 1e-12
"""Relative: the file of a study keeps numbers in double precision."""

WARM_UP = 5
"""Trials before the first one that may end early."""


@dataclass
class Proposal:
    """Values by path to try in trial `number`. `trial` is Optuna's; None for the config's own values. `steps` are the
    figures after each part of the users that was measured."""

    number: int
    values: Mapping[str, Value]
    trial: Any = None
    prunes: bool = False
    steps: list[float] = field(default_factory=list)

    @property
    def stops(self) -> Any:
        """What `Scorer.score` asks after each part; None where no trial ends early."""
        return self._stops if self.prunes else None

    def _stops(self, part: int, figure: float) -> bool:
        self.steps.append(figure)
        if self.trial is None:
            return False
        self.trial.report(figure, part)
        return bool(self.trial.should_prune())

    def check(self, outcome: Outcome) -> None:
        """Raise StoreError where the record has other values for this trial."""
        known, mine = outcome.values, self.values
        if known.keys() != mine.keys() or not all(_same(known[path], value) for path, value in mine.items()):
            raise StoreError(
                f"trial {self.number} of the study had other values than the sampler of Optuna {optuna().__version__} "
                "proposes; go on with the version that began it, or begin anew in another folder"
            )


@dataclass(frozen=True)
class Proposals:
    """A sampler and the trials that it knows: `study` lives in memory alone. `most` is how many trials there can be."""

    plan: TuningPlan
    study: Any
    most: float

    @classmethod
    def of(cls, plan: TuningPlan, seed: int) -> Proposals:
        """At the start of a study; `seed` is the config's, beside that of its tune section."""
        module, config = optuna(), plan.config
        drawn = int(np.random.default_rng([seed, config.seed]).integers(2**31))
        space = {one.path: grid_values(one) for one in plan.dimensions} if config.sampler == "grid" else {}
        samplers = {
            "tpe": lambda: module.samplers.TPESampler(seed=drawn),
            "random": lambda: module.samplers.RandomSampler(seed=drawn),
            "grid": lambda: module.samplers.GridSampler(space, seed=drawn),
        }
        median = module.pruners.MedianPruner(n_startup_trials=WARM_UP)
        pruner = median if config.pruner == "median" else module.pruners.NopPruner()
        study = module.create_study(sampler=samplers[config.sampler](), pruner=pruner, direction=config.direction)
        most = 1 + math.prod(map(len, space.values())) if config.sampler == "grid" else math.inf
        return cls(plan, study, most)

    @property
    def count(self) -> int:
        """How many trials have ended."""
        states = optuna().trial.TrialState
        return sum(trial.state != states.RUNNING for trial in self.study.get_trials(deepcopy=False))

    def add(self, outcome: Outcome) -> None:
        """A trial whose values nobody proposed: those of the config itself."""
        self.study.add_trial(outcome.trial(distributions(self.plan)))

    def next(self, wanted: int) -> list[Proposal]:
        """The proposals of one batch, of which none knows what another comes to."""
        known = distributions(self.plan)
        prunes = self.plan.config.pruner != "none"
        trials = [self.study.ask(known) for _ in range(int(min(wanted, self.most - self.count)))]
        return [Proposal(trial.number, dict(trial.params), trial, prunes) for trial in trials]

    def tell(self, proposal: Proposal, outcome: Outcome) -> None:
        """What a proposal came to."""
        for part, figure in enumerate(outcome.steps[len(proposal.steps) :], len(proposal.steps)):
            proposal.trial.report(figure, part)  # it is in the record, and was not tried now
        states = optuna().trial.TrialState
        # The sampler of grids stops a loop of Optuna's after the last one; there is none here, and that is an error.
        with contextlib.suppress(RuntimeError) if self.plan.config.sampler == "grid" else contextlib.nullcontext():
            if outcome.state == "complete":
                self.study.tell(proposal.trial, outcome.figure)
            else:
                self.study.tell(proposal.trial, state=states.PRUNED if outcome.state == "pruned" else states.FAIL)


def distributions(plan: TuningPlan) -> dict[str, Any]:
    """Optuna's distribution of each range, by path."""
    return {one.path: _distribution(one) for one in plan.dimensions}


def _distribution(dimension: Dimension) -> Any:
    module, asked = optuna().distributions, dimension.range
    if asked.choice is not None:
        return module.CategoricalDistribution(list(dimension.choices))
    low, high = dimension.ends
    if asked.integer:
        return module.IntDistribution(int(low), int(high), log=asked.log, step=int(asked.step or 1))
    return module.FloatDistribution(low, high, log=asked.log, step=None if asked.step is None else float(asked.step))


def grid_values(dimension: Dimension) -> list[Value]:
    """Every value of a range with a choice or steps."""
    asked = dimension.range
    if asked.choice is not None:
        return list(dimension.choices)
    low, high = dimension.ends
    step = float(asked.step or 1)
    steps = range(1 + math.floor((high - low) / step + TOUCHING))
    values = [float(f"{low + at * step:.{STEP_DIGITS}g}") for at in steps]
    return [int(value) for value in values] if asked.integer else list(values)


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME, abs_tol=0.0)
    return one == other and type(one) is type(other)
