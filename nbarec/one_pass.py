"""One pass over users: whole slates, every stage's own list, and where each held-out item was left, from one journey.

Serving list by list would run every generator again for each of them. On its way a journey has each list already: what
a generator proposed stands in the merged pool with its ranks, and what a ranker made of it is the pool after its cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from nbarec.arrays import Floats32, Ints32, Ints64, frozen
from nbarec.batch import Pool, Request, Slate
from nbarec.executor import executor_of
from nbarec.ids import TextOrNumber
from nbarec.model import Model
from nbarec.serving import Journey, best_first_order
from nbarec.slates import chosen, joined, own_list, serve
from nbarec.sparse import Csr
from nbarec.stage_losses import Fates
from nbarec.timelines import Moments
from nbarec.work import working


class OwnList(NamedTuple):
    """The first k places of one stage's own list: `item` int32 [B, k], -1 where empty, `score` float32 [B, k]."""

    item: Ints32
    score: Floats32


@dataclass(frozen=True)
class Lists:
    """What one pass gave: the `slate` of the whole pipeline, each generator's and ranker's own list by id (`stages`),
    where every relevant item was left (`fates`, if it was asked for), and how many `seconds` the slates alone took."""

    slate: Slate
    stages: Mapping[str, Slate]
    fates: Fates | None
    seconds: float


class _Part(NamedTuple):
    """What one batch gave, and the seconds of its slates and of all."""

    slate: Slate
    own: Mapping[str, OwnList]
    fates: Fates | None
    serving: float
    seconds: float


@dataclass(frozen=True)
class Pass:
    """Passes over the users of a fitted model.

    `allowed` (users x items, a row a user of the model) holds the only items that each user may be shown, `among` the
    ids of those that anybody may be shown; all of them where it is None. With `moments` lists are of these instead of
    users: every position and row below is one of a moment.
    """

    model: Model
    allowed: Csr | None = None
    among: Sequence[TextOrNumber] | None = None
    moments: Moments | None = None

    def lists(self, users: Ints64, k: int, truth: Csr | None = None) -> Lists:
        """Every list of k places for users at positions int64 [U]; `truth` (users x items, a row a user of the model)
        are the relevant items whose fates are wanted.

        A generator's list is the first k of what it proposes; one that proposes fewer where it is used is asked for k.
        A ranker's list is the pool under its score, after its cut. Stages' errors are raised as serving does.
        """
        start = time.perf_counter()
        parts = list(self._parts(users, k, partial(self._served, truth=truth)))
        wall, busy = time.perf_counter() - start, sum(part.seconds for part in parts)
        slate = joined([part.slate for part in parts])
        stages = {stage: _slate_of([part.own[stage] for part in parts], slate) for stage in parts[0].own}
        fates = Fates.joined([part.fates for part in parts if part.fates is not None]) if truth is not None else None
        # Workers share the wall's time: what part of it went into slates is known from what they were busy with.
        return Lists(slate, stages, fates, wall * sum(part.serving for part in parts) / max(busy, 1e-9))

    def slates(self, users: Ints64, k: int) -> tuple[Slate, float]:
        """The whole pipeline's slates alone, and how many seconds they took."""
        start = time.perf_counter()
        parts = list(self._parts(users, k, self._slates_alone))
        return joined([part.slate for part in parts]), time.perf_counter() - start

    def _parts(self, users: Ints64, k: int, work: Callable[[Journey, Ints64], _Part]) -> Iterator[_Part]:
        engine, moments = self.model.pipeline.config.engine.work, self._moments(users)
        spans = [users[one] for one in moments.spans(self.model.batch_size(), self.model.history_bytes())]

        def one(batch: Ints64, _shared: object) -> tuple[Journey, _Part]:
            with working(replace(engine, workers=1)):
                journey = self._journey(batch, k)
                return journey, work(journey, batch)

        alone = len(spans) <= 1 or engine.workers == 1
        with executor_of("serial" if alone else "threads", engine.workers) as executor:
            for journey, part in executor.map_shards(one, spans):
                told = {"request": journey.request, "slate": part.slate, "trace": part.slate.trace}
                self.model.pipeline.tell("nbarec_after_recommend", **told)
                yield part

    def _journey(self, users: Ints64, k: int) -> Journey:
        model = self.model
        request = model.door.request_at(self._moments(users), model.door.asked(0, k, among=self.among))
        if self.allowed is not None:
            request = only(request, self.allowed.take_rows(users))
        return model.journey(request)

    def _moments(self, users: Ints64) -> Moments:
        return Moments.of_users(self.model.data, users) if self.moments is None else self.moments.take(users)

    def _names(self, journey: Journey) -> Sequence[TextOrNumber]:
        return self.model.data.users.take(journey.request.user)

    def _served(self, journey: Journey, users: Ints64, truth: Csr | None) -> _Part:
        start = time.perf_counter()
        journey.seen = []
        slate = self._slate(journey)
        serving = time.perf_counter() - start
        own = dict(self._own_lists(journey))
        fates = None if truth is None else Fates.of(journey, truth.take_rows(users))
        return _Part(slate, own, fates, serving, time.perf_counter() - start)

    def _slates_alone(self, journey: Journey, _users: Ints64) -> _Part:
        return _Part(self._slate(journey), {}, None, 0.0, 0.0)

    def _slate(self, journey: Journey) -> Slate:
        return serve(journey, self._names(journey), self.model.data.items, self.model.pipeline.config.slate.fallback)

    def _own_lists(self, journey: Journey) -> Iterator[tuple[str, OwnList]]:
        k, seen = journey.request.k, journey.seen or []
        for stage in journey.stages.generators:
            if stage.settings.k >= k:
                yield stage.id, _proposed(seen[0].pool, stage.id, k)
            else:
                yield stage.id, self._asked_for_more(journey, stage.id)
        after = {snapshot.stage: snapshot.pool for snapshot in seen if snapshot.step in ("rank", "cut")}
        ordered = next(snapshot.pool for snapshot in seen if snapshot.step == "order")
        for ranker in journey.stages.rankers:
            last = ranker is journey.stages.rankers[-1]
            pool = ordered if last else after[ranker.id].take(best_first_order(after[ranker.id]))
            yield ranker.id, OwnList(*chosen(pool, k))

    def _asked_for_more(self, journey: Journey, stage: str) -> OwnList:
        again = Journey(journey.stages, journey.fitted, journey.vectors, journey.request, journey.on_error)
        slate = own_list(again, self._names(again), self.model.data.items, stage)
        return OwnList(slate.item, slate.score)


def only(request: Request, allowed: Csr) -> Request:
    """The request where each row may be shown only what `allowed` (B x items) holds for it."""
    left_out = np.ones(allowed.shape, bool)
    left_out[allowed.row_of, allowed.indices] = False
    return replace(request, excluded=Csr.where(left_out))


def _proposed(pool: Pool, stage: str, k: int) -> OwnList:
    """The first k places of what one generator proposed, from the merged pool."""
    source = pool.sources.index(stage)
    rank = pool.ranks[:, source]
    at = np.flatnonzero((rank > 0) & (rank <= k))
    item, score = np.full((pool.rows, k), -1, np.int32), np.full((pool.rows, k), np.nan, np.float32)
    cell = pool.row.take(at), rank.take(at) - 1
    item[cell], score[cell] = pool.item.take(at), pool.scores[:, source].take(at)
    return OwnList(item, score)


def _slate_of(parts: Sequence[OwnList], whole: Slate) -> Slate:
    """One stage's own list as slates of the users of `whole`, with its trace."""
    item, score = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    filled = np.count_nonzero(item >= 0, axis=1)
    why = np.where(filled == 0, "empty", np.where(filled < item.shape[1], "short", ""))
    decision = tuple(why.tolist())
    return replace(whole, item=frozen(item), score=frozen(score), decision=decision, removed={}, explanations=())
