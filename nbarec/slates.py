"""From what is left of the pool to slates: choose, backfill, and say why a slate is short."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nbarec.arrays import Floats32, Ints32, Ints64, frozen, order_in_rows
from nbarec.batch import Pool, Slate, StageTrace, Trace
from nbarec.ids import Ids, TextOrNumber
from nbarec.merging import merge
from nbarec.serving import Journey

NEXT = "next candidates"
"""What traces call the pass in which short rows get what the rankers had cut."""


def serve(journey: Journey, users: Sequence[TextOrNumber], ids: Ids, fallback: str | None) -> Slate:
    """One batch through every step. Rows that stay short are refilled, behind what they have: from the candidates that
    rankers cut, and then with `fallback` asked for all it has."""
    item, score = chosen(journey.whole_way(), journey.request.k)
    reasons = _reasons(journey, item)
    cut = sum(journey.cut.values(), np.zeros(len(journey.request), np.int64))
    _refill(journey, np.flatnonzero((item[:, -1] < 0) & (cut > 0)), None, (item, score, reasons))
    if fallback is not None:
        _refill(journey, np.flatnonzero(item[:, -1] < 0), fallback, (item, score, reasons))
    return _slate(journey, item, score, users, ids, reasons)


def _refill(journey: Journey, short: Ints64, widened: str | None, slates: tuple[Ints32, Floats32, list[str]]) -> None:
    """Serve the rows that are short once more, and put what they get into the slates: items, scores and reasons."""
    if not len(short):
        return
    item, score, reasons = slates
    start, before = time.perf_counter(), int((item[short] >= 0).sum())
    again = journey.restarted(short, item[short], widened)
    item[short], score[short] = chosen(again.whole_way(), journey.request.k)
    for row, reason in zip(short, _reasons(again, item[short]), strict=True):
        reasons[row] = reason
    seconds, filled = time.perf_counter() - start, int((item[short] >= 0).sum()) - before
    journey.traces.append(StageTrace(widened or NEXT, "backfill", len(short), filled, seconds))


def own_list(journey: Journey, users: Sequence[TextOrNumber], ids: Ids, stage: str) -> Slate:
    """One generator's or ranker's own list, before any filter."""
    generator = next((g for g in journey.stages.generators if g.id == stage), None)
    if generator is None:
        left = journey.ranked(journey.pool(), until=stage)
    else:
        found = journey.candidates_of(generator, journey.request.k)
        pool = merge({stage: found}, len(journey.request), journey.request.n_items)
        pool = replace(pool, score=frozen(pool.scores[:, 0].copy()))
        left = pool.take(order_in_rows(pool.row, pool.ranks[:, 0]))
    item, score = chosen(left, journey.request.k)
    return _slate(journey, item, score, users, ids, _reasons(journey, item))


def joined(slates: Sequence[Slate]) -> Slate:
    """All slates in one, neighbours first, so that nothing is copied more than a few times."""
    while len(slates) > 1:
        pairs = zip(slates[::2], slates[1::2], strict=False)
        slates = [one.plus(other) for one, other in pairs] + list(slates[len(slates) // 2 * 2 :])
    return slates[0]


def chosen(pool: Pool, k: int) -> tuple[Ints32, Floats32]:
    """The first k entries of each row: items int32 [B, k], -1 where empty, and scores float32 [B, k], NaN."""
    place = np.arange(k)
    shown = place < np.diff(pool.indptr)[:, None]
    at = (pool.indptr[:-1, None] + place)[shown]
    item = np.full((pool.rows, k), -1, np.int32)
    score = np.full((pool.rows, k), np.nan, np.float32)
    item[shown], score[shown] = pool.item.take(at), pool.score.take(at)
    return item, score


def _reasons(journey: Journey, item: np.ndarray) -> list[str]:
    """Why each row is short; the empty text where it is full."""
    filled = (item >= 0).sum(axis=1)
    reasons = [""] * len(item)
    # A step a row that is short, to put its counts into words: few rows, and nothing to compute.
    for row in np.flatnonzero(filled < item.shape[1]):
        proposed = int(journey.merged[row]) if len(journey.merged) else int(filled[row])
        gone = [f"{stage} cut {counts[row]}" for stage, counts in journey.cut.items() if counts[row]]
        gone += [f"{stage} removed {counts[row]}" for stage, counts in journey.removed.items() if counts[row]]
        reasons[row] = _reason(int(filled[row]), proposed, gone, _whom(journey, int(row)))
    return reasons


def _whom(journey: Journey, row: int) -> str:
    """What nothing was proposed of, and to whom."""
    events, request = int(journey.request.history.counts[row]), journey.request
    has = "has no history" if not events else f"has {events} event{'s' if events > 1 else ''}"
    left = request.n_items - int(request.excluded.counts[row])
    what = "anything" if left == request.n_items else f"any of the {left:,} items asked for"
    lost = ", ".join(dict.fromkeys(trace.stage for trace in journey.traces if trace.note))
    return f"{what} to a user who {has}" + (f"; skipped: {lost}" if lost else "")


def _reason(filled: int, proposed: int, gone: Sequence[str], whom: str) -> str:
    if not proposed:
        return f"empty: no stage proposes {whom}"
    state = "short" if filled else "empty"
    return f"{state}: {proposed} candidate{'s' if proposed > 1 else ''}" + (f"; {', '.join(gone)}" if gone else "")


def _slate(
    journey: Journey,
    item: Ints32,
    score: Floats32,
    users: Sequence[TextOrNumber],
    ids: Ids,
    reasons: Sequence[str],
) -> Slate:
    request = journey.request
    proposed = list(journey.proposed.values())
    counts = np.stack(proposed, axis=1) if proposed else np.zeros((len(request), 0), np.int64)
    trace = Trace(
        stages=tuple(journey.traces),
        sources=tuple(journey.proposed),
        proposed=counts.astype(np.int32),
        known=request.user >= 0,
        events=request.history.counts,
    )
    removed = {stage: int(gone.sum()) for stage, gone in journey.removed.items()}
    return Slate(frozen(item), frozen(score), tuple(reasons), tuple(users), ids, trace, removed)
