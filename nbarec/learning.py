"""Examples for rankers that learn: pools as they were before some events were known, and what these events say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nbarec.arrays import Bools, Ints64, frozen
from nbarec.components import Example, HeldOut
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.model import Model
from nbarec.progress import track
from nbarec.scopes import EventScope
from nbarec.serving import Journey
from nbarec.sparse import Csr
from nbarec.splits import GlobalTime, Holdout, LastFraction, Random, hold_out
from nbarec.stages import AnyStage, Fitted, Stages
from nbarec.work import in_shards

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline

CUT_STREAM, USER_STREAM = 7, 8
"""Random streams of examples, apart from those of an evaluation and of the stages."""

SPLITS: Mapping[str, type[GlobalTime | LastFraction | Random]] = {
    split.name: split for split in (GlobalTime, LastFraction, Random)
}
"""What `HeldOut.split` may name."""


@dataclass
class Past:
    """What rankers learn from: `data`, not weighted yet, cut in two, and the stages fitted on the earlier part.

    Rankers that hold out alike share a cut. A ranker before another learns for it from the earlier part, of which the
    engine holds out once more: none ever sees a pool that was made with what it is to be told.
    """

    pipeline: Pipeline
    data: Dataset
    cuts: dict[tuple[str, float], Cut] = field(default_factory=dict)

    def examples(self, stage: AnyStage, held_out: HeldOut) -> Iterator[Example]:
        """The examples of one ranker. Raises ConfigError where the data can't be cut, or a stage can't be fitted."""
        with guarded(stage.who, stage.mark):
            cut = self._cut(held_out)
        return cut.examples(stage, held_out)

    def _cut(self, held_out: HeldOut) -> Cut:
        name, fraction = held_out.split, held_out.fraction
        if name == "auto":
            name = "global_time" if self.data.events.time.any() else "random"
        if (name, fraction) not in self.cuts:
            split = SPLITS[name](fraction=fraction)
            rng = np.random.default_rng([self.pipeline.config.seed, CUT_STREAM])
            self.cuts[name, fraction] = Cut(self.pipeline, hold_out(self.data, split, rng), self.data.as_of)
        return self.cuts[name, fraction]


@dataclass
class Cut:
    """One cut: what was known before, the stages that were fitted on it so far, and the held-out events. `as_of` is the
    clock of both parts together."""

    pipeline: Pipeline
    holdout: Holdout
    as_of: int
    fitted: dict[str, Fitted] = field(default_factory=dict)

    @cached_property
    def known(self) -> Dataset:
        """The earlier part, weighted by the clock of its own time."""
        feedback = self.pipeline.section.feedback
        return self.holdout.train if feedback is None else feedback.apply(self.holdout.train)

    @cached_property
    def past(self) -> Past:
        """What rankers that learn for a later one learn from."""
        return Past(self.pipeline, self.holdout.train)

    def examples(self, stage: AnyStage, held_out: HeldOut) -> Iterator[Example]:
        """Batches of users who did something of the held-out part that counts."""
        before = stages_before(self.pipeline.stages, stage)
        for one in before.all():
            if one.id not in self.fitted:
                self.fitted[one.id] = self.pipeline.fitted_stage(one, self.known, self.past, told=False)
        liked = self._liked(held_out)
        users = self._drawn(np.flatnonzero(liked.counts), held_out.users)
        return self._batches(stage, before, users, liked)

    def _batches(self, stage: AnyStage, before: Stages, users: Ints64, liked: Csr) -> Iterator[Example]:
        model = Model(self.pipeline, self.known, self.fitted)
        vectors, door, size = model.vectors, model.door, model.batch_size()
        asked = door.asked(len(users), self.pipeline.config.slate.k)

        def example(first: int, _shared: object) -> Example:
            rows = users[first : first + size]
            request = door.request(self.known.users.take(rows), asked)
            journey = Journey(before, self.fitted, vectors, request, lambda _stage, _error: None)
            pool = journey.ranked(journey.pool())
            label = liked.take_rows(rows).contains(pool.row, pool.item)
            return Example(request, pool, frozen(label.astype(np.float32)))

        with track(f"examples for {stage.id}", len(users)) as advance:
            for one in in_shards(example, range(0, len(users), size)):
                yield one
                advance(len(one.request))

    def _liked(self, held_out: HeldOut) -> Csr:
        """The pairs of the held-out events that count: (users x items)."""
        test = self.holdout.test
        counts = self._counts(held_out)
        return Csr.from_pairs(test.row[counts], test.item[counts], None, (test.rows, test.n_items))

    def _counts(self, held_out: HeldOut) -> Bools:
        """Which held-out events count, by the weights that feedback gives them (decay changes no sign): bool."""
        feedback, later = self.pipeline.section.feedback, self.holdout.train.with_events(self.holdout.test)
        later = replace(later, as_of=self.as_of)
        weighted = later if feedback is None else replace(feedback, decay=None).apply(later)
        if held_out.relevant is None:
            return np.asarray(weighted.events.weight > 0)
        scope = EventScope(weighted.events, weighted.full_catalog(), weighted.full_audience(), weighted.as_of)
        return held_out.relevant.truth(scope).holds

    def _drawn(self, users: Ints64, most: int) -> Ints64:
        """At most so many of these users, ascending."""
        rng = np.random.default_rng([self.pipeline.config.seed, USER_STREAM])
        return users if len(users) <= most else np.sort(rng.choice(users, most, replace=False))


def stages_before(stages: Stages, ranker: AnyStage) -> Stages:
    """The stages whose work a ranker sees: generators, features and the rankers before it."""
    place = [one.id for one in stages.rankers].index(ranker.id)
    return replace(stages, rankers=stages.rankers[:place], filters=())


def same_before(ranker: AnyStage, stages: Stages, others: Stages) -> bool:
    """Whether a ranker that both have sees the same work of the same stages in either."""
    if ranker.id not in [one.id for one in others.rankers]:
        return False
    mine, theirs = ([_configured(one) for one in stages_before(of, ranker).all()] for of in (stages, others))
    return mine == theirs


def _configured(stage: AnyStage) -> tuple[object, ...]:
    return stage.id, stage.component, replace(stage.settings, with_=None)
