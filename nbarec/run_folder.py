"""What a run left in its folder: the model with its data, the evaluation, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nbarec.errors import DataError
from nbarec.evaluation_files import FIGURES
from nbarec.model import Model
from nbarec.report_evaluation import RunEvaluation
from nbarec.reports import WHOLE_PIPELINE
from nbarec.run_costs import RunCost
from nbarec.saved import load_model
from nbarec.store import CURRENT, read_manifest

MODEL = "model"
ROLES = {"candidates": "generate", "features": "features", "rank": "rank", "filters": "filter"}
"""What the stages of each section of a config do: the class that gives them their colour."""

POPULARITY = "popularity"
"""The component that every other one should beat."""


@dataclass(frozen=True)
class Run:
    """A run's folder: `model`, `evaluation` and `cost` are None where it has none; `manifest` is the model's."""

    folder: Path
    model: Model | None
    evaluation: RunEvaluation | None
    cost: RunCost | None
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """What is there. Raises DataError where there is nothing to report on, StoreError where a model is damaged."""
        has_model = (folder / MODEL / CURRENT).exists()
        evaluation = RunEvaluation.read(folder)
        if not has_model and evaluation is None:
            what = f"holds neither {MODEL} nor {FIGURES}" if folder.is_dir() else "is no folder"
            raise DataError(f"{folder} {what}; nbarec run CONFIG --out {folder} writes both")
        model = load_model(folder / MODEL) if has_model else None
        manifest = read_manifest(folder / MODEL) if has_model else {}
        return cls(folder, model, evaluation, RunCost.read(folder), manifest)

    @property
    def name(self) -> str:
        """What the run is called: its folder's name."""
        return self.folder.resolve().name

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """What each stage, and the whole slate, does. Of an evaluation alone, what its figures tell of that."""
        known: dict[str, str] = {}
        if self.evaluation is not None:
            losses = self.evaluation.losses
            generators = set() if losses is None else set(losses.generators)
            known |= {one: "generate" if one in generators else "rank" for one in self.evaluation.stages}
        if self.model is not None:
            known |= {stage.id: ROLES[stage.section] for stage in self.model.pipeline.stages.all()}
        return {**known, WHOLE_PIPELINE: "slate"}

    @property
    def generators(self) -> Sequence[str]:
        """The ids of the candidate generators."""
        return [stage for stage, role in self.roles.items() if role == "generate"]

    @property
    def popularity(self) -> str | None:
        """The generator that proposes what is popular, None without one."""
        if self.model is None:
            return None
        generators = self.model.pipeline.stages.generators
        return next((one.id for one in generators if one.registered.component.name == POPULARITY), None)
