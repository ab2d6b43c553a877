"""What a study may change: all parameters that `tune.ranges` names, and whether they go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbarec.errors import ConfigError, Mark, Problem, in_order
from nbarec.evaluate import parse_metric
from nbarec.evaluation_plan import known_metrics, split_of
from nbarec.marked import MapNode, Node
from nbarec.measuring import MetricAt
from nbarec.splits import Given, Split
from nbarec.stages import Binder
from nbarec.tune_config import TuneConfig
from nbarec.tuned_ranges import NO_TUNING, Dimension, Value
from nbarec.validation import own_rule

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline


@dataclass(frozen=True)
class TuningPlan:
    """A `tune:` section whose paths, values, metric and split were looked at. `split` None: as the evaluation cuts."""

    config: TuneConfig
    metric: MetricAt
    split: Split | None
    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, pipeline: Pipeline) -> TuningPlan:
        """The plan of a pipeline's config. Raises ConfigError with every problem where it stands in the file, and where
        there is no such section."""
        config, section = pipeline.config.tune, pipeline.root.entries.get("tune")
        if config is None or not isinstance(section, MapNode):
            raise ConfigError("there is no tune section; add one with ranges, such as\n" + EXAMPLE)
        problems: list[Problem] = []
        metric = _metric(config, pipeline, section, problems)
        split = _validation_split(config, pipeline, section, problems)
        dimensions = _dimensions(config, section)
        problems.extend(_range_problems(dimensions, pipeline))
        if problems or metric is None:
            raise ConfigError(in_order(dict.fromkeys(problems)))
        return cls(config, metric, split, dimensions)

    def own(self, pipeline: Pipeline) -> dict[str, Value]:
        """The values that the config itself has, by path, where their ranges have them."""
        return {path: value for one in self.dimensions for path, value in one.own(pipeline).items()}

    def overrides(self, values: Mapping[str, Value]) -> dict[str, Node]:
        """What `Pipeline.with_values` takes, from a study's values by path."""
        return {one.path: one.node(values[one.path]) for one in self.dimensions if one.path in values}


EXAMPLE = """  tune:
    ranges:
      candidates.latent.with.factors: {low: 16, high: 256, log: true, integer: true}"""


def _range_problems(dimensions: Sequence[Dimension], pipeline: Pipeline) -> Iterator[Problem]:
    """What is wrong with any range: values of all are tried in one config, one by one only where it is refused."""
    wrong, left = [one for one in dimensions if one.own_problems(pipeline)], list(dimensions)
    for dimension in wrong:
        yield from dimension.problems(pipeline)
        left.remove(dimension)
    while refused := _refused_together(left, pipeline):  # a step a group of ranges that are refused together
        paths = {problem.mark.source.removeprefix("--set ") for problem in refused if problem.mark}
        named = [one for one in left if one.path in paths] or left
        for dimension in named:
            yield from dimension.problems(pipeline)
        left = [one for one in left if one not in named]


def _refused_together(dimensions: Sequence[Dimension], pipeline: Pipeline) -> list[Problem]:
    """Why a config with a value of each range, its own beside every other's, is refused; empty where none is."""
    tried = [list(dimension.first_tried()) for dimension in dimensions]
    for at in range(max(map(len, tried), default=0)):  # a step a config: as many as a range has values to try
        values = {one.path: nodes[min(at, len(nodes) - 1)] for one, nodes in zip(dimensions, tried, strict=True)}
        try:
            pipeline.with_values({**values, **NO_TUNING})
        except ConfigError as error:
            return list(error.problems)
    return []


def check_tuning(pipeline: Pipeline) -> Pipeline:
    """The same pipeline. Raises ConfigError where it has a `tune:` section with anything wrong."""
    if pipeline.config.tune is not None:
        TuningPlan.of(pipeline)
    return pipeline


def _metric(config: TuneConfig, pipeline: Pipeline, section: MapNode, problems: list[Problem]) -> MetricAt | None:
    try:
        return parse_metric(config.metric, known_metrics(Binder(pipeline.registry, pipeline.root, [])))
    except ValueError as error:
        problems.append(Problem(f"tune.metric: {error}", _mark(section, "metric")))
        return None


def _validation_split(
    config: TuneConfig, pipeline: Pipeline, section: MapNode, problems: list[Problem]
) -> Split | None:
    try:
        if config.split is None:
            own_rule(pipeline)
            return None
        split = split_of(config.split, problems)
        if isinstance(split, Given):
            raise ConfigError("the validation part is cut from the training part; use another split than given")
        return split
    except ConfigError as error:
        told = (Problem(f"tune.split: {problem.message}", _mark(section, "split")) for problem in error.problems)
        problems.extend(told)
        return None


def _dimensions(config: TuneConfig, section: MapNode) -> tuple[Dimension, ...]:
    ranges = section.entries["ranges"]
    assert isinstance(ranges, MapNode)
    return tuple(
        Dimension(path, one, ranges.key_marks[path], _marks(ranges.entries[path]))
        for path, one in config.ranges.items()
    )


def _marks(node: Node) -> dict[str, Mark]:
    return {key: inner.mark for key, inner in node.entries.items()} if isinstance(node, MapNode) else {}


def _mark(section: MapNode, key: str) -> Mark:
    return section.entries[key].mark if key in section.entries else section.mark
