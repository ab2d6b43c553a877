"""The one way through: request -> generate -> merge -> features -> rank -> filter -> choose -> backfill -> slate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from nbarec.arrays import (
    SORTED_AT_ONCE,
    Floats32,
    Ints32,
    Ints64,
    frozen,
    order_in_rows,
    rank_in_row,
    rising_bits,
    row_blocks,
    row_pointers,
    stable_order,
)
from nbarec.batch import Candidates, Pool, Request, StageTrace
from nbarec.contracts import check_candidates, check_columns, check_scores, check_selection, check_vectors, guarded
from nbarec.errors import NbarecError
from nbarec.expressions import Expression
from nbarec.merging import merge, of_items
from nbarec.scopes import EventScope, RequestScope
from nbarec.sparse import Csr
from nbarec.stages import AnyStage, FilterStage, Fitted, GeneratorStage, RankerStage, Stages

R = TypeVar("R")
OnError = Callable[[str, Exception], object]


@dataclass(frozen=True)
class Snapshot:
    """The pool after a step: `merge`, `rank` and `cut` of a ranker, `order` (best first), or `filter`."""

    step: str
    stage: str
    pool: Pool


@dataclass
class Journey:
    """One batch on its way: what the stages were, what they learnt, and what each did here; `seen` is the pool after
    every step, for who wants to explain it, `again` the journeys of the rows (of this one) that were served
    once more, where no ranker cuts and what a row was given before, `held` [B, k], keeps its places; `requests` is the
    request as generators see it, by their settings `history` and `exclude`."""

    stages: Stages
    fitted: Mapping[str, Fitted]
    vectors: Mapping[str, Floats32]
    request: Request
    on_error: OnError
    traces: list[StageTrace] = field(default_factory=list)
    proposed: dict[str, Ints64] = field(default_factory=dict)
    requests: dict[tuple[Expression | None, Expression | None], Request] = field(default_factory=dict)
    merged: Ints64 = field(default_factory=lambda: np.empty(0, np.int64))
    cut: dict[str, Ints64] = field(default_factory=dict)
    removed: dict[str, Ints64] = field(default_factory=dict)
    widened: str | None = None
    seen: list[Snapshot] | None = None
    again: list[tuple[Journey, Ints64]] = field(default_factory=list)
    held: Ints32 | None = None

    def restarted(self, rows: Ints64, held: Ints32, widened: str | None) -> Journey:
        """The same way anew for some rows that keep what they have: no ranker cuts, and generator `widened` is asked
        for all it has."""
        request = self.request.take(rows)
        again = Journey(self.stages, self.fitted, self.vectors, request, self.on_error, widened=widened, held=held)
        again.seen = None if self.seen is None else []
        self.again.append((again, rows))
        return again

    def whole_way(self) -> Pool:
        """Every step up to the post-filters: what is left, in order."""
        pool = self._held_first(self.filtered(self.ranked(self.pool())))
        if self.held is not None:
            self._note("order", "", pool)
        return pool

    def generated(self) -> dict[str, Candidates]:
        """Every generator's proposals."""
        limits = {stage.id: stage.settings.k for stage in self.stages.generators}
        if self.widened is not None:
            limits[self.widened] = self.request.n_items
        return {stage.id: self.candidates_of(stage, limits[stage.id]) for stage in self.stages.generators}

    def candidates_of(self, stage: GeneratorStage, limit: int) -> Candidates:
        """One generator's proposals, at most `limit` a row."""

        def propose() -> Candidates:
            asked, rows = self.asked_of(stage)
            found = stage.component.generate(self.fitted[stage.id].state, asked, limit)
            check_candidates(stage.who, found, asked, limit)
            return found if len(rows) == len(self.request) else _spread(found, rows, len(self.request))

        found = self._timed(stage, "generate", 0, propose)
        found = Candidates.empty(len(self.request)) if found is None else found
        self.proposed[stage.id] = np.diff(found.indptr)
        return found

    def asked_of(self, stage: GeneratorStage) -> tuple[Request, Ints64]:
        """The request as one generator gets it, and the rows of this one that it holds: those for which `when` does."""
        seen_by = stage.settings.history, stage.settings.exclude
        if seen_by not in self.requests:
            self.requests[seen_by] = stage_request(self.request, stage)
        request, rows = self.requests[seen_by], np.arange(len(self.request))
        if stage.settings.when is not None:
            rows = np.flatnonzero(stage.settings.when.truth(RequestScope(self.request)).holds)
            request = request.take(rows)
        # A stage that was not updated knows only the items of its own time.
        return known_part(request, self.fitted[stage.id].n_items), rows

    def pool(self, shown: Ints32 | None = None) -> Pool:
        """All proposals merged, with the features of every provider; or of each row the item that is given in `shown`
        int32 [B] alone, whoever proposed it."""
        pool = merge(self.generated(), len(self.request), self.request.n_items)
        pool = replace(pool if shown is None else of_items(pool, shown), vectors=self.vectors)
        self.merged = np.diff(pool.indptr)
        for stage in self.stages.features:

            def provide(stage: Any = stage, pool: Pool = pool) -> Mapping[str, np.ndarray]:
                columns = stage.component.columns_for(self.fitted[stage.id].state, self.request, pool)
                check_columns(stage.who, columns, pool)
                return {name: frozen(values) for name, values in columns.items()}

            columns = self._timed(stage, "features", len(pool), provide)
            pool = replace(pool, features={**pool.features, **(columns or {})})
        self._note("merge", "", pool)
        return pool

    def ranked(self, pool: Pool, until: str | None = None) -> Pool:
        """The pool under the rankers' scores, cut after each as it says; `until` is the last ranker to run."""
        for stage in self.stages.rankers:

            def score(stage: RankerStage = stage, pool: Pool = pool) -> Floats32:
                found = stage.component.rank(self.fitted[stage.id].state, self.request, pool)
                check_scores(stage.who, found, pool)
                return frozen(found)

            scores = self._timed(stage, "rank", len(pool), score)
            if scores is not None:
                pool = pool.with_score(stage.id, scores)
            self._note("rank", stage.id, pool)
            if stage.settings.keep is not None and self.held is None:
                best = best_first_order(pool)
                kept = pool.take(np.sort(best[rank_in_row(pool.indptr) <= stage.settings.keep]))
                self.cut[stage.id] = np.diff(pool.indptr) - np.diff(kept.indptr)
                pool = kept
                self._note("cut", stage.id, pool)
            if stage.id == until:
                break
        pool = self._held_first(pool.take(best_first_order(pool)))  # so that filters that keep the first keep those
        self._note("order", "", pool)
        return pool

    def _held_first(self, pool: Pool) -> Pool:
        """The same entries in their order, but in each row those that it was given before in front, in their places."""
        if self.held is None:
            return pool
        places = np.full(len(pool), self.held.shape[1])
        row, place = np.nonzero(self.held >= 0)
        at = pool.find(row, self.held[row, place])
        places[at[at >= 0]] = place[at >= 0]
        return pool.take(order_in_rows(pool.row, places))

    def filtered(self, pool: Pool) -> Pool:
        """What the post-filters leave, in their order."""
        for stage in self.stages.filters:

            def select(stage: FilterStage = stage, pool: Pool = pool) -> Ints64:
                found = stage.component.select(self.fitted[stage.id].state, self.request, pool)
                check_selection(stage.who, found, pool)
                return found

            selected = self._timed(stage, "filter", len(pool), select)
            left = pool if selected is None else pool.take(selected)
            gone = np.diff(pool.indptr) - np.diff(left.indptr)
            self.removed[stage.id] = gone
            pool = left
            self._note("filter", stage.id, pool)
        return pool

    def _note(self, step: str, stage: str, pool: Pool) -> None:
        if self.seen is not None:
            self.seen.append(Snapshot(step, stage, pool))

    def _timed(self, stage: AnyStage, step: str, entries: int, work: Callable[[], R]) -> R | None:
        """Run one stage under its trace; None where it failed and may be skipped."""
        start = time.perf_counter()
        note, result = "", None
        try:
            if self.fitted[stage.id].failed:
                raise NbarecError(self.fitted[stage.id].failed)
            with guarded(stage.who, stage.mark):
                result = work()
        except Exception as error:
            self.on_error(stage.id, error)
            if getattr(stage.settings, "on_error", "fail") == "fail":
                raise
            note = f"skipped: {error}"
        seconds = time.perf_counter() - start
        left: Any = entries if result is None or isinstance(result, Mapping) else len(result)  # type: ignore[arg-type]
        self.traces.append(StageTrace(stage.id, step, entries, left, seconds, note))
        return result


def stage_request(request: Request, stage: GeneratorStage) -> Request:
    """The request as one generator sees it: the events that count for it, and the items it must not propose."""
    past, history, exclude = request.history, stage.settings.history, stage.settings.exclude
    counted, left_out = past, past.weight > 0
    if history is not None or exclude is not None:
        scope = EventScope(past, request.catalog, request.audience, request.now[past.row])
        counted = past if history is None else past.where(holds(history, scope))
        left_out = left_out if exclude is None else holds(exclude, scope)
    if not request.excluded.nnz and left_out.all():
        excluded = past.matrix()  # the same pairs, which most generators ask for anyway
    else:
        excluded = _with_pairs(request.excluded, past.row[left_out], past.item[left_out])
    return replace(request, history=counted, excluded=excluded)


def _with_pairs(excluded: Csr, row: Ints64, item: Ints32) -> Csr:
    """What the call itself leaves out, and these pairs."""
    if not excluded.nnz:
        return Csr.from_pairs(row, item, None, excluded.shape)
    # Nearly the whole catalogue, as a rule: marked, not sorted.
    marked = np.zeros(excluded.shape, bool)
    marked[excluded.row_of, excluded.indices] = True
    marked[row, item] = True
    return Csr.where(marked)


def holds(expression: Expression, scope: EventScope) -> np.ndarray:
    """Where an expression definitely holds: bool [events]."""
    return expression.truth(scope).holds


def known_part(request: Request, n_items: int) -> Request:
    """The request as if the catalogue ended after its first `n_items` items."""
    if n_items == request.n_items:
        return request
    old = request.excluded.indices < n_items
    excluded = Csr.from_pairs(
        request.excluded.row_of[old], request.excluded.indices[old], None, (len(request), n_items)
    )
    history = replace(request.history.where(request.history.item < n_items), n_items=n_items)
    return replace(request, history=history, excluded=excluded, catalog=request.catalog.take(np.arange(n_items)))


def item_vectors(stage: GeneratorStage, fitted: Fitted) -> Floats32:
    """What a fitted generator's `ItemVectors` gives, checked: float32 [items it knows, d]."""
    component: Any = stage.component
    with guarded(stage.who):
        vectors: Floats32 = component.item_vectors(fitted.state)
    check_vectors(stage.who, vectors, fitted.n_items)
    return vectors


def vectors_of(stage: GeneratorStage, fitted: Fitted, n_items: int) -> Floats32:
    """One generator's item vectors, with zeros for the items that came after its time, and for all if it could not be
    fitted: float32 [items, d]."""
    if fitted.failed:
        return frozen(np.zeros((n_items, 1), np.float32))
    vectors = item_vectors(stage, fitted)
    newer = n_items - len(vectors)
    return frozen(np.pad(vectors, ((0, newer), (0, 0)))) if newer else frozen(vectors)


def best_first_order(pool: Pool) -> Ints64:
    """Positions that sort each row by score, best first; ties stay as the pool stands, which is by item position.

    Row, score and position are packed into one whole number and sorted at once, a block of rows at a time: a sort by
    three keys takes ten times as long.
    """
    order = np.empty(len(pool), np.int64)
    for first, last in row_blocks(pool.indptr, SORTED_AT_ONCE):  # a step a block of rows
        block = slice(pool.indptr[first], pool.indptr[last])
        key = pool.row[block].astype(np.int64)
        key -= first
        key <<= 32
        key |= rising_bits(-pool.score[block])
        order[block] = stable_order(key, 32 + (last - first).bit_length())
        order[block] += pool.indptr[first]
    return order


def _spread(found: Candidates, rows: Ints64, total: int) -> Candidates:
    """Candidates of some rows as candidates of all rows."""
    counts = np.zeros(total, np.int64)
    counts[rows] = np.diff(found.indptr)
    return replace(found, indptr=frozen(row_pointers(counts)))
