"""What `evaluate:` asks for, and the run that answers it: fit on the training part, measure on what was held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nbarec.arrays import Bools, Ints64
from nbarec.batch import Slate
from nbarec.cold_start import ColdStartRun
from nbarec.config import Config
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.errors import ConfigError, Mark, PluginError, Problem
from nbarec.evaluate import evaluate, parse_metric
from nbarec.evaluation_config import ColdStart, EvaluateConfig, Sampled, SegmentsBy
from nbarec.evaluation_run import Variant
from nbarec.expressions import Expression
from nbarec.findings import findings_of
from nbarec.folds import pooled
from nbarec.joining import join_datasets, with_growth
from nbarec.marked import MapNode, Scalar
from nbarec.measuring import MetricAt
from nbarec.model import Model
from nbarec.one_pass import Pass
from nbarec.params import build
from nbarec.progress import track
from nbarec.relevance import relevant_items, relevant_moments, truth_of
from nbarec.reports import AS_CONFIGURED, ColdTable, Evaluation
from nbarec.sampled_items import SAMPLED, with_negatives, with_negatives_at
from nbarec.scopes import EventScope
from nbarec.segmentation import column_of
from nbarec.sparse import Csr
from nbarec.splits import SPLITS, Given, Holdout, Split, hold_out
from nbarec.timelines import Moments, Timeline

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline
    from nbarec.stages import Binder

SPLIT_STREAM, BOOTSTRAP_STREAM, SAMPLE_STREAM = 1, 2, 7
"""Random streams of an evaluation, apart from those of the stages."""

VARIED = ("candidates", "features", "rank", "filters", "slate")
"""What a variant may change: the rest says what is measured, and must be the same for all."""


@dataclass(frozen=True)
class EvaluationPlan:
    """A split, the metrics, which held-out events count, and what else is measured: `variants` of the config, each a
    mapping of dotted paths to values, cold starts by a metric of their own, `segments`, whether to tell of
    `stage_losses`, whether lists are of `sampled` items, and whether `each` is of a user or of a held-out event."""

    split: Split | Given
    metrics: tuple[MetricAt, ...]
    relevant: Expression | None
    repeats: bool
    variants: Mapping[str, MapNode]
    cold_start: tuple[ColdStart, MetricAt] | None
    segments: tuple[SegmentsBy, ...] = ()
    stage_losses: bool = True
    sampled: Sampled | None = None
    each: Literal["user", "event"] = "user"

    @classmethod
    def of(cls, config: Config, root: MapNode, binder: Binder) -> EvaluationPlan | None:
        """The plan of a config; None where it has none or where `binder` was told a problem."""
        asked = config.evaluate
        if asked is None:
            return None
        metrics = _metrics(asked.metrics, root, binder)
        split = split_of(asked.split, binder.problems)
        cold_start = _cold_start(asked, root, binder)
        binder.problems.extend(_variant_problems(asked.variants))
        if split is None or metrics is None:
            return None
        kept = asked.relevant, asked.repeats, asked.variants, cold_start
        return cls(split, metrics, *kept, asked.segments, asked.stage_losses, asked.sampled, asked.each)

    def run(self, pipeline: Pipeline, data: Dataset) -> tuple[Evaluation, Model]:
        """Hold out, fit on the rest and measure every list; of a split with folds, fold by fold. The held-out events
        reach no stage. The model, and what its stages found, is that of the last fold."""
        for segments in self.segments:
            if segments.by.startswith("user."):
                column_of(segments, data)  # a mistake is told before anything is fitted
        folds = 1 if isinstance(self.split, Given) else self.split.fold_count
        found = []
        with track("folds", folds) as advance:
            for fold in range(folds):
                evaluation, model = self.measured(pipeline, data, fold)
                found.append(evaluation)
                advance(1)
        if folds > 1:
            means = [metric.label for metric in self.metrics if metric.is_mean]
            evaluation = pooled(found, means, model.data, _rng(pipeline, BOOTSTRAP_STREAM))
        cold_starts = self._cold_starts(pipeline, data)
        return replace(evaluation, cold_starts=cold_starts, findings=findings_of(model)), model

    def measured(self, pipeline: Pipeline, data: Dataset, fold: int) -> tuple[Evaluation, Model]:
        """One fold, and the model that was fitted for it."""
        holdout = self.held_out(pipeline, data, fold)
        model = pipeline.fit(holdout.train)
        tested = replace(holdout.train.with_events(holdout.test), as_of=data.as_of)
        truth, moments = self.to_find(pipeline, model.data, holdout, self.weighed(pipeline, tested))
        passing = Pass(model, self._allowed(pipeline, model, truth, moments, fold), moments=moments)
        evaluation = evaluate(
            partial(passing.lists, truth=truth if self.stage_losses else None),
            np.arange(truth.shape[0]),
            truth,
            self.metrics,
            model.data,
            _rng(pipeline, BOOTSTRAP_STREAM),
            places=pipeline.config.slate.k,
            variants=self._variants(pipeline, passing, holdout.train),
            segments=self.segments,
            holdout=holdout.describe(),
            moments=moments,
        )
        return self._marked(evaluation), model

    def to_find(
        self, pipeline: Pipeline, known: Dataset, holdout: Holdout, weighed: Dataset
    ) -> tuple[Csr, Moments | None]:
        """What is to be found: (users x items), or with the moments of held-out events (moments x items).

        `known` is the training part under its weights, `weighed` holds the held-out events under theirs, not decayed.
        """
        relevant = self.counted(weighed)
        if self.each == "user":
            return relevant_items(weighed.events, relevant, known.events, repeats=self.repeats), None
        # As part of a history, a held-out event weighs what it would by the clock that the model was fitted at.
        later = pipeline.weighted(holdout.train.with_events(holdout.test)).events
        timeline = Timeline.of(known.events, later, known.as_of)
        which = relevant_moments(timeline, relevant, repeats=self.repeats)
        return truth_of(weighed.events, which), timeline.moments(which)

    def _allowed(self, pipeline: Pipeline, model: Model, truth: Csr, moments: Moments | None, fold: int) -> Csr | None:
        """The only items that each row may be shown, where lists are of sampled items."""
        if self.sampled is None:
            return None
        rng = np.random.default_rng([pipeline.config.seed, SAMPLE_STREAM, self.sampled.seed, fold])
        if moments is not None:
            return with_negatives_at(truth, moments, self.sampled.negatives, rng)
        return with_negatives(truth, model.data.events, self.sampled.negatives, rng)

    def _marked(self, evaluation: Evaluation) -> Evaluation:
        """Lists of sampled items are told from others, and can't be compared with them."""
        if self.sampled is None:
            return evaluation
        how = f"{evaluation.relevant}:sampled-{self.sampled.negatives}-{self.sampled.seed}"
        warned = (*evaluation.holdout, SAMPLED.format(self.sampled.negatives))
        return replace(evaluation, relevant=how, holdout=warned)

    def _variants(self, pipeline: Pipeline, passing: Pass, train: Dataset) -> list[Variant]:
        """The variants as lists; a stage that the config, or the variant before, has just so is not fitted again."""
        known = [passing.model]

        def served(users: Ints64, k: int, name: str, other: Pipeline) -> tuple[Slate, float]:
            with guarded(f"variant {name!r}"):
                fitted = other.fit(train, like=max(known, key=other.stages_alike))
                known[1:] = [fitted]
                return replace(passing, model=fitted).slates(users, k)

        varied = self.varied(pipeline).items()
        return [Variant(name, partial(served, name=name, other=other), other.config.slate.k) for name, other in varied]

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
        weighed = self.weighed(pipeline, data)
        relevant, weight = self.counted(weighed), weighed.events.weight
        return ColdStartRun.of(pipeline, data, relevant, weight, *self.cold_start).tables()

    def held_out(self, pipeline: Pipeline, data: Dataset, fold: int = 0) -> Holdout:
        """The training part and the held-out events, of a split with folds those of one of them."""
        if isinstance(self.split, Given):
            test = pipeline.data_source().events_from(self.split.path)
            joined, aligned = join_datasets(data, test)
            training = with_growth(data.events, len(joined.users), len(joined.items))
            return Holdout(replace(joined, events=training, as_of=data.as_of), aligned.events, Given.name)
        return hold_out(data, self.split, _rng(pipeline, SPLIT_STREAM), fold)

    def weighed(self, pipeline: Pipeline, data: Dataset) -> Dataset:
        """The data with the weights that feedback gives their events; none has lost any by its age."""
        feedback = pipeline.section.feedback
        return data if feedback is None else replace(feedback, decay=None).apply(data)

    def counted(self, weighed: Dataset) -> Bools:
        """Which events count: bool [events]."""
        if self.relevant is None:
            return np.asarray(weighed.events.weight > 0)
        scope = EventScope(weighed.events, weighed.full_catalog(), weighed.full_audience(), weighed.as_of)
        return self.relevant.truth(scope).holds


def _rng(pipeline: Pipeline, stream: int) -> np.random.Generator:
    return np.random.default_rng([pipeline.config.seed, stream])


def _metrics(asked: tuple[str, ...], root: MapNode, binder: Binder) -> tuple[MetricAt, ...] | None:
    known = known_metrics(binder)
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


def known_metrics(binder: Binder) -> Mapping[str, type[Any]]:
    """Every metric by name, but for names that two distributions claim."""
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


def split_of(node: MapNode, problems: list[Problem]) -> Split | Given | None:
    """The split that a mapping with `use` stands for; None where it is none, which is appended to `problems`."""
    use = node.entries.get("use")
    known = ", ".join(SPLITS)
    if not isinstance(use, Scalar) or use.value not in SPLITS:
        named = f"{use.value!r} is no split" if isinstance(use, Scalar) else "evaluate.split needs a name"
        problems.append(Problem(f"{named}; write use: and one of {known}", use.mark if use else node.mark))
        return None
    rest = replace(node, entries={key: value for key, value in node.entries.items() if key != "use"})
    split: Split | Given | None = build(SPLITS[str(use.value)], rest, where=str(use.value), problems=problems)
    return split


def _cold_start(asked: EvaluateConfig, root: MapNode, binder: Binder) -> tuple[ColdStart, MetricAt] | None:
    cold_start = asked.cold_start
    if cold_start is None:
        return None
    wrong = "evaluate.cold_start tells of users and items, and each: event of moments; leave out one of the two"
    if asked.each == "user":
        try:
            metric = parse_metric(cold_start.metric, known_metrics(binder))
            if metric.is_mean:
                return cold_start, metric
            wrong = f"{cold_start.metric!r} is a figure of all users together; name one that is a mean over users"
        except ValueError as error:
            wrong = str(error)
        wrong = f"evaluate.cold_start.metric: {wrong}"
    node = root.entries.get("evaluate")
    mark = node.key_marks.get("cold_start") if isinstance(node, MapNode) else None
    binder.problems.append(Problem(wrong, mark))
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
