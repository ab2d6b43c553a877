"""The session that is going on: a history's last events, with no long pause up to now."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64
from nbarec.batch import Request
from nbarec.events import Events
from nbarec_plugins.event_features import Skips
from nbarec_plugins.feature_columns import Lines, ratio
from nbarec_plugins.group_counts import GroupCounts

MINUTE = 60.0


def session_lines(name: str) -> Lines:
    """The columns of `session_groups` for one column of the catalogue."""
    return [
        (f"context_session_{name}_share", f"share of the session's events with the item's {name}"),
        (f"context_session_{name}_last", f"whether the session's last event has the item's {name}"),
    ]


def current_session(past: Events, now: Ints64, gap: float) -> Bools:
    """Which events are of the session that is still going on at `now` int64 [rows]; none where times are unknown."""
    following = np.empty_like(past.time)
    following[:-1] = past.time[1:]
    filled = past.counts > 0
    following[past.indptr[1:][filled] - 1] = now[filled]
    begin = past.indptr[:-1].copy()
    broken = np.flatnonzero((following - past.time > gap) | (past.time == 0))
    np.maximum.at(begin, past.row[broken], broken + 1)
    return np.asarray(np.arange(len(past)) >= begin.take(past.row))


def session_amounts(inside: Bools, past: Events, request: Request, skips: Skips) -> dict[str, Floats64]:
    """What is known of the session as a whole, of the events `inside`: float64 [B] each."""
    rows, counts = past.rows, np.bincount(past.row[inside], minlength=past.rows)
    last = np.append(past.time, 1).take(np.where(past.counts > 0, past.indptr[1:] - 1, len(past)))
    first = np.append(past.time, 0).take(np.where(counts > 0, past.indptr[1:] - counts, len(past)))
    known, skip = skips.of_history(past, request)
    skips_inside, known_inside = (np.bincount(past.row[inside & one], minlength=rows) for one in (skip, known))
    return {
        "context_session_events": np.where(last == 0, np.nan, counts.astype(np.float64)),
        "context_session_minutes": np.where(counts > 0, (request.now - first) / MINUTE, np.nan),
        "context_session_skips": ratio(skips_inside, known_inside),
    }


def session_groups(name: str, counts: GroupCounts, inside: Bools) -> dict[str, Floats64]:
    """How the item's level stands in the session: float64 [N] each."""
    past = counts.past
    newest = np.zeros(len(past), bool)
    newest[past.indptr[1:][past.counts > 0] - 1] = True
    newest &= inside
    last = np.where(counts.totals(newest) > 0, counts.events(newest), np.nan)
    return {
        f"context_session_{name}_share": counts.wanted.mean(ratio(counts.events(inside), counts.totals(inside))),
        f"context_session_{name}_last": counts.wanted.most(last),
    }
