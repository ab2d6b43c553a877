"""Pipeline: a config with its components found and built; `fit` makes a model of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nbarec.components import DataSource, LearningRanker, NoState
from nbarec.config import Config, DataSection, Read, read_config
from nbarec.contracts import guarded
from nbarec.data import Dataset, FileReport
from nbarec.errors import ConfigError, NbarecError, PluginError, Problem
from nbarec.evaluation_plan import EvaluationPlan
from nbarec.learning import Past, same_before
from nbarec.marked import MapNode, dump, read_text
from nbarec.model import Model
from nbarec.plugins import Registry, registry
from nbarec.progress import track
from nbarec.scopes import EventScope
from nbarec.serving import holds
from nbarec.stages import AnyStage, Binder, Fitted, Stages
from nbarec.tuning_space import check_tuning
from nbarec.work import working


@dataclass(frozen=True)
class Pipeline:
    """What a config says, ready to fit. `source` is None in a pipeline that only serves a loaded model."""

    config: Config
    section: DataSection
    root: MapNode
    stages: Stages
    source: DataSource | None
    plan: EvaluationPlan | None
    registry: Registry

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Mapping[str, object] | None = None) -> Pipeline:
        """The pipeline of a YAML file; `overrides` maps dotted paths to values, as `--set` does.

        Raises ConfigError with every problem of the file at once. With overrides, what `tune` says is not looked at:
        they may have replaced the stages that it is about.
        """
        problems: list[Problem] = []
        pipeline = cls._bound(read_config(path, overrides, problems), problems)
        return pipeline if overrides else check_tuning(pipeline)

    @classmethod
    def from_text(cls, text: str, source: str = "config") -> Pipeline:
        """The pipeline of a YAML text; `source` is what errors call it."""
        problems: list[Problem] = []
        return check_tuning(cls._bound(read_config(read_text(text, source), problems=problems), problems))

    @classmethod
    def serving(cls, text: str, source: str, overrides: Mapping[str, object] | None = None) -> Pipeline:
        """The pipeline of a saved model: everything but the data source and the evaluation."""
        problems: list[Problem] = []
        return cls._bound(read_config(read_text(text, source), overrides, problems), problems, serves_only=True)

    @classmethod
    def _bound(cls, read: Read, problems: list[Problem], *, serves_only: bool = False) -> Pipeline:
        config, section, root = read
        binder = Binder(registry(), root, problems)
        source = None if serves_only or section is None else binder.source(section)
        stages = binder.stages(config)
        plan = None if serves_only else EvaluationPlan.of(config, root, binder)
        binder.check()
        if section is None:
            raise ConfigError("data needs a source")  # `read_config` has said so: then `check` has raised
        pipeline = cls(config, section, root, stages, source, plan, binder.registry)
        if plan is not None:
            plan.varied(pipeline)  # so that a mistake in a variant is told now, like any other
        return pipeline

    @property
    def text(self) -> str:
        """The whole config as text, overrides and variables applied: what a saved model keeps."""
        return dump(self.root)

    def load(self) -> Dataset:
        """The data as the source gives them, up to the config's clock. Raises DataError where they are wrong."""
        with guarded(f"data ({self.section.use})"):
            return self._up_to_clock(self.data_source().load())

    def data_source(self) -> DataSource:
        """The data source; found anew where the pipeline comes from a saved model."""
        if self.source is not None:
            return self.source
        binder = Binder(self.registry, self.root, [])
        source = binder.source(self.section)
        binder.check()
        if source is None:
            raise ConfigError(f"the data source {self.section.use!r} can't be built")
        return source

    def weighted(self, data: Dataset) -> Dataset:
        """The data under the config's clock, weighted by its feedback model (as they are, where it has none)."""
        known = self._up_to_clock(data)
        return known if self.section.feedback is None else self.section.feedback.apply(known)

    def _up_to_clock(self, data: Dataset) -> Dataset:
        """The data as they stood at `as_of`: what happened later is not known yet, and is counted in `files`."""
        clock = self.config.as_of.seconds
        if clock is None:
            return data
        kept = data.events.where(data.events.time <= clock)
        later = len(data.events) - len(kept)
        told = (FileReport(f"as_of {self.config.as_of}", "event", len(kept), later),) if later else ()
        return replace(data, events=kept, as_of=clock, files=(*data.files, *told))

    def with_values(self, overrides: Mapping[str, object]) -> Pipeline:
        """The pipeline with other values at dotted paths. Raises ConfigError with every problem."""
        problems: list[Problem] = []
        return self._bound(read_config(self.root, overrides, problems), problems)

    def fit(self, data: Dataset | None = None, like: Model | None = None) -> Model:
        """Learn every stage from `data` (or what the data source loads), weighted by the feedback model.

        Stages that stand in `like`, a model of the same data, with the same settings are taken from there.
        Raises ConfigError, DataError or ContractError naming the stage.
        """
        known = self._up_to_clock(self.load() if data is None else data)
        weighted = self.weighted(known)
        fitted: dict[str, Fitted] = {}
        stages = self.stages.all()
        with track("fitting", len(stages)) as advance, working(self.config.engine.work):
            past: Past | None = Past(self, known)
            # A step a stage: each is told of when it is done. Those that learn from examples come first, so that what
            # was fitted for the examples is let go before everything is fitted on all events.
            for stage in sorted(stages, key=lambda one: not isinstance(one.component, LearningRanker)):
                past = past if isinstance(stage.component, LearningRanker) else None
                fitted[stage.id] = (like and self._taken(stage, like)) or self.fitted_stage(stage, weighted, past)
                advance(1)
        return Model(self, weighted, {stage.id: fitted[stage.id] for stage in stages}).checked()

    def stages_alike(self, model: Model) -> int:
        """How many stages `fit` takes from a model of the same data."""
        return sum(self._taken(stage, model) is not None for stage in self.stages.all())

    def _taken(self, stage: AnyStage, like: Model) -> Fitted | None:
        """What another model of the same data has learnt for this stage, if it would learn the same here."""
        if isinstance(stage.component, LearningRanker) and not same_before(stage, self.stages, like.pipeline.stages):
            return None
        return like.fitted_alike(stage)

    def fitted_stage(self, stage: AnyStage, data: Dataset, past: Past | None, *, told: bool = True) -> Fitted:
        """What one stage learns from weighted data, or from examples of the `past`; plugins are `told` of it."""
        start = time.perf_counter()
        try:
            state = self._learnt(stage, data, past)
        except NbarecError as error:
            if told:
                self.tell("nbarec_on_error", stage=stage.id, error=error)
            if getattr(stage.settings, "on_error", "fail") == "fail":
                raise
            return Fitted(NoState(), len(data.items), time.perf_counter() - start, f"could not be fitted: {error}")
        seconds = time.perf_counter() - start
        if told:
            self.tell("nbarec_after_fit", stage=stage.id, state=state, seconds=seconds)
        return Fitted(state, len(data.items), seconds)

    def _learnt(self, stage: AnyStage, data: Dataset, past: Past | None) -> Any:
        component, rng = stage.component, self.stage_rng(stage.id)
        if not isinstance(component, LearningRanker) or past is None:
            with guarded(stage.who, stage.mark):
                return component.fit(stage_data(stage, data), rng)
        examples = past.examples(stage, component.held_out)
        with guarded(stage.who, stage.mark):
            return component.learn(examples, data, rng)

    def stage_rng(self, stage: str) -> np.random.Generator:
        """The random numbers of one stage: the same whatever other stages there are."""
        return np.random.default_rng([self.config.seed, *stage.encode()])

    def is_heard(self, hook: str) -> bool:
        """Whether any plugin is told of it."""
        return bool(getattr(self.registry.manager.hook, hook).get_hookimpls())

    def tell(self, hook: str, **happened: Any) -> None:
        """Tell every plugin what happened; what it answers is ignored. Raises PluginError naming one that fails."""
        caller = getattr(self.registry.manager.hook, hook)
        try:
            caller(pipeline=self, **happened)
        except Exception as error:
            frames = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
            failed = [impl.plugin_name for impl in caller.get_hookimpls() if impl.function.__code__ in frames]
            about = f", told of: {happened['error']}" if "error" in happened else ""
            who = " or ".join(failed) or "a plugin"
            raise PluginError(f"{hook} of {who} failed: {type(error).__name__}: {error}{about}") from error


def stage_data(stage: AnyStage, data: Dataset) -> Dataset:
    """The data as one stage sees them: the events that its `history` counts."""
    history = getattr(stage.settings, "history", None)
    if history is None:
        return data
    scope = EventScope(data.events, data.full_catalog(), data.full_audience(), data.as_of)
    return data.with_events(data.events.where(holds(history, scope)))
