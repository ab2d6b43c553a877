"""What components are asked in checks: requests, pools and slates over any world, the same every time.

Every pool has the generators `latent`, `similar` and `trending` and those that the component names, the feature
columns `affinity` (number, some missing), `fresh` (flag) and `mood` (text), and `mixed`, the score of a ranker before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Ints64, concat_ranges, frozen, hash_texts, row_pointers
from nbarec.batch import Candidates, Pool, Request, Slate, Trace
from nbarec.components import Component, Example, LearningRanker, Stage
from nbarec.data import Dataset
from nbarec.ids import encode_texts
from nbarec.kernels import NOT_PROPOSED, exclude, top_of_dense
from nbarec.merging import merge
from nbarec.sparse import Csr
from nbarec.testing.check_worlds import SECRET
from nbarec.testing.worlds import request_for, sorted_by_score

LIMIT = 5
"""How many items a generator is asked for: fewer than most could give."""

PLACES = 4
"""The length of the slate."""

GENERATORS = ("latent", "similar", "trending")
STRANGER = "stranger"
"""The id of a user whom no world knows."""


class Question(Protocol):
    """What a component is asked, for any number of users."""

    def __len__(self) -> int: ...

    def take(self, rows: AnyArray) -> Self:
        """The same of these rows alone, in this order."""


@dataclass(frozen=True)
class Asked:
    """What a stage is asked: a request, its pool (nothing that a generator looks at) and how many items."""

    request: Request
    pool: Pool
    limit: int = LIMIT

    def __len__(self) -> int:
        return len(self.request)

    def take(self, rows: AnyArray) -> Asked:
        """These rows alone."""
        return Asked(self.request.take(rows), pool_rows(self.pool, rows), self.limit)


@dataclass(frozen=True)
class AskedOfMetric:
    """What a metric is asked: slates, and what was held out."""

    slate: Slate
    truth: Csr

    def __len__(self) -> int:
        return len(self.slate)

    def take(self, rows: AnyArray) -> AskedOfMetric:
        """These rows alone."""
        slate, trace = self.slate, self.slate.trace
        taken = replace(
            slate,
            item=slate.item[rows],
            score=slate.score[rows],
            decision=tuple(slate.decision[row] for row in rows),
            users=tuple(slate.users[row] for row in rows),
            trace=replace(trace, proposed=trace.proposed[rows], known=trace.known[rows], events=trace.events[rows]),
        )
        return AskedOfMetric(taken, self.truth.take_rows(rows))


@dataclass(frozen=True)
class Who:
    """For whom: `user` int64 [B] positions, -1 for a stranger, and `past` int64 [B], whose events are the history."""

    user: Ints64
    past: Ints64

    @classmethod
    def active(cls, data: Dataset) -> Who:
        """Everybody who did something."""
        users = np.flatnonzero(data.events.counts)
        return cls(users, users)

    @classmethod
    def everybody(cls, data: Dataset) -> Who:
        """Every user."""
        users = np.arange(len(data.users))
        return cls(users, users)

    @classmethod
    def strangers(cls, data: Dataset) -> Who:
        """Nobody, twice; a new user with somebody's history; and whom we know without an event."""
        idle = np.flatnonzero(data.events.counts == 0)
        some = np.flatnonzero(data.events.counts)[:1]
        user = np.concatenate([[-1, -1], np.full(len(some), -1), idle]).astype(np.int64)
        return cls(user, np.concatenate([[-1, -1], some, idle]).astype(np.int64))


def request_of(data: Dataset, who: Who) -> Request:
    """A request of these users, one an hour after the other; what they liked is excluded."""
    rows = len(who.user)
    past = data.events.take_rows(who.past)
    devices = np.array(["phone", "tv", "fridge"])
    context: Mapping[str, AnyArray] = {
        "device": frozen(devices[np.arange(rows) % 3]),
        "hour": frozen(np.arange(rows) % 24 * 1.0),
    }
    now = data.as_of + 3600 * np.arange(rows)
    request = request_for(data, who.user, k=PLACES, now=now, history=past)
    stranger = hash_texts(*encode_texts([STRANGER]))
    keys = np.where((who.user < 0) & (past.counts > 0), stranger, request.key)
    return replace(request, key=frozen(keys), context=context)


def asked_of(component: Component, data: Dataset, who: Who) -> Asked:
    """The request of these users, and a pool in the order of item positions, as rankers get it."""
    request = request_of(data, who)
    names = (*component.generators_named(), *component.vectors_named()) if isinstance(component, Stage) else ()
    rng = np.random.default_rng([SECRET, len(data.items)])
    proposed = {name: _proposed(rng, request) for name in dict.fromkeys((*GENERATORS, *map(str, names)))}
    pool = merge(proposed, len(request), request.n_items)
    vectors = component.vectors_named() if isinstance(component, Stage) else ()
    pool = replace(
        pool,
        features=_features(rng, len(pool)),
        vectors={str(name): _vectors(rng, request.n_items) for name in vectors},
    )
    score = np.where(rng.random(len(pool)) < 0.2, 0.25, rng.normal(size=len(pool)))
    return Asked(request, pool.with_score("mixed", frozen(score.astype(np.float32))))


def examples_of(component: Component, data: Dataset, users: int) -> list[Example]:
    """What a ranker learns from: the pools of all who did something, so many users at a time, and choices drawn at
    random among the entries that `latent` proposes; so are the further labels that it asks for."""
    asked = asked_of(component, data, Who.active(data))
    rng, able = np.random.default_rng(SECRET), asked.pool.ranks[:, 0] > 0
    names = component.labels() if isinstance(component, LearningRanker) else {}
    drawn = {name: frozen(((rng.random(len(able)) < 0.5) & able).astype(np.float32)) for name in ("", *names)}
    found = []
    for start in range(0, len(asked), users):  # a step a batch of users
        part = asked.take(np.arange(start, min(start + users, len(asked))))
        span = slice(asked.pool.indptr[start], asked.pool.indptr[start] + len(part.pool))
        labels = {name: drawn[name][span] for name in names}
        found.append(Example(part.request, part.pool, drawn[""][span], labels))
    return found


def sorted_question(asked: Asked) -> Asked:
    """The same with its pool best first in each row, as post-filters get it."""
    return replace(asked, pool=sorted_by_score(asked.pool))


def shuffled_in_rows(asked: Asked) -> tuple[Asked, Ints64]:
    """The same with the entries of each row in another order, and where each of them stood: int64 [N]."""
    rng = np.random.default_rng(SECRET)
    order = np.lexsort((rng.random(len(asked.pool)), asked.pool.row))
    return replace(asked, pool=asked.pool.take(order)), order


def without_entries(asked: Asked) -> Asked:
    """The same rows with nothing in the pool."""
    return replace(asked, pool=asked.pool.take(np.empty(0, np.int64)))


def pool_rows(pool: Pool, rows: AnyArray) -> Pool:
    """The pool of these rows alone, in this order."""
    counts = np.diff(pool.indptr)[rows]
    taken = pool.take(concat_ranges(pool.indptr[:-1][rows], counts))
    row = np.repeat(np.arange(len(rows)), counts).astype(np.int32)
    return replace(taken, indptr=frozen(row_pointers(counts)), row=frozen(row))


def asked_of_metric(data: Dataset, who: Who) -> AskedOfMetric:
    """Slates of `PLACES` places, some short, one empty, for these users, and relevant items of most of them."""
    rng = np.random.default_rng([SECRET, len(data.items)])
    rows, items = len(who.user), len(data.items)
    drawn = np.argsort(rng.random((rows, max(items, PLACES))), axis=1)[:, :PLACES]
    filled = np.arange(PLACES) < rng.integers(PLACES + 1, size=rows)[:, None]
    item = np.where(filled & (drawn < items), drawn, -1)
    item = np.take_along_axis(item, np.argsort(item < 0, axis=1, kind="stable"), axis=1).astype(np.int32)
    names = data.users.take(who.user[who.user >= 0])
    known = dict(zip(np.flatnonzero(who.user >= 0).tolist(), names, strict=True))
    events = data.events.take_rows(who.past).counts
    trace = Trace((), (), frozen(np.zeros((rows, 0), np.int32)), frozen(who.user >= 0), frozen(events))
    slate = Slate(
        item=frozen(item),
        score=frozen(np.where(item >= 0, 1.0 / np.arange(1, PLACES + 1), np.nan).astype(np.float32)),
        decision=tuple("" if least >= 0 else "short" for least in item[:, -1].tolist()),
        users=tuple(known.get(row, STRANGER) for row in range(rows)),
        ids=data.items,
        trace=trace,
    )
    row, column = np.nonzero(rng.random((rows, items)) < 0.3)
    return AskedOfMetric(slate, Csr.from_pairs(row, column, None, (rows, items)))


def _proposed(rng: np.random.Generator, request: Request) -> Candidates:
    """About half of the items for each row, some of equal score."""
    scores = rng.normal(size=(len(request), request.n_items)).round(1)
    scores[rng.random(scores.shape) < 0.5] = NOT_PROPOSED
    return top_of_dense(exclude(scores, request.excluded), request.n_items)


def _features(rng: np.random.Generator, entries: int) -> dict[str, AnyArray]:
    affinity = np.where(rng.random(entries) < 0.2, np.nan, rng.random(entries))
    mood = np.array(["calm", "loud"])[rng.integers(2, size=entries)]
    return {"affinity": frozen(affinity), "fresh": frozen(rng.random(entries) < 0.3), "mood": frozen(mood)}


def _vectors(rng: np.random.Generator, items: int) -> Floats32:
    vectors: Any = rng.normal(size=(items, 3)).astype(np.float32)
    vectors[-1:] = 0  # an item of which the generator knows nothing
    return frozen(vectors)
