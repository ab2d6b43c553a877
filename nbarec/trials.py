"""Trials of other values: each fits and serves a whole pipeline, and takes from those before what its values leave as
it was: data under the same feedback, fitted stages, and what generators propose to the same users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Self

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.batch import Candidates, Request
from nbarec.components import LearningRanker
from nbarec.data import Dataset
from nbarec.fit_cache import FitCache, Recent, data_digest, digest_of, settings_text, stage_digest
from nbarec.learning import Past, stages_before
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.serving import Journey
from nbarec.stages import AnyStage, Fitted, GeneratorStage

DATASETS = 8
"""How many datasets are remembered: the training part under some feedback, and its earlier parts for rankers that
learn."""

MEMORY_SHARE = 8
"""States, and likewise proposals, may take this part of `engine.memory`: 256 MiB of 2 GiB."""


@dataclass(frozen=True)
class Kept:
    """What trials share: fitted stages, proposals, and datasets with their digests."""

    fits: FitCache
    proposals: Recent[Candidates]
    datasets: Recent[tuple[object, Dataset]] = field(default_factory=lambda: Recent(DATASETS))
    digests: Recent[tuple[object, str]] = field(default_factory=lambda: Recent(DATASETS))

    @classmethod
    def of(cls, folder: Path, memory: int) -> Kept:
        """For an engine with so many bytes of memory; as many may lie on disk, in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        share = memory // MEMORY_SHARE
        return cls(FitCache(folder, share, memory), Recent(share))

    def weighted(self, data: Dataset, how: object, weigh: Callable[[Dataset], Dataset]) -> Dataset:
        """The data under a feedback that `how` tells from any other; the same object each time, with all it caches."""
        key = id(data.events), data.as_of, str(how)
        found = self.datasets.get(key)
        if found is None:
            found = data.events, weigh(data)  # the events are kept, so that no others can have their id
            self.datasets.put(key, found, 1)
        return found[1]

    def digest(self, data: Dataset) -> str:
        """`data_digest`, taken once of each dataset."""
        key = id(data.events), data.as_of
        found = self.digests.get(key)
        if found is None:
            found = data.events, data_digest(data)
            self.digests.put(key, found, 1)
        return found[1]


@dataclass(frozen=True)
class TrialPipeline(Pipeline):
    """A pipeline whose stages are fitted only where no trial has fitted the same before."""

    kept: Kept

    @classmethod
    def trying(cls, pipeline: Pipeline, kept: Kept) -> Self:
        """The same pipeline as a trial."""
        return cls(**{one.name: getattr(pipeline, one.name) for one in fields(Pipeline)}, kept=kept)

    def weighted(self, data: Dataset) -> Dataset:
        return self.kept.weighted(data, (self.section.feedback, self.config.as_of), super().weighted)

    def fitted_stage(self, stage: AnyStage, data: Dataset, past: Past | None, *, told: bool = True) -> Fitted:
        def fit() -> Fitted:
            return super(TrialPipeline, self).fitted_stage(stage, data, past, told=told)

        return self.kept.fits.fitted(self.key(stage, data, past), stage, fit)

    def key(self, stage: AnyStage, data: Dataset, past: Past | None = None) -> str:
        """What tells a fitted stage from any other that learnt something else."""
        learnt_from = [self.kept.digest(data)]
        if isinstance(stage.component, LearningRanker) and past is not None:
            seen = stages_before(self.stages, stage).all()
            learnt_from += [self.kept.digest(past.data), repr(self.section.feedback), str(self.config.slate.k)]
            learnt_from += [stage_digest(one, self.config.seed) + settings_text(one) for one in seen]
        return stage_digest(stage, self.config.seed, *learnt_from)

    def trial(self, data: Dataset) -> TrialModel:
        """The pipeline fitted on unweighted data."""
        model = self.fit(data)
        keys = {stage.id: self.key(stage, model.data) for stage in self.stages.generators}
        return TrialModel(self, model.data, model.fitted, self.kept.proposals, keys)


@dataclass(frozen=True)
class TrialModel(Model):
    """A model whose generators are asked only for what they were not asked before; `keys` tell what they learnt."""

    proposals: Recent[Candidates]
    keys: Mapping[str, str]

    def journey(self, request: Request, told: Callable[[str, Exception], object] | None = None) -> Journey:
        begun = super().journey(request, told)
        return _Remembering(
            *(begun.stages, begun.fitted, begun.vectors, request, begun.on_error),
            proposals=self.proposals,
            keys=self.keys,
            asked=_request_digest(request),
        )


@dataclass
class _Remembering(Journey):
    """A journey that takes proposals from those before where a generator is asked for the same again."""

    proposals: Recent[Candidates] = field(default_factory=lambda: Recent(0))
    keys: Mapping[str, str] = field(default_factory=dict)
    asked: str = ""

    def candidates_of(self, stage: GeneratorStage, limit: int) -> Candidates:
        settings = replace(stage.settings, with_=None, use="")
        key = self.keys[stage.id], settings, limit, self.asked
        found = self.proposals.get(key)
        if found is None:
            found = super().candidates_of(stage, limit)
            if not self.traces[-1].note:  # a stage that failed is asked anew
                self.proposals.put(key, found, found.indptr.nbytes + found.item.nbytes + found.score.nbytes)
        self.proposed[stage.id] = np.diff(found.indptr)
        return found


def _request_digest(request: Request) -> str:
    """What tells a request from another to the same data: who asks, when, with what history, and for what."""
    past, out = request.history, request.excluded
    arrays: list[AnyArray] = [request.user, request.key, request.now, past.indptr, past.item, past.weight, past.time]
    arrays += [out.indptr, out.indices] if out.nnz else []
    context = {name: values.tolist() for name, values in request.context.items()}
    return digest_of(request.k, context, *(digest_of(array.tobytes()) for array in arrays))
