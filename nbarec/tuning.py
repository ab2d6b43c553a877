"""Studies: sets of values are tried one after the other, each is written down, and the best becomes a config.

A study is exact under interruption. What its sampler proposes depends on the trials before and on its seed alone, so a
study that goes on lets the sampler propose everything again, in memory, and takes from the record what each proposal
came to; a trial that was under way when the process ended is proposed again, and runs from its start.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from nbarec.blas import one_thread
from nbarec.data import Dataset
from nbarec.durable import locked
from nbarec.errors import ConfigError, StoreError
from nbarec.fit_cache import data_digest, digest_of, stage_digest
from nbarec.marked import MapNode, dump
from nbarec.pipeline import Pipeline
from nbarec.proposals import Proposal, Proposals, distributions
from nbarec.tuning_record import Outcome, Record, optuna, quiet
from nbarec.tuning_results import Result, Results
from nbarec.tuning_scores import Score, Scorer
from nbarec.tuning_space import TuningPlan

TRIALS = 50
"""How many trials there are where neither their number nor a time is given."""

GOES_ON = ("trials", "minutes")
"""What of the tune section may change between two runs of a study: how long it goes on."""

Told = Callable[[Outcome, Outcome], object]
"""`told(outcome, best)`: hears of every trial that ends, and of the best so far."""


@dataclass(frozen=True)
class Limits:
    """Where a study ends: at so many `trials` beside that of the config's own values, and none is begun after so many
    `minutes` of all runs together; None is no limit."""

    trials: int | None
    minutes: float | None

    @classmethod
    def of(cls, plan: TuningPlan, trials: int | None = None, minutes: float | None = None) -> Limits:
        """Those that are given, else those of the config, else 50 trials."""
        config = plan.config
        if trials is not None or minutes is not None:
            return cls(trials, minutes)
        return (
            cls(TRIALS, None)
            if config.trials is None and config.minutes is None
            else cls(config.trials, config.minutes)
        )


@dataclass(frozen=True)
class Study:
    """A study of a pipeline: what it tries, by what it judges, its record, and where its results go."""

    pipeline: Pipeline
    plan: TuningPlan
    scorer: Scorer
    record: Record
    results: Results

    @classmethod
    @contextlib.contextmanager
    def opened(cls, pipeline: Pipeline, data: Dataset, folder: Path) -> Iterator[Study]:
        """The study in a folder, begun where there is none; nobody else works on it meanwhile.

        Raises ConfigError where the pipeline has no `tune:` section or its data can't be cut, StoreError where the
        folder holds another study or another process works on it, NbarecError where Optuna is not installed.
        """
        optuna()
        plan = TuningPlan.of(pipeline)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder), quiet():
            scorer = Scorer.of(pipeline, plan, data, folder / "fitted")
            with Record.opened(folder, plan.config.direction, identity(pipeline, scorer)) as record:
                yield cls(pipeline, plan, scorer, record, Results(scorer, folder))

    def run(self, limits: Limits, told: Told = lambda _outcome, _best: None) -> Result:
        """Try values until a limit is reached, the config's own first; results are written after every trial."""
        proposals = Proposals.of(self.plan, self.pipeline.config.seed)
        start = time.perf_counter() - (self.record.outcomes[-1].spent if self.record.outcomes else 0.0)
        first = Proposal(0, self.plan.own(self.pipeline), prunes=self.plan.config.pruner != "none")
        proposals.add(*self._outcomes([first], start, told))
        most = proposals.most if limits.trials is None else min(1 + limits.trials, proposals.most)
        # A step a batch, as many as there are workers: what is proposed depends on what those before came to.
        while proposals.count < most and not self._is_late(proposals.count, limits):
            batch = proposals.next(self.plan.config.workers)
            outcomes = self._outcomes(batch[: int(min(most - proposals.count, len(batch)))], start, told)
            if len(outcomes) < len(batch):
                break
            for proposal, outcome in zip(batch, outcomes, strict=True):
                proposals.tell(proposal, outcome)
        return self.results.of(self.record.outcomes)

    def _is_late(self, count: int, limits: Limits) -> bool:
        """Whether the next batch, if any of it is still to run, would begin after the time."""
        known = self.record.outcomes
        is_new = count + self.plan.config.workers > len(known)
        return is_new and limits.minutes is not None and known[-1].spent >= 60 * limits.minutes

    def _outcomes(self, batch: Sequence[Proposal], start: float, told: Told) -> list[Outcome]:
        """What the proposals of a batch come to: as the record says, or tried now, and then in the record."""
        known = self.record.outcomes[batch[0].number :][: len(batch)] if batch else []
        for proposal, outcome in zip(batch, known, strict=False):
            proposal.check(outcome)
        found = list(known)
        for outcome, score in self._tried(batch[len(known) :]):
            ended = replace(outcome, spent=time.perf_counter() - start)
            self.results.keep(ended, score, self.record.outcomes)  # before the record speaks of it
            self.record.add(ended, distributions(self.plan))
            self.results.write(self.record.outcomes)
            told(ended, self.results.best(self.record.outcomes))
            found.append(ended)
        return found

    def _tried(self, batch: Sequence[Proposal]) -> Iterator[tuple[Outcome, Score | None]]:
        """The outcomes of a batch in its order, as soon as those before are there."""
        if len(batch) < 2:
            yield from map(self._try, batch)
            return
        with one_thread(), ThreadPoolExecutor(len(batch)) as pool:
            flying = [pool.submit(self._try, proposal) for proposal in batch]
            try:
                for future in flying:
                    yield future.result()
            finally:
                for future in flying:
                    future.cancel()

    def _try(self, proposal: Proposal) -> tuple[Outcome, Score | None]:
        start = time.perf_counter()
        number, values = proposal.number, proposal.values
        try:
            score = self.scorer.score(values if number else {}, proposal.stops)
        except ConfigError as error:
            if not number:
                raise  # the config itself does not do, and no other values are looked for
            seconds = time.perf_counter() - start
            return Outcome(number, "failed", values, None, seconds=seconds, failed=str(error)), None
        seconds, steps = time.perf_counter() - start, tuple(proposal.steps)
        if score.ended is not None:
            return Outcome(number, "pruned", values, steps[-1], steps, seconds), None
        if math.isnan(score.figure):
            return Outcome(number, "failed", values, None, steps, seconds, failed="the metric is undefined"), None
        return Outcome(number, "complete", values, score.figure, steps, seconds), score


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "LOCK"))
        except StoreError as error:
            raise StoreError(f"another process is tuning in {folder}; wait for it, or give another --output") from error
        yield


def identity(pipeline: Pipeline, scorer: Scorer) -> Mapping[str, str]:
    """Digests of everything that a study's figures depend on: each section of the config, the data it learns from and
    is judged on, and the code of its components. How much of the machine works on it is no part."""
    sections = {name: node for name, node in pipeline.root.entries.items() if name != "engine"}
    tune = sections["tune"]
    if isinstance(tune, MapNode):
        entries = {key: node for key, node in tune.entries.items() if key not in GOES_ON}
        sections["tune"] = replace(tune, entries=entries)
    parts = scorer.holdout.train, scorer.holdout.train.with_events(scorer.holdout.test)
    code = [stage_digest(stage, 0) for stage in pipeline.stages.all()]
    return {
        **{f"the section {name}": digest_of(dump(node)) for name, node in sections.items()},
        "the data": digest_of(*map(data_digest, parts)),
        "the stages' code or parameters": digest_of(*code),
    }
