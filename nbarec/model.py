"""Model: a fitted pipeline. It recommends, saves itself, and takes new events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nbarec.arrays import Floats32
from nbarec.batch import Request, Slate
from nbarec.components import NoState
from nbarec.data import Dataset
from nbarec.door import Context, Door
from nbarec.errors import ConfigError, NbarecError
from nbarec.executor import Kind, executor_of
from nbarec.explain import Explainer
from nbarec.ids import TextOrNumber
from nbarec.outcomes import UserReasons
from nbarec.serving import Journey, vectors_of
from nbarec.slates import joined, own_list, serve
from nbarec.stages import AnyStage, Fitted, GeneratorStage
from nbarec.work import working
from nbarec.worker_models import Call, Users, Workers

if TYPE_CHECKING:
    from pathlib import Path

    from nbarec.pipeline import Pipeline

BATCH_SHARE = 4
"""The batches that are served side by side may take this part of `engine.memory`: 512 MiB of 2 GiB, an array of each.
Stages hold several arrays of a batch's size, one after the other."""

MOST_PLACES = 10_000
"""Slates may be longer than a small catalogue, and not by any length: each place takes memory, filled or not."""

MOST_USERS = 4096
"""More users in a batch make nothing faster, and a stopped run should lose little."""

ANONYMOUS = "-"
"""What slates call the user of a request that brings a history and no user; a user of this id is another."""


@dataclass(frozen=True)
class Model:
    """A pipeline, the data it knows, and the state of each stage by id."""

    pipeline: Pipeline
    data: Dataset
    fitted: Mapping[str, Fitted]

    @cached_property
    def door(self) -> Door:
        """Where requests come in."""
        return Door.of(self.data)

    @cached_property
    def vectors(self) -> Mapping[str, Floats32]:
        """The item vectors of the generators that other stages ask for, by id: float32 [items, d]."""
        asked, items = self.pipeline.stages.giving_vectors, len(self.data.items)
        return {stage.id: vectors_of(stage, self.fitted[stage.id], items) for stage in asked}

    @cached_property
    def _workers(self) -> Workers:
        """The processes that serve this model, started when they are first asked."""
        return Workers(self)

    def recommend(
        self,
        users: Sequence[TextOrNumber] | None = None,
        *,
        k: int | None = None,
        history: Sequence[TextOrNumber] = (),
        context: Mapping[str, Context] | None = None,
        stage: str | None = None,
        now: int | None = None,
        among: Sequence[TextOrNumber] | None = None,
        explain: bool = False,
    ) -> Slate:
        """Slates for these users; unknown users are served too.

        `k`: places, the config's by default. `history`: item ids that count as just liked; without `users` they are
        an unknown user's whole history. `context`: one value for all, such as {"hour": 21}, or a list
        with one a user. `stage`: a generator's or ranker's own list instead of the whole pipeline. `now`: seconds
        since 1970 UTC, the data's clock by default. `among`: the only items that may be shown; all by default.
        `explain`: tell of every item why it is there, in `slate.explanations`.

        Raises NbarecError for a stage that is not there, DataError for an item that the catalogue lacks.
        """
        slates = self.stream(
            users, k=k, history=history, context=context, stage=stage, now=now, among=among, explain=explain
        )
        return joined(list(slates))

    def stream(
        self,
        users: Users | None = None,
        *,
        k: int | None = None,
        history: Sequence[TextOrNumber] = (),
        context: Mapping[str, Context] | None = None,
        stage: str | None = None,
        now: int | None = None,
        among: Sequence[TextOrNumber] | None = None,
        explain: bool = False,
    ) -> Iterator[Slate]:
        """The same, a batch of users at a time in their order: memory does not grow with the users."""
        # Checked here and not in the generator, so that a mistake is told before anything is written.
        for name, ids in (("users", users), ("history", history), ("among", among)):
            if isinstance(ids, str):
                raise NbarecError(f"{name} must be a list of ids; write [{ids!r}]")
        if now is not None and not isinstance(now, int | np.integer):
            raise NbarecError(f"now must be whole seconds since 1970 UTC, not {now!r}")
        anonymous = users is None
        users = [ANONYMOUS] if users is None else users
        asked = self.door.asked(len(users), self._places(k, stage), history, context, now, among, anonymous=anonymous)
        if explain and stage is not None:
            raise NbarecError(f"only whole slates are explained; leave out the stage {stage!r}")
        return self._batches(users, Call(asked, stage, explain))

    def _batches(self, users: Users, call: Call) -> Iterator[Slate]:
        size, engine = self.batch_size(), self.pipeline.config.engine
        spans = [slice(at, at + size) for at in range(0, max(len(users), 1), size)]
        alone = len(spans) == 1 or engine.work.workers == 1
        if engine.executor == "processes" and not alone:
            served: Iterator[tuple[Request | None, Slate]] = self._served_elsewhere(users, spans, call)
        else:
            served = self._served_here(users, spans, call, "serial" if alone else "threads")
        for request, slate in served:
            if request is not None and len(slate):  # `check` serves nobody, of which there is nothing to tell
                self.pipeline.tell("nbarec_after_recommend", request=request, slate=slate, trace=slate.trace)
            yield slate

    def _served_here(
        self, users: Users, spans: Sequence[slice], call: Call, kind: Kind
    ) -> Iterator[tuple[Request, Slate]]:
        def one(span: slice, _shared: object) -> tuple[Request, Slate]:
            return self.serve(users[span], call.rows(span), self._told)

        with executor_of(kind, self.pipeline.config.engine.work.workers) as executor:
            yield from executor.map_shards(one, spans)

    def _served_elsewhere(
        self, users: Users, spans: Sequence[slice], call: Call
    ) -> Iterator[tuple[Request | None, Slate]]:
        heard = self.pipeline.is_heard("nbarec_after_recommend")
        for span, answer in zip(spans, self._workers.answers(users, spans, call), strict=True):
            for stage, error in answer.failures:
                self._told(stage, error)
            if answer.slate is None:
                raise answer.error or NbarecError("a worker process gave neither slates nor an error")
            request = self.door.request(users[span], call.rows(span).asked) if heard else None
            yield request, replace(answer.slate, ids=self.data.items)

    def journey(self, request: Request, told: Callable[[str, Exception], object] | None = None) -> Journey:
        """A request at the start of its way; `told` hears of each stage that fails, plugins if it is left out."""
        return Journey(self.pipeline.stages, self.fitted, self.vectors, request, told or self._told)

    def serve(
        self, users: Sequence[TextOrNumber], call: Call, told: Callable[[str, Exception], object]
    ) -> tuple[Request, Slate]:
        """One batch's request and its slates; `told` hears of each stage that fails."""
        with working(replace(self.pipeline.config.engine.work, workers=1)):
            journey = self.journey(self.door.request(users, call.asked), told)
            if call.stage is not None:
                return journey.request, own_list(journey, users, self.data.items, call.stage)
            journey.seen = [] if call.explain else None
            slate = serve(journey, users, self.data.items, self.pipeline.config.slate.fallback)
            if call.explain:
                slate = replace(slate, explanations=Explainer(journey, self.data).of_slate(slate.item))
            return journey.request, slate

    def why(
        self,
        user: TextOrNumber,
        *,
        k: int | None = None,
        history: Sequence[TextOrNumber] = (),
        context: Mapping[str, Context] | None = None,
        now: int | None = None,
    ) -> UserReasons:
        """Why one user gets the slate that `recommend` gives for the same arguments, and where every other item of the
        catalogue was left."""
        asked = self.door.asked(1, self._places(k, None), history, context, now)
        with working(self.pipeline.config.engine.work):
            journey = self.journey(self.door.request([user], asked))
            journey.seen = []
            slate = serve(journey, [user], self.data.items, self.pipeline.config.slate.fallback)
            return UserReasons.of(journey, slate, self.data)

    def batch_size(self) -> int:
        """How many users are served at once: what `engine.memory` allows for the widest arrays of a batch."""
        stages = self.pipeline.stages
        width = sum(stage.settings.k for stage in stages.generators)
        columns = len(stages.generators) + len(stages.features) + len(stages.rankers)
        bytes_a_user = max(8 * len(self.data.items), width * (16 + 8 * columns), 1)
        return int(np.clip(self.history_bytes() // bytes_a_user, 1, MOST_USERS))

    def history_bytes(self) -> int:
        """What the histories of a batch may take."""
        work = self.pipeline.config.engine.work
        return work.memory // BATCH_SHARE // work.workers

    def generator(self, stage: str) -> GeneratorStage:
        """The generator of that id. Raises ConfigError where there is none."""
        generators = {one.id: one for one in self.pipeline.stages.generators}
        if stage not in generators:
            raise ConfigError(f"no generator of the model has the id {stage!r}; there are {', '.join(generators)}")
        return generators[stage]

    def fitted_alike(self, stage: AnyStage) -> Fitted | None:
        """What the stage of that id learnt here, if its component would learn the same and has the same history; else
        None."""
        own = next((one for one in self.pipeline.stages.all() if one.id == stage.id), None)
        if own is None or not stage.component.learns_as(own.component):
            return None
        same = getattr(own.settings, "history", None) == getattr(stage.settings, "history", None)
        return self.fitted[stage.id] if same else None

    def checked(self) -> Model:
        """The model after serving nobody, once through every stage: an expression with a name that does not exist is
        found now. A stage with `on_error: skip` that fails even so is left out from now on, and says why."""
        stages = self.recommend([]).trace.stages
        failed = {one.stage: one.note for one in stages if one.note and not self.fitted[one.stage].failed}
        if not failed:
            return self
        fitted = {
            stage: replace(one, state=NoState(), failed=f"could not serve: {failed[stage]}") if stage in failed else one
            for stage, one in self.fitted.items()
        }
        return Model(self.pipeline, self.data, fitted)

    def save(self, folder: str | Path) -> Path:
        """Write the model; whoever reads `folder` meanwhile gets the old one or the new one. Returns `folder`."""
        from nbarec.saved import save_model

        return save_model(self, folder)

    def update(self, new: Dataset) -> tuple[Model, Mapping[str, str]]:
        """The model with `new` events and ids, without a refit where the stage can; and what became of each stage.

        Raises ConfigError where a stage that can't be updated can't serve the grown catalogue.
        """
        from nbarec.updating import updated

        with working(self.pipeline.config.engine.work):
            return updated(self, new)

    def _places(self, k: int | None, stage: str | None) -> int:
        stages = self.pipeline.stages
        own = {g.id: g.settings.k for g in stages.generators} | {
            r.id: self.pipeline.config.slate.k for r in stages.rankers
        }
        if stage is not None and stage not in own:
            raise NbarecError(f"no generator or ranker has the id {stage!r}; there are {', '.join(own)}")
        places = k if k is not None else self.pipeline.config.slate.k if stage is None else own[stage]
        most = max(len(self.data.items), MOST_PLACES)
        if isinstance(places, bool) or not isinstance(places, int | np.integer) or not 1 <= places <= most:
            raise NbarecError(f"k must be a whole number from 1 to {most:,}, not {places!r}")
        return int(places)

    def _told(self, stage: str, error: Exception) -> None:
        self.pipeline.tell("nbarec_on_error", stage=stage, error=error)
