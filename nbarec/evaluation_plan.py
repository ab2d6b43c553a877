"""What `evaluate:` asks for, and the run that answers it: fit on the training part, measure on what was held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nbarec.arrays import Bools
from nbarec.batch import Slate
from nbarec.cold_start import ColdStartRun
from nbarec.config import Config
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.errors import ConfigError, Mark, PluginError, Problem
from nbarec.evaluate import List, MetricAt, evaluate, parse_metric, relevant_items
from nbarec.evaluation_config import ColdStart
from nbarec.expressions import Expression
from nbarec.joining import join_datasets, with_growth
from nbarec.marked import MapNode, Scalar
from nbarec.model import Model
from nbarec.params import build
from nbarec.reports import AS_CONFIGURED, ColdTable, Evaluation
from nbarec.scopes import EventScope
from nbarec.splits import SPLITS, Given, Holdout, Split, hold_out

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline
    from nbarec.stages import Binder

SPLIT_STREAM, BOOTSTRAP_STREAM = 1, 2
"""Random streams of an evaluation, apart from those of the stages."""

VARIED = ("candidates", "features", "rank", "filters", "slate")
"""What a variant may change: the rest says what is measured, and must be the same for all."""


@dataclass(frozen=True)
class EvaluationPlan:
    """A split, the metrics, which held-out events count, and what else is measured: `variants` of the config, each a
    mapping of dotted paths to values, and cold starts by a metric of their own."""

    split: Split | Given
    metrics: tuple[MetricAt, ...]
    relevant: Expression | None
    repeats: bool
    variants: Mapping[str, MapNode]
    cold_start: tuple[ColdStart, MetricAt] | None

    @classmethod
    def of(cls, config: Config, root: MapNode, binder: Binder) -> EvaluationPlan | None:
        """The plan of a config; None where it has none or where `binder` was told a problem."""
        asked = config.evaluate
        if asked is None:
            return None
        metrics = _metrics(asked.metrics, root, binder)
        split = _split(asked.split, binder.problems)
        cold_start = _cold_start(asked.cold_start, root, binder)
        binder.problems.extend(_variant_problems(asked.variants))
        if split is None or metrics is None:
            return None
        return cls(split, metrics, asked.relevant, asked.repeats, asked.variants, cold_start)

    def run(self, pipeline: Pipeline, data: Dataset) -> tuple[Evaluation, Model]:
        """Hold out, fit on the rest and measure every list. The held-out events reach no stage."""
        holdout = self.held_out(pipeline, data)
        model = pipeline.fit(holdout.train)
        tested = replace(holdout.train.with_events(holdout.test), as_of=data.as_of)
        truth = relevant_items(holdout.test, self._relevant(pipeline, tested), model.data.events, repeats=self.repeats)
        lists = [stage.id for stage in pipeline.stages.generators]
        lists += [stage.id for stage in pipeline.stages.rankers]

        def recommend(users: np.ndarray, k: int, stage: str | None) -> Slate:
            return model.recommend(model.data.users.take(users), k=k, stage=stage)

        evaluation = evaluate(
            recommend,
            np.arange(len(model.data.users)),
            truth,
            self.metrics,
            lists,
            model.data,
            np.random.default_rng([pipeline.config.seed, BOOTSTRAP_STREAM]),
            places=pipeline.config.slate.k,
            variants=self._variants(pipeline, model, holdout.train),
            holdout=holdout.describe(),
        )
        return replace(evaluation, cold_starts=self._cold_starts(pipeline, data)), model

    def _variants(self, pipeline: Pipeline, model: Model, train: Dataset) -> list[List]:
        """The variants as lists; a stage that the config has just so is not fitted again."""

        def served(users: np.ndarray, k: int, name: str, other: Pipeline) -> Slate:
            with guarded(f"variant {name!r}"):
                fitted = other.fit(train, like=model)
                return fitted.recommend(fitted.data.users.take(users), k=k)

        varied = self.varied(pipeline).items()
        return [List(name, partial(served, name=name, other=other), other.config.slate.k) for name, other in varied]

    def varied(self, pipeline: Pipeline) -> Mapping[str, Pipeline]:
        """The pipeline of each variant. Raises ConfigError with every problem of every variant."""
        found: dict[str, Pipeline] = {}
        problems: list[Problem] = []
        for name, values in self.variants.items():
            try:
                found[name] = pipeline.with_values({**values.entries, "evaluate.variants": {}})
            except ConfigError as error:
                problems.extend(_of_variant(name, values, problem) for problem in error.problems)
        if problems:
            raise ConfigError(problems)
        return found

    def _cold_starts(self, pipeline: Pipeline, data: Dataset) -> tuple[ColdTable, ...]:
        if self.cold_start is None:
            return ()
        relevant = self._relevant(pipeline, data)
        return ColdStartRun.of(pipeline, data, relevant, *self.cold_start).tables()

    def held_out(self, pipeline: Pipeline, data: Dataset) -> Holdout:
        """The training part and the held-out events."""
        if isinstance(self.split, Given):
            test = pipeline.data_source().events_from(self.split.path)
            joined, aligned = join_datasets(data, test)
            training = with_growth(data.events, len(joined.users), len(joined.items))
            return Holdout(replace(joined, events=training, as_of=data.as_of), aligned.events, Given.name)
        return hold_out(data, self.split, np.random.default_rng([pipeline.config.seed, SPLIT_STREAM]))

    def _relevant(self, pipeline: Pipeline, data: Dataset) -> Bools:
        """Which events count, by the weights that feedback gives them (decay changes no sign): bool [events]."""
        feedback = pipeline.section.feedback
        weighted = data if feedback is None else replace(feedback, decay=None).apply(data)
        if self.relevant is None:
            return np.asarray(weighted.events.weight > 0)
        scope = EventScope(weighted.events, weighted.full_catalog(), weighted.full_audience(), data.as_of)
        return self.relevant.truth(scope).holds


def _metrics(asked: tuple[str, ...], root: MapNode, binder: Binder) -> tuple[MetricAt, ...] | None:
    known = _known_metrics(binder)
    marks = _metric_marks(root)
    found = []
    for position, text in enumerate(asked):
        try:
            found.append(parse_metric(text, known))
        except ValueError as error:
            binder.problems.append(Problem(str(error), marks.get(position)))
    if not asked:
        binder.problems.append(Problem("evaluate.metrics is empty; name at least one, such as ndcg@10", root.mark))
    return tuple(found) if len(found) == len(asked) and asked else None


def _known_metrics(binder: Binder) -> Mapping[str, type[Any]]:
    known: dict[str, type[Any]] = {}
    for registered in binder.registry.components("metric"):
        try:
            known[registered.component.name] = binder.registry.find("metric", registered.component.name).component
        except PluginError:
            continue  # two distributions claim the name: it can't be told which one is meant, so neither is offered
    return known


def _metric_marks(root: MapNode) -> dict[int, Mark]:
    section = root.entries.get("evaluate")
    listed = section.entries.get("metrics") if isinstance(section, MapNode) else None
    return {position: node.mark for position, node in enumerate(getattr(listed, "items", ()))}


def _split(node: MapNode, problems: list[Problem]) -> Split | Given | None:
    use = node.entries.get("use")
    known = ", ".join(SPLITS)
    if not isinstance(use, Scalar) or use.value not in SPLITS:
        named = f"{use.value!r} is no split" if isinstance(use, Scalar) else "evaluate.split needs a name"
        problems.append(Problem(f"{named}; write use: and one of {known}", use.mark if use else node.mark))
        return None
    rest = replace(node, entries={key: value for key, value in node.entries.items() if key != "use"})
    split: Split | Given | None = build(SPLITS[str(use.value)], rest, where=str(use.value), problems=problems)
    return split


def _cold_start(asked: ColdStart | None, root: MapNode, binder: Binder) -> tuple[ColdStart, MetricAt] | None:
    if asked is None:
        return None
    try:
        metric = parse_metric(asked.metric, _known_metrics(binder))
        if not metric.is_mean:
            raise ValueError(f"{asked.metric!r} is a figure of all users together; name one that is a mean over users")
        return asked, metric
    except ValueError as error:
        node = root.entries.get("evaluate")
        mark = node.key_marks.get("cold_start") if isinstance(node, MapNode) else None
        binder.problems.append(Problem(f"evaluate.cold_start.metric: {error}", mark))
        return None


def _variant_problems(variants: Mapping[str, MapNode]) -> Iterator[Problem]:
    """A variant may change only what changes nothing of what is measured."""
    for name, values in variants.items():
        if name == AS_CONFIGURED:
            yield Problem(
                f"a variant can't be called {name!r}, as the config itself is; give it another name", values.mark
            )
        for path, mark in values.key_marks.items():
            if path.split(".")[0] not in VARIED:
                said = f"the variant {name!r} can't change {path!r}; it may change {', '.join(VARIED)}"
                yield Problem(said, mark)


def _of_variant(name: str, values: MapNode, problem: Problem) -> Problem:
    """The problem of a config with a variant's values, where the variant stands in the file."""
    marks = {f"--set {path}": mark for path, mark in values.key_marks.items()}
    mark = problem.mark and marks.get(problem.mark.source, problem.mark)
    return Problem(f"variant {name!r}: {problem.message}", mark)
