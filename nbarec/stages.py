"""Stages: the components that a config names, found, built and given their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nbarec.components import CandidateGenerator, DataSource, FeatureProvider, ItemVectors, PostFilter, Ranker
from nbarec.config import (
    CandidatesConfig,
    Config,
    DataSection,
    FeaturesConfig,
    FilterConfig,
    RankConfig,
    StageConfig,
    stage_id,
    stage_marks,
)
from nbarec.errors import ConfigError, Mark, PluginError, Problem, in_order
from nbarec.marked import MapNode
from nbarec.params import build
from nbarec.plugins import Kind, Registered, Registry

C = TypeVar("C")
P = TypeVar("P")


@dataclass(frozen=True)
class Bound(Generic[C, P]):
    """One stage of a pipeline: its `id`, the section it stands in, its settings, its component, and where it stands."""

    id: str
    section: str
    settings: C
    component: P
    registered: Registered
    mark: Mark

    @property
    def who(self) -> str:
        """What errors call the stage: section, id and component, and whose: distribution, entry point and version."""
        provider = self.registered.provider
        return f"{self.section}.{self.id} ({self.registered.component.name} of {provider} {provider.version})"


GeneratorStage = Bound[CandidatesConfig, CandidateGenerator[Any]]
FeatureStage = Bound[FeaturesConfig, FeatureProvider[Any]]
RankerStage = Bound[RankConfig, Ranker[Any]]
FilterStage = Bound[FilterConfig, PostFilter[Any]]
AnyStage = GeneratorStage | FeatureStage | RankerStage | FilterStage


@dataclass(frozen=True)
class Fitted:
    """What one stage learnt: its `state`, how many items the catalogue had then, and how long it took; `failed` says
    why a stage with `on_error: skip` learnt nothing, and is empty otherwise."""

    state: Any
    n_items: int
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class Stages:
    """All stages in the order of the one way through."""

    generators: tuple[GeneratorStage, ...]
    features: tuple[FeatureStage, ...]
    rankers: tuple[RankerStage, ...]
    filters: tuple[FilterStage, ...]

    def all(self) -> tuple[AnyStage, ...]:
        """Every stage, in order."""
        return (*self.generators, *self.features, *self.rankers, *self.filters)

    @property
    def giving_vectors(self) -> tuple[GeneratorStage, ...]:
        """The generators whose item vectors some stage reads."""
        named = {name for stage in self.all() for name in stage.component.vectors_named()}
        return tuple(stage for stage in self.generators if stage.id in named)


@dataclass
class Binder:
    """Finds and builds components; collects every problem on the way."""

    registry: Registry
    root: MapNode
    problems: list[Problem]

    def stages(self, config: Config) -> Stages:
        """All stages of the config. Stages with a problem are left out."""
        stages = Stages(
            generators=self._section("candidates", "generator", config.candidates),
            features=self._section("features", "feature", config.features),
            rankers=self._section("rank", "ranker", config.rank),
            filters=self._section("filters", "filter", config.filters),
        )
        if not self.problems:  # else a name may be missing only because its stage has a fault of its own
            self._check_names(stages)
        return stages

    def source(self, section: DataSection) -> DataSource | None:
        """The data source, or None where something is wrong with it."""
        registered = self._find("source", section.use, section.use_mark)
        if registered is None:
            return None
        where = f"data ({registered.component.name})"
        component: Any = registered.component
        source: DataSource | None = build(component, section.parameters, where=where, problems=self.problems)
        return source

    def check(self) -> None:
        """Raise ConfigError where anything was wrong."""
        if self.problems:
            raise ConfigError(in_order(self.problems))

    def _section(self, section: str, kind: Kind, configs: Sequence[StageConfig]) -> tuple[Any, ...]:
        marks = stage_marks(self.root)
        bound = [self._bound(section, kind, config, marks[section, at]) for at, config in enumerate(configs)]
        return tuple(stage for stage in bound if stage is not None)

    def _bound(self, section: str, kind: Kind, config: StageConfig, mark: Mark) -> Bound[Any, Any] | None:
        own_name = stage_id(config)
        # Without an id of its own the stage is called as its component is, which the message names anyway.
        who = "" if own_name == config.use.rpartition("/")[2] else f"{section}.{own_name}: "
        registered = self._find(kind, config.use, mark, who)
        if registered is None:
            return None
        node = config.with_ or MapNode(mark, {}, {})
        component: Any = build(registered.component, node, where=registered.component.name, problems=self.problems)
        return None if component is None else Bound(stage_id(config), section, config, component, registered, mark)

    def _check_names(self, stages: Stages) -> None:
        """Every generator that a stage's parameters name must be there."""
        generators = {stage.id: stage for stage in stages.generators}
        known = ", ".join(generators)
        able = [name for name, stage in generators.items() if isinstance(stage.component, ItemVectors)]
        for stage in stages.all():
            vectors = tuple(stage.component.vectors_named())
            for name in dict.fromkeys((*stage.component.generators_named(), *vectors)):
                if name not in generators:
                    message = f"{stage.id}: {name!r} is no candidate generator of this config; they are {known}"
                    self.problems.append(Problem(message, stage.mark))
                elif name in vectors and name not in able:
                    others = f"those that have are {', '.join(able)}" if able else "no generator of this config has any"
                    message = f"{stage.id}: the generator {name!r} has no item vectors; {others}"
                    self.problems.append(Problem(message, stage.mark))

    def _find(self, kind: Kind, use: str, mark: Mark, who: str = "") -> Registered | None:
        try:
            return self.registry.find(kind, use)
        except PluginError as error:
            self.problems.append(Problem(f"{who}{error}", mark))
            return None
