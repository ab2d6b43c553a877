"""The value objects of one batch on its way through the pipeline. B users, N pool entries, S generators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats32, Ints32, Ints64, Uints64, frozen, row_starts, rows_of, stable_order
from nbarec.columns import Columns
from nbarec.events import Events
from nbarec.ids import Ids, TextOrNumber
from nbarec.sparse import Csr
from nbarec.tables import Table

if TYPE_CHECKING:
    from nbarec.explain import Explanation


@dataclass(frozen=True)
class Request:
    """What is asked for B users, and all that a stage may know of them.

    `user` int32 [B] (-1: nobody we know), `key` uint64 [B] (a hash of the outside id: the seed of anything
    random), `history` B rows of events, `excluded` (B x items): items that this stage must not propose,
    `context` name -> array [B] (float64 or text), `catalog` a row an item, `audience` a row of these B,
    `now` int64 [B] seconds since 1970 UTC, `k` the slate's length.
    """

    user: Ints32
    key: Uints64
    history: Events
    excluded: Csr
    context: Mapping[str, AnyArray]
    catalog: Table
    audience: Table
    now: Ints64
    k: int

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_items(self) -> int:
        """How many items the catalogue has."""
        return self.catalog.rows

    @cached_property
    def excluded_pairs(self) -> Ints64:
        """row * n_items + item of everything that is excluded, ascending: int64."""
        return frozen(self.excluded.row_of * self.n_items + self.excluded.indices)

    def take(self, rows: np.ndarray) -> Request:
        """The request of these rows alone."""
        return replace(
            self,
            user=self.user[rows],
            key=self.key[rows],
            history=self.history.take_rows(rows),
            excluded=self.excluded.take_rows(rows),
            context={name: values[rows] for name, values in self.context.items()},
            audience=self.audience.take(rows),
            now=self.now[rows],
        )


@dataclass(frozen=True)
class Candidates:
    """What one generator proposes: `indptr` int64 [B + 1], `item` int32 [N], `score` float32 [N], best first
    in each row."""

    indptr: Ints64
    item: Ints32
    score: Floats32

    def __len__(self) -> int:
        return len(self.item)

    @cached_property
    def row(self) -> Ints64:
        """The row of every candidate: int64 [N]."""
        return frozen(rows_of(self.indptr))

    @classmethod
    def empty(cls, rows: int) -> Candidates:
        """Nothing for anybody."""
        return cls(frozen(np.zeros(rows + 1, np.int64)), frozen(np.empty(0, np.int32)), frozen(np.empty(0, np.float32)))


@dataclass(frozen=True)
class Pool:
    """The union of all proposals, each with its provenance; within a row by item position.

    `indptr` int64 [B + 1], `row` int32 [N], `item` int32 [N], `sources` the S generators' ids, `proposals` what each
    of them said: `scores` and `ranks`, `features` name -> [N], `score` float32 [N]: the latest ranker's. `vectors`
    generator id -> float32 [items, d]: the item vectors that stages of this pipeline ask for (zeros where the generator
    knows nothing of an item).
    """

    indptr: Ints64
    row: Ints32
    item: Ints32
    sources: tuple[str, ...]
    proposals: Columns
    features: Mapping[str, AnyArray]
    score: Floats32
    vectors: Mapping[str, Floats32] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item)

    @property
    def rows(self) -> int:
        """How many rows (users) the pool has, empty ones included."""
        return len(self.indptr) - 1

    @property
    def scores(self) -> Floats32:
        """Every generator's score of each entry: float32 [N, S], NaN where it does not propose the item."""
        return self.proposals["scores"].T

    @property
    def ranks(self) -> Ints32:
        """Every generator's rank of each entry, from 1: int32 [N, S], 0 where it does not propose the item."""
        return self.proposals["ranks"].T

    def take(self, positions: Ints64) -> Pool:
        """The entries at these positions, in this order; positions must be grouped by row, in the order of rows."""
        if len(positions) == len(self) and bool((positions[1:] > positions[:-1]).all()):
            return self  # all entries as they stand, which is what most filters leave of most pools
        row = self.row.take(positions)
        same = len(row) == len(self) and np.array_equal(row, self.row)
        return Pool(
            indptr=self.indptr if same else frozen(row_starts(row, self.rows)),
            row=self.row if same else frozen(row),
            item=frozen(self.item.take(positions)),
            sources=self.sources,
            proposals=self.proposals.taken(positions),
            features=_columns(self.features).taken(positions) if self.features else {},
            score=frozen(self.score.take(positions)),
            vectors=self.vectors,
        )

    def find(self, row: np.ndarray, item: np.ndarray) -> Ints64:
        """Where each pair of a row and an item stands, -1 where it does not: int64 [M]."""
        width = int(max(self.item.max(initial=0), item.max(initial=0))) + 1
        key = self.row.astype(np.int64) * width + self.item
        order = stable_order(key, int(key.max(initial=0)).bit_length())
        wanted = np.asarray(row, np.int64) * width + item
        found = np.append(order, -1)[np.searchsorted(key, wanted, sorter=order)]
        return np.where((found >= 0) & (np.append(key, -1)[found] == wanted), found, -1)

    def with_score(self, stage: str, score: Floats32) -> Pool:
        """The same entries under a ranker's score, which is also kept as the column `stage`."""
        return replace(self, score=score, features={**self.features, stage: score})


def _columns(named: Mapping[str, AnyArray]) -> Columns:
    return named if isinstance(named, Columns) else Columns(named)


@dataclass(frozen=True)
class StageTrace:
    """What one stage did to one batch or to all: entries in and out, and seconds."""

    stage: str
    step: str
    entries_in: int
    entries_out: int
    seconds: float
    note: str = ""

    def plus(self, other: StageTrace) -> StageTrace:
        """The same stage over two batches."""
        return replace(
            self,
            entries_in=self.entries_in + other.entries_in,
            entries_out=self.entries_out + other.entries_out,
            seconds=self.seconds + other.seconds,
            note=self.note or other.note,
        )


@dataclass(frozen=True)
class Trace:
    """Every stage in order; `proposed` int32 [B, S] says how many items each generator gave each user."""

    stages: tuple[StageTrace, ...]
    sources: tuple[str, ...]
    proposed: Ints32
    known: Bools
    events: Ints64

    def road(self, row: int) -> str:
        """By which road user `row` was served, in words."""
        who = "known user" if self.known[row] else "unknown user"
        events = int(self.events[row])
        history = f"{events} event{'' if events == 1 else 's'}" if events else "no history"
        gave = [f"{stage} {n}" for stage, n in zip(self.sources, self.proposed[row], strict=True) if n]
        lost = ", ".join(dict.fromkeys(stage.stage for stage in self.stages if stage.note))
        return f"{who}, {history}; candidates: {', '.join(gave) or 'none'}" + (f"; skipped: {lost}" if lost else "")

    def plus(self, other: Trace) -> Trace:
        """The trace of two batches, one after the other."""
        return Trace(
            stages=_added(self.stages, other.stages),
            sources=self.sources,
            proposed=np.concatenate([self.proposed, other.proposed]),
            known=np.concatenate([self.known, other.known]),
            events=np.concatenate([self.events, other.events]),
        )


def _added(first: Sequence[StageTrace], second: Sequence[StageTrace]) -> tuple[StageTrace, ...]:
    """The traces of two batches by stage and step; a step that only some batches need is counted where it was."""
    added: dict[tuple[str, str], StageTrace] = {}
    for trace in (*first, *second):
        key = trace.stage, trace.step
        added[key] = added[key].plus(trace) if key in added else trace
    return tuple(added.values())


@dataclass(frozen=True, repr=False)
class Slate:
    """What B users get: `item` int32 [B, k] (-1: empty place), `score` float32 [B, k] (NaN), `decision`: why a row
    is short or empty (empty text: it is full), `removed`: entries that each post-filter took out, `explanations`: of
    every filled place of each row, if they were asked for."""

    item: Ints32
    score: Floats32
    decision: tuple[str, ...]
    users: tuple[TextOrNumber, ...]
    ids: Ids
    trace: Trace
    removed: Mapping[str, int] = field(default_factory=dict)
    explanations: tuple[tuple[Explanation, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.item)

    @property
    def items(self) -> list[list[TextOrNumber]]:
        """The items' outside ids, best first, a list a user."""
        return [self.ids.take(row[row >= 0]) for row in self.item]

    def __repr__(self) -> str:
        return f"<Slate: {self.item.shape[0]} users x {self.item.shape[1]} places>"

    def rows(self) -> Iterator[tuple[TextOrNumber, int, TextOrNumber, float]]:
        """(user id, rank from 1, item id, score), user by user, best first."""
        for user, items, scores in zip(self.users, self.items, self.score, strict=True):
            for rank, (item, score) in enumerate(zip(items, scores, strict=False), start=1):
                yield user, rank, item, float(score)

    def plus(self, other: Slate) -> Slate:
        """The slates of two batches, one after the other."""
        return replace(
            self,
            item=np.concatenate([self.item, other.item]),
            score=np.concatenate([self.score, other.score]),
            decision=self.decision + other.decision,
            users=self.users + other.users,
            trace=self.trace.plus(other.trace),
            removed={stage: n + other.removed[stage] for stage, n in self.removed.items()},
            explanations=self.explanations + other.explanations,
        )
